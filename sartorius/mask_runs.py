"""The runs of many masks as flat arrays, which compiled loops can walk: between `CocoRle` bytes and pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.compiled import compiled
from sartorius.rle import CocoRle

Ints = NDArray[np.int64]

#: Bytes that one count can take: 13 groups of five bits hold 64 bits.
_MAX_GROUPS = 13


class Runs(NamedTuple):
    """The runs of N masks of one (height, width) image, counted down the columns.

    starts, ends: (R,) int64 pixel numbers `column * height + row`, ends exclusive, ascending inside a mask.
    offsets: (N + 1,) int64; mask i has the runs `offsets[i]` to `offsets[i + 1]`, none if it is empty.
    """

    starts: Ints
    ends: Ints
    offsets: Ints


def runs_of(masks: Sequence[CocoRle]) -> Runs:
    """The runs of packed masks; no masks give no runs."""
    packed = np.frombuffer(b"".join(mask.counts for mask in masks), dtype=np.uint8)
    lengths = np.array([len(mask.counts) for mask in masks], dtype=np.int64)
    return Runs(*_unpack(packed, np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])))


def packed(runs: Runs, size_hw: tuple[int, int]) -> tuple[CocoRle, ...]:
    """Masks of the whole image from their runs; a mask without runs is empty."""
    data, offsets = _pack(runs.starts, runs.ends, runs.offsets, size_hw[0] * size_hw[1])
    whole, cuts = data.tobytes(), offsets.tolist()
    return tuple(
        CocoRle(size_hw, whole[begin:end]) for begin, end in zip(cuts[:-1], cuts[1:], strict=True)
    )


def bounds_xyxy(runs: Runs, height: int) -> Ints:
    """(N, 4) tight boxes in whole pixels: left, top, right, bottom, the last two exclusive; 0, 0, 0, 0 if empty."""
    return _bounds(runs.starts, runs.ends, runs.offsets, height)


# COCO packs each count as a difference to the count two before it (from the fourth on), in groups of five bits,
# lowest first, with 0x20 for "more follows", offset by 48. Source: pycocotools, maskApi.c, rleFrString, rleToString.
@compiled
def _unpack(packed: NDArray[np.uint8], cuts: Ints) -> tuple[Ints, Ints, Ints]:
    masks = len(cuts) - 1
    starts, ends = np.empty(len(packed), np.int64), np.empty(len(packed), np.int64)
    offsets = np.zeros(masks + 1, np.int64)
    filled = 0
    for mask in range(masks):
        at, position, number, before, last = cuts[mask], 0, 0, 0, 0
        while at < cuts[mask + 1]:
            value, shift = np.int64(0), 0
            while True:
                group = np.int64(packed[at]) - 48
                value |= (group & 0x1F) << shift
                shift += 5
                at += 1
                if not group & 0x20:
                    if group & 0x10:
                        value -= np.int64(1) << shift
                    break
            count = value + before if number > 2 else value
            before, last = last, count
            if number % 2 and count > 0:
                starts[filled], ends[filled] = position, position + count
                filled += 1
            position += count
            number += 1
        offsets[mask + 1] = filled
    return starts[:filled].copy(), ends[:filled].copy(), offsets


@compiled
def _pack(starts: Ints, ends: Ints, offsets: Ints, pixels: int) -> tuple[NDArray[np.uint8], Ints]:
    masks = len(offsets) - 1
    longest = 0
    for mask in range(masks):
        longest = max(longest, offsets[mask + 1] - offsets[mask])
    counts = np.empty(2 * longest + 1, np.int64)
    data = np.empty(16 * len(starts) + 16 * masks, np.uint8)
    cuts = np.zeros(masks + 1, np.int64)
    filled = 0
    for mask in range(masks):
        number, position = 0, 0
        for run in range(offsets[mask], offsets[mask + 1]):
            counts[number], counts[number + 1] = starts[run] - position, ends[run] - starts[run]
            number, position = number + 2, ends[run]
        if position < pixels or number == 0:
            counts[number] = pixels - position
            number += 1
        if filled + number * _MAX_GROUPS > len(data):
            longer = np.empty(2 * (filled + number * _MAX_GROUPS), np.uint8)
            longer[:filled] = data[:filled]
            data = longer
        for place in range(number):
            value = counts[place] - counts[place - 2] if place > 2 else counts[place]
            more = True
            while more:
                group = value & 0x1F
                value >>= 5
                more = value != -1 if group & 0x10 else value != 0
                data[filled] = (group | 0x20 if more else group) + 48
                filled += 1
        cuts[mask + 1] = filled
    return data[:filled].copy(), cuts


@compiled
def _bounds(starts: Ints, ends: Ints, offsets: Ints, height: int) -> Ints:
    boxes = np.zeros((len(offsets) - 1, 4), np.int64)
    for mask in range(len(boxes)):
        if offsets[mask] == offsets[mask + 1]:
            continue
        top, bottom = height, 0
        for run in range(offsets[mask], offsets[mask + 1]):
            first, last = starts[run], ends[run] - 1
            if first // height != last // height:  # a run over a column's end covers all rows between
                top, bottom = 0, height
            else:
                top, bottom = min(top, first % height), max(bottom, last % height + 1)
        boxes[mask, 0], boxes[mask, 2] = (
            starts[offsets[mask]] // height,
            (ends[offsets[mask + 1] - 1] - 1) // height + 1,
        )
        boxes[mask, 1], boxes[mask, 3] = top, bottom
    return boxes
