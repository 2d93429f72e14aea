"""Probabilities of many masks of one image averaged pixel by pixel, one mask out of each group."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.column_runs import ColumnRuns, chosen, packed_masks
from sartorius.compiled import compiled, with_room
from sartorius.line_runs import Ints, places
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
    cuts = np.searchsorted(groups, np.arange(len(thresholds) + 1)).astype(np.int64)
    frames = _frames(probabilities.bounds[members], cuts)
    rows = frames[:, 3] - frames[:, 1]
    cols = frames[:, 2] - frames[:, 0]
    totals = np.add.reduceat(weights, cuts[:-1]) if len(weights) else weights
    shares = weights / np.repeat(totals, np.diff(cuts))
    grids = _laid_grids(probabilities, members, frames[groups])
    runs = _laid_runs(probabilities, members, frames[groups], size_hw[0])
    levels = np.asarray(thresholds, dtype=np.float64) - THRESHOLD_TOLERANCE
    surface = np.zeros(int((rows * cols).max(initial=0)))
    column = np.zeros(int(grids.sides.max(initial=0)) + 2)
    offsets, inside = np.zeros(len(cuts), dtype=np.int64), np.zeros(len(thresholds))
    first_pixels = frames[:, 0] * size_hw[0] + frames[:, 1]

    def average(starts: Ints, ends: Ints) -> int:
        return _averaged(
            probabilities.grids, *grids, *runs, shares, cuts, levels, first_pixels, rows, cols, size_hw[0],
            surface, column, starts, ends, offsets, inside,
        )  # fmt: skip

    starts, ends = with_room(average, 4 * int(cols.sum()))
    return Means(packed_masks(ColumnRuns(starts, ends, offsets), size_hw), inside)


def _frames(bounds: Ints, cuts: Ints) -> Ints:
    """(K, 4) the smallest box around the bounds of each group; members without pixels do not count."""
    if not len(bounds):
        return np.zeros((0, 4), dtype=np.int64)
    nothing = bounds[:, 2] == 0
    low = np.minimum.reduceat(np.where(nothing[:, None], np.iinfo(np.int64).max, bounds[:, :2]), cuts[:-1])
    high = np.maximum.reduceat(bounds[:, 2:], cuts[:-1])
    return np.concatenate([np.minimum(low, high), high], axis=1)


class _LaidGrids(NamedTuple):
    """Where the grids of M masks lie on the surfaces of their groups.

    starts, sides: (M,) first value and side of each grid.
    corners: (M,) place on the surface of the first pixel that the grid reaches.
    steps: (2 M + 1,) mask m reaches the columns `steps[2 m]` to `steps[2 m + 1]` and from there the rows to
        `steps[2 m + 2]` of the next two; a mask without a grid reaches none.
    wholes, parts: for each column and row the grid line before it, counted from the zeros around the grid, and how far
        it lies from there towards the next one.
    """

    starts: Ints
    sides: Ints
    corners: Ints
    steps: Ints
    wholes: Ints
    parts: Floats


def _laid_grids(probabilities: Probabilities, members: Ints, frames: Ints) -> _LaidGrids:
    sides, bounds = probabilities.sides[members], probabilities.bounds[members]
    boxes = probabilities.boxes_xyxy[members]
    low, first = boxes[:, :2].ravel(), bounds[:, :2].ravel()
    counts = np.where(np.repeat(sides > 0, 2), bounds[:, 2:].ravel() - first, 0)
    lengths = np.where(counts > 0, boxes[:, 2:].ravel() - low, 1.0)
    limits = np.repeat(sides, 2)
    axis = np.repeat(np.arange(len(counts)), counts)
    centers = first[axis] + places(counts) + 0.5
    at = (centers - low[axis]) * (limits / lengths)[axis] + 0.5
    wholes = np.minimum(at.astype(np.int64), limits[axis])  # rounding can take it one too far
    corners = (bounds[:, 0] - frames[:, 0]) * (frames[:, 3] - frames[:, 1]) + bounds[:, 1] - frames[:, 1]
    steps = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    return _LaidGrids(probabilities.grid_starts[members], sides, corners, steps, wholes, at - wholes)


def _laid_runs(probabilities: Probabilities, members: Ints, frames: Ints, height: int) -> ColumnRuns:
    """The runs of M masks as places on the surfaces of their groups; none of masks that have a grid.

    A run that goes on in the next column fills a frame as high as the image, so that it is one run there too.
    """
    hard = probabilities.sides[members] == 0
    runs = chosen(probabilities.runs, members[hard])
    counts = np.zeros(len(members), dtype=np.int64)
    counts[hard] = np.diff(runs.offsets)
    of = np.repeat(np.arange(len(members)), counts)
    cols, rows = np.divmod(runs.starts, height)
    starts = (cols - frames[of, 0]) * (frames[of, 3] - frames[of, 1]) + rows - frames[of, 1]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    return ColumnRuns(starts, starts + runs.ends - runs.starts, offsets)


@compiled
def _averaged(
    grids: NDArray[np.uint8],
    grid_starts: Ints,
    sides: Ints,
    corners: Ints,
    steps: Ints,
    wholes: Ints,
    parts: Floats,
    run_starts: Ints,
    run_ends: Ints,
    run_offsets: Ints,
    shares: Floats,
    cuts: Ints,
    levels: Floats,
    first_pixels: Ints,
    rows: Ints,
    cols: Ints,
    height: int,
    surface: Floats,
    column: Floats,
    starts: Ints,
    ends: Ints,
    offsets: Ints,
    inside: Floats,
) -> int:
    """The number of runs of the groups' masks; those that fit are written. Fills `offsets` and `inside`.

    surface: room for the mean of a group, column by column; column: room for a column of a grid and zeros around it.
    """
    found = 0
    for group in range(levels.shape[0]):
        for place in range(rows[group] * cols[group]):
            surface[place] = 0.0
        for member in range(cuts[group], cuts[group + 1]):
            _add_grid(
                grids, grid_starts[member], sides[member], shares[member] / 255.0, corners[member], rows[group],
                steps[2 * member], steps[2 * member + 1], steps[2 * member + 2], wholes, parts, surface, column,
            )  # fmt: skip
            for run in range(run_offsets[member], run_offsets[member + 1]):
                for place in range(run_starts[run], run_ends[run]):
                    surface[place] += shares[member]
        total, area, last_end, place = 0.0, 0, -1, 0
        for col in range(cols[group]):
            for pixel in range(first_pixels[group], first_pixels[group] + rows[group]):
                mean = surface[place]
                place += 1
                if mean >= levels[group] and mean > 0.0:
                    total += mean
                    area += 1
                    end = pixel + col * height + 1
                    if end - 1 != last_end:
                        if found < starts.shape[0]:
                            starts[found] = end - 1
                        found += 1
                    if found <= ends.shape[0]:
                        ends[found - 1] = end
                    last_end = end
        offsets[group + 1] = found
        inside[group] = total / area if area > 0 else 0.0
    return found


@compiled
def _add_grid(
    grids: NDArray[np.uint8],
    grid_start: int,
    side: int,
    share: float,
    corner: int,
    frame_rows: int,
    first_col: int,
    first_row: int,
    end_row: int,
    wholes: Ints,
    parts: Floats,
    surface: Floats,
    column: Floats,
) -> None:
    """Add a grid times its share to the surface, bilinear, first across the columns, then down."""
    column[0] = column[side + 1] = 0.0
    base = corner
    for col in range(first_col, first_row):
        at = grid_start + wholes[col]
        before = share * (1.0 - parts[col]) if wholes[col] > 0 else 0.0
        after = share * parts[col] if wholes[col] < side else 0.0
        for line in range(1, side + 1):
            value = 0.0
            if before > 0.0:
                value += before * grids[at - 1]
            if after > 0.0:
                value += after * grids[at]
            column[line] = value
            at += side
        for line in range(first_row, end_row):
            above = column[wholes[line]]
            surface[base + line - first_row] += above + (column[wholes[line] + 1] - above) * parts[line]
        base += frame_rows
