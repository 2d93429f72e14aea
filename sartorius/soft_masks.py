"""Soft masks, a mask head's probabilities on a small grid over a box, turned into masks of the image."""

import numpy as np
from numpy.typing import NDArray

from sartorius.compiled import compiled
from sartorius.rle import CocoRle
from sartorius.mask_runs import Ints, Runs, packed

#: Probabilities this close below a threshold reach it, so that rounding in a mean of equal masks decides nothing.
THRESHOLD_TOLERANCE = 1.0e-6


def binarised(
    soft_masks: NDArray[np.uint8],
    soft_boxes_xyxy: NDArray[np.float32],
    size_hw: tuple[int, int],
    thresholds: float | NDArray[np.float64],
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
        raise ValueError(f"soft_boxes_xyxy has shape {soft_boxes_xyxy.shape}, expected ({len(soft_masks)}, 4)")
    levels = np.ascontiguousarray(np.broadcast_to(np.float64(thresholds), len(soft_masks)))
    boxes = np.ascontiguousarray(soft_boxes_xyxy, dtype=np.float64)
    runs = Runs(*_paste(np.ascontiguousarray(soft_masks), boxes, levels, size_hw[0], size_hw[1]))
    return packed(runs, size_hw)


@compiled
def reach(low: float, high: float, side: int, pixels: int) -> tuple[int, int]:
    """First and one past the last pixel whose centre the grid over [low, high) reaches, inside [0, pixels)."""
    margin = 0.5 * (high - low) / side
    first = max(0, int(np.ceil(max(low - margin, -1.0) - 0.5)))
    return first, max(first, min(pixels, int(np.floor(min(high + margin, pixels + 1.0) - 0.5)) + 1))


@compiled
def grid_places(low: float, high: float, side: int, first: int, cells: Ints, shares: NDArray[np.float64]) -> None:
    """Fill `cells` and `shares`: for each pixel from `first` on the grid cell before it and how far it is to the next.

    `cells` is -1 on the first half cell; the next one is then 0.
    """
    for pixel in range(len(cells)):
        place = (first + pixel + 0.5 - low) / (high - low) * side - 0.5
        cells[pixel] = int(np.floor(place))
        shares[pixel] = place - cells[pixel]


@compiled
def grid_column(soft: NDArray[np.uint8], cell: int, share: float, column: NDArray[np.float64]) -> None:
    """Fill `column` (S + 2) with the grid's values x 255 between columns `cell` and `cell + 1`, a zero at both ends."""
    side = soft.shape[0]
    column[0] = column[side + 1] = 0.0
    for row in range(side):
        left = soft[row, cell] if 0 <= cell < side else np.uint8(0)
        right = soft[row, cell + 1] if -1 <= cell < side - 1 else np.uint8(0)
        column[row + 1] = left * (1.0 - share) + right * share


@compiled
def longer(filled: int, needed: int, values: Ints) -> Ints:
    """`values` itself if `needed` more fit after `filled`, otherwise a copy with room for twice that."""
    if filled + needed <= len(values):
        return values
    grown = np.empty(2 * (filled + needed), np.int64)
    grown[:filled] = values[:filled]
    return grown


@compiled
def _paste(
    soft: NDArray[np.uint8],
    boxes: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    height: int,
    width: int,
) -> tuple[Ints, Ints, Ints]:
    masks, side = soft.shape[0], soft.shape[1]
    starts, ends = np.empty(32 * masks, np.int64), np.empty(32 * masks, np.int64)
    offsets = np.zeros(masks + 1, np.int64)
    cols, col_shares = np.empty(width, np.int64), np.empty(width)
    rows, row_shares = np.empty(height, np.int64), np.empty(height)
    column = np.empty(side + 2)
    filled = 0
    for mask in range(masks):
        left, top, right, bottom = boxes[mask]
        if right > left and bottom > top and side > 0:
            first_col, last_col = reach(left, right, side, width)
            first_row, last_row = reach(top, bottom, side, height)
            grid_places(left, right, side, first_col, cols[: last_col - first_col], col_shares)
            grid_places(top, bottom, side, first_row, rows[: last_row - first_row], row_shares)
            level = 255.0 * (thresholds[mask] - THRESHOLD_TOLERANCE)
            for col in range(last_col - first_col):
                starts = longer(filled, last_row - first_row, starts)
                ends = longer(filled, last_row - first_row, ends)
                grid_column(soft[mask], cols[col], col_shares[col], column)
                inside = False
                base = (first_col + col) * height + first_row
                for row in range(last_row - first_row):
                    share, cell = row_shares[row], rows[row] + 1
                    cell_here = False
                    if 0 <= cell <= side:
                        cell_here = column[cell] * (1.0 - share) + column[cell + 1] * share >= level
                    if cell_here and not inside:
                        touches = filled > offsets[mask] and ends[filled - 1] == base + row
                        if touches:
                            filled -= 1
                        else:
                            starts[filled] = base + row
                        inside = True
                    elif inside and not cell_here:
                        ends[filled] = base + row
                        filled += 1
                        inside = False
                if inside:
                    ends[filled] = base + last_row - first_row
                    filled += 1
        offsets[mask + 1] = filled
    return starts[:filled].copy(), ends[:filled].copy(), offsets
