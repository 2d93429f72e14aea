"""How well the mask of a detection fits its cell, told by a small head of its own: by that, scores are in a better order.

The box head's score says whether there is a cell, not whether its mask is any good. This head looks at a detection's
features and its mask and says how likely the mask's IoU passes each of the metric's thresholds; the mean of these is the
share of the metric that the detection is expected to earn. A detection's score becomes the geometric mean of both, which
orders them as their product would and keeps the size that scores had. The head learns from what the network finds itself,
wrong detections included, and its gradients go no further than its own weights.
Source: Huang et al. 2019, Mask Scoring R-CNN, whose head gives one IoU and learns from proposals on cells alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from detectron2.structures import Instances, pairwise_iou
from torch import Tensor, nn
from torch.nn import functional

from sartorius.detectron.detection_head import DetectionHead
from sartorius.detectron.mask_head import image_shares
from sartorius.metrics.matching import THRESHOLDS


class MaskIoUHead(DetectionHead):
    """Probabilities that a mask's IoU with its cell passes thresholds.

    channels, side: of a detection's (channels, side, side) features, as the mask head gets them. classes: cell types.
    """

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__(channels + 1, side, classes, len(THRESHOLDS))

    def forward(self, features: Tensor, found: Sequence[Instances]) -> Tensor:
        """(N, thresholds) logits of all images' detections in a row.

        features: (N, C, S, S). found: with `pred_boxes`, `pred_classes` and `pred_masks` (n, 1, 2 S, 2 S) probabilities.
        """
        masks = torch.cat([image.pred_masks for image in found])
        together = torch.cat([features, functional.max_pool2d(masks, 2).to(features.dtype)], dim=1)
        return super().forward(together, found)

    def rescored(self, features: Tensor, found: list[Instances]) -> list[Instances]:
        """The detections by falling score; their `scores` are geometric means of what they were and the expected share."""
        if not len(features):
            return found
        shares = self(features, found).sigmoid().mean(dim=1)
        ordered = []
        for image, own in zip(found, shares.split([len(image) for image in found]), strict=True):
            image.scores = (image.scores * own).sqrt()
            ordered.append(image[image.scores.argsort(descending=True, stable=True)])
        return ordered


def mask_iou_loss(logits: Tensor, ious: Sequence[Tensor]) -> Tensor:
    """The cross entropy of each threshold, as the mean over images of an image's mean; one without detections counts as 0.

    logits: (N, thresholds) of all images' detections in a row. ious: for each image those of its detections' masks.
    """
    counts = [len(image) for image in ious]
    if not sum(counts):
        return logits.sum() * 0
    each_iou = torch.cat(list(ious))[:, None]
    passed = each_iou > torch.tensor(THRESHOLDS, dtype=each_iou.dtype, device=logits.device)
    each = functional.binary_cross_entropy_with_logits(logits, passed.float(), reduction="none").mean(dim=1)
    return (each * image_shares(counts, logits.device)).sum()


def own_cells(found: Instances, cells: Instances) -> tuple[Tensor, Tensor]:
    """(n,) the number of the cell whose box overlaps each detection's the most, and (n,) its mask's IoU with that cell.

    Both are 0 where there is none. Cells are drawn on the grid of the detection's box, and what of them lies outside counts
    by their area.
    found: n detections with `pred_boxes` and `pred_masks`. cells: with `gt_boxes` and `gt_masks`.
    """
    boxes = found.pred_boxes.tensor
    if not len(cells) or not len(boxes):
        return torch.zeros_like(found.pred_classes), boxes.new_zeros(len(boxes))
    overlap, number = pairwise_iou(found.pred_boxes, cells.gt_boxes).max(dim=1)
    drawn = found.pred_masks[:, 0] > 0.5
    side = drawn.shape[-1]
    whole = cells.gt_masks.crop_and_resize(cells.gt_boxes.tensor, side).float().mean(dim=(1, 2))
    truth = cells.gt_masks[number].crop_and_resize(boxes, side)
    box_px = found.pred_boxes.area()
    shared = (drawn & truth).float().mean(dim=(1, 2)) * box_px
    cell_px = (whole * cells.gt_boxes.area())[number]
    either = drawn.float().mean(dim=(1, 2)) * box_px + cell_px - shared
    return number, (shared / either.clamp(min=1e-6)).clamp(max=1) * (overlap > 0)


@contextmanager
def predicting(module: nn.Module) -> Iterator[None]:
    """Within the context a network in training predicts, without gradients."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)
        torch.clear_autocast_cache()  # it holds weights that remember no gradient
