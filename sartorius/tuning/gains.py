"""What each view and each model of a tuned ensemble is worth: a run that is short of time goes by it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.gains import FewerSources, Gains
from sartorius.pipeline.budget import narrowings
from sartorius.pipeline.smaller import smaller_ensemble, tells_types
from sartorius.tuning.objective import Objective
from sartorius.tuning.search import Budget, best_settings
from sartorius.tuning.stages import ImageStages


def measured_gains(
    images: Sequence[ImageStages],
    settings: EnsembleSettings,
    image_scores: NDArray[np.float64],
    measured_on: str,
) -> Gains | None:
    """How much the mean score falls without each view and each model, one at a time, nothing else being searched again.

    images: I images with the predictions of every source that is fused there. image_scores: (I,) with all of them.
    A part of which there is only one has no gain. None if there is no other part, or if members are fused inside the
    networks, whose predictions do not tell one part from another.
    """
    if settings.stage_wise is not None:
        return None
    types = np.array([image.true_type for image in images])

    def gains(smaller: EnsembleSettings) -> NDArray[np.float64]:
        return image_scores - _objective(images, smaller).image_scores(smaller)

    several = len(settings.views) > 1
    views = [view.name for view in settings.views if several and tells_types(settings, [view.name])]
    members = [member.name for member in settings.members if tells_types(settings, (), [member.name])]
    if not views and not members:
        return None
    of_views = {name: gains(smaller_ensemble(settings, without_views=[name])) for name in views}
    of_members = {name: gains(smaller_ensemble(settings, without_members=[name])) for name in members}
    of_parts = {f"view {name}": gain for name, gain in of_views.items()}
    of_parts |= {f"model {name}": gain for name, gain in of_members.items()}
    return Gains(
        views={name: _mean(gain) for name, gain in of_views.items()},
        members={name: _mean(gain) for name, gain in of_members.items()},
        per_type={
            part: {str(name): _mean(gain[types == name]) for name in np.unique(types)}
            for part, gain in of_parts.items()
        },
        measured_on=measured_on,
    )


def _mean(gains: NDArray[np.float64]) -> float:
    return round(float(gains.mean()), 6)


def thresholds_of_fewer(
    images: Sequence[ImageStages], settings: EnsembleSettings
) -> tuple[FewerSources, ...]:
    """The score thresholds that are best for what is left each time that a run short of time drops another part.

    images: as for `measured_gains`. settings: with the gains that say what is dropped first.
    """
    found = []
    for smaller in narrowings(settings):
        objective = _objective(images, smaller)
        best = best_settings(objective, smaller, objective.rows, Budget(("score_threshold",), 0, 0))
        threshold, total = best.postprocess.score_threshold, float(objective.image_scores(best).mean())
        found.append(
            FewerSources(sources=len(smaller.sources), score_threshold=threshold, total=round(total, 6))
        )
    return tuple(found)


def _objective(images: Sequence[ImageStages], smaller: EnsembleSettings) -> Objective:
    """The score of an ensemble that lacks some of the sources; images keep their types, which tell who looked at them."""
    return Objective(
        [ImageStages(image.sources, image.truth, smaller, image.detected_type) for image in images]
    )
