"""COCO's compressed run lengths, packed and unpacked for many masks at once.

Background and mask take turns, background first. From the fourth on each count is written as its difference to the
count two before it, in groups of five bits, lowest first, with 0x20 for "more follows", offset by 48.
Source: pycocotools, maskApi.c, rleToString and rleFrString.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sartorius.compiled import compiled
from sartorius.line_runs import Ints, LineRuns, no_runs

Bytes = NDArray[np.uint8]

#: Groups of five bits that a number of 64 bits needs at most.
_MOST_GROUPS = 13


def packed(runs: LineRuns, sizes_px: Ints) -> list[bytes]:
    """The compressed counts of N masks.

    runs: runs along the columns that do not touch within a mask.
    sizes_px: (N,) pixels of each mask's image.
    """
    if not len(sizes_px):
        return []
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(runs.counts(len(sizes_px)))])
    text = np.empty(_MOST_GROUPS * (2 * len(runs.starts) + len(sizes_px)), dtype=np.uint8)
    ends = np.zeros(len(sizes_px), dtype=np.int64)
    written = _pack(runs.starts, runs.lengths, offsets, sizes_px, text, ends)
    whole = text[:written].tobytes()
    return [whole[start:stop] for start, stop in pairwise([0, *ends.tolist()])]


def unpacked(texts: Sequence[bytes], sizes_px: Ints) -> LineRuns:
    """The runs along the columns of N compressed masks.

    sizes_px: (N,) pixels of each mask's image.
    Raises ValueError if a mask's bytes are not compressed counts of that many pixels.
    """
    if not len(texts):
        return no_runs()
    text = np.frombuffer(b"".join(texts), dtype=np.uint8)
    ends = np.cumsum(np.array([len(counts) for counts in texts], dtype=np.int64))
    masks, starts, lengths = (np.empty(len(text) // 2, dtype=np.int64) for _ in range(3))
    found, mask, covered = _unpack(text, ends, sizes_px, masks, starts, lengths)
    if found < 0:
        raise ValueError(f"mask {mask}: not COCO's compressed counts: {texts[mask][:40]!r}")
    if mask < len(texts):
        raise ValueError(
            f"mask {mask}: COCO counts cover {covered} pixels, "
            f"the image has {sizes_px[mask]}: {texts[mask][:40]!r}"
        )
    return LineRuns(masks[:found], starts[:found], lengths[:found])


@compiled
def _pack(starts: Ints, lengths: Ints, offsets: Ints, sizes_px: Ints, text: Bytes, ends: Ints) -> int:
    """The number of bytes written to `text`; the counts of mask i end before byte `ends[i]`.

    starts, lengths: mask i has the runs `offsets[i]` to `offsets[i + 1]`.
    """
    at = 0
    for mask in range(len(sizes_px)):
        edge, before_last, last = 0, 0, 0
        first, stop = offsets[mask], offsets[mask + 1]
        for place in range(2 * (stop - first) + 1):
            run = first + place // 2
            if run == stop:
                count = sizes_px[mask] - edge
                if count <= 0 and place > 0:  # the mask's last run ends the image
                    break
            else:
                count = lengths[run] if place % 2 else starts[run] - edge
            value, more = count - before_last if place > 2 else count, True
            while more:
                group = value & 0x1F
                value >>= 5
                more = value != (-1 if group & 0x10 else 0)
                text[at] = group + (0x20 if more else 0) + 48
                at += 1
            edge += count
            before_last, last = last, count
        ends[mask] = at
    return at


@compiled
def _unpack(
    text: Bytes, ends: Ints, sizes_px: Ints, masks: Ints, starts: Ints, lengths: Ints
) -> tuple[int, int, int]:
    """The number of runs written, the first mask whose counts are wrong, and the pixels that those cover.

    ends: (N,) where each mask's counts end in `text`.
    The number is -1 if that mask's bytes are no counts at all; the mask is N if all are right.
    """
    found, at = 0, 0
    for mask in range(len(ends)):
        edge, before_last, last, place, fits = 0, 0, 0, 0, True
        if at == ends[mask]:
            return -1, mask, 0
        while at < ends[mask]:
            value, shift, more = 0, 0, True
            while more:
                group = int(text[at]) - 48 if at < ends[mask] else -1
                if group < 0 or group > 0x3F or shift == 60:  # which leaves room for sums in 64 bits
                    return -1, mask, 0
                value |= (group & 0x1F) << shift
                shift += 5
                at += 1
                more = group & 0x20 != 0
            if group & 0x10:
                value -= 1 << shift
            count = value + before_last if place > 2 else value
            fits &= 0 <= count <= sizes_px[mask] - edge
            if place % 2 and count > 0:
                masks[found], starts[found], lengths[found] = mask, edge, count
                found += 1
            edge += count
            before_last, last = last, count
            place += 1
        if not fits or edge != sizes_px[mask]:
            return found, mask, edge
    return found, len(ends), 0
