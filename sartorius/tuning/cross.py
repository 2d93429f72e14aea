"""Settings for each part of the images searched on all other parts, so that every score is of images not searched on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartorius.config.ensemble import EnsembleSettings
from sartorius.errors import UserError
from sartorius.line_runs import Ints
from sartorius.tuning.objective import Objective
from sartorius.tuning.search import Budget, best_settings

Floats = NDArray[np.float64]
#: Called as report(what, done, total) whenever a piece of work is done.
Report = Callable[[str, int, int], None]


def no_report(what: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True, eq=False)
class CrossTuned:
    """What tuning gives on I images that lie in P parts.

    settings: searched on all images, for use on images that are not among them.
    of_parts: P settings, each searched on all images outside of its part.
    untuned, in_fold, out_of_fold: (I,) scores with the settings it started from, with `settings`, and with those of
        `of_parts` for the image's part.
    """

    settings: EnsembleSettings
    of_parts: tuple[EnsembleSettings, ...]
    untuned: Floats
    in_fold: Floats
    out_of_fold: Floats


def cross_tuned(
    objective: Objective, start: EnsembleSettings, parts: Ints, budget: Budget, report: Report = no_report
) -> CrossTuned:
    """Settings searched from `start` on, for each part without its images and on all of them.

    parts: (I,) the part of each image, from 0.
    Raises UserError if there are fewer than two parts.
    """
    count = int(parts.max(initial=-1)) + 1
    if count < 2:
        raise UserError(
            f"expected at least two parts of images, one to search on and one to score; got {count}"
        )
    out_of_fold, of_parts = np.zeros(len(parts)), []
    for part in range(count):
        held_out = np.flatnonzero(parts == part)
        found = best_settings(objective, start, np.flatnonzero(parts != part), budget)
        out_of_fold[held_out] = objective.image_scores(found, held_out)
        of_parts.append(found)
        report("search", part + 1, count + 1)
    settings = best_settings(objective, start, objective.rows, budget)
    report("search", count + 1, count + 1)
    return CrossTuned(
        settings,
        tuple(of_parts),
        objective.image_scores(start),
        objective.image_scores(settings),
        out_of_fold,
    )


def with_settings_of(settings: EnsembleSettings, tuned: EnsembleSettings) -> EnsembleSettings:
    """An ensemble with the fusion and clean-up of another one."""
    return settings.model_copy(
        update={name: getattr(tuned, name) for name in ("fusion", "fusion_per_type", "postprocess")}
    )
