"""Which cell each anchor stands for, without a matrix of all anchors and all cells.

detectron2 computes 65,000 anchors × 300 cells several times over; here an anchor meets a cell only where both lie.
"""

import numpy as np
from numpy.typing import NDArray

from sartorius.compiled import compiled

Floats = NDArray[np.float32]


def match_anchors(
    cells_xyxy: Floats, anchors_xyxy: Floats, background_below: float, cell_from: float
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """For each anchor the cell of highest IoU (0 where it meets none), and its label.

    cells_xyxy: (M, 4). anchors_xyxy: (A, 4).
    Labels are 0, background, for an IoU below `background_below`; 1 from `cell_from` on, and for the best anchors of
    each cell however low; -1, to be ignored, between the two.
    Source: `detectron2.modeling.matcher.Matcher` with low-quality matches; other than there a cell that no anchor
    meets makes none of them positive.
    """
    cell, iou = np.zeros(len(anchors_xyxy), np.int64), np.zeros(len(anchors_xyxy), np.float32)
    best = np.zeros(len(cells_xyxy), np.float32)
    label = np.zeros(len(anchors_xyxy), np.int8)
    if len(cells_xyxy):
        _match(cells_xyxy, anchors_xyxy, cell, iou, best)
    label[iou >= background_below] = -1
    label[iou >= cell_from] = 1
    if len(cells_xyxy):
        _raise_best(cells_xyxy, anchors_xyxy, best, label)
    return cell, label


@compiled
def _match(
    cells: Floats, anchors: Floats, cell_of: NDArray[np.int64], iou_of: Floats, best_of: Floats
) -> None:
    """Fill the cell of highest IoU of each anchor, that IoU, and the highest IoU of each cell, all 0 before."""
    for a in range(len(anchors)):
        for c in range(len(cells)):
            iou = _iou(cells, c, anchors, a)
            if iou > iou_of[a]:
                iou_of[a] = iou
                cell_of[a] = c
            if iou > best_of[c]:
                best_of[c] = iou


@compiled
def _raise_best(cells: Floats, anchors: Floats, best_of: Floats, label_of: NDArray[np.int8]) -> None:
    """Set the label of every anchor to 1 that has the highest IoU of a cell."""
    for a in range(len(anchors)):
        for c in range(len(cells)):
            iou = _iou(cells, c, anchors, a)
            if iou > 0 and iou == best_of[c]:
                label_of[a] = 1


@compiled
def _iou(cells: Floats, c: int, anchors: Floats, a: int) -> np.float32:
    """IoU of a cell and an anchor; 0 if they do not meet."""
    width = min(anchors[a, 2], cells[c, 2]) - max(anchors[a, 0], cells[c, 0])
    if width <= 0:
        return np.float32(0)
    height = min(anchors[a, 3], cells[c, 3]) - max(anchors[a, 1], cells[c, 1])
    if height <= 0:
        return np.float32(0)
    shared = width * height
    own = (cells[c, 2] - cells[c, 0]) * (cells[c, 3] - cells[c, 1])
    area = (anchors[a, 2] - anchors[a, 0]) * (anchors[a, 3] - anchors[a, 1])
    return np.float32(shared / (own + area - shared))
