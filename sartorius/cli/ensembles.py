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
