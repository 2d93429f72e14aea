"""Runs of many masks as flat arrays: what turns one run-length dialect into the other without a loop over masks.

A mask is read as lines of pixels laid end to end: its rows in the competition's dialect, its columns in COCO's.
`turned` goes from the one to the other.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.compiled import compiled, with_room

Ints = NDArray[np.int64]


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
    if not len(runs.starts):
        return no_runs()
    # the loop is compiled anew for columns that do not lie together
    lines, line_px = np.ascontiguousarray(lines), np.ascontiguousarray(line_px)
    runs = LineRuns(*map(np.ascontiguousarray, runs))
    counts = runs.counts(len(lines))
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    set_px = np.bincount(runs.masks, weights=runs.lengths)
    ends = np.zeros(int(line_px.max()) + 1, dtype=np.int64)
    pixels = np.empty(int(set_px.max()), dtype=np.int64)
    run_ends = np.zeros(len(lines), dtype=np.int64)

    def turn(starts: Ints, lengths: Ints) -> int:
        return _turn(runs, offsets, lines, line_px, ends, pixels, run_ends, starts, lengths)

    starts, lengths = with_room(turn, 2 * len(runs.starts))
    masks = np.repeat(np.arange(len(lines)), np.diff(run_ends, prepend=0))
    return LineRuns(masks, starts, lengths)


@compiled
def _turn(
    runs: LineRuns, offsets: Ints, lines: Ints, line_px: Ints,
    ends: Ints, pixels: Ints, run_ends: Ints, turned_starts: Ints, turned_lengths: Ints,
) -> int:  # fmt: skip
    """The number of runs across the lines; those of mask i end before run `run_ends[i]`, if there is room for them.

    offsets: mask i has the runs `offsets[i]` to `offsets[i + 1]`.
    ends: room for one number more than the longest line has pixels.
    pixels: room for the pixels of the largest mask, which are sorted by counting them at each place of a line.
    """
    found = 0
    for mask in range(len(lines)):
        px, step, first, stop = line_px[mask], lines[mask], offsets[mask], offsets[mask + 1]
        ends[: px + 1] = 0
        for run in range(first, stop):
            for pixel in range(runs.starts[run], runs.starts[run] + runs.lengths[run]):
                ends[pixel % px + 1] += 1
        for place in range(px):
            ends[place + 1] += ends[place]
        set_px = ends[px]
        for run in range(first, stop):
            for pixel in range(runs.starts[run], runs.starts[run] + runs.lengths[run]):
                line, place = pixel // px, pixel % px
                pixels[ends[place]] = place * step + line
                ends[place] += 1
        begin = 0
        for at in range(1, set_px + 1):
            if at == set_px or pixels[at] != pixels[at - 1] + 1:
                if found < len(turned_starts):
                    turned_starts[found], turned_lengths[found] = pixels[begin], at - begin
                found += 1
                begin = at
        run_ends[mask] = found
    return found
