"""Masks drawn on enlarged boxes: where they are drawn, what they learn, and what stays as it is."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage
from tiny_detections import built, cells_at, detections, picture
from tiny_models import TINY

from sartorius.config.ensemble import ViewSettings
from sartorius.detectron import batched
from sartorius.detectron.mask_head import enlarged
from sartorius.detectron.mask_iou import own_cells
from sartorius.detectron.predictor import Predictor

SCALE = 1.5
WIDER = TINY.model_copy(update={"mask_box_scale": SCALE})
IMAGE = np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8)


@pytest.mark.parametrize(
    ("box", "scale", "expected"),
    [
        ((20, 20, 30, 40), 1.5, (17.5, 15, 32.5, 45)),
        ((20, 20, 30, 40), 1, (20, 20, 30, 40)),
        ((0, 50, 10, 64), 1.2, (0, 48.6, 11, 64)),  # not out of the picture
    ],
)
def test_boxes_grow_about_their_centres(box, scale, expected) -> None:
    boxes = Boxes(torch.tensor([box], dtype=torch.float32))
    assert enlarged(boxes, scale, (64, 64)).tensor[0].tolist() == pytest.approx(expected)
    assert boxes.tensor[0].tolist() == list(box)
    assert len(enlarged(Boxes(torch.zeros(0, 4)), scale, (64, 64))) == 0


def test_a_network_finds_the_same_and_draws_it_on_enlarged_boxes() -> None:
    plain, wider = built(TINY), built(WIDER)
    for model in (plain, wider):
        torch.nn.init.constant_(model.roi_heads.mask_head.predictor.bias, 1.0)  # no mask is empty
    expected = Predictor(plain, TINY)(IMAGE, "p", ViewSettings())
    cells = Predictor(wider, WIDER)(IMAGE, "p", ViewSettings())
    assert len(cells) == len(expected) > 3
    np.testing.assert_array_equal(cells.scores, expected.scores)
    boxes = enlarged(Boxes(torch.from_numpy(expected.soft_boxes_xyxy)), SCALE, IMAGE.shape)
    np.testing.assert_allclose(cells.soft_boxes_xyxy, boxes.tensor, atol=1e-4)
    drawn = Predictor(plain, TINY).probabilities_on(
        IMAGE, ViewSettings(), cells.soft_boxes_xyxy, cells.cell_types
    )
    np.testing.assert_allclose(cells.soft_masks / 255, drawn, atol=0.003)


def test_boxes_that_are_given_are_drawn_on_as_they_are() -> None:
    boxes, types = np.array([[8, 8, 24, 30]], dtype=np.float32), np.array(["cort"])
    expected, given = (
        Predictor(built(settings), settings).probabilities_on(IMAGE, ViewSettings(), boxes, types)
        for settings in (TINY, WIDER)
    )
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("together", [True, False], ids=["sampled together", "sampled by detectron2"])
def test_the_mask_head_learns_masks_of_enlarged_proposals(monkeypatch, together: bool) -> None:
    monkeypatch.setattr(batched, "is_quicker", lambda device: together)
    learnt = {}
    for settings in (TINY, WIDER):
        model, seen = built(settings).train(), []
        model.roi_heads.mask_head.register_forward_pre_hook(lambda head, given, seen=seen: seen.append(given))
        with EventStorage():
            model([picture()])
        ((features, (cells,)),) = seen
        learnt[settings.mask_box_scale] = features, cells.proposal_boxes, cells.gt_masks
    (tight_features, tight, _), (features, wide, masks) = learnt[1], learnt[SCALE]
    assert len(tight) == len(masks) > 0
    torch.testing.assert_close(wide.tensor, enlarged(tight, SCALE, (64, 64)).tensor)
    assert not torch.equal(features, tight_features)


def test_heads_that_are_trained_alone_learn_from_masks_on_enlarged_boxes() -> None:
    update = {"mask_iou_head": True, "train_only": ("mask_head", "mask_iou_head")}
    seen = {}
    for settings in (TINY.model_copy(update=update), WIDER.model_copy(update=update)):
        model = built(settings).train()
        model.roi_heads.mask_iou_head.register_forward_pre_hook(
            lambda head, given, scale=settings.mask_box_scale: seen.update({scale: given[1][0].pred_boxes})
        )
        with EventStorage():
            model([picture()])
    assert len(seen[1]) > 3
    torch.testing.assert_close(seen[SCALE].tensor, enlarged(seen[1], SCALE, (64, 64)).tensor)


def test_a_mask_on_an_enlarged_box_is_compared_with_the_cell_that_its_own_box_overlaps_most() -> None:
    # the detection is of the small cell; enlarged twice, its box is the one around it
    cells = cells_at((16, 16, 16, 16), (8, 8, 32, 32))
    found = detections((8, 8, 32, 32), (50, 50, 4, 4))
    found.pred_masks[0] = 0
    found.pred_masks[0, :, 7:21, 7:21] = 1
    numbers, ious = own_cells(found, cells, 2)
    assert int(numbers[0]) == 0
    assert float(ious[0]) == pytest.approx(1, abs=0.02)
    assert int(own_cells(found, cells)[0][0]) == 1
