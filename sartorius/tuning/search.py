"""The settings with the best score on some images, found with Optuna, one cell type after the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from sartorius.config.ensemble import EnsembleSettings
from sartorius.line_runs import Ints
from sartorius.tuning.objective import Objective
from sartorius.tuning.space import (
    SEARCHED,
    Searched,
    TypeSettings,
    at_point,
    distributions,
    nearest_point,
    of_type,
    with_type,
    with_type_rule,
)

Floats = NDArray[np.float64]

#: Every score threshold that is tried: one trial sees all of them at once.
SCORE_THRESHOLDS: Floats = np.arange(100) / 100
#: The curve over thresholds is averaged over this many neighbours before its best is taken: the middle of a plateau
#: holds on other images, a single peak does not.
SMOOTHED_OVER = 5
#: Trials drawn at random before Optuna learns from them; the same ones in every search, so their work is shared.
RANDOM_TRIALS = 20
#: What is searched whatever the settings are, each of its values being tried.
WITHOUT_TRIALS = ("score_threshold", "type_rule")


class Budget(NamedTuple):
    """What is searched and how long.

    names: the settings, of `space.SEARCHED`.
    trials: Optuna trials for each cell type.
    seed: of Optuna's sampler; the same seed gives the same settings.
    """

    names: tuple[Searched, ...]
    trials: int
    seed: int


def best_settings(
    objective: Objective, start: EnsembleSettings, rows: Ints, budget: Budget
) -> EnsembleSettings:
    """The settings with the best mean score over the images `rows`; never worse there than `start`, but for smoothing.

    Cell types are searched one after the other, in order, each with what was found for those before it: the settings
    of a type touch only the images that are taken for it. The rule for the type of an image is tried last.
    """
    found = start
    with _quiet():
        for cell_type in objective.types_of(rows, start.postprocess.type_rule):
            found = _with_best_of_type(objective, found, cell_type, rows, budget)
    if "type_rule" in budget.names:
        own = start.postprocess.type_rule  # the first: it stays where both are alike
        rules = [with_type_rule(found, rule) for rule in (own, "none" if own == "vote" else "vote")]
        means = [objective.image_scores(settings, rows).mean() for settings in rules]
        found = rules[int(np.argmax(means))]
    return found


def searchable(objective: Objective, start: EnsembleSettings) -> tuple[Searched, ...]:
    """What a search from these settings can vary: what they have for some type of the images, in the order of SEARCHED.

    Raises UserError if a setting has no value for a type.
    """
    types = objective.types_of(objective.rows, start.postprocess.type_rule)
    of_types = [(of_type(start, name), len(start.sources_for(name))) for name in types]
    return tuple(
        name
        for name in SEARCHED
        if name in WITHOUT_TRIALS or any(distributions(own, [name], sources) for own, sources in of_types)
    )


def smoothed(curve: Floats) -> Floats:
    """(G,) the mean of each value and its neighbours, SMOOTHED_OVER in all; the ends are taken to go on as they are."""
    margin = SMOOTHED_OVER // 2
    return np.convolve(np.pad(curve, margin, mode="edge"), np.full(SMOOTHED_OVER, 1 / SMOOTHED_OVER), "valid")


def _with_best_of_type(
    objective: Objective, settings: EnsembleSettings, cell_type: str, rows: Ints, budget: Budget
) -> EnsembleSettings:
    start = of_type(settings, cell_type)
    best_value, best = _rated(objective, settings, cell_type, start, rows, budget)
    drawn = distributions(start, budget.names, len(settings.sources_for(cell_type)))
    if not drawn:
        return with_type(settings, cell_type, best)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=budget.seed, n_startup_trials=RANDOM_TRIALS),
    )
    study.enqueue_trial(nearest_point(start, drawn, cell_type))
    for _ in range(budget.trials):
        trial = study.ask(drawn)
        value, rated = _rated(objective, settings, cell_type, at_point(start, trial.params), rows, budget)
        study.tell(trial, value)
        if value > best_value:
            best_value, best = value, rated
    return with_type(settings, cell_type, best)


def _rated(
    objective: Objective,
    settings: EnsembleSettings,
    cell_type: str,
    chosen: TypeSettings,
    rows: Ints,
    budget: Budget,
) -> tuple[float, TypeSettings]:
    """The score over the images `rows` with one type's settings replaced, and these with the best score threshold."""
    candidate = with_type(settings, cell_type, chosen)
    if "score_threshold" not in budget.names:
        return float(objective.image_scores(candidate, rows).mean()), chosen
    curve = smoothed(objective.curves(candidate, cell_type, SCORE_THRESHOLDS, rows).mean(axis=0))
    best = int(np.argmax(curve))
    return float(curve[best]), chosen._replace(score_threshold=float(SCORE_THRESHOLDS[best]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says nothing below a warning inside the block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
