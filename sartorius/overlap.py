"""Which masks share pixels and how many, as a sparse list of pairs; never an N x H x W or N x N array."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.column_runs import ColumnRuns, boxes_xyxy, column_runs
from sartorius.compiled import compiled
from sartorius.line_runs import Ints


class Pairs(NamedTuple):
    """Pairs of masks that share at least one pixel, sorted by (row_a, row_b).

    rows_a, rows_b: (P,) int64 rows in the first and the second record.
    intersections_px: (P,) int64 shared pixels, at least 1.
    """

    rows_a: Ints
    rows_b: Ints
    intersections_px: Ints


def overlapping(a: Cells, b: Cells) -> Pairs:
    """Every pair of a mask of `a` and a mask of `b` that share a pixel.

    Empty masks pair with nothing; no cells give no pairs. A record may be paired with itself, then each non-empty row
    also pairs with itself.
    Raises ValueError if the images differ in size.
    """
    if a.size_hw != b.size_hw:
        raise ValueError(f"cells of images of sizes {a.size_hw} and {b.size_hw} have no common pixels")
    runs_a = column_runs(a.masks)
    runs_b = runs_a if a is b else column_runs(b.masks)
    boxes_a, boxes_b = (boxes_xyxy(runs, a.size_hw[0]) for runs in (runs_a, runs_b))
    return _pairs(runs_a, boxes_a, runs_b, boxes_b, False)


def overlapping_within(cells: Cells) -> Pairs:
    """Every pair of two different rows of one record whose masks share a pixel, once, with row_a < row_b."""
    runs = column_runs(cells.masks)
    return pairs_within(runs, boxes_xyxy(runs, cells.size_hw[0]))


def pairs_within(runs: ColumnRuns, boxes: Ints) -> Pairs:
    """What `overlapping_within` returns, from the runs and tight boxes (N, 4) of the masks."""
    return _pairs(runs, boxes, runs, boxes, True)


def iou(pairs: Pairs, a: Cells, b: Cells) -> NDArray[np.float64]:
    """(P,) intersection over union of each pair."""
    union = a.areas_px[pairs.rows_a] + b.areas_px[pairs.rows_b] - pairs.intersections_px
    return pairs.intersections_px / union


def over_smaller(pairs: Pairs, a: Cells, b: Cells) -> NDArray[np.float64]:
    """(P,) intersection over the smaller of the two areas: 1 when one mask lies inside the other."""
    return pairs.intersections_px / np.minimum(a.areas_px[pairs.rows_a], b.areas_px[pairs.rows_b])


def _pairs(runs_a: ColumnRuns, boxes_a: Ints, runs_b: ColumnRuns, boxes_b: Ints, ascending: bool) -> Pairs:
    """The pairs, sorted; only with row_a < row_b if `ascending`. b is searched along the left edges of its boxes."""
    by_left = np.argsort(boxes_b[:, 0], kind="stable")
    lefts = boxes_b[by_left, 0]
    widest = (boxes_b[:, 2] - boxes_b[:, 0]).max(initial=0)
    first = np.searchsorted(lefts, boxes_a[:, 0] - widest)
    last = np.searchsorted(lefts, boxes_a[:, 2])
    found = _intersections(*runs_a, boxes_a, *runs_b, boxes_b, by_left, first, last, ascending)
    rows_a, rows_b, shared_px = found[:, np.lexsort((found[1], found[0]))]
    return Pairs(rows_a, rows_b, shared_px)


@compiled
def _intersections(
    starts_a: Ints,
    ends_a: Ints,
    offsets_a: Ints,
    boxes_a: Ints,
    starts_b: Ints,
    ends_b: Ints,
    offsets_b: Ints,
    boxes_b: Ints,
    by_left: Ints,
    first: Ints,
    last: Ints,
    ascending: bool,
) -> Ints:
    """(3, P) rows and shared pixels of the pairs; row a is held against `by_left[first[a]:last[a]]` of b."""
    found = np.empty((3, 16 * len(boxes_a) + 16), np.int64)
    filled = 0
    for row_a in range(len(boxes_a)):
        for place in range(first[row_a], last[row_a]):
            row_b = by_left[place]
            if ascending and row_b <= row_a:
                continue
            if boxes_b[row_b, 2] <= boxes_a[row_a, 0] or boxes_b[row_b, 1] >= boxes_a[row_a, 3]:
                continue
            if boxes_b[row_b, 3] <= boxes_a[row_a, 1]:
                continue
            at_a, at_b, shared = offsets_a[row_a], offsets_b[row_b], 0
            while at_a < offsets_a[row_a + 1] and at_b < offsets_b[row_b + 1]:
                low, high = max(starts_a[at_a], starts_b[at_b]), min(ends_a[at_a], ends_b[at_b])
                shared += max(high - low, 0)
                if ends_a[at_a] < ends_b[at_b]:
                    at_a += 1
                else:
                    at_b += 1
            if shared == 0:
                continue
            if filled == found.shape[1]:
                wider = np.empty((3, 2 * filled), np.int64)
                for pair in range(filled):  # a slice assignment would take numba two seconds to compile
                    for part in range(3):
                        wider[part, pair] = found[part, pair]
                found = wider
            found[0, filled], found[1, filled], found[2, filled] = row_a, row_b, shared
            filled += 1
    return found[:, :filled]
