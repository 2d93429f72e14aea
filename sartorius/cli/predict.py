"""`sartorius predict`: the prediction cache filled."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sartorius.cli.arguments import (
    Device,
    EnsembleFile,
    Fold,
    Folds,
    Ids,
    Images,
    Json,
    SplitName,
    parsed_ids,
)
from sartorius.cli.ensembles import loaded_predictors


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    ensemble: EnsembleFile,
    images: Images,
    out: Annotated[
        Path, typer.Option(help="Folder of the prediction cache; an interrupted run goes on there.")
    ],
    split: SplitName = None,
    ids: Ids = None,
    folds: Folds = None,
    fold: Fold = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Run every model and view of an ensemble over images and keep what they find."""
    from sartorius.cli.exits import interrupted_with
    from sartorius.cli.progress import shown_progress
    from sartorius.config import load_ensemble_settings
    from sartorius.pipeline import choose_images, predict_images

    settings = load_ensemble_settings(ensemble)
    paths = choose_images(images, split, parsed_ids(ids), folds, fold)
    predictors = loaded_predictors(ensemble, settings, device, paths)
    told = f"what is predicted is kept in {out}, run the same command again to go on"
    with interrupted_with(told), shown_progress() as report:
        predicted = predict_images(predictors, settings, paths, out, report)
    if as_json:
        result = {"out": str(out), "images": len(paths), "sources": settings.sources, **predicted._asdict()}
        typer.echo(json.dumps(result))
        return
    left_out = f", {predicted.left_out} left out by the images' types" if predicted.left_out else ""
    typer.echo(
        f"{out}: {len(paths)} images x {len(settings.sources)} sources, "
        f"{predicted.made} predicted now, {predicted.kept} were there{left_out}"
    )
