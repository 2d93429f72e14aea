"""`sartorius submit`: from images to a checked submission."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from sartorius.cli.ensembles import loaded_predictors, warn_if_stale

if TYPE_CHECKING:
    from sartorius.pipeline import Submitted


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
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Be done in this time (9h, 8h30m, 90s): views and models that do not fit go."
        ),
    ] = None,
    split: SplitName = None,
    ids: Ids = None,
    folds: Folds = None,
    fold: Fold = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Predict, fuse, clean, write and check a competition submission.

    A valid file stands at --out from the start and grows image by image. Images that cannot be read, or that --budget
    leaves no time for, keep their empty row; the exit status is then 1.
    """
    import time

    began_s = time.monotonic()
    from sartorius import pipeline
    from sartorius.cli.exits import interrupted_with
    from sartorius.cli.inputs import competition_tables, ensemble_files
    from sartorius.cli.progress import shown_progress
    from sartorius.config import load_ensemble_settings
    from sartorius.files import refuse_input, require_suffix
    from sartorius.pipeline.durations import parsed_duration_s
    from sartorius.pipeline.staleness import models_loaded

    deadline_s = None if budget is None else began_s + parsed_duration_s(budget)
    require_suffix(out, (".csv",), "submission")
    refuse_input(out, [*ensemble_files(ensemble), *competition_tables(images), *([folds] if folds else [])])
    settings = load_ensemble_settings(ensemble)
    paths = pipeline.choose_images(images, split, parsed_ids(ids), folds, fold)
    predictors = loaded_predictors(ensemble, settings, device, paths)
    warn_if_stale(ensemble, settings, models_loaded(settings, predictors))
    with interrupted_with(_left(out, predictions)), shown_progress() as report:
        options = pipeline.SubmitOptions(predictions, deadline_s, report)
        submitted = pipeline.submit(predictors, settings, paths, out, options)
    typer.echo(json.dumps(_as_json(submitted)) if as_json else _summary(submitted))
    if submitted.broken or submitted.unfinished:
        raise typer.Exit(1)


def _left(out: Path, predictions: Path | None) -> str:
    """What an interrupted submission leaves."""
    submission = f"{out} holds the images done so far and empty rows for the others"
    if predictions is None:
        return (
            f"{submission}; the same command starts from the beginning and replaces it, with --predictions DIR it could "
            "have gone on"
        )
    return f"{submission}; predictions are kept in {predictions}, run the same command again to go on"


def _as_json(submitted: "Submitted") -> dict[str, object]:
    return {
        "out": str(submitted.path),
        "images": len(submitted.cells),
        "cells": sum(submitted.cells.values()),
        "problems": 0,
        "broken": dict(submitted.broken),
        "unfinished": list(submitted.unfinished),
        "dropped": list(submitted.dropped),
    }


def _summary(submitted: "Submitted") -> str:
    counts = submitted.cells.values()
    without = sum(count == 0 for count in counts)
    lines = [
        f"{submitted.path}: {sum(counts)} cells in {len(counts)} images ({without} without a cell), "
        "checked, no problem found"
    ]
    if submitted.dropped:
        lines.append(f"dropped to be in time: {', '.join(submitted.dropped)}")
    if submitted.unfinished:
        lines.append(f"no time was left for {len(submitted.unfinished)} images: {_few(submitted.unfinished)}")
    lines += [f"left without cells: {image_id}: {why}" for image_id, why in submitted.broken.items()]
    return "\n".join(lines)


def _few(image_ids: tuple[str, ...]) -> str:
    return ", ".join(image_ids[:5]) + (" …" if len(image_ids) > 5 else "")
