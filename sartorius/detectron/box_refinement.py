"""A second look at each detection's box, by a small head of its own: masks are drawn, and judged, on better boxes.

The box head moves a proposal, which may be far off, and sees 7 × 7 features of where the proposal was. This head looks at
the detection itself, at the 14 × 14 features that its mask would be drawn from, and moves each edge once more; the mask head
then gets the features of the moved box. It learns from what the network finds itself, in many pictures at once where all
before it stays as it is, and its gradients go no further than its own weights. Classes and scores stay what they were, and so
do boxes that are given, as in stage-wise ensembles.
Source: Cai and Vasconcelos 2018, Cascade R-CNN, whose later heads also score, and see all proposals.
"""

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor, nn

from sartorius.detectron.detection_head import DetectionHead
from sartorius.detectron.detection_memory import Learnt
from sartorius.detectron.mask_head import image_shares

#: Detections whose boxes have this IoU with a cell's, or more, learn to meet it; others may mean another one.
_MEANT_FROM = 0.5
#: Shares of its own side by which an edge may move inwards and outwards at most; a box never closes.
_INWARDS, _OUTWARDS = 0.4, 1.0
#: Shares of a side that the last layer counts in, and the loss's weight. In whole sides the last layer, which starts at 0,
#: would overshoot and leave the others nothing to learn; with this weight a rate suits this head and the mask head alike.
_UNIT, _LOSS_WEIGHT = 0.1, 2.0


class BoxRefinementHead(DetectionHead):
    """Moves of boxes' edges, those of a detection's own class; an untrained head moves nothing.

    channels, side: of a detection's (channels, side, side) features, as the mask head gets them. classes: cell types.
    """

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__(channels, side, classes, 4 * classes)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.layers[-1].weight)

    def forward(self, features: Tensor, found: Sequence[Instances]) -> Tensor:
        """(N, 4) moves of left, upper, right and lower edges to the right and down, as shares of the box's own sides.

        features: (N, C, S, S) of all images' detections in a row. found: with `pred_boxes` and `pred_classes`.
        """
        of_classes = super().forward(features, found).view(len(features), self._classes, 4)
        classes = torch.cat([image.pred_classes for image in found])
        return of_classes[torch.arange(len(classes), device=classes.device), classes] * _UNIT

    def loss(self, pictures: Sequence[Learnt]) -> Tensor:
        """How far edges stay from their cells', in shares of the boxes' sides, summed over the four edges and weighted.

        The mean over pictures of the mean over a picture's detections; a picture without counts as 0.
        """
        moves = self(torch.cat([each.pixels for each in pictures]), [each.found for each in pictures])
        left = (moves - torch.cat([each.wanted for each in pictures])).abs().sum(dim=1)
        shares = image_shares([len(each.found) for each in pictures], moves.device)
        return _LOSS_WEIGHT * (left * shares).sum()


def moved(found: Sequence[Instances], moves: Tensor) -> list[Instances]:
    """The detections with their edges moved, kept inside the pictures; all else as it was.

    moves: (N, 4) of all images' detections in a row, see `BoxRefinementHead`.
    Raises FloatingPointError if they are no numbers.
    """
    inwards = torch.tensor([-_OUTWARDS, -_OUTWARDS, -_INWARDS, -_INWARDS], device=moves.device)
    outwards = torch.tensor([_INWARDS, _INWARDS, _OUTWARDS, _OUTWARDS], device=moves.device)
    result = []
    for image, own in zip(found, moves.split([len(image) for image in found]), strict=True):
        corners = image.pred_boxes.tensor
        boxes = Boxes(corners + own.clamp(inwards, outwards) * _sides(corners))
        require_numbers(boxes.tensor)
        boxes.clip(image.image_size)
        result.append(Instances(image.image_size, **(image.get_fields() | {"pred_boxes": boxes})))
    return result


def require_numbers(boxes: Tensor) -> None:
    """Raises FloatingPointError, as detectron2 does of proposals, for boxes that are infinite or none."""
    if not boxes.isfinite().all():
        raise FloatingPointError("Predicted boxes contain Inf/NaN. Training has diverged.")


def to_learn(pixels: Tensor, found: Instances, cells: Instances) -> Learnt:
    """The detections of a picture whose boxes have an IoU of half or more with a cell's, and the moves that meet it.

    pixels: (n, C, S, S) features of the n detections, which have `pred_boxes`. cells: with `gt_boxes`.
    """
    corners = found.pred_boxes.tensor
    if not len(cells):
        return Learnt(pixels[:0], found[:0], corners[:0])
    overlap, number = pairwise_iou(found.pred_boxes, cells.gt_boxes).max(dim=1)
    meant = overlap >= _MEANT_FROM
    moves = (cells.gt_boxes.tensor[number] - corners) / _sides(corners)
    return Learnt(pixels[meant], found[meant], moves[meant])


def _sides(corners: Tensor) -> Tensor:
    """(N, 4) width, height, width and height of (N, 4) boxes, one pixel at least."""
    return (corners[:, 2:] - corners[:, :2]).clamp(min=1).repeat(1, 2)
