"""Boxes as means of what the box head gave for a cell: which boxes count, by how much, and what stays as it was."""

import math

import numpy as np
import pytest
import torch
from detectron2.modeling.roi_heads import CascadeROIHeads, StandardROIHeads
from detectron2.structures import Boxes, Instances
from tiny_detections import built, detections
from tiny_models import TINY

from sartorius.detectron.box_voting import voted

SIGMA = 0.06


def found_at(*boxes: tuple[int, int, int, int], kind: int = 0) -> Instances:
    """Detections of one class, (left, top, width, height), in a picture of 64 × 64."""
    found = detections(*boxes)
    found.scores = torch.full((len(boxes),), 0.8)
    found.pred_classes = torch.full((len(boxes),), kind)
    found.remove("pred_masks")
    return found


def scores(*rows: tuple[float, float]) -> torch.Tensor:
    """Scores of two classes, with the background's behind them."""
    return torch.tensor([[first, second, 1 - first - second] for first, second in rows])


def for_both(*boxes: tuple[float, float, float, float]) -> torch.Tensor:
    """The same corners for both classes."""
    return torch.tensor(boxes, dtype=torch.float32).repeat(1, 2)


def test_a_box_becomes_the_mean_of_its_neighbours_by_nearness_and_score() -> None:
    own, near, far = (10, 10, 20, 20), (10, 10, 20, 25), (40, 40, 60, 60)
    (corners,) = voted(
        found_at((10, 10, 10, 10)),
        for_both(own, near, far),
        scores((0.8, 0), (0.4, 0), (0.9, 0)),
        0.05,
        SIGMA,
    ).pred_boxes.tensor.tolist()
    weight = math.exp(-((1 - 100 / 150) ** 2) / SIGMA) * 0.4**2
    assert corners == pytest.approx([10, 10, 20, (20 * 0.8**2 + 25 * weight) / (0.8**2 + weight)])


@pytest.mark.parametrize(
    "neighbour", [(0.0, 0.9), (0.04, 0.0)], ids=["another class", "below the least score"]
)
def test_what_is_no_detection_of_the_class_does_not_count(neighbour: tuple[float, float]) -> None:
    boxes = for_both((10, 10, 20, 20), (10, 10, 20, 25))
    found = voted(found_at((10, 10, 10, 10)), boxes, scores((0.8, 0.0), neighbour), 0.05, SIGMA)
    assert found.pred_boxes.tensor.tolist() == [[10, 10, 20, 20]]


def test_boxes_that_are_no_numbers_do_not_count() -> None:
    own, broken = (10, 10, 20, 20), (float("nan"), 10, 20, float("inf"))
    found = voted(found_at((10, 10, 10, 10)), for_both(broken, own), scores((0.9, 0), (0.8, 0)), 0.05, SIGMA)
    assert found.pred_boxes.tensor.tolist() == [list(own)]


def test_each_class_has_its_own_boxes_unless_they_are_for_all_classes_alike() -> None:
    own, other = torch.tensor([[10.0, 10, 20, 20]]), torch.tensor([[10.0, 10, 20, 22]])
    found = found_at((10, 10, 10, 12), kind=1)
    of_classes = voted(found, torch.cat([own, other], dim=1), scores((0.0, 0.7)), 0.05, SIGMA)
    alike = voted(found, other, scores((0.0, 0.7)), 0.05, SIGMA)
    assert of_classes.pred_boxes.tensor.tolist() == alike.pred_boxes.tensor.tolist() == [[10, 10, 20, 22]]


def test_boxes_count_as_far_as_they_lie_in_the_picture() -> None:
    found = found_at((54, 10, 10, 10))
    boxes = for_both((54, 10, 90, 20), (54, 10, 75, 20))
    after = voted(found, boxes, scores((0.8, 0.0), (0.5, 0.0)), 0.05, SIGMA)
    assert after.pred_boxes.tensor[0].tolist() == pytest.approx([54, 10, 64, 20])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_where_products_are_in_16_bits_corners_are_not(dtype: torch.dtype) -> None:
    found = Instances((1500, 1500), pred_boxes=Boxes(torch.tensor([[1401.0, 1001, 1421, 1021]])))
    found.scores, found.pred_classes = torch.tensor([0.8]), torch.tensor([0])
    boxes, sure = (
        for_both((1401, 1001, 1421, 1021), (1401.3, 1001.3, 1421.3, 1021.3)),
        scores((0.8, 0), (0.8, 0)),
    )
    expected = voted(found, boxes, sure, 0.05, SIGMA).pred_boxes.tensor
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(voted(found, boxes, sure, 0.05, SIGMA).pred_boxes.tensor, expected)


def test_a_box_without_area_stays_and_no_detections_are_none() -> None:
    boxes, sure = for_both((64, 10, 80, 20), (10, 10, 20, 20)), scores((0.8, 0.0), (0.8, 0.0))
    assert voted(found_at((64, 10, 0, 10)), boxes, sure, 0.05, SIGMA).pred_boxes.tensor.tolist() == [
        [64, 10, 64, 20]
    ]
    assert len(voted(found_at(), boxes, sure, 0.05, SIGMA)) == 0
    assert len(voted(found_at(), boxes[:0], sure[:0], 0.05, SIGMA)) == 0


def box_head_of(
    settings, monkeypatch
) -> tuple[torch.nn.Module, tuple[dict[str, torch.Tensor], list[Instances]]]:
    """An untrained network's heads in inference, and what they are given for a picture of noise."""
    model = built(settings).eval()
    given = []
    forward_box = model.roi_heads._forward_box
    monkeypatch.setattr(
        model.roi_heads, "_forward_box", lambda *given_: given.append(given_) or forward_box(*given_)
    )
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 255, (1, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        model.inference([{"image": pixels.expand(3, -1, -1)}], do_postprocess=False)
    monkeypatch.undo()
    return model.roi_heads, given[0]


@pytest.mark.parametrize(("cascade", "plain"), [(False, StandardROIHeads), (True, CascadeROIHeads)])
def test_boxes_move_by_votes_alone_and_without_them_are_those_of_detectron2(
    cascade, plain, monkeypatch
) -> None:
    settings = TINY.model_copy(update={"cascade": cascade, "min_score": 0.05, "detections_per_image": 1000})
    heads, given = box_head_of(settings, monkeypatch)
    with torch.inference_mode():
        (found,) = heads._forward_box(*given)
        for stage in heads.box_predictor if cascade else [heads.box_predictor]:
            stage.test_topk_per_image = -1
        (expected,) = plain._forward_box(heads, *given)
        heads.voting_sigma = 1.0
        (after,) = heads._forward_box(*given)
        heads.voting_sigma = 1e-6
        (hardly,) = heads._forward_box(*given)
    assert len(found) > 5
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.pred_classes)
    assert torch.equal(after.scores, found.scores)
    assert torch.equal(after.pred_classes, found.pred_classes)
    moved_px = (after.pred_boxes.tensor - found.pred_boxes.tensor).abs().amax(dim=1)
    assert float(moved_px.median()) > 0.1
    torch.testing.assert_close(hardly.pred_boxes.tensor, found.pred_boxes.tensor, atol=0.05, rtol=0)


def test_the_setting_reaches_the_network() -> None:
    assert built(TINY).roi_heads.voting_sigma == 0
    assert built(TINY.model_copy(update={"box_voting_sigma": SIGMA})).roi_heads.voting_sigma == SIGMA
    assert isinstance(
        voted(found_at((1, 1, 5, 5)), for_both((1, 1, 6, 6)), scores((0.9, 0)), 0.05, SIGMA).pred_boxes, Boxes
    )
