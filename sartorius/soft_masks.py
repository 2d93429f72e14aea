"""Soft masks, a mask head's probabilities on a small grid over a box, pasted into the image and averaged there.

A source without soft masks takes part with its masks, as probabilities 0 and 1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.column_runs import ColumnRuns, packed_masks
from sartorius.compiled import compiled, grown
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
    levels = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), len(rows))
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
    longest = int((np.diff(probabilities.bounds[:, 1::2]) + 2).max(initial=2))
    surface = np.zeros(int(((frames[:, 2] - frames[:, 0]) * (frames[:, 3] - frames[:, 1])).max(initial=0)))
    starts, ends, offsets, inside = _averaged(
        probabilities.grids, probabilities.grid_starts, probabilities.sides, probabilities.boxes_xyxy,
        probabilities.bounds, *probabilities.runs, members, cuts, shares, thresholds, frames, size_hw[0],
        surface, np.zeros(int(probabilities.sides.max(initial=0)) + 2), np.zeros(longest, np.int64), np.zeros(longest),
    )  # fmt: skip
    return Means(packed_masks(ColumnRuns(starts, ends, offsets), size_hw), inside)


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
) -> tuple[Ints, Ints, Ints, Floats]:
    """Runs of each group's mask and its mean probability; `surface` to `parts` are room to work in.

    `surface` holds the frame's mean x 255, column by column.
    """
    starts, ends = np.empty(1024, np.int64), np.empty(1024, np.int64)
    offsets, inside = np.zeros(len(cuts), np.int64), np.zeros(len(cuts) - 1)
    filled = 0
    for group in range(len(cuts) - 1):
        left, top = frames[group, 0], frames[group, 1]
        rows, cols = frames[group, 3] - top, frames[group, 2] - left
        for place in range(rows * cols):
            surface[place] = 0.0
        for member in range(cuts[group], cuts[group + 1]):
            row = members[member]
            if sides[row] > 0:
                _add_grid(
                    grids, grid_starts[row], sides[row], boxes[row], bounds[row], shares[member], left, top, rows,
                    surface, column, places, parts,
                )  # fmt: skip
            else:
                for run in range(run_offsets[row], run_offsets[row + 1]):
                    for pixel in range(run_starts[run], run_ends[run]):
                        surface[(pixel // height - left) * rows + pixel % height - top] += (
                            255.0 * shares[member]
                        )
        needed = filled + cols * (rows // 2 + 1)
        if needed > len(starts):
            starts, ends = grown(starts, filled, 2 * needed), grown(ends, filled, 2 * needed)
        level = max(255.0 * (thresholds[group] - THRESHOLD_TOLERANCE), 1.0e-9)
        total, area = 0.0, 0
        for place in range(rows * cols):
            if surface[place] >= level:
                pixel = (left + place // rows) * height + top + place % rows
                if filled > offsets[group] and ends[filled - 1] == pixel:
                    ends[filled - 1] = pixel + 1
                else:
                    starts[filled], ends[filled] = pixel, pixel + 1
                    filled += 1
                total += surface[place]
                area += 1
        offsets[group + 1] = filled
        inside[group] = total / (255.0 * max(area, 1))
    return starts[:filled], ends[:filled], offsets, inside


@compiled
def _add_grid(
    grids: NDArray[np.uint8],
    grid_start: int,
    side: int,
    box: Floats,
    bound: Ints,
    weight: float,
    left: int,
    top: int,
    frame_rows: int,
    surface: Floats,
    column: Floats,
    places: Ints,
    parts: Floats,
) -> None:
    """Add one soft mask times its weight to the surface, bilinear, first across the columns and then down."""
    for row in range(bound[1], bound[3]):
        place = (row + 0.5 - box[1]) / (box[3] - box[1]) * side + 0.5
        whole = min(max(int(place), 0), side)
        places[row - bound[1]], parts[row - bound[1]] = whole, place - whole
    for col in range(bound[0], bound[2]):
        place = (col + 0.5 - box[0]) / (box[2] - box[0]) * side + 0.5
        whole = min(max(int(place), 0), side)
        part = place - whole
        before = weight * (1.0 - part) if whole > 0 else 0.0
        after = weight * part if whole < side else 0.0
        near, far = grid_start + max(whole - 1, 0), grid_start + min(whole, side - 1)
        for row in range(side):
            column[row + 1] = before * grids[near + row * side] + after * grids[far + row * side]
        column[side + 1] = 0.0
        base = (col - left) * frame_rows + bound[1] - top
        for row in range(bound[3] - bound[1]):
            above = column[places[row]]
            surface[base + row] += above + (column[places[row] + 1] - above) * parts[row]
