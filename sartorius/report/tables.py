"""The figures of a report, each with its interval over images, as rows for the page."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sartorius.metrics.assessment import Assessment, Wanted, assess
from sartorius.metrics.bootstrap import Interval
from sartorius.metrics.competition import evaluate
from sartorius.metrics.f1 import f1_score
from sartorius.report.losses import FATES
from sartorius.report.outcomes import Outcome, by_type, sum_of_losses

#: Seed of the bootstrap over images.
BOOTSTRAP_SEED = 0
ALL = "all types"

#: What the fates mean, for people who look at the page.
MEANINGS = {
    "not proposed": "no detection has an IoU of at least .2 with it",
    "poorly outlined": "detections cover it, none with an IoU above .5",
    "fused away": "a detection had it, the fused cell is another one or drawn worse",
    "too few votes": "fewer sources saw it than a cell needs",
    "below threshold": "its fused cell is not sure enough",
    "reshaped": "mending holes, islands or outlines took it too far",
    "too small": "its fused cell has too few pixels",
    "repeat": "its cell overlaps a surer one too much",
    "clipped": "surer cells took its pixels",
    "shared": "its cell counts for another true cell that it overlaps",
    "found": "a cell of the result has an IoU above .5 with it, one to one",
}


class TypeRow(NamedTuple):
    """The figures of one cell type, or of all."""

    name: str
    images: int
    true_cells: int
    found_cells: int
    score: Interval
    precision: Interval
    recall: Interval
    f1: Interval


class LossStep(NamedTuple):
    """One step of a waterfall: cells lost there and left after it, and both as shares of all true cells."""

    fate: str
    lost: int
    left: int
    lost_share: float
    left_share: float


class Waterfall(NamedTuple):
    """Where the true cells of a group of images were lost, step by step; only steps at which some were."""

    name: str
    true_cells: int
    steps: tuple[LossStep, ...]
    found: int
    found_share: float


def assessment_of(outcomes: Sequence[Outcome], with_types: bool) -> Assessment:
    """All figures over the images; with_types: the found cells carry types."""
    results = {outcome.image_id: outcome.result for outcome in outcomes}
    truth = {outcome.image_id: outcome.truth for outcome in outcomes}
    return assess(results, truth, np.random.default_rng(BOOTSTRAP_SEED), Wanted(confusion=with_types))


def type_rows(assessment: Assessment, outcomes: Sequence[Outcome]) -> list[TypeRow]:
    """A row for all images, then one for each type."""
    total = _row(ALL, outcomes, assessment.total, *assessment.f1)
    return [total, *(_row_of_type(name, group, assessment) for name, group in by_type(outcomes).items())]


def waterfalls(outcomes: Sequence[Outcome]) -> list[Waterfall]:
    """One of all images and, where there are several types, one of each."""
    groups = by_type(outcomes)
    every = [(ALL, list(outcomes)), *groups.items()] if len(groups) > 1 else list(groups.items())
    return [_waterfall(name, group) for name, group in every]


def _waterfall(name: str, outcomes: Iterable[Outcome]) -> Waterfall:
    losses = sum_of_losses(list(outcomes))
    total = left = sum(losses.values())
    steps = []
    for fate in FATES[:-1]:
        if losses[fate]:
            left -= losses[fate]
            steps.append(LossStep(fate, losses[fate], left, losses[fate] / total, left / total))
    return Waterfall(name, total, tuple(steps), left, left / total if total else 0.0)


def _row_of_type(name: str, outcomes: Sequence[Outcome], assessment: Assessment) -> TypeRow:
    results = {outcome.image_id: outcome.result for outcome in outcomes}
    score = evaluate(results, {outcome.image_id: outcome.truth for outcome in outcomes})
    figures = f1_score(score, np.random.default_rng(BOOTSTRAP_SEED))
    return _row(name, outcomes, assessment.per_type[name], *figures)


def _row(
    name: str,
    outcomes: Sequence[Outcome],
    score: Interval,
    precision: Interval,
    recall: Interval,
    f1: Interval,
) -> TypeRow:
    true_cells = sum(len(outcome.truth) for outcome in outcomes)
    found_cells = sum(len(outcome.result) for outcome in outcomes)
    return TypeRow(name, len(outcomes), true_cells, found_cells, score, precision, recall, f1)
