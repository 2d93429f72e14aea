"""`sartorius submit`: from images to a checked submission."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sartorius.cli.ensembles import (
    Device,
    EnsembleFile,
    Fold,
    Folds,
    Ids,
    Images,
    Json,
    SplitName,
    loaded_predictors,
    parsed_ids,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit")(submit)


def submit(
    ensemble: EnsembleFile,
    images: Images,
    out: Annotated[Path, typer.Option(help="The submission to write, for example submission.csv.")],
    predictions: Annotated[
        Path | None, typer.Option(help="Keep the prediction cache here; an interrupted run then goes on.")
    ] = None,
    split: SplitName = None,
    ids: Ids = None,
    folds: Folds = None,
    fold: Fold = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Predict, fuse, clean, write and check a competition submission."""
    from sartorius import pipeline
    from sartorius.cli.progress import shown_progress
    from sartorius.config import load_ensemble_settings

    settings = load_ensemble_settings(ensemble)
    paths = pipeline.choose_images(images, split, parsed_ids(ids), folds, fold)
    predictors = loaded_predictors(ensemble, settings, device)
    with shown_progress() as report:
        submitted = pipeline.submit(predictors, settings, paths, out, predictions, report)
    cells = sum(submitted.cells.values())
    if as_json:
        typer.echo(json.dumps({"out": str(out), "images": len(paths), "cells": cells, "problems": 0}))
        return
    without = sum(count == 0 for count in submitted.cells.values())
    typer.echo(
        f"{out}: {cells} cells in {len(paths)} images ({without} without a cell), checked, no problem found"
    )
