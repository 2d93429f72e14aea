"""Precision, recall and F1 of finding cells, pooled over images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.metrics.bootstrap import Interval, bounds, draws
from sartorius.metrics.competition import CompetitionScore
from sartorius.metrics.matching import THRESHOLDS

Floats = NDArray[np.float64]


class F1Score(NamedTuple):
    """Share of predictions that are cells, share of cells that are found, and 2 TP / (2 TP + FP + FN).

    Each with its bootstrap interval over images.
    """

    precision: Interval
    recall: Interval
    f1: Interval


def f1_score(score: CompetitionScore, rng: np.random.Generator) -> F1Score:
    """The pooled figures at IoU .50: every cell counts the same, so full images weigh more.

    score: counts of the variant `one_to_one`; the others' counts do not add up to the number of cells.
    A figure without anything to count (no predictions, no cells) is 0; f1 is 1 when there is neither.
    Raises ValueError for another variant.
    """
    if score.variant != "one_to_one":
        raise ValueError(f"expected counts of one_to_one, got {score.variant}")
    place = THRESHOLDS.index(0.5)
    columns = (score.true_positives, score.false_positives, score.false_negatives)
    counts = np.stack([column[:, place] for column in columns], axis=1)
    resampled = _figures(draws(len(counts), rng) @ counts)
    values = _figures(counts.sum(axis=0)[None])
    return F1Score(
        *(Interval(float(value[0]), *bounds(column)) for value, column in zip(values, resampled, strict=True))
    )


def _figures(counts: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """(R,) precision, recall and F1 of (R, 3) counts of TP, FP and FN."""
    found, false, missed = counts.T
    neither = np.ones(len(counts))
    return (
        _share(found, found + false, 0 * neither),
        _share(found, found + missed, 0 * neither),
        _share(2 * found, 2 * found + false + missed, neither),
    )


def _share(part: NDArray[np.int64], whole: NDArray[np.int64], without: Floats) -> Floats:
    return np.divide(part, whole, out=without, where=whole > 0)
