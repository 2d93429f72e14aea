"""The runs of many masks of one image, laid out for compiled loops."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sartorius import coco_counts
from sartorius.line_runs import Ints, LineRuns, places
from sartorius.rle import CocoRle


class ColumnRuns(NamedTuple):
    """The runs of N masks of one (height, width) image, counted down the columns.

    starts, ends: (R,) int64 pixel numbers `column * height + row`, ends exclusive, ascending inside a mask.
    offsets: (N + 1,) int64; mask i has the runs `offsets[i]` to `offsets[i + 1]`, none if it is empty.
    """

    starts: Ints
    ends: Ints
    offsets: Ints


def column_runs(masks: Sequence[CocoRle]) -> ColumnRuns:
    """The runs of packed masks; no masks give no runs.

    Raises ValueError if a mask's bytes are not compressed counts of its size.
    """
    sizes_px = np.array([mask.size_hw[0] * mask.size_hw[1] for mask in masks], dtype=np.int64)
    lines = coco_counts.unpacked([mask.counts for mask in masks], sizes_px)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lines.counts(len(masks)))])
    return ColumnRuns(lines.starts, lines.starts + lines.lengths, offsets)


def areas_px(runs: ColumnRuns) -> Ints:
    """(N,) pixels of each mask."""
    covered: Ints = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(runs.ends - runs.starts)])
    return np.diff(covered[runs.offsets])


def boxes_xyxy(runs: ColumnRuns, height: int) -> Ints:
    """(N, 4) tight boxes: left, top, right, bottom in pixels, the last two exclusive; 0, 0, 0, 0 for an empty mask."""
    boxes = np.zeros((len(runs.offsets) - 1, 4), dtype=np.int64)
    filled = np.flatnonzero(np.diff(runs.offsets))
    if len(filled):
        cols, tops = np.divmod(runs.starts, height)
        last_cols, bottoms = np.divmod(runs.ends - 1, height)
        over = last_cols > cols  # a run over a column's end covers all rows between
        first = runs.offsets[filled]
        boxes[filled, 0] = cols[first]
        boxes[filled, 1] = np.minimum.reduceat(np.where(over, 0, tops), first)
        boxes[filled, 2] = last_cols[runs.offsets[filled + 1] - 1] + 1
        boxes[filled, 3] = np.maximum.reduceat(np.where(over, height - 1, bottoms), first) + 1
    return boxes


def chosen(runs: ColumnRuns, masks: Ints) -> ColumnRuns:
    """The runs of these masks, in their order."""
    counts = np.diff(runs.offsets)[masks]
    at = np.repeat(runs.offsets[masks], counts) + places(counts)
    return ColumnRuns(
        runs.starts[at], runs.ends[at], np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    )


def packed_masks(runs: ColumnRuns, size_hw: tuple[int, int]) -> tuple[CocoRle, ...]:
    """Masks of an image of that size from their runs, which must not touch; a mask without runs is empty."""
    masks = len(runs.offsets) - 1
    numbers = np.repeat(np.arange(masks), np.diff(runs.offsets))
    sizes_px = np.full(masks, size_hw[0] * size_hw[1], dtype=np.int64)
    lines = LineRuns(numbers, runs.starts, runs.ends - runs.starts)
    return tuple(CocoRle(size_hw, counts) for counts in coco_counts.packed(lines, sizes_px))
