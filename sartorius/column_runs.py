"""The runs of many masks of one image, laid out for compiled loops."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sartorius import coco_counts
from sartorius.line_runs import Ints, LineRuns
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
    runs = coco_counts.unpacked([mask.counts for mask in masks], sizes_px)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(runs.counts(len(masks)))])
    return ColumnRuns(runs.starts, runs.starts + runs.lengths, offsets)


def packed_masks(runs: ColumnRuns, size_hw: tuple[int, int]) -> tuple[CocoRle, ...]:
    """Masks of an image of that size from their runs, which must not touch; a mask without runs is empty."""
    masks = len(runs.offsets) - 1
    numbers = np.repeat(np.arange(masks), np.diff(runs.offsets))
    sizes_px = np.full(masks, size_hw[0] * size_hw[1], dtype=np.int64)
    lines = LineRuns(numbers, runs.starts, runs.ends - runs.starts)
    return tuple(CocoRle(size_hw, counts) for counts in coco_counts.packed(lines, sizes_px))
