"""Box heads whose losses can be chosen, and are means over images of each image's own mean.

detectron2 averages over all proposals of a batch. A mean over images is the same number however a batch is divided:
over processes, over accumulated parts, or not at all.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat, ciou_loss, diou_loss
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import CascadeROIHeads, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage
from fvcore.nn import giou_loss, smooth_l1_loss
from torch import Tensor
from torch.nn import functional

from sartorius.detectron.box_refinement import require_numbers
from sartorius.detectron.mask_head import image_shares
from sartorius.detectron.sampling import CellHeads


def add_box_keys(cfg: CfgNode) -> None:
    """Give a detectron2 configuration the keys of this module."""
    cfg.MODEL.ROI_HEADS.CLASS_WEIGHTS = []
    cfg.MODEL.ROI_HEADS.MIN_SCORES = []
    cfg.MODEL.ROI_HEADS.BOX_VOTING_SIGMA = 0.0


class CellBoxPredictor(FastRCNNOutputLayers):
    """detectron2's box predictor with a weight for each class, averaged image by image.

    class_weights: factor on the classification loss of each class and of the background, (classes + 1,).
    """

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, class_weights: Sequence[float], **rest: object) -> None:
        super().__init__(input_shape, **rest)
        self.register_buffer("class_weights", torch.tensor(class_weights), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, object]:
        """The arguments that a configuration stands for."""
        weights = list(cfg.MODEL.ROI_HEADS.CLASS_WEIGHTS) or [1.0] * cfg.MODEL.ROI_HEADS.NUM_CLASSES
        return super().from_config(cfg, input_shape) | {"class_weights": [*weights, 1.0]}

    def losses(self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]) -> dict[str, Tensor]:
        """The classification and the box loss of sampled proposals."""
        scores, deltas = predictions
        classes = cat([p.gt_classes for p in proposals], dim=0)
        each = functional.cross_entropy(scores.float(), classes, reduction="none")
        shares = image_shares([len(p) for p in proposals], scores.device)
        with torch.no_grad():
            _log_accuracy(scores, classes)
        cells = (classes < self.num_classes).nonzero()[:, 0]
        losses = {
            "loss_cls": (each * self.class_weights[classes] * shares).sum(),
            "loss_box_reg": (self._box_losses(deltas, proposals, classes, cells) * shares[cells]).sum(),
        }
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def _box_losses(
        self, deltas: Tensor, proposals: list[Instances], classes: Tensor, cells: Tensor
    ) -> Tensor:
        """(C,) the box loss of each proposal on a cell; cells: (C,) their numbers among all pictures' proposals.

        Source: `FastRCNNOutputLayers.box_reg_loss`, which sums over the proposals of a picture.
        """
        boxes = cat([p.proposal_boxes.tensor for p in proposals])[cells]
        targets = cat([_target_boxes(p) for p in proposals])[cells]
        own = deltas[cells].float()
        if own.shape[1] > targets.shape[1]:
            of_class = own.view(len(cells), self.num_classes, targets.shape[1])
            own = of_class[torch.arange(len(cells), device=own.device), classes[cells]]
        if self.box_reg_loss_type == "smooth_l1":
            wanted = self.box2box_transform.get_deltas(boxes, targets)
            return smooth_l1_loss(own, wanted, self.smooth_l1_beta, reduction="none").sum(dim=1)
        found = self.box2box_transform.apply_deltas(own, boxes)
        return IOU_LOSSES[self.box_reg_loss_type](found, targets, reduction="none")


#: Box losses that are one minus an IoU.
IOU_LOSSES = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}


class CellROIHeads(CellHeads, StandardROIHeads):
    """One box head and one mask head."""

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, object]:
        made = super()._init_box_head(cfg, input_shape)
        made["box_predictor"] = CellBoxPredictor(cfg, made["box_head"].output_shape)
        return made

    def _boxes_and_scores(
        self, features: dict[str, Tensor], proposals: list[Instances]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        levels = [features[name] for name in self.box_in_features]
        pixels = self.box_pooler(levels, [own.proposal_boxes for own in proposals])
        predictions = self.box_predictor(self.box_head(pixels))
        boxes = self.box_predictor.predict_boxes(predictions, proposals)
        return boxes, self.box_predictor.predict_probs(predictions, proposals)


class CascadeCellROIHeads(CellHeads, CascadeROIHeads):
    """Three box heads in a row, each for boxes of higher IoU, and one mask head."""

    def _create_proposals_from_boxes(
        self, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        for of_image in boxes:
            require_numbers(of_image)
        proposals: list[Instances] = super()._create_proposals_from_boxes(boxes, image_sizes)
        return proposals

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, object]:
        made = super()._init_box_head(cfg, input_shape)
        made["box_predictors"] = [
            CellBoxPredictor(cfg, head.output_shape, box2box_transform=predictor.box2box_transform)
            for head, predictor in zip(made["box_heads"], made["box_predictors"], strict=True)
        ]
        return made

    def _boxes_and_scores(
        self, features: dict[str, Tensor], proposals: list[Instances]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The last stage's boxes; scores are means over the stages, as in `CascadeROIHeads._forward_box`."""
        levels = [features[name] for name in self.box_in_features]
        sizes = [own.image_size for own in proposals]
        boxes, scores = [], []
        for number, predictor in enumerate(self.box_predictor):
            if number:
                proposals = self._create_proposals_from_boxes(boxes, sizes)
            predictions = self._run_stage(levels, proposals, number)
            boxes = predictor.predict_boxes(predictions, proposals)
            scores.append(predictor.predict_probs(predictions, proposals))
        return boxes, [sum(stages) * (1.0 / len(scores)) for stages in zip(*scores, strict=True)]


def _target_boxes(proposals: Instances) -> Tensor:
    return (proposals.gt_boxes if proposals.has("gt_boxes") else proposals.proposal_boxes).tensor


def _log_accuracy(scores: Tensor, classes: Tensor) -> None:
    right, cells = scores.argmax(dim=1) == classes, classes < scores.shape[1] - 1
    all_right, cells_right, cell_count = torch.stack(
        [right.sum(), (right & cells).sum(), cells.sum()]
    ).tolist()
    storage = get_event_storage()
    storage.put_scalar("fast_rcnn/cls_accuracy", all_right / max(len(classes), 1))
    if cell_count:
        storage.put_scalar("fast_rcnn/fg_cls_accuracy", cells_right / cell_count)


for _heads in (CellROIHeads, CascadeCellROIHeads):
    if _heads.__name__ not in ROI_HEADS_REGISTRY:
        ROI_HEADS_REGISTRY.register(_heads)
