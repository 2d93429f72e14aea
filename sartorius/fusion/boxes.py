"""The strategies on boxes, through ensemble-boxes: which rows survive, and which rows each survivor stands for.

ensemble-boxes returns boxes and scores without saying which rows they come from. Where its functions return row
numbers they are used; where they do not, the rows go in with scores that no two of them share, so that the score that
comes back names the row.
"""

from collections.abc import Callable
from typing import cast

import numpy as np
from ensemble_boxes import ensemble_boxes_nms, weighted_boxes_fusion
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.config.fusion import (
    LinearDecay,
    NmsSettings,
    NmwSettings,
    SoftNmsSettings,
    WbfSettings,
)
from sartorius.fusion.clusters import NONE, Clusters, grouped
from sartorius.fusion.detections import LEAST_WEIGHT, Detections, soft_boxes
from sartorius.line_runs import Ints

Floats = NDArray[np.float64]

#: Boxes compared with all rows at once.
CHUNK = 64


def box_nms(found: Detections, boxes: Floats, settings: NmsSettings) -> Clusters:
    """Rows in falling order survive unless their box overlaps that of a better survivor by more than `min_iou`.

    found: N detections.
    boxes: (N, 4) their boxes in pixels, with area.
    A suppressed row belongs to the first survivor that suppresses it.
    """
    seed = np.full(len(boxes), NONE, dtype=np.int64)
    for rows in _rows_by_type(found, settings.across_types):
        kept = _survivors(boxes[rows], settings.min_iou)
        seed[rows] = rows[kept[_first_over(boxes[rows], boxes[rows[kept]], settings.min_iou)]]
        seed[rows[kept]] = rows[kept]
    return grouped(found, seed)


def soft_nms(found: Detections, boxes: Floats, settings: SoftNmsSettings) -> Clusters:
    """Rows lose score for each better row that their box overlaps and survive while it is above `min_score`.

    found: N detections.
    boxes: (N, 4) their boxes in pixels, with area.
    Each survivor is a cell of its own with its lowered score, over its source's weight.
    """
    decay = settings.decay
    seed, scores = np.full(len(boxes), NONE, dtype=np.int64), np.zeros(len(boxes))
    method, min_iou, sigma = (
        (1, decay.min_iou, 1.0) if isinstance(decay, LinearDecay) else (2, 0.0, decay.sigma)
    )
    for rows in _rows_by_type(found, settings.across_types):
        lowered = found.votes[rows].copy()
        kept = ensemble_boxes_nms.cpu_soft_nms_float(boxes[rows], lowered, min_iou, sigma, -1.0, method)
        order = rows[np.asarray(kept, dtype=np.int64)]
        scores[order] = lowered / found.weights[order]
        survivors = order[scores[order] > settings.min_score]
        seed[survivors] = survivors
    return Clusters(seed, seed != NONE, scores)


def nmw(found: Detections, boxes: Floats, settings: NmwSettings) -> Clusters:
    """Rows in falling order join the best row that their box overlaps most, by more than `min_iou`, or begin a cell.

    found: N detections.
    boxes: (N, 4) their boxes in pixels, with area.
    """
    # What joins no better row is what box NMS keeps; ensemble-boxes' own `non_maximum_weighted` takes 15 times as long.
    parts = [
        rows[_survivors(boxes[rows], settings.min_iou)]
        for rows in _rows_by_type(found, settings.across_types)
    ]
    kept = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))
    labels = _labels(found, settings.across_types)
    return grouped(found, _nearest(boxes, boxes[kept], labels, kept))


def wbf(found: Detections, boxes: Floats, settings: WbfSettings) -> Clusters:
    """Rows in falling order join the mean box that they overlap most, by more than `min_iou`, or begin a cell.

    found: N detections.
    boxes: (N, 4) their boxes in pixels, with area.
    A mean box moves with each row that joins. The seed is the cell's highest-weighted row; another row counts for the
    cell with a better seed whose mean box, once finished, it overlaps most.
    """
    labels = _labels(found, settings.across_types)
    weights = _all_different(np.maximum(found.votes, LEAST_WEIGHT))
    fused, scores, _ = weighted_boxes_fusion(
        [boxes / _extent(found)], [weights], [labels], iou_thr=settings.min_iou, conf_type="max"
    )
    kept = np.searchsorted(-weights, -np.asarray(scores, dtype=np.float64))
    order = np.argsort(kept)
    kept, fused = kept[order], np.asarray(fused, dtype=np.float64)[order] * _extent(found)
    return grouped(found, _nearest(boxes, fused, labels, kept))


