"""Soft masks, a mask head's probabilities on a small grid over a box, pasted into the image and averaged there.

A source without soft masks takes part with its masks, as probabilities 0 and 1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.column_runs import ColumnRuns, packed_masks
from sartorius.compiled import compiled, with_room
from sartorius.line_runs import Ints
from sartorius.rle import CocoRle

Floats = NDArray[np.float64]

#: Probabilities this close below a threshold reach it, so that rounding in a mean of equal masks decides nothing.
THRESHOLD_TOLERANCE = 1.0e-6


class Probabilities(NamedTuple):
    """What N masks of one (height, width) image say about its pixels.

    grids: (G,) uint8, all soft masks end to end, probability x 255, each row by row.
    grid_starts, sides: (N,) int64 first value and side of each mask's grid; side 0: the mask itself is taken.
    boxes_xyxy: (N, 4) float64 boxes that the grids lie over, in pixels.
    bounds: (N, 4) int64 pixels that can have a probability above 0: left, top, right, bottom, ends exclusive.
    runs: the masks themselves.
    """

    grids: NDArray[np.uint8]
    grid_starts: Ints
    sides: Ints
    boxes_xyxy: Floats
    bounds: Ints
    runs: ColumnRuns


class Means(NamedTuple):
    """Masks of K groups, and the mean probability (K,) inside each; 0 in an empty mask."""

    masks: tuple[CocoRle, ...]
    inside: Floats


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


def averaged(
    probabilities: Probabilities,
    members: Ints,
    groups: Ints,
    weights: Floats,
    thresholds: Floats,
    size_hw: tuple[int, int],
) -> Means:
    """One mask per group: the pixels where the weighted mean of its members' probabilities reaches the threshold.

    members: (M,) rows of `probabilities`, those of a group one after another.
    groups: (M,) ascending group numbers, each of 0 to K - 1 at least once.
    weights: (M,) positive weights of the members.
    thresholds: (K,) probabilities; pixels that no member reaches are never cell.
    """
    members, thresholds = members.astype(np.int64), np.ascontiguousarray(thresholds, dtype=np.float64)
    cuts = np.searchsorted(groups, np.arange(len(thresholds) + 1)).astype(np.int64)
    frames = _frames(probabilities.bounds[members], cuts)
    totals = np.add.reduceat(weights, cuts[:-1]) if len(weights) else weights
    shares = weights / np.repeat(totals, np.diff(cuts))
    surface, column, places, parts = _room_to_work(probabilities, frames)
    offsets, inside = np.zeros(len(cuts), dtype=np.int64), np.zeros(len(thresholds))
    grids, grid_starts, sides, boxes, bounds, runs = probabilities

    def average(starts: Ints, ends: Ints) -> int:
        return _averaged(
            grids, grid_starts, sides, boxes, bounds, *runs, members, cuts, shares, thresholds, frames, size_hw[0],
            surface, column, places, parts, starts, ends, offsets, inside,
        )  # fmt: skip

    starts, ends = with_room(average, 4 * int((frames[:, 2] - frames[:, 0]).sum()))
    return Means(packed_masks(ColumnRuns(starts, ends, offsets), size_hw), inside)


def _room_to_work(probabilities: Probabilities, frames: Ints) -> tuple[Floats, Floats, Ints, Floats]:
    """Arrays for the largest frame, one column of the largest grid, and the rows of the tallest mask."""
    surface = np.zeros(int(((frames[:, 2] - frames[:, 0]) * (frames[:, 3] - frames[:, 1])).max(initial=0)))
    tallest = int((probabilities.bounds[:, 3] - probabilities.bounds[:, 1]).max(initial=0))
    column = np.zeros(int(probabilities.sides.max(initial=0)) + 2)
    return surface, column, np.zeros(tallest, dtype=np.int64), np.zeros(tallest)


def _frames(bounds: Ints, cuts: Ints) -> Ints:
    """(K, 4) the smallest box around the bounds of each group; members without pixels do not count."""
    if not len(bounds):
        return np.zeros((0, 4), dtype=np.int64)
    nothing = bounds[:, 2] == 0
    low = np.minimum.reduceat(np.where(nothing[:, None], np.iinfo(np.int64).max, bounds[:, :2]), cuts[:-1])
    high = np.maximum.reduceat(bounds[:, 2:], cuts[:-1])
    return np.concatenate([np.minimum(low, high), high], axis=1)


@compiled
def _averaged(
    grids: NDArray[np.uint8],
    grid_starts: Ints,
    sides: Ints,
    boxes: Floats,
    bounds: Ints,
    run_starts: Ints,
    run_ends: Ints,
    run_offsets: Ints,
    members: Ints,
    cuts: Ints,
    shares: Floats,
    thresholds: Floats,
    frames: Ints,
    height: int,
    surface: Floats,
    column: Floats,
    places: Ints,
    parts: Floats,
    starts: Ints,
    ends: Ints,
    offsets: Ints,
    inside: Floats,
) -> int:
    """The number of runs of the groups' masks; those that fit are written. Fills `offsets` and `inside`.

    surface, column, places, parts: room to work in. `surface` holds the frame's mean x 255, column by column.
    """
    found = 0
    for group in range(thresholds.shape[0]):
        left, top = frames[group, 0], frames[group, 1]
        rows, cols = frames[group, 3] - top, frames[group, 2] - left
        for place in range(rows * cols):
            surface[place] = 0.0
        for member in range(cuts[group], cuts[group + 1]):
            row = members[member]
            if bounds[row, 2] == 0:  # no pixel of it lies in the image
                continue
            if sides[row] > 0:
                _add_grid(
                    grids, grid_starts[row], sides[row], boxes, bounds, row, shares[member], left, top, rows,
                    surface, column, places, parts,
                )  # fmt: skip
            else:
                for run in range(run_offsets[row], run_offsets[row + 1]):
                    for pixel in range(run_starts[run], run_ends[run]):
                        surface[(pixel // height - left) * rows + pixel % height - top] += (
                            255.0 * shares[member]
                        )
        level = 255.0 * (thresholds[group] - THRESHOLD_TOLERANCE)
        total, area, last_end = 0.0, 0, -1
        for place in range(rows * cols):
            if surface[place] >= level and surface[place] > 0.0:
                pixel = (left + place // rows) * height + top + place % rows
                if pixel != last_end:
                    if found < starts.shape[0]:
                        starts[found] = pixel
                    found += 1
                last_end = pixel + 1
                if found <= ends.shape[0]:
                    ends[found - 1] = last_end
                total += surface[place]
                area += 1
        offsets[group + 1] = found
        inside[group] = total / (255.0 * area) if area > 0 else 0.0
    return found


@compiled
def _add_grid(
    grids: NDArray[np.uint8],
    grid_start: int,
    side: int,
    boxes: Floats,
    bounds: Ints,
    row: int,
    weight: float,
    left: int,
    top: int,
    frame_rows: int,
    surface: Floats,
    column: Floats,
    places: Ints,
    parts: Floats,
) -> None:
    """Add the soft mask of one row times its weight to the surface, bilinear, first across the columns, then down."""
    first, rows = bounds[row, 1], bounds[row, 3] - bounds[row, 1]
    scale = side / (boxes[row, 3] - boxes[row, 1])
    for line in range(rows):
        place = (first + line + 0.5 - boxes[row, 1]) * scale + 0.5
        places[line] = int(place) if place < side else side  # rounding can take it one too far
        parts[line] = place - places[line]
    scale = side / (boxes[row, 2] - boxes[row, 0])
    column[0] = column[side + 1] = 0.0
    for col in range(bounds[row, 0], bounds[row, 2]):
        place = (col + 0.5 - boxes[row, 0]) * scale + 0.5
        whole = int(place) if place < side else side
        part = place - whole
        for line in range(side):
            value = 0.0
            at = grid_start + line * side + whole
            if whole > 0:
                value += weight * (1.0 - part) * grids[at - 1]
            if whole < side:
                value += weight * part * grids[at]
            column[line + 1] = value
        base = (col - left) * frame_rows + first - top
        for line in range(rows):
            above = column[places[line]]
            surface[base + line] += above + (column[places[line] + 1] - above) * parts[line]
