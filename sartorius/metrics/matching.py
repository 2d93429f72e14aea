"""Which predicted cells hit which true ones at the ten IoU thresholds, decided in whole numbers."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from sartorius.cells import Cells
from sartorius.column_runs import areas_px, column_runs
from sartorius.overlap import pairs_between

Ints = NDArray[np.int64]

#: The thresholds .50, .55, …, .95 in twentieths: an IoU passes k / 20 when 20 x intersection > k x union.
THRESHOLDS_20THS = tuple(range(10, 20))
THRESHOLDS = tuple(k / 20 for k in THRESHOLDS_20THS)

Variant = Literal["one_to_one", "drop", "double"]


class Hits(NamedTuple):
    """Pairs of a predicted and a true cell with an IoU strictly greater than .5.

    rows_predicted, rows_true: (P,) int64 rows in the two records.
    passed: (P,) int64 in 1 … 10, how many of the ten thresholds the IoU strictly exceeds.
    n_predicted, n_true: how many cells there are of each kind, hit or not.
    """

    rows_predicted: Ints
    rows_true: Ints
    passed: Ints
    n_predicted: int
    n_true: int


class Counts(NamedTuple):
    """(10,) int64 each: cells found, found wrongly and missed at each threshold."""

    true_positives: Ints
    false_positives: Ints
    false_negatives: Ints


def by_falling_score(cells: Cells) -> Cells:
    """The cells by falling score, ties by type and then by mask, so that no figure knows the order of rows."""
    counts = [mask.counts for mask in cells.masks]
    keys = list(zip((-cells.scores).tolist(), cells.cell_types.tolist(), counts, strict=True))
    return cells[sorted(range(len(cells)), key=keys.__getitem__)]


def hits(predicted: Cells, truth: Cells) -> Hits:
    """The pairs of cells of one image that match at .5 or above, for every threshold at once.

    Empty masks hit nothing. Raises ValueError if the images differ in size.
    """
    if predicted.size_hw != truth.size_hw:
        raise ValueError(
            f"{truth.image_id}: predictions for {predicted.size_hw} px and truth of {truth.size_hw} px"
        )
    found, true = column_runs(predicted.masks), column_runs(truth.masks)
    pairs = pairs_between(found, true, truth.size_hw[0])
    shared = pairs.intersections_px
    union = areas_px(found)[pairs.rows_a] + areas_px(true)[pairs.rows_b] - shared
    # The greatest k with k x union < 20 x shared, without a float in between.
    passed = (20 * shared - 1) // union - (THRESHOLDS_20THS[0] - 1)
    close = passed > 0
    return Hits(pairs.rows_a[close], pairs.rows_b[close], passed[close], len(predicted), len(truth))


def at_threshold(found: Hits, place: int) -> Hits:
    """The hits that still count at THRESHOLDS[place]."""
    kept = found.passed > place
    return found._replace(
        rows_predicted=found.rows_predicted[kept], rows_true=found.rows_true[kept], passed=found.passed[kept]
    )


def one_to_one_counts(found: Hits) -> Counts:
    """Counts when a prediction and a true cell match at most once, in the largest matching there is.

    Above .5 disjoint predictions never compete for a true cell, but true masks overlap, so one prediction can hit two
    true cells, and predictions before overlap removal can hit the same one. The largest matching does not
    depend on the order of cells or on scores; a greedy one would.
    """
    contested = _shared(found.rows_predicted) | _shared(found.rows_true)
    matched = _passing(found.passed[~contested])
    if contested.any():
        rest = found._replace(
            rows_predicted=found.rows_predicted[contested],
            rows_true=found.rows_true[contested],
            passed=found.passed[contested],
        )
        matched += [len(largest_matching(at_threshold(rest, place))) for place in range(len(THRESHOLDS))]
    return Counts(matched, found.n_predicted - matched, found.n_true - matched)


def drop_counts(found: Hits) -> Counts:
    """Counts of a community copy: a prediction that hits two true cells counts neither as TP nor as FP.

    TP are predictions with exactly one hit, FP those with none, FN true cells with none. Two predictions on one true
    cell both count as TP. Source: the evaluators copied between public notebooks of the competition.
    """
    per_prediction = _hits_per_row(found.rows_predicted, found.passed, found.n_predicted)
    per_true = _hits_per_row(found.rows_true, found.passed, found.n_true)
    return Counts(
        (per_prediction == 1).sum(axis=1), (per_prediction == 0).sum(axis=1), (per_true == 0).sum(axis=1)
    )


def double_counts(found: Hits) -> Counts:
    """Counts of another community copy: every hit is a TP, so a prediction that hits two true cells counts twice.

    FP are predictions without a hit, FN true cells without one. Source: write-ups of the metric of the Data Science
    Bowl 2018, which this competition took over.
    """
    per_prediction = _hits_per_row(found.rows_predicted, found.passed, found.n_predicted)
    per_true = _hits_per_row(found.rows_true, found.passed, found.n_true)
    return Counts(_passing(found.passed), (per_prediction == 0).sum(axis=1), (per_true == 0).sum(axis=1))


COUNTS: dict[Variant, Callable[[Hits], Counts]] = {
    "one_to_one": one_to_one_counts,
    "drop": drop_counts,
    "double": double_counts,
}


def largest_matching(found: Hits) -> NDArray[np.int64]:
    """(M, 2) int64 rows of predicted and true cells, as many pairs as can be with each row at most once."""
    rows, row_places = np.unique(found.rows_predicted, return_inverse=True)
    cols, col_places = np.unique(found.rows_true, return_inverse=True)
    edges = csr_matrix(
        (np.ones(len(row_places), dtype=np.int8), (row_places, col_places)), shape=(len(rows), len(cols))
    )
    partner = maximum_bipartite_matching(edges, perm_type="column")
    matched = partner >= 0
    return np.stack([rows[matched], cols[partner[matched]]], axis=1).astype(np.int64)


def found_by_falling_score(found: Hits, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n_predicted,) which rows are finds when predictions are taken one by one by falling score.

    A row is a find if the largest matching grows with it, so that the finds down to any score are as many as the
    largest matching of the predictions down to that score has. scores: (n_predicted,).
    """
    near: dict[int, list[int]] = {}
    for row, true in zip(found.rows_predicted.tolist(), found.rows_true.tolist(), strict=True):
        near.setdefault(row, []).append(true)
    taken: dict[int, int] = {}

    def takes_one(row: int, tried: set[int]) -> bool:
        for true in near[row]:
            if true not in tried:
                tried.add(true)
                if true not in taken or takes_one(taken[true], tried):
                    taken[true] = row
                    return True
        return False

    finds = np.zeros(found.n_predicted, dtype=np.bool_)
    for row in sorted(near, key=lambda row: (-scores[row], row)):
        finds[row] = takes_one(row, set())
    return finds


def _shared(rows: Ints) -> NDArray[np.bool_]:
    """For each entry, whether another entry names the same row."""
    return np.bincount(rows)[rows] > 1


def _passing(passed: Ints) -> Ints:
    """(10,) how many hits pass each threshold."""
    histogram = np.bincount(passed, minlength=len(THRESHOLDS) + 1)
    return np.cumsum(histogram[::-1], dtype=np.int64)[::-1][1:].copy()


def _hits_per_row(rows: Ints, passed: Ints, n_rows: int) -> Ints:
    """(10, n_rows) hits of each row at each threshold."""
    return np.stack(
        [np.bincount(rows[passed > place], minlength=n_rows) for place in range(len(THRESHOLDS))]
    ).astype(np.int64)
