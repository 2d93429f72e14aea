"""What `evaluate` and `report` read: predictions of a folder or a submission file, and folds; imported lazily."""

from collections.abc import Mapping
from pathlib import Path

import typer

from sartorius.cells import Cells
from sartorius.data.folds import read_folds, read_groups
from sartorius.data.predictions import read_prediction_folder
from sartorius.errors import UserError
from sartorius.metrics.competition import images_with_overlap
from sartorius.metrics.images import predictions_for
from sartorius.postprocess import remove_overlap
from sartorius.submission import read_submission


def folds_without_leaks(path: Path | None, truth: Path) -> dict[str, int] | None:
    """The fold of each image, held against the wells that the truth file names; None without a file of folds."""
    return None if path is None else read_folds(path, read_groups(truth))


def read_found(path: Path, truth: Mapping[str, Cells], without_overlap: bool = False) -> dict[str, Cells]:
    """The predictions of a folder or a submission file, by image id."""
    if path.is_dir():
        found = read_prediction_folder(path)
    else:
        found = read_submission(path, {name: cells.size_hw for name, cells in truth.items()})
    if not without_overlap:
        return found
    return {name: remove_overlap(cells, min_area_px=1) for name, cells in found.items()}


def for_images(
    path: Path, found: Mapping[str, Cells], truth: Mapping[str, Cells], removal: str | None = None
) -> dict[str, Cells]:
    """The predictions of the images to score; says on stderr what the competition would refuse.

    removal: the option of the command that removes overlap; None if it has none.
    """
    try:
        chosen = predictions_for(found, truth)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    overlapping = images_with_overlap(chosen)
    if overlapping:
        or_use = f", or use {removal}" if removal else ""
        typer.echo(
            f"warning: {path}: masks overlap in {len(overlapping)} of {len(chosen)} images, for example "
            f"{overlapping[0]}; the competition refuses such masks, so this is not its score: fuse and clean them "
            f"first{or_use}",
            err=True,
        )
    return chosen
