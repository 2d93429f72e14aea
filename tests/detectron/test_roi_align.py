from collections.abc import Iterator

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling import build_model
from tiny_models import TINY

from sartorius.detectron.roi_align import CellAlign, QuickROIAlign
from sartorius.detectron.settings import detectron_config

SIZE_HW, SCALE = (5, 3), 0.25


def layer(kind: type[ROIAlign] = QuickROIAlign, **changes: object) -> ROIAlign:
    return kind(**({"output_size": SIZE_HW, "spatial_scale": SCALE, "sampling_ratio": 0} | changes))


def features() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 6, 17, 23)


def rois() -> torch.Tensor:
    """Boxes of all sizes in two pictures of 68 × 92 px; some reach out, one has no width and one no height."""
    torch.manual_seed(1)
    corner = torch.rand(60, 2) * torch.tensor([110.0, 80.0]) - 12
    boxes = torch.cat([torch.arange(60)[:, None] % 2, corner, corner + 90 * torch.rand(60, 2) ** 2], dim=1)
    boxes[0, 3], boxes[1, 4] = boxes[0, 1], boxes[1, 2]
    boxes[2, 1:] = torch.tensor([-400.0, -400.0, -300.0, -300.0])
    return boxes


@pytest.fixture
def own_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many boxes were aligned by our own loop, call by call."""
    calls: list[int] = []
    apply = CellAlign.apply

    def counted(x: torch.Tensor, boxes: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
        calls.append(len(boxes))
        return apply(x, boxes, size_hw)

    monkeypatch.setattr(CellAlign, "apply", counted)
    return calls


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_means_and_gradients_are_those_of_detectron2(threads: int, own_calls: list[int]) -> None:
    found = []
    for kind in (QuickROIAlign, ROIAlign):
        given = features().requires_grad_()
        means = layer(kind)(given, rois())
        slopes = torch.linspace(-1, 1, means.numel()).view(means.shape)
        (means * slopes).sum().backward()
        found.append((means, given.grad))
    assert own_calls == [60]
    for own, expected in zip(*found, strict=True):
        assert own.is_contiguous()
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)
    assert not found[0][0][:3].any(), "boxes without pixels"
    with torch.inference_mode():
        torch.testing.assert_close(layer()(features(), rois()), found[0][0])


def test_however_the_channels_lie_the_means_are_the_same() -> None:
    lying = features().to(memory_format=torch.channels_last)
    torch.testing.assert_close(layer()(lying, rois()), layer()(features(), rois()))


@pytest.mark.parametrize(
    ("changes", "count", "kind"),
    [
        ({}, 0, torch.float32),
        ({"sampling_ratio": 2}, 60, torch.float32),
        ({"aligned": False}, 60, torch.float32),
        ({}, 60, torch.float64),
    ],
)
def test_what_the_loop_is_not_made_for_goes_through_torchvision(
    changes: dict[str, object], count: int, kind: torch.dtype, own_calls: list[int]
) -> None:
    found = layer(**changes)(features().to(kind), rois()[:count])
    torch.testing.assert_close(found, layer(ROIAlign, **changes)(features().to(kind), rois()[:count]))
    assert own_calls == []


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_boxes_stay_exact_where_features_are_rounded(kind: torch.dtype) -> None:
    edge = (torch.arange(320.0) >= 300).expand(1, 1, 8, 320).to(kind)
    box = torch.tensor([[0, 299.3, 2.0, 300.3, 3.0]])  # in bfloat16 both sides would lie at 300
    found = layer(output_size=1, spatial_scale=1.0)(edge, box)
    assert found.dtype == kind
    assert found.item() == pytest.approx(0.3, abs=0.002)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_boxes_of_a_network_that_diverged_read_no_pixels_outside(wrong: float) -> None:
    boxes = rois()
    boxes[4, 3] = wrong
    found = layer()(features(), boxes)
    assert not found[4].any()
    torch.testing.assert_close(found[5:], layer()(features(), rois())[5:])


def test_every_level_of_a_network_has_it() -> None:
    heads = build_model(detectron_config(TINY, "cpu")).roi_heads
    levels = [*heads.box_pooler.level_poolers, *heads.mask_pooler.level_poolers]
    assert {type(level) for level in levels} == {QuickROIAlign}
