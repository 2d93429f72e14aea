"""Which masks share pixels and how many, as a sparse list of pairs; never an N x H x W or N x N array."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.compiled import compiled
from sartorius.mask_runs import Ints, bounds_xyxy, runs_of


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
    runs_a = runs_of(a.masks)
    runs_b = runs_a if a is b else runs_of(b.masks)
    boxes_a, boxes_b = bounds_xyxy(runs_a, a.size_hw[0]), bounds_xyxy(runs_b, b.size_hw[0])
    by_left = np.argsort(boxes_b[:, 0], kind="stable")
    pairs = Pairs(*_intersections(*runs_a, boxes_a, *runs_b, boxes_b, by_left))
    order = np.lexsort((pairs.rows_b, pairs.rows_a))
    return Pairs(pairs.rows_a[order], pairs.rows_b[order], pairs.intersections_px[order])


def iou(pairs: Pairs, a: Cells, b: Cells) -> NDArray[np.float64]:
    """(P,) intersection over union of each pair."""
    union = a.areas_px[pairs.rows_a] + b.areas_px[pairs.rows_b] - pairs.intersections_px
    return pairs.intersections_px / union


def over_smaller(pairs: Pairs, a: Cells, b: Cells) -> NDArray[np.float64]:
    """(P,) intersection over the smaller of the two areas: 1 when one mask lies inside the other."""
    return pairs.intersections_px / np.minimum(a.areas_px[pairs.rows_a], b.areas_px[pairs.rows_b])


@compiled
def shared_px(
    starts_a: Ints, ends_a: Ints, at_a: int, stop_a: int, starts_b: Ints, ends_b: Ints, at_b: int, stop_b: int
) -> int:
    """Pixels in both the runs `at_a` to `stop_a` of one mask and `at_b` to `stop_b` of another."""
    shared = 0
    while at_a < stop_a and at_b < stop_b:
        low, high = max(starts_a[at_a], starts_b[at_b]), min(ends_a[at_a], ends_b[at_b])
        if high > low:
            shared += high - low
        if ends_a[at_a] < ends_b[at_b]:
            at_a += 1
        else:
            at_b += 1
    return shared


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
) -> tuple[Ints, Ints, Ints]:
    """Rows and shared pixels of the pairs; only boxes that meet are looked at, found along the left edges of b."""
    lefts, widest = boxes_b[by_left, 0], 0
    for row in range(len(boxes_b)):
        widest = max(widest, boxes_b[row, 2] - boxes_b[row, 0])
    found = np.empty((3, 16 * len(boxes_a) + 16), np.int64)
    filled = 0
    for row_a in range(len(boxes_a)):
        left, top, right, bottom = boxes_a[row_a]
        for place in range(np.searchsorted(lefts, left - widest), len(lefts)):
            if lefts[place] >= right:
                break
            row_b = by_left[place]
            if boxes_b[row_b, 2] <= left or boxes_b[row_b, 1] >= bottom or boxes_b[row_b, 3] <= top:
                continue
            shared = shared_px(
                starts_a, ends_a, offsets_a[row_a], offsets_a[row_a + 1],
                starts_b, ends_b, offsets_b[row_b], offsets_b[row_b + 1],
            )  # fmt: skip
            if shared > 0:
                if filled == found.shape[1]:
                    wider = np.empty((3, 2 * filled), np.int64)
                    wider[:, :filled] = found
                    found = wider
                found[0, filled], found[1, filled], found[2, filled] = row_a, row_b, shared
                filled += 1
    return found[0, :filled].copy(), found[1, :filled].copy(), found[2, :filled].copy()
