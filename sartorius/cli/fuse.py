"""`sartorius fuse`: cached predictions fused and cleaned, without torch."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sartorius.cli.arguments import EnsembleFile, Json
from sartorius.cli.ensembles import warn_of_cache
from sartorius.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fuse")(fuse)


def fuse(
    ensemble: EnsembleFile,
    predictions: Annotated[Path, typer.Option(help="Prediction cache that `sartorius predict` filled.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the fused cells; an earlier fused result is replaced.")
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Print which detections of this image made which cell, and why others did not.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes; 0 works in this one. Default: as many cores as pay off."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fuse and clean the cached predictions of an ensemble."""
    from sartorius.cli.progress import shown_progress
    from sartorius.config import load_ensemble_settings
    from sartorius.fusion import explanation_text
    from sartorius.pipeline import explain_image, fuse_predictions
    from sartorius.pipeline.fusing import predicted_images

    if out is None and explain is None:
        raise UserError("expected --out DIR to write the fused cells to, or --explain IMAGE, got neither")
    settings = load_ensemble_settings(ensemble)
    predicted_images(settings, predictions)
    warn_of_cache(ensemble, settings, predictions)
    result: dict[str, object] = {}
    texts = []
    if explain is not None:
        explanation = explain_image(settings, predictions, explain)
        texts.append(explanation_text(explanation))
        result |= {
            "image": explanation.image_id,
            "fused_cells": [cell._asdict() for cell in explanation.cells],
            "detections": [detection._asdict() for detection in explanation.detections],
        }
    if out is not None:
        with shown_progress() as report:
            fused = fuse_predictions(settings, predictions, out, n_workers=workers, report=report)
        cells, images = sum(fused.cells.values()), len(fused.cells)
        texts.append(f"{out}: {cells} cells in {images} images, fused from {len(settings.sources)} sources")
        result |= {"out": str(out), "images": images, "cells": cells}
    typer.echo(json.dumps(result) if as_json else "\n".join(texts))
