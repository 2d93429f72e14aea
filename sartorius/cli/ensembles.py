"""The models of an ensemble loaded for a command, and what is told about its settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sartorius.config.ensemble import EnsembleSettings
    from sartorius.pipeline import Predictor
    from sartorius.pipeline.staleness import SourceModel


def loaded_predictors(
    ensemble: Path, settings: "EnsembleSettings", device: str, images: "Mapping[str, Path] | None" = None
) -> "Mapping[str, Predictor]":
    """The trained models of an ensemble, and the predictions that stand for one, by member name.

    images: the image files by id that are about to be worked on; None where they are not known yet.
    Raises UserError if torch or detectron2 is needed and not installed, for weights that are missing or do not fit, and
    for predictions that lack an image.
    """
    from sartorius.pipeline.foreign import foreign_predictors, refuse_foreign

    if images is None:
        refuse_foreign(ensemble, settings, "this command works on images that come later")
    predictors: dict[str, Predictor] = {**foreign_predictors(ensemble, settings, images or {})}
    if settings.trained_members:
        from sartorius.detectron.ensemble import load_predictors

        predictors |= load_predictors(ensemble, settings, device)
    return predictors


def warn_of_cache(ensemble: Path, settings: "EnsembleSettings", cache: Path) -> None:
    """Say on stderr if cached predictions are of other weights than the ensemble's now, or its settings are stale on them."""
    from sartorius.pipeline.staleness import models_in_cache

    models = models_in_cache(settings, cache)
    warn_if_stale(ensemble, settings, models)
    for reason in _other_weights(ensemble, settings, models):
        typer.echo(f"warning: {cache}: {reason}; predict again if these are newer", err=True)


def warn_if_stale(ensemble: Path, settings: "EnsembleSettings", models: "Mapping[str, SourceModel]") -> None:
    """Say on stderr if the settings were tuned on other models, views or options than they are used with now."""
    from sartorius.pipeline.staleness import stale_reasons

    reasons = stale_reasons(settings, models)
    if reasons:
        lines = "\n".join(f"  {reason}" for reason in reasons)
        typer.echo(
            f"warning: {ensemble}: its settings were tuned on something else, so its thresholds may cost more than they "
            f"gain; tune them again with `sartorius tune`:\n{lines}",
            err=True,
        )


def _other_weights(
    ensemble: Path, settings: "EnsembleSettings", models: "Mapping[str, SourceModel]"
) -> list[str]:
    """Whose predictions were made with other weights than the ensemble's files hold now, a line for each member.

    models: the model of every source in a cache. Files that are not there tell nothing, and those of the same run's
    other folds count as the same: one ensemble file is used with the caches of all of them.
    """
    from sartorius.experiment import file_sha256, weights_of_folds

    reasons = []
    for member in settings.trained_members:
        file = ensemble.parent / member.weights
        used = {models[name].weights_sha256 for name in models if name.partition("/")[0] == member.name}
        now = {file_sha256(one) for one in weights_of_folds(file)} if used else set()
        if now and not used & now:
            reasons.append(
                f"{member.name} was predicted with {min(used)[:12]}…, {file} holds {min(now)[:12]}… now"
            )
    return reasons
