"""Each key that prediction and validation read changes what is found, or how it is judged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import EventStorage
from tiny_models import TINY

from sartorius.cells import Cells
from sartorius.config.members import ViewSettings
from sartorius.detectron.mapper import TrainingImage
from sartorius.detectron.network import CellRCNN
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.training_data import TrainingData
from sartorius.detectron.validation import Judge
from sartorius.rle import coco_from_dense, dense_from_coco

#: Nothing is lost between the caps: the counts are those of the settings.
NO_NMS = TINY.detectron | {"MODEL.RPN.NMS_THRESH": 1.0}


class LowerRightQuarter(torch.nn.Module):
    """A network that finds one astro of score .6, which fills the lower right quarter of whatever it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.score = torch.nn.Parameter(torch.tensor([0.6]))
        self.shown: list[tuple[int, ...]] = []

    answers = CellRCNN.answers

    def inference(
        self, inputs: list[dict[str, torch.Tensor]], boxes: object = None, do_postprocess: bool = True
    ) -> list[Instances]:
        self.shown += [tuple(one["image"].shape) for one in inputs]
        return [self._found(*shape[1:]) for shape in self.shown[-len(inputs) :]]

    def _found(self, height: int, width: int) -> Instances:
        box = Boxes(torch.tensor([[width / 2, height / 2, width, height]]))
        return Instances(
            (height, width),
            pred_boxes=box,
            scores=self.score.detach(),
            pred_classes=torch.tensor([1]),
            pred_masks=torch.ones(1, 1, 28, 28),
        )


def lower_right_quarter(size_hw: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=bool)
    mask[size_hw[0] // 2 :, size_hw[1] // 2 :] = True
    return mask


def found_by(**changes: Any) -> Instances:
    """What an untrained network finds in noise; with the same weights whatever the changes."""
    torch.manual_seed(8)
    model = build_model(detectron_config(TINY.model_copy(update=changes), "cpu")).eval()
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 255, (1, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        (found,) = model.inference([{"image": pixels.expand(3, -1, -1)}], do_postprocess=False)
    return found


@pytest.mark.parametrize(("input_scale", "shown"), [(1.0, (1, 40, 60)), (2.0, (1, 80, 120))])
def test_the_network_is_shown_the_image_at_its_input_scale_and_boxes_stay_in_image_pixels(
    input_scale: float, shown: tuple[int, int, int]
) -> None:
    model = LowerRightQuarter()
    predictor = Predictor(model, TINY.model_copy(update={"input_scale": input_scale}))
    cells = predictor(np.zeros((40, 60), dtype=np.uint8), "p", ViewSettings())
    assert model.shown == [shown]
    assert cells.soft_boxes_xyxy is not None
    assert cells.soft_boxes_xyxy.tolist() == [[30, 20, 60, 40]]
    assert np.array_equal(dense_from_coco(cells.masks[0]), lower_right_quarter((40, 60)))


@pytest.mark.parametrize(("threshold", "score"), [(0.5, 1.0), (0.7, 0.0)])
def test_a_cell_counts_in_validation_from_the_validation_score_on(
    threshold: float, score: float, tmp_path: Path
) -> None:
    size_hw = (40, 60)
    image = TrainingImage("v", np.zeros(size_hw, dtype=np.uint8), (), np.zeros(0, dtype=np.int64))
    truth = Cells(
        image_id="v",
        size_hw=size_hw,
        masks=(coco_from_dense(lower_right_quarter(size_hw)),),
        scores=np.ones(1, dtype=np.float32),
        cell_types=np.array(["astro"]),
        sources=np.array(["truth"]),
    )
    settings = TINY.model_copy(update={"validation_score": threshold})
    judge = Judge(settings, TrainingData([], [image], {"v": truth}), tmp_path)
    assert judge.scores(LowerRightQuarter()) == {"validation/mAP": score, "validation/mAP_astro": score}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    # Levels of 16, 8, 4, 2 and 1 px a side with three anchors at each: 768, 192, 48, 12 and 3.
    [(7, 1000, 7 + 7 + 7 + 7 + 3), (50, 1000, 50 + 50 + 48 + 12 + 3), (50, 9, 9), (2, 9, 9)],
)
def test_proposals_are_capped_on_each_level_before_nms_and_on_each_image_after_it(
    before: int, after: int, expected: int, training: bool
) -> None:
    changes = {"proposals_before_nms": before, "proposals_after_nms": after, "detectron": NO_NMS}
    torch.manual_seed(8)
    model = build_model(detectron_config(TINY.model_copy(update=changes), "cpu"))
    network = model.proposal_generator.train(training)
    features = {f"p{n}": torch.randn(2, 16, 64 >> n, 64 >> n) for n in range(2, 7)}
    cells = [Instances((64, 64), gt_boxes=Boxes(torch.tensor([[8.0, 8, 24, 24]])))] * 2
    with EventStorage(), torch.no_grad():
        proposals, _ = network(ImageList(torch.zeros(2, 3, 64, 64), [(64, 64)] * 2), features, cells)
    assert [len(of_image) for of_image in proposals] == [expected, expected]


def test_the_surest_detections_remain_under_a_cap() -> None:
    every, three = found_by(detections_per_image=1000), found_by(detections_per_image=3)
    assert len(every) > 20
    assert len(three) == 3
    surest = every[every.scores.argsort(descending=True, stable=True)[:3]]
    assert torch.equal(three.scores, surest.scores)
    assert torch.equal(three.pred_boxes.tensor, surest.pred_boxes.tensor)
    assert torch.equal(three.pred_classes, surest.pred_classes)


def test_detections_below_the_least_score_of_their_type_take_no_place_under_a_cap() -> None:
    names = TINY.cell_types
    every = found_by(detections_per_image=1000, min_score=0.0)
    surest_type = names[int(every.pred_classes[every.scores.argmax()])]
    found = found_by(detections_per_image=20, min_score={surest_type: 0.999, "default": 0.0})
    assert len(found) == 20
    assert surest_type not in {names[kind] for kind in found.pred_classes.tolist()}


def test_no_two_boxes_of_a_type_overlap_more_than_told() -> None:
    every, apart = (found_by(box_nms_iou=iou, detections_per_image=1000) for iou in (1.0, 0.3))
    assert highest_iou_of_a_type(every) > 0.5
    assert highest_iou_of_a_type(apart) <= 0.3
    assert 0 < len(apart) < len(every) == 3 * TINY.proposals_after_nms


def highest_iou_of_a_type(found: Instances) -> float:
    iou = pairwise_iou(found.pred_boxes, found.pred_boxes).fill_diagonal_(0)
    same_type = found.pred_classes[:, None] == found.pred_classes
    return float(iou[same_type].max())
