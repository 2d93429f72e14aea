"""The runs of many masks of one image, laid out for compiled loops."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius import coco_counts
from sartorius.compiled import compiled, with_room
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
    counts = [mask.counts for mask in masks]
    text_ends = np.cumsum(np.array([len(text) for text in counts], dtype=np.int64))
    text = np.frombuffer(b"".join(counts), dtype=np.uint8)
    offsets, sound = np.zeros(len(masks) + 1, dtype=np.int64), np.zeros(len(masks), dtype=np.bool_)

    def unpack(starts: Ints, ends: Ints) -> int:
        return _unpack(text, text_ends, sizes_px, starts, ends, offsets, sound)

    starts, ends = with_room(unpack, len(text) // 2 + 1)  # a run takes two counts of at least a byte each
    if not sound.all():
        coco_counts.unpacked(counts, sizes_px)  # which says what is wrong with which mask
        raise AssertionError(f"mask {int(np.argmin(sound))}: its counts are read in two ways")
    return ColumnRuns(starts, ends, offsets)


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


@compiled
def _unpack(
    text: NDArray[np.uint8],
    text_ends: Ints,
    sizes_px: Ints,
    starts: Ints,
    ends: Ints,
    offsets: Ints,
    sound: NDArray[np.bool_],
) -> int:
    """The number of runs in the compressed counts of all masks; as many as fit are written.

    Fills `offsets`, and `sound`: whether a mask's bytes are counts that cover its pixels. See `coco_counts`.
    """
    found, at = 0, 0
    for mask in range(sizes_px.shape[0]):
        pixel, place, last, last_but_one, ok = 0, 0, 0, 0, text_ends[mask] > at
        while ok and at < text_ends[mask]:
            count, bits, follows = 0, 0, True
            while ok and follows:
                ok = at < text_ends[mask] and 48 <= text[at] < 112 and bits < 60
                if ok:
                    group = int(text[at]) - 48
                    count |= (group & 0x1F) << bits
                    bits, at, follows = bits + 5, at + 1, (group & 0x20) != 0
                    if not follows and (group & 0x10) != 0:
                        count -= 1 << bits
            if place > 2:
                count += last_but_one
            ok = ok and 0 <= count <= sizes_px[mask] - pixel
            if ok and place % 2 == 1 and count > 0:
                if found < starts.shape[0]:
                    starts[found], ends[found] = pixel, pixel + count
                found += 1
            pixel, place, last_but_one, last = pixel + count, place + 1, last, count
        sound[mask] = ok and pixel == sizes_px[mask]
        offsets[mask + 1], at = found, text_ends[mask]
    return found
