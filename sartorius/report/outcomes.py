"""What a report is made of: for each image its true cells, what was found, and what became of every true cell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings
from sartorius.metrics.competition import average_precision, image_type
from sartorius.metrics.matching import at_threshold, found_by_falling_score, hits
from sartorius.postprocess import clean
from sartorius.report.losses import FATES, Fates, fates_of, only_step, pipeline_steps

#: Score thresholds at which precision and recall are told.
SCORE_THRESHOLDS = np.arange(100) / 100


@dataclass(frozen=True, eq=False)
class Outcome:
    """One image with M true cells and N found ones.

    truth, result: the cells.
    fates: what became of the true cells.
    unthresholded: the result if no cell were dropped for its score; the result itself where that is not known.
    """

    truth: Cells
    result: Cells
    fates: Fates
    unthresholded: Cells

    @property
    def image_id(self) -> str:
        """The image's name."""
        return self.truth.image_id

    @cached_property
    def cell_type(self) -> str:
        """The most frequent type of the true cells; "none" without any."""
        return image_type(self.truth)

    @cached_property
    def score(self) -> float:
        """The image's share of the competition's mAP."""
        return float(average_precision(self.result, self.truth).mean())

    @cached_property
    def is_hit(self) -> NDArray[np.bool_]:
        """(N,) whether a found cell is matched with a true one at IoU > .5."""
        matched = np.zeros(len(self.result), dtype=np.bool_)
        matched[self.fates.partners[self.fates.partners >= 0]] = True
        return matched

    @cached_property
    def losses(self) -> dict[str, int]:
        """True cells by fate, in the order of FATES; those that occur."""
        counts = Counter(self.fates.fates.tolist())
        return {fate: counts[fate] for fate in FATES if counts[fate]}


def outcome_of_sources(sources: Mapping[str, Cells], settings: EnsembleSettings, truth: Cells) -> Outcome:
    """The outcome of one image that an ensemble's cached predictions give; sources: by name `member/view`."""
    steps = pipeline_steps(sources, settings)
    fused = steps[[step.lost for step in steps].index("below threshold") - 1].cells
    unthresholded = clean(fused, settings.postprocess.model_copy(update={"score_threshold": 0.0}))
    return Outcome(truth, steps[-1].cells, fates_of(steps, truth), unthresholded)


def outcome_of_result(result: Cells, truth: Cells) -> Outcome:
    """The outcome of one image of which only the result is known."""
    return Outcome(truth, result, fates_of(only_step(result), truth), result)


def by_type(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The images of each true cell type, by name."""
    names = sorted({outcome.cell_type for outcome in outcomes})
    return {name: [one for one in outcomes if one.cell_type == name] for name in names}


def sum_of_losses(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """True cells of all images by fate, every one of FATES in its order; they add up to all true cells."""
    return {fate: sum(outcome.losses.get(fate, 0) for outcome in outcomes) for fate in FATES}


def found_over_scores(outcomes: Sequence[Outcome]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall (100,) at IoU > .5 over all cells at each of SCORE_THRESHOLDS; NaN where nothing counts.

    Clean-up goes through the cells by falling score and only looks back, so a threshold cuts the tail off the result
    without one. Of detections that overlap and hit the same true cell the surest is the find.
    """
    scores: list[NDArray[np.float32]] = [np.zeros(0, dtype=np.float32)]
    is_hit = [np.zeros(0, dtype=np.bool_)]
    for outcome in outcomes:
        found = at_threshold(hits(outcome.unthresholded, outcome.truth), 0)
        scores.append(outcome.unthresholded.scores)
        is_hit.append(found_by_falling_score(found, outcome.unthresholded.scores))
    all_scores, all_hits = np.concatenate(scores), np.concatenate(is_hit)
    kept = all_scores[None] >= SCORE_THRESHOLDS.astype(np.float32)[:, None]
    found, predicted = (kept & all_hits).sum(axis=1), kept.sum(axis=1)
    true = sum(len(outcome.truth) for outcome in outcomes)
    return _shares(found, predicted), _shares(found, np.full(len(found), true))


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    shares = np.full(len(part), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares
