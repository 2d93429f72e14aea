"""`sartorius check`: is this file a valid submission."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartorius.cli.arguments import Fold, Folds, Ids, Images, Json, SplitName, parsed_ids
from sartorius.errors import UserError

if TYPE_CHECKING:
    from sartorius.submission import SubmissionReport

#: Size taken for an image whose file tells none: no mask fits into it, its empty row does.
_NO_SIZE_HW = (0, 0)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    submission: Annotated[
        Path, typer.Argument(metavar="SUBMISSION", help="The CSV file to check, ours or any other.")
    ],
    images: Images,
    split: SplitName = None,
    ids: Ids = None,
    folds: Folds = None,
    fold: Fold = None,
    as_json: Json = False,
) -> None:
    """List every problem of a submission file with its line; exit status 1 if there is one.

    Of an image that cannot be read only an empty row is right, which is what `sartorius submit` gives it.
    """
    from sartorius.pipeline import choose_images
    from sartorius.submission import inspect_submission

    paths = choose_images(images, split, parsed_ids(ids), folds, fold)
    report = inspect_submission(submission, _sizes_hw(paths))
    (_print_json if as_json else _print)(submission, report)
    if report.problems:
        raise typer.Exit(1)


def _sizes_hw(paths: Mapping[str, Path]) -> dict[str, tuple[int, int]]:
    """The (height, width) of each image by id, no pixel for those that tell none; says on stderr if there are any."""
    from sartorius.data.images import image_size_hw

    sizes_hw = dict.fromkeys(paths, _NO_SIZE_HW)
    faults = []
    for image_id, path in paths.items():
        try:
            sizes_hw[image_id] = image_size_hw(path)
        except UserError as error:
            faults.append(error)
    if faults:
        typer.echo(
            f"warning: {len(faults)} of {len(paths)} images cannot be read, so only an empty row of such an image is "
            f"taken as right; the first: {faults[0]}",
            err=True,
        )
    return sizes_hw


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
    typer.echo(json.dumps(result, indent=2))
