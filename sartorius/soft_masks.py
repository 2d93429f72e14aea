"""Soft masks, a mask head's probabilities on a small grid over a box, pasted into the image.

A source without soft masks takes part with its masks, as probabilities 0 and 1.
"""

from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.column_runs import ColumnRuns
from sartorius.line_runs import Ints
from sartorius.mask_means import Floats, Probabilities, averaged
from sartorius.rle import CocoRle

Pixel = TypeVar("Pixel", np.float32, np.uint8)


def binarised(
    soft_masks: NDArray[np.uint8],
    soft_boxes_xyxy: NDArray[np.float32],
    size_hw: tuple[int, int],
    thresholds: float | Floats,
) -> tuple[CocoRle, ...]:
    """Each soft mask pasted into its box: a pixel is cell where the probability reaches the threshold.

    soft_masks: (N, S, S) uint8, probability x 255.
    soft_boxes_xyxy: (N, 4) float32 in pixels, anywhere; what leaves the image is cut off.
    size_hw: (height, width) of the image.
    thresholds: one probability in [0, 1] for all or (N,) of them.
    Returns N masks; a box without area gives an empty mask. No soft masks in, no masks out.
    Raises ValueError if shapes or dtypes do not fit.
    Source: the same pixels as detectron2's `paste_masks_in_image`: bilinear, align_corners=False, zeros outside
    the grid, pixel centres at +0.5.
    """
    if soft_masks.ndim != 3 or soft_masks.dtype != np.uint8:
        raise ValueError(f"soft_masks has {soft_masks.dtype} {soft_masks.shape}, expected uint8 (N, S, S)")
    if soft_boxes_xyxy.shape != (len(soft_masks), 4):
        raise ValueError(
            f"soft_boxes_xyxy has shape {soft_boxes_xyxy.shape}, expected ({len(soft_masks)}, 4)"
        )
    rows = np.arange(len(soft_masks))
    probabilities = soft_probabilities(soft_masks, soft_boxes_xyxy, size_hw)
    levels = np.full(len(rows), thresholds, dtype=np.float64)
    return averaged(probabilities, rows, rows, np.ones(len(rows)), levels, size_hw).masks


def soft_probabilities(
    soft_masks: NDArray[np.uint8], soft_boxes_xyxy: NDArray[np.float32], size_hw: tuple[int, int]
) -> Probabilities:
    """Soft masks (N, S, S) over boxes (N, 4) as `Probabilities`."""
    masks, side = soft_masks.shape[:2]
    sides = np.full(masks, side, dtype=np.int64)
    boxes = soft_boxes_xyxy.astype(np.float64)
    no_runs = ColumnRuns(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(masks + 1, np.int64))
    return Probabilities(
        np.ascontiguousarray(soft_masks).reshape(-1),
        np.arange(masks) * side * side,
        sides,
        boxes,
        grid_bounds(boxes, sides, size_hw),
        no_runs,
    )


def on_grid(pixels: NDArray[Pixel], side: int) -> NDArray[Pixel]:
    """(H, W) float32 or uint8 values of a box on its grid, (side, side): means where a side shrinks, linear where it grows.

    One after the other: OpenCV takes no means of areas where one side grows.
    """
    height, width = pixels.shape
    shrunk = cv2.resize(pixels, (min(side, width), min(side, height)), interpolation=cv2.INTER_AREA)
    return cast("NDArray[Pixel]", cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_LINEAR))


def grid_bounds(boxes_xyxy: Floats, sides: Ints, size_hw: tuple[int, int]) -> Ints:
    """(N, 4) pixels whose centres lie less than half a grid cell outside the box; 0, 0, 0, 0 if there are none.

    The half grid cell is where bilinear interpolation fades out into the zeros outside the grid.
    """
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    margins = 0.5 * sizes / np.maximum(sides, 1)[:, None]
    limits = np.array([size_hw[1], size_hw[0]], dtype=np.float64)
    low = np.ceil(np.clip(boxes_xyxy[:, :2] - margins - 0.5, 0, limits))
    high = np.clip(np.floor(np.clip(boxes_xyxy[:, 2:] + margins - 0.5, -1, limits)) + 1, 0, limits)
    bounds = np.concatenate([low, high], axis=1).astype(np.int64)
    nothing = (sizes <= 0).any(axis=1) | (low >= high).any(axis=1) | (sides == 0)
    bounds[nothing] = 0
    return bounds
