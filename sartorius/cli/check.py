"""`sartorius check`: is this file a valid submission."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartorius.cli.arguments import Fold, Folds, Ids, Images, Json, SplitName, parsed_ids

if TYPE_CHECKING:
    from sartorius.submission import SubmissionReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    submission: Annotated[Path, typer.Argument(help="The CSV file to check, ours or any other.")],
    images: Images,
    split: SplitName = None,
    ids: Ids = None,
    folds: Folds = None,
    fold: Fold = None,
    as_json: Json = False,
) -> None:
    """List every problem of a submission file with its line; exit status 1 if there is one."""
    from sartorius.data.images import read_image
    from sartorius.pipeline import choose_images
    from sartorius.submission import inspect_submission

    paths = choose_images(images, split, parsed_ids(ids), folds, fold)
    sizes_hw = {image_id: read_image(path).shape for image_id, path in paths.items()}
    report = inspect_submission(submission, sizes_hw)
    (_print_json if as_json else _print)(submission, report)
    if report.problems:
        raise typer.Exit(1)


def _print(path: Path, report: "SubmissionReport") -> None:
    for line, message in report.problems:
        typer.echo(f"{path}: {message}" if line is None else f"{path}:{line}: {message}")
    if report.problems:
        count = len(report.problems)
        typer.echo(f"{path}: {count} problem{'s' * (count > 1)}")
        return
    cells = list(report.cells_per_image.values())
    typer.echo(
        f"{path}: valid, {sum(cells)} cells in {len(cells)} images, {cells.count(0)} of them without cells"
    )


def _print_json(path: Path, report: "SubmissionReport") -> None:
    cells = list(report.cells_per_image.values())
    result = {
        "submission": str(path),
        "valid": not report.problems,
        "images": len(cells),
        "cells": sum(cells),
        "images_without_cells": cells.count(0),
        "problems": [problem._asdict() for problem in report.problems],
    }
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
