"""Runs of many masks as flat arrays: what turns one run-length dialect into the other without a loop over masks.

A mask is read as lines of pixels laid end to end: its rows in the competition's dialect, its columns in COCO's.
`turned` goes from the one to the other.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

#: Pixels handled at once by `turned` (a single larger mask is handled alone): about 100 MB of arrays.
CHUNK_PX = 2_000_000


class LineRuns(NamedTuple):
    """R runs of N masks, sorted by mask and start: run k covers `lengths[k]` pixels of mask `masks[k]`.

    masks: (R,) numbers of masks, 0 to N - 1; a mask without pixels has no runs.
    starts: (R,) first pixel, counted from 0 along the mask's lines.
    lengths: (R,) pixels, at least 1; the runs of a mask do not overlap.
    """

    masks: Ints
    starts: Ints
    lengths: Ints

    def of_masks(self, first: int, stop: int) -> "LineRuns":
        """The runs of masks `first` to `stop` (exclusive), numbered from 0."""
        begin, end = np.searchsorted(self.masks, [first, stop])
        return LineRuns(self.masks[begin:end] - first, self.starts[begin:end], self.lengths[begin:end])

    def counts(self, masks: int) -> Ints:
        """(masks,) number of runs of each mask."""
        return np.bincount(self.masks, minlength=masks).astype(np.int64)


def no_runs() -> LineRuns:
    """The runs of no mask, or of masks without pixels."""
    return LineRuns(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def places(counts: Ints) -> Ints:
    """0, 1, 2 … for the items of each group, given the number of items of each."""
    ends = np.cumsum(counts)
    return np.arange(counts.sum()) - np.repeat(ends - counts, counts)


def joined(runs: LineRuns) -> LineRuns:
    """The same pixels with runs that touch made one."""
    ends = runs.starts + runs.lengths
    first = np.ones(len(ends), dtype=bool)
    first[1:] = (runs.starts[1:] != ends[:-1]) | (runs.masks[1:] != runs.masks[:-1])
    last = np.append(first[1:], True)[: len(ends)]
    return LineRuns(runs.masks[first], runs.starts[first], ends[last] - runs.starts[first])


def runs_of_pixels(pixels: NDArray[np.int32] | Ints, first_pixels: Ints) -> LineRuns:
    """The runs of ascending pixel numbers of N masks.

    first_pixels: (N,) the number of each mask's first pixel; between the last pixel of a mask and the first of the
        next at least one number is unused, so that runs end with their mask.
    """
    if not len(pixels):
        return no_runs()
    begins = np.append(0, np.flatnonzero(np.diff(pixels) != 1) + 1)
    firsts = pixels[begins].astype(np.int64)
    masks = np.searchsorted(first_pixels, firsts, side="right") - 1
    return LineRuns(masks, firsts - first_pixels[masks], np.diff(begins, append=len(pixels)))


def turned(runs: LineRuns, lines: Ints, line_px: Ints) -> LineRuns:
    """The same pixels, read across the lines: runs along rows become runs along columns and the other way round.

    lines, line_px: (N,) the number of lines of each mask as given and the pixels in each of them; (heights, widths)
        for runs along rows, (widths, heights) for runs along columns.
    Returns the fewest runs that cover the same pixels.
    """
    parts = [no_runs()]
    for first, stop in _chunks(runs, lines * line_px):
        part = _turned_chunk(runs.of_masks(first, stop), lines[first:stop], line_px[first:stop])
        parts.append(part._replace(masks=part.masks + first))
    return LineRuns(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _chunks(runs: LineRuns, sizes_px: Ints) -> Iterator[tuple[int, int]]:
    """Spans of masks with at most `CHUNK_PX` pixels set, and an image area that 32-bit numbers can count."""
    set_px = np.bincount(runs.masks, weights=runs.lengths, minlength=len(sizes_px)).astype(np.int64)
    set_ends, size_ends = np.cumsum(set_px), np.cumsum(sizes_px + 1)
    first = 0
    while first < len(sizes_px):
        set_before, size_before = (set_ends[first - 1], size_ends[first - 1]) if first else (0, 0)
        stop = min(
            int(np.searchsorted(set_ends, set_before + CHUNK_PX, side="right")),
            int(np.searchsorted(size_ends, size_before + 2**31 - 1, side="right")),
        )
        stop = max(stop, first + 1)
        yield first, stop
        first = stop


def _turned_chunk(runs: LineRuns, lines: Ints, line_px: Ints) -> LineRuns:
    masks, starts, lengths = _cut_at_line_ends(runs, line_px)
    if not len(masks):
        return no_runs()
    size_ends = np.cumsum(lines * line_px + 1)
    first_pixels = size_ends - lines * line_px - 1
    line, place = np.divmod(starts, line_px[masks])
    step = lines[masks]
    within = places(lengths)
    within *= step[0] if np.all(step == step[0]) else np.repeat(step, lengths)
    pixels = np.repeat(first_pixels[masks] + place * step + line, lengths) + within
    if size_ends[-1] < 2**31:  # 32 bits are sorted four times as fast
        return runs_of_pixels(np.sort(pixels.astype(np.int32)), first_pixels)
    return runs_of_pixels(np.sort(pixels), first_pixels)


def _cut_at_line_ends(runs: LineRuns, line_px: Ints) -> LineRuns:
    """The same pixels in runs that each stay within one line."""
    masks, starts, lengths = runs
    px = line_px[masks]
    first_lines = starts // px
    pieces = (starts + lengths - 1) // px - first_lines + 1
    if np.all(pieces == 1):
        return runs
    lines = np.repeat(first_lines, pieces) + places(pieces)
    px = np.repeat(px, pieces)
    cut_starts = np.maximum(np.repeat(starts, pieces), lines * px)
    cut_ends = np.minimum(np.repeat(starts + lengths, pieces), (lines + 1) * px)
    return LineRuns(np.repeat(masks, pieces), cut_starts, cut_ends - cut_starts)
