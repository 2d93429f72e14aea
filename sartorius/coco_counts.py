"""COCO's compressed run lengths, packed and unpacked for many masks at once.

Background and mask take turns, background first. From the fourth on each count is written as its difference to the
count two before it, in groups of five bits, lowest first, with 0x20 for "more follows", offset by 48.
Source: pycocotools, maskApi.c, rleToString and rleFrString.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sartorius.line_runs import Ints, LineRuns, no_runs, places


def packed(runs: LineRuns, sizes_px: Ints) -> list[bytes]:
    """The compressed counts of N masks.

    runs: runs along the columns that do not touch within a mask.
    sizes_px: (N,) pixels of each mask's image.
    """
    if not len(sizes_px):
        return []
    counts, mask_counts = _counts(runs, sizes_px)
    values = counts.copy()
    values[2:] -= np.where(places(mask_counts)[2:] >= 3, counts[:-2], 0)
    groups = _groups(values)
    ends = np.cumsum(groups)
    text = np.empty(ends[-1], dtype=np.uint8)
    for group in range(int(groups.max())):
        written = groups > group
        follows = np.where(groups[written] > group + 1, 0x20, 0)
        bits = (values[written] >> (5 * group)) & 0x1F
        text[(ends - groups)[written] + group] = bits + follows + 48
    whole, stops = text.tobytes(), ends[np.cumsum(mask_counts) - 1].tolist()
    return [whole[start:stop] for start, stop in pairwise([0, *stops])]


def unpacked(texts: Sequence[bytes], sizes_px: Ints) -> LineRuns:
    """The runs along the columns of N compressed masks.

    sizes_px: (N,) pixels of each mask's image.
    Raises ValueError if a mask's bytes are not compressed counts of that many pixels.
    """
    if not len(texts):
        return no_runs()
    values, mask_values = _values(texts)
    place = places(mask_values)
    odd = place % 2 == 1
    counts = np.where(place == 0, values, 0)
    for chain in (odd, ~odd & (place > 0)):
        counts += np.where(chain, _sums_in_mask(np.where(chain, values, 0), mask_values), 0)
    edges = _sums_in_mask(counts, mask_values)
    covered = edges[np.cumsum(mask_values) - 1]
    masks = np.repeat(np.arange(len(texts)), mask_values)
    broken = covered != sizes_px
    broken[masks[counts < 0]] = True
    if broken.any():
        mask = int(np.argmax(broken))
        raise ValueError(
            f"mask {mask}: COCO counts cover {covered[mask]} pixels, "
            f"the image has {sizes_px[mask]}: {texts[mask][:40]!r}"
        )
    kept = odd & (counts > 0)
    return LineRuns(masks[kept], (edges - counts)[kept], counts[kept])


def _counts(runs: LineRuns, sizes_px: Ints) -> tuple[Ints, Ints]:
    """Run lengths of background and mask in turn, all masks in a row, and how many each mask has."""
    mask_runs = runs.counts(len(sizes_px))
    run_ends = np.cumsum(mask_runs)
    filled = mask_runs > 0
    edges = runs.starts + runs.lengths
    rest = sizes_px.copy()
    rest[filled] -= edges[run_ends[filled] - 1]
    has_rest = (rest > 0) | ~filled
    before = np.zeros(len(edges), dtype=np.int64)
    before[1:] = edges[:-1]
    before[(run_ends - mask_runs)[filled]] = 0
    rests = np.cumsum(has_rest)
    place = 2 * np.arange(len(edges)) + (rests - has_rest)[runs.masks]
    counts = np.empty(2 * len(edges) + rests[-1], dtype=np.int64)
    counts[place], counts[place + 1] = runs.starts - before, runs.lengths
    counts[(2 * run_ends + rests - 1)[has_rest]] = rest[has_rest]
    return counts, 2 * mask_runs + has_rest


def _groups(values: Ints) -> Ints:
    """How many groups of five bits each number needs, its sign included."""
    magnitudes = values ^ (values >> 63)
    groups = np.ones(len(values), dtype=np.int64)
    for group in range(1, 13):
        longer = magnitudes >> (5 * group - 1) > 0
        if not longer.any():
            break
        groups += longer
    return groups


def _values(texts: Sequence[bytes]) -> tuple[Ints, Ints]:
    """The numbers written in all texts, and how many each text has."""
    groups = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)
    text_bytes = np.array([len(text) for text in texts])
    text_ends = np.cumsum(text_bytes)
    ends = np.flatnonzero(groups & 0x20 == 0) + 1
    begins = np.zeros(len(ends), dtype=np.int64)
    begins[1:] = ends[:-1]
    lengths = ends - begins
    value_ends = np.searchsorted(ends, text_ends, side="right")
    finished = np.append(0, ends)[value_ends] == text_ends  # the last byte of a text says "no more follows"
    sound = finished & (text_bytes > 0)
    sound[np.searchsorted(text_ends, np.flatnonzero(groups > 63), side="right")] = False
    sound[np.searchsorted(text_ends, begins[lengths > 12], side="right")] = False  # 64 bits cannot hold it
    if not sound.all():
        mask = int(np.argmin(sound))
        raise ValueError(f"mask {mask}: not COCO's compressed counts: {texts[mask][:40]!r}")
    values = np.zeros(len(ends), dtype=np.int64)
    for group in range(int(lengths.max())):
        written = lengths > group
        values[written] |= (groups[begins[written] + group] & 0x1F).astype(np.int64) << (5 * group)
    negative = (groups[ends - 1] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    mask_values = value_ends.copy()
    mask_values[1:] -= value_ends[:-1]
    return values, mask_values


def _sums_in_mask(values: Ints, mask_values: Ints) -> Ints:
    """The running sum of values, begun anew with each mask."""
    sums = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=sums[1:])
    begins = np.cumsum(mask_values) - mask_values
    sums[1:] -= np.repeat(sums[begins], mask_values)
    return sums[1:]
