"""Each key of the network's settings changes the network that is built, or what it is trained to minimise."""

import math
from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tiny_models import TINY

from sartorius.detectron.heads import CellBoxPredictor
from sartorius.detectron.settings import detectron_config


def tiny_model(**changes: Any) -> torch.nn.Module:
    torch.manual_seed(8)
    return build_model(detectron_config(TINY.model_copy(update=changes), "cpu"))


def grid_boxes(side_px: float, step_px: int) -> Boxes:
    """Squares all over an image of 64 × 64."""
    places = torch.arange(0, 64 - int(side_px) + 1, step_px, dtype=torch.float32)
    corners = torch.cartesian_prod(places, places)
    return Boxes(torch.cat([corners, corners + side_px], dim=1))


def test_grey_of_the_data_set_is_seen_in_its_own_deviations() -> None:
    model = tiny_model(normalisation="dataset")
    for grey, seen in ((127.0, 0.0), (142.0, 1.0), (112.0, -1.0)):
        images = model.preprocess_image([{"image": torch.full((3, 64, 64), grey)}])
        torch.testing.assert_close(images.tensor, torch.full((1, 3, 64, 64), seen))


def test_anchors_have_the_size_of_their_level_and_every_ratio_of_height_to_width() -> None:
    sizes, ratios = (6.0, 12.0, 20.0, 50.0, 90.0), (0.25, 1.0, 3.0, 4.0)
    model = tiny_model(anchor_sizes_px=sizes, anchor_ratios=ratios)
    levels = list(model.proposal_generator.anchor_generator.cell_anchors)
    assert len(levels) == len(sizes)
    for anchors, size in zip(levels, sizes, strict=True):
        width, height = (anchors[:, 2:] - anchors[:, :2]).unbind(dim=1)
        assert (width * height).sqrt().tolist() == pytest.approx([size] * len(ratios), rel=1e-5)
        assert (height / width).tolist() == pytest.approx(list(ratios), rel=1e-5)


def test_pyramid_box_head_and_mask_head_are_as_wide_as_told() -> None:
    model = tiny_model(pyramid_channels=12, box_head_channels=20, mask_head_channels=8)
    assert {tuple(model.backbone.get_submodule(f"fpn_output{n}").weight.shape) for n in range(2, 6)} == {
        (12, 12, 3, 3)
    }
    assert tuple(model.roi_heads.box_head.fc1.weight.shape) == (20, 12 * 7 * 7)
    assert tuple(model.roi_heads.box_head.fc2.weight.shape) == (20, 20)
    assert tuple(model.roi_heads.mask_head.mask_fcn1.weight.shape) == (8, 12, 3, 3)
    assert tuple(model.roi_heads.mask_head.mask_fcn4.weight.shape) == (8, 8, 3, 3)


# A box of 10 × 10 at (0, 0) is to become one of 10 × 20 at (5, 0): 50 px are shared of 250, the smallest box around
# both has 15 × 20 px, their centres are (5, 5) apart. IoU losses count ten times; CIoU adds what it makes of the aspects.
ASPECT = 4 / math.pi**2 * (math.atan(1 / 2) - math.atan(1)) ** 2


@pytest.mark.parametrize(
    ("box_loss", "expected"),
    [
        ("smooth_l1", 10 * 5 / 10 + 10 * 5 / 10 + 5 * math.log(2)),
        ("giou", 10 * (1 - 0.2 + 50 / 300)),
        ("diou", 10 * (1 - 0.2 + 50 / 625)),
        ("ciou", 10 * (1 - 0.2 + 50 / 625 + ASPECT * ASPECT / (1 - 0.2 + ASPECT))),
    ],
)
def test_the_box_loss_of_one_proposal_by_hand(box_loss: str, expected: float) -> None:
    cfg = detectron_config(TINY.model_copy(update={"box_loss": box_loss}), "cpu")
    predictor = CellBoxPredictor(cfg, ShapeSpec(channels=16))
    proposal = Instances((64, 64))
    proposal.proposal_boxes = Boxes(torch.tensor([[0.0, 0, 10, 10]]))
    proposal.gt_boxes = Boxes(torch.tensor([[5.0, 0, 15, 20]]))
    proposal.gt_classes = torch.tensor([1])
    unmoved = (torch.zeros(1, 4), torch.zeros(1, 12))
    with EventStorage():
        found = predictor.losses(unmoved, [proposal])["loss_box_reg"]
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cascade", [False, True])
def test_the_box_predictors_of_a_network_have_the_losses_and_weights_of_the_settings(cascade: bool) -> None:
    heads = tiny_model(box_loss="ciou", class_weights={"astro": 3.0}, cascade=cascade).roi_heads
    predictors = list(heads.box_predictor) if cascade else [heads.box_predictor]
    assert len(predictors) == (3 if cascade else 1)
    assert {(one.box_reg_loss_type, one.loss_weight["loss_box_reg"]) for one in predictors} == {
        ("ciou", 10.0)
    }
    assert {tuple(one.class_weights.tolist()) for one in predictors} == {(1.0, 3.0, 1.0, 1.0)}


@pytest.mark.parametrize(("stages", "frozen"), [(0, set()), (1, {"stem"}), (2, {"stem", "res2"})])
def test_frozen_stages_and_nothing_else_have_no_gradient(stages: int, frozen: set[str]) -> None:
    trained: dict[str, set[bool]] = {}
    for name, parameter in tiny_model(freeze_stages=stages).named_parameters():
        part = name.removeprefix("backbone.bottom_up.").split(".")[0]
        trained.setdefault(part, set()).add(parameter.requires_grad)
    assert {"stem", "res2", "res3", "res4", "res5", "backbone", "proposal_generator"} <= trained.keys()
    assert trained == {part: {part not in frozen} for part in trained}


@pytest.mark.parametrize("count", [12, 40])
def test_so_many_anchors_of_each_picture_train_the_proposal_network(count: int) -> None:
    network = tiny_model(rpn_batch=count).proposal_generator
    levels = [torch.zeros(1, 16, 64 >> n, 64 >> n) for n in range(2, 7)]
    cells = [Instances((64, 64), gt_boxes=Boxes(torch.tensor([[8.0, 8, 24, 24]]))), empty_picture()]
    labels, _ = network.label_and_sample_anchors(network.anchor_generator(levels), cells)
    assert [int((label >= 0).sum()) for label in labels] == [count, count]


def empty_picture() -> Instances:
    return Instances((64, 64), gt_boxes=Boxes(torch.zeros(0, 4)))


@pytest.mark.parametrize("count", [10, 30])
def test_so_many_proposals_of_each_picture_train_the_heads(count: int) -> None:
    heads = tiny_model(roi_batch=count).roi_heads
    boxes = grid_boxes(16, 4)
    proposals = Instances((64, 64), proposal_boxes=boxes, objectness_logits=torch.zeros(len(boxes)))
    cells = Instances((64, 64), gt_boxes=Boxes(boxes.tensor[:2]), gt_classes=torch.tensor([0, 2]))
    with EventStorage():
        (sampled,) = heads.label_and_sample_proposals([proposals], [cells])
    assert len(sampled) == count < len(boxes)
