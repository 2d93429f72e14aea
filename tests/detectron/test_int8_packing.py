"""Weights of 8-bit convolutions are packed for the shapes of the pictures that come, which changes nothing but the time."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from sartorius.detectron.convolution import QuickConv2d
from sartorius.detectron.int8 import Int8Conv2d, Scale, int8_works

pytestmark = pytest.mark.skipif(
    not int8_works(), reason="torch without 8-bit convolutions for this processor"
)

#: One shape, a batch, and sizes for which oneDNN orders weights differently.
SHAPES = [(1, 64, 4, 5), (1, 64, 40, 56), (2, 64, 40, 56), (1, 64, 130, 88), (1, 64, 1, 1)]
#: What a result's bytes stand for.
BYTES = Scale(0.05, 100)


def convolution(side: int = 1, stride: int = 1, result: Scale | None = BYTES) -> Int8Conv2d:
    torch.manual_seed(0)
    conv = QuickConv2d(64, 128, side, stride=stride, padding=side // 2)
    conv.requires_grad_(False)
    conv.__class__ = Int8Conv2d
    conv.become(Scale(0.02, 3), result, relu=False)
    return conv


def picture(shape: tuple[int, ...]) -> Tensor:
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    return pixels.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("result", [BYTES, None], ids=["bytes", "floats"])
@pytest.mark.parametrize(("side", "stride"), [(1, 1), (1, 2), (3, 1)])
def test_every_bit_is_that_of_weights_packed_for_no_shape(
    side: int, stride: int, result: Scale | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = convolution(side, stride, result)
    found = [conv(picture(shape)) for shape in SHAPES]
    added = onto_itself(conv) if result else None
    pack = torch.ops.onednn.qconv_prepack
    monkeypatch.setattr(torch.ops.onednn, "qconv_prepack", lambda *given: pack(*given[:-1], None))
    plain = convolution(side, stride, result)
    for shape, own in zip(SHAPES, found, strict=True):
        assert torch.equal(own, plain(picture(shape)))
        assert own.unique().numel() > 20
    assert added is None or torch.equal(added, onto_itself(plain))


def onto_itself(conv: Int8Conv2d) -> Tensor:
    """The convolution of a picture added to what it is."""
    total = conv(picture(SHAPES[1]))
    return conv.onto(picture(SHAPES[1]), total, BYTES)


def test_weights_are_packed_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    pack, seen = torch.ops.onednn.qconv_prepack, []
    monkeypatch.setattr(
        torch.ops.onednn, "qconv_prepack", lambda *given: (seen.append(tuple(given[-1])), pack(*given))[1]
    )
    conv = convolution()
    assert seen == []
    for shape in SHAPES + SHAPES:
        conv(picture(shape))
    assert seen == SHAPES


def test_packed_weights_are_kept_for_the_last_eight_shapes_alone() -> None:
    conv = convolution()
    for width in range(1, 21):
        conv(picture((1, 64, 4, width)))
    assert [shape[3] for shape in conv._packed] == list(range(13, 21))


def test_weights_packed_while_predicting_serve_in_training() -> None:
    """A run of heads alone is validated on the way: the layers before them stay as they are."""
    conv = convolution()
    with torch.inference_mode():
        found = conv(picture(SHAPES[1]))
    trained = torch.ones(1, requires_grad=True)
    (conv(picture(SHAPES[1])).float() * trained).sum().backward()
    assert trained.grad is not None
    assert torch.equal(trained.grad, found.float().sum()[None])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_layer_that_has_seen_pictures_can_be_copied_and_pickled(copied) -> None:
    conv = convolution()
    found = conv(picture(SHAPES[1]))
    other = copied(conv)
    assert not other._packed
    assert torch.equal(other(picture(SHAPES[1])), found)
    assert list(conv._packed) == [torch.Size(SHAPES[1])]
    assert conv.state_dict().keys() == {"weight", "bias"}


def test_threads_share_a_layer() -> None:
    shapes = [(1, 64, 8, width) for width in range(1, 25)]
    expected = [convolution()(picture(shape)) for shape in shapes]
    conv, pictures = convolution(), [picture(shape) for shape in shapes]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(conv, pictures * 3))
    assert all(torch.equal(own, other) for own, other in zip(found, expected * 3, strict=True))
