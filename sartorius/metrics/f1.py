"""Precision, recall and F1 of finding cells, pooled over images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sartorius.metrics.bootstrap import RESAMPLES, Interval, bounds, draws
from sartorius.metrics.competition import CompetitionScore
from sartorius.metrics.matching import THRESHOLDS

Floats = NDArray[np.float64]


class F1Score(NamedTuple):
    """Share of predictions that are cells, share of cells that are found, and 2 TP / (2 TP + FP + FN).

    f1 comes with a bootstrap interval over images.
    """

    precision: float
    recall: float
    f1: Interval


def f1_score(
    score: CompetitionScore,
    rng: np.random.Generator,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
) -> F1Score:
    """The pooled figures at one of THRESHOLDS: every cell counts the same, so full images weigh more.

    score: counts of the variant `one_to_one`; the others' counts do not add up to the number of cells.
    A figure without anything to count (no predictions, no cells) is 0; f1 is 1 when there is neither.
    Raises ValueError for another threshold or variant.
    """
    if threshold not in THRESHOLDS or score.variant != "one_to_one":
        raise ValueError(f"expected one of {THRESHOLDS} and one_to_one, got {threshold} and {score.variant}")
    place = THRESHOLDS.index(threshold)
    columns = (score.true_positives, score.false_positives, score.false_negatives)
    counts = np.stack([column[:, place] for column in columns], axis=1)
    found, false, missed = counts.sum(axis=0).tolist()
    resampled = _f1(draws(len(counts), rng, resamples) @ counts)
    return F1Score(
        precision=found / max(found + false, 1),
        recall=found / max(found + missed, 1),
        f1=Interval(float(_f1(counts.sum(axis=0)[None])[0]), *bounds(resampled)),
    )


def _f1(counts: NDArray[np.int64]) -> Floats:
    """(R,) F1 of (R, 3) counts of TP, FP and FN."""
    whole = 2 * counts[:, 0] + counts[:, 1] + counts[:, 2]
    f1 = np.ones(len(counts), dtype=np.float64)
    np.divide(2 * counts[:, 0], whole, out=f1, where=whole > 0)
    return f1
