from collections.abc import Callable

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn

from sartorius.detectron.convolution import QuickBottleneck, QuickConv2d, WinogradConvolution
from sartorius.detectron.quick import quicken

needs_nnpack = pytest.mark.skipif(
    not torch._nnpack_available(), reason="torch without NNPACK for this processor"
)


def shuffle_norms(network: nn.Module) -> nn.Module:
    """The network with frozen norms that do something."""
    for norm in network.modules():
        if isinstance(norm, FrozenBatchNorm2d):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    return network


def network() -> nn.Module:
    torch.manual_seed(0)
    norms = [FrozenBatchNorm2d(6), FrozenBatchNorm2d(4)]
    layers = nn.Sequential(
        Conv2d(3, 6, 3, stride=2, padding=1, bias=False, norm=norms[0], activation=nn.functional.relu),
        Conv2d(6, 4, 1, bias=False, norm=norms[1]),
        Conv2d(4, 5, 3, padding=1, activation=nn.functional.relu),
        Conv2d(5, 4, 3, padding=1, bias=False, norm=nn.GroupNorm(2, 4)),
    )
    return shuffle_norms(layers)


def stage() -> nn.Module:
    """Residual blocks with and without a projection."""
    torch.manual_seed(0)
    kinds = {"bottleneck_channels": 4, "out_channels": 8, "norm": "FrozenBN"}
    return shuffle_norms(nn.Sequential(BottleneckBlock(3, **kinds), BottleneckBlock(8, **kinds)))


def computed(layers: nn.Module, picture: torch.Tensor) -> list[torch.Tensor]:
    """What the layers make of a picture, and the gradients of the picture and of every parameter."""
    given = picture.clone().requires_grad_()
    found = layers(given)
    found.square().mean().backward()
    assert given.grad is not None
    return [found, given.grad, *(parameter.grad for parameter in layers.parameters())]


@pytest.fixture
def winograd_calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of the pixels that go through Winograd's algorithm."""
    calls: list[torch.Size] = []
    apply: Callable[..., torch.Tensor] = WinogradConvolution.apply

    def counted(x: torch.Tensor, *rest: torch.Tensor | None) -> torch.Tensor:
        calls.append(x.shape)
        return apply(x, *rest)

    monkeypatch.setattr(WinogradConvolution, "apply", counted)
    return calls


@needs_nnpack
@pytest.mark.parametrize("size", [(1, 3, 9, 11), (2, 3, 9, 11), (9, 3, 9, 11)])
def test_features_and_gradients_are_those_of_detectron2_under_the_same_names(
    size: tuple[int, ...], winograd_calls: list[torch.Size]
) -> None:
    plain, quick = network(), network()
    quicken(quick)
    assert {type(layer) for layer in quick} == {QuickConv2d}
    assert quick.state_dict().keys() == plain.state_dict().keys()
    picture = torch.randn(size)
    for own, theirs in zip(computed(quick, picture), computed(plain, picture), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-4 * float(theirs.detach().abs().max()))
    assert len(winograd_calls) == 2, "the two 3 × 3 convolutions of stride 1, forwards"


@pytest.mark.parametrize("count", [1, 2])
def test_residual_blocks_are_those_of_detectron2_and_write_over_their_input_in_inference_alone(
    count: int,
) -> None:
    plain, quick = stage(), stage()
    quicken(quick)
    assert {type(block) for block in quick} == {QuickBottleneck}
    picture = torch.randn(count, 3, 9, 11)
    for own, theirs in zip(computed(quick, picture), computed(plain, picture), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-4 * float(theirs.detach().abs().max()))
    given = picture.clone()
    with torch.inference_mode():
        middle = quick[0](given)
        found = quick[1](middle)
        torch.testing.assert_close(found, plain(picture), rtol=1e-3, atol=1e-4)
    assert torch.equal(given, picture), "the input of a block with a projection is left alone"
    assert found.data_ptr() == middle.data_ptr()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert quick[1](middle).data_ptr() != middle.data_ptr()


@needs_nnpack
def test_residual_blocks_compute_in_planes_where_nnpack_does() -> None:
    block = stage()[0]
    expected = block(picture := torch.randn(2, 3, 9, 11))
    quicken(block)
    with torch.inference_mode():
        lying = picture.contiguous(memory_format=torch.channels_last)
        found = block(lying)
        assert found.is_contiguous()
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        with torch.backends.nnpack.flags(enabled=False):
            assert block(lying).is_contiguous(memory_format=torch.channels_last)


@needs_nnpack
def test_winograd_agrees_with_the_direct_convolution_to_a_hundred_thousandth() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 64, 50, 47).relu(), torch.randn(32, 64, 3, 3), torch.randn(32)
    expected = nn.functional.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    error = (WinogradConvolution.apply(x, weight, bias) - expected).abs().max() / expected.abs().max()
    assert error < 2e-5


@needs_nnpack
def test_what_nnpack_cannot_compute_goes_through_torch(winograd_calls: list[torch.Size]) -> None:
    layer = Conv2d(4, 4, 3, padding=1)
    quicken(layer)
    picture = torch.randn(1, 4, 8, 8)
    layer(picture)
    assert len(winograd_calls) == 1
    assert layer(picture[:0]).shape == (0, 4, 8, 8)
    with torch.backends.nnpack.flags(enabled=False):
        layer(picture)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(picture).dtype == torch.bfloat16
    assert layer.double()(picture.double()).dtype == torch.float64
    for options in ({"stride": 2}, {"dilation": 2}, {"padding": 0}, {"groups": 2}):
        other = Conv2d(4, 4, 3, **({"padding": 1} | options))
        quicken(other)
        torch.testing.assert_close(other(picture), nn.Conv2d.forward(other, picture))
    assert len(winograd_calls) == 1


@needs_nnpack
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("frozen", ["nothing", "weight", "pixels"])
@pytest.mark.parametrize("pictures", [1, 3, 9])
def test_gradients_are_the_direct_ones_whatever_is_frozen_and_however_the_channels_lie(
    pictures: int, frozen: str, layout: torch.memory_format, winograd_calls: list[torch.Size]
) -> None:
    torch.manual_seed(0)
    layer = Conv2d(4, 6, 3, padding=1)
    quicken(layer)
    layer.weight.requires_grad_(frozen != "weight")
    x = torch.randn(pictures, 4, 9, 11).to(memory_format=layout)
    slope = torch.randn(pictures, 6, 9, 11).to(memory_format=layout)
    found = []
    for enabled in (True, False):
        layer.zero_grad()
        given = x.clone().requires_grad_(frozen != "pixels")
        with torch.backends.nnpack.flags(enabled=enabled):
            features = layer(given)
            features.backward(slope)
        found.append((features, given.grad, layer.weight.grad, layer.bias.grad))
    assert len(winograd_calls) == 1, "the direct convolution is the one without NNPACK"
    assert [gradient is None for gradient in found[0][1:]] == [frozen == "pixels", frozen == "weight", False]
    for own, direct in zip(*found, strict=True):
        if direct is not None:
            torch.testing.assert_close(own, direct, rtol=1e-3, atol=1e-4 * float(direct.detach().abs().max()))
