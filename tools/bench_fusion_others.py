"""What fusion is compared with: ensemble-boxes on boxes alone, masks as N x H x W arrays, supervision."""

import ctypes
import gc
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import supervision
from ensemble_boxes import nms, weighted_boxes_fusion
from numpy.typing import NDArray

from sartorius.cells import Cells, together

ENSEMBLE_WBF = "ensemble-boxes WBF, boxes alone"
DENSE = "N × H × W arrays, box NMS (original system)"
SUPERVISION_NMS = "supervision mask NMS"
SUPERVISION_MERGE = "supervision mask merging"

Lists = tuple[list[NDArray[np.float64]], list[NDArray[np.float64]], list[NDArray[np.float64]]]


def ensemble_boxes_wbf(sources: Mapping[str, Cells]) -> int:
    """The number of boxes that weighted box fusion makes of the detections' boxes."""
    return len(weighted_boxes_fusion(*_boxes_scores_labels(sources), iou_thr=0.55)[0])


def dense_path(sources: Mapping[str, Cells]) -> list[str]:
    """The original system's way: every mask pasted to the whole image, NMS on boxes, clipping on whole images."""
    rows = together(list(sources.values()))
    masks = np.zeros((len(rows), *rows.size_hw), dtype=bool)
    for row in range(len(rows)):
        masks[row] = _pasted(rows, row) >= 0.5
    boxes, scores, labels = _boxes_scores_labels(sources)
    ranks = np.argsort(np.argsort(np.concatenate(scores)))
    every = np.concatenate(boxes)
    keep = nms([every], [(ranks + 1.0) / len(ranks)], [np.concatenate(labels)], iou_thr=0.4)[1]
    order = np.argsort(ranks)[np.rint(keep * len(ranks)).astype(int) - 1]
    taken = np.zeros(rows.size_hw, dtype=bool)
    texts = []
    for row in order:
        mask = masks[row] & ~taken
        taken |= mask
        texts.append(_text(mask))
    return texts


def supervision_masks(sources: Mapping[str, Cells], how: str) -> int:
    """The number of detections that supervision's mask NMS ("nms") or merging ("nmm") leaves."""
    rows = together(list(sources.values()))
    masks = np.array([_pasted(rows, row) >= 0.5 for row in range(len(rows))])
    found = supervision.Detections(
        xyxy=rows.boxes_xyxy, mask=masks, confidence=rows.scores, class_id=np.zeros(len(rows), dtype=int)
    )
    return len(found.with_nms(threshold=0.5) if how == "nms" else found.with_nmm(threshold=0.5))


def peak_mb(call: Callable[[], object]) -> float:
    """The most resident memory during a call above that before it, in MB; nan where Linux's counters are missing."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not reset.exists():
        call()
        return float("nan")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    reset.write_text("5")  # sets the peak back to what is used now
    before = _kilobytes(status.read_text(), "VmRSS")
    call()
    return (_kilobytes(status.read_text(), "VmHWM") - before) / 1024


def _kilobytes(status: str, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    if found is None:
        raise ValueError(f"{name} is not among this system's memory counters")
    return int(found[1])


def _boxes_scores_labels(sources: Mapping[str, Cells]) -> Lists:
    boxes, scores, labels = [], [], []
    for cells in sources.values():
        height, width = cells.size_hw
        unit = np.clip(cells.soft_boxes_xyxy / np.array([width, height, width, height]), 0, 1)
        boxes.append(unit)
        scores.append(cells.scores.astype(np.float64))
        labels.append(np.zeros(len(cells)))
    return boxes, scores, labels


def _pasted(cells: Cells, row: int) -> NDArray[np.float64]:
    """(H, W) probabilities of one soft mask, bilinear."""
    left, top, right, bottom = cells.soft_boxes_xyxy[row].astype(np.float64)
    height, width = cells.size_hw
    down = _shares(top, bottom, height, cells.soft_masks.shape[1])
    across = _shares(left, right, width, cells.soft_masks.shape[1])
    return down @ (cells.soft_masks[row] / 255) @ across.T


def _shares(low: float, high: float, pixels: int, side: int) -> NDArray[np.float64]:
    """(pixels, side) share of each grid cell in each pixel."""
    places = (np.arange(pixels) + 0.5 - low) / (high - low) * side - 0.5
    return np.maximum(1 - np.abs(places[:, None] - np.arange(side)), 0)


def _text(mask: NDArray[np.bool_]) -> str:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel(), [0]])))
    starts, ends = edges[0::2], edges[1::2]
    return " ".join(f"{start + 1} {end - start}" for start, end in zip(starts, ends, strict=True))