def detected_boxes(found: Detections, parts: list[Cells]) -> Floats:
    """(N, 4) the detector's boxes inside the image, or the mask's tight box where that is not known or has no area.

    parts: the sources' records in the order of `found.names`.
    """
    tight = found.boxes_xyxy.astype(np.float64)
    inside = np.clip(soft_boxes(found, parts), 0, _extent(found))
    has_area = np.all(inside[:, 2:] > inside[:, :2], axis=1)
    return np.where(has_area[:, None], inside, tight)


def _survivors(boxes: Floats, min_iou: float) -> Ints:
    """The rows, ascending, whose box overlaps that of no better survivor by more than `min_iou`; boxes: best first."""
    # The function itself, not its compiled form, which would be compiled anew in every process for seconds.
    nms = getattr(ensemble_boxes_nms.nms_float_fast, "py_func", ensemble_boxes_nms.nms_float_fast)
    falling = np.arange(len(boxes), 0, -1, dtype=np.float64)
    return np.sort(np.asarray(nms(boxes, falling, min_iou), dtype=np.int64))


def _extent(found: Detections) -> Floats:
    height, width = found.size_hw
    return np.array([width, height, width, height], dtype=np.float64)


def _labels(found: Detections, across_types: bool) -> Ints:
    """(N,) numbers that rows must share to be one cell."""
    if across_types:
        return np.zeros(len(found.source), dtype=np.int64)
    return np.unique(found.cell_types, return_inverse=True)[1].astype(np.int64)


def _rows_by_type(found: Detections, across_types: bool) -> list[Ints]:
    labels = _labels(found, across_types)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _all_different(falling: Floats) -> Floats:
    """The falling weights as float32 values of which no two are the same, each raised as little as that takes."""
    weights = falling.astype(np.float32)
    steps = (
        weights[::-1].view(np.int32).astype(np.int64)
    )  # neighbouring float32 numbers are neighbouring integers
    places = np.arange(len(steps))
    raised = np.maximum.accumulate(steps - places) + places
    return raised.astype(np.int32).view(np.float32)[::-1].astype(np.float64)


def _ious(boxes: Floats, others: Floats) -> Floats:
    """(B, O) IoU of every box with every other one."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    areas, other_areas = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others))
    return cast("Floats", shared / (areas[:, None] + other_areas[None, :] - shared))


def _first_over(boxes: Floats, others: Floats, min_iou: float) -> Ints:
    """(B,) the first of the others that each box overlaps by more than `min_iou`; 0 if there is none."""
    return _by_chunk(boxes, lambda chunk, _: np.argmax(_ious(chunk, others) > min_iou, axis=1))


def _nearest(boxes: Floats, cell_boxes: Floats, labels: Ints, kept: Ints) -> Ints:
    """(B,) the seed, among those before it, of the cell with its label whose box each box overlaps most.

    Ties go to the first; NONE if there is none. cell_boxes: (K, 4) the cells' boxes; kept: (K,) ascending rows that are
    their seeds, which stay so.
    """

    def most(chunk: Floats, begin: int) -> Ints:
        rows = np.arange(begin, begin + len(chunk))
        open_to = (labels[rows, None] == labels[None, kept]) & (kept[None] < rows[:, None])
        ious = np.where(open_to, _ious(chunk, cell_boxes), 0)
        return np.where(ious.max(axis=1, initial=0) > 0, kept[np.argmax(ious, axis=1)], NONE)

    seed = _by_chunk(boxes, most)
    seed[kept] = kept
    return seed


def _by_chunk(boxes: Floats, answer: Callable[[Floats, int], Ints]) -> Ints:
    starts = range(0, len(boxes), CHUNK)
    answers = [answer(boxes[begin : begin + CHUNK], begin) for begin in starts]
    return np.concatenate([np.zeros(0, dtype=np.int64), *answers])
