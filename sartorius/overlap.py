"""Which masks share pixels and how many, as a sparse list of pairs; never an N x H x W or N x N array."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.column_runs import ColumnRuns, boxes_xyxy, column_runs
from sartorius.compiled import compiled, with_room
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
    return pairs_between(runs_a, runs_a if a is b else column_runs(b.masks), a.size_hw[0])


def pairs_between(runs_a: ColumnRuns, runs_b: ColumnRuns, height: int) -> Pairs:
    """What `overlapping` returns, from the runs of the masks of one image and its height in pixels."""
    boxes_a = boxes_xyxy(runs_a, height)
    boxes_b = boxes_a if runs_a is runs_b else boxes_xyxy(runs_b, height)
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


def _pairs(runs_a: ColumnRuns, boxes_a: Ints, runs_b: ColumnRuns, boxes_b: Ints, within: bool) -> Pairs:
    """The pairs, sorted; b is searched along the left edges of its boxes.

    within: a and b are one record, whose pairs are found once, from the row that begins further left.
    """
    by_left = np.argsort(boxes_b[:, 0], kind="stable")
    from_left = boxes_b[by_left]
    widest = (boxes_b[:, 2] - boxes_b[:, 0]).max(initial=0)
    first = np.argsort(by_left) + 1 if within else np.searchsorted(from_left[:, 0], boxes_a[:, 0] - widest)
    last = np.searchsorted(from_left[:, 0], boxes_a[:, 2])
    spans = np.stack([first, last], axis=1)
    shared = np.zeros(0, dtype=np.int64)

    def find(rows_a: Ints, rows_b: Ints) -> int:
        nonlocal shared
        shared = np.zeros(len(rows_a), dtype=np.int64)
        return _intersections(*runs_a, boxes_a, *runs_b, from_left, by_left, spans, rows_a, rows_b, shared)

    rows_a, rows_b = with_room(find, 16 * len(boxes_a) + 16)
    if within:
        rows_a, rows_b = np.minimum(rows_a, rows_b), np.maximum(rows_a, rows_b)
    order = np.argsort(rows_a * len(boxes_b) + rows_b)
    return Pairs(rows_a[order], rows_b[order], shared[order])


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
    spans: Ints,
    rows_a: Ints,
    rows_b: Ints,
    shared_px: Ints,
) -> int:
    """The number of pairs; as many as fit are written.

    Row a is held against the rows `by_left[spans[a, 0]:spans[a, 1]]`; `boxes_b` are in the order of `by_left`,
    and all begin left of where row a's box ends.
    """
    found = 0
    for row_a in range(boxes_a.shape[0]):
        left, top, bottom = boxes_a[row_a, 0], boxes_a[row_a, 1], boxes_a[row_a, 3]
        for place in range(spans[row_a, 0], spans[row_a, 1]):
            if boxes_b[place, 2] <= left or boxes_b[place, 1] >= bottom or boxes_b[place, 3] <= top:
                continue
            row_b = by_left[place]
            at_a, at_b, shared = offsets_a[row_a], offsets_b[row_b], 0
            last_a, last_b = offsets_a[row_a + 1], offsets_b[row_b + 1]
            # Without branches, which here would be guessed wrong half of the time.
            while at_a < last_a and at_b < last_b:
                end_a, end_b = ends_a[at_a], ends_b[at_b]
                low = starts_a[at_a] if starts_a[at_a] > starts_b[at_b] else starts_b[at_b]
                high = end_a if end_a < end_b else end_b
                shared += high - low if high > low else 0
                at_a += end_a <= end_b
                at_b += end_b <= end_a
            if shared > 0:
                if found < rows_a.shape[0]:
                    rows_a[found], rows_b[found], shared_px[found] = row_a, row_b, shared
                found += 1
    return found
