"""`sartorius fuse`: cached predictions fused and cleaned, without torch."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sartorius.cli.ensembles import EnsembleFile, Json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fuse")(fuse)


def fuse(
    ensemble: EnsembleFile,
    predictions: Annotated[Path, typer.Option(help="Prediction cache that `sartorius predict` filled.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the fused cells; an earlier fused result is replaced.")
    ],
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes; 0 works in this one. Default: as many cores as pay off."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fuse and clean the cached predictions of an ensemble."""
    from sartorius.cli.progress import shown_progress
    from sartorius.config import load_ensemble_settings
    from sartorius.pipeline import fuse_predictions

    settings = load_ensemble_settings(ensemble)
    with shown_progress() as report:
        fused = fuse_predictions(settings, predictions, out, n_workers=workers, report=report)
    cells = sum(fused.cells.values())
    if as_json:
        typer.echo(json.dumps({"out": str(out), "images": len(fused.cells), "cells": cells}))
        return
    typer.echo(
        f"{out}: {cells} cells in {len(fused.cells)} images, fused from {len(settings.sources)} sources"
    )
