"""Arguments that several commands take."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sartorius.errors import UserError

EnsembleFile = Annotated[
    Path,
    typer.Argument(metavar="ENSEMBLE", help="Ensemble file, for example configs/ensembles/starter.yaml."),
]
Images = Annotated[
    Path,
    typer.Option(
        help="A folder of images (PNG, JPG, TIFF), or the competition's folder: its test images, or the training images of "
        "--fold."
    ),
]
SplitName = Annotated[
    Literal["train", "test"] | None,
    typer.Option(
        help="Which images of the competition's folder. Default: train if --fold is given, otherwise test."
    ),
]
ImagesSplit = Annotated[
    Literal["train", "test"] | None,
    typer.Option(help="Which images of the competition's folder. Default: test."),
]
Ids = Annotated[str | None, typer.Option(metavar="ID,ID…", help="Only these images.")]
Folds = Annotated[Path | None, typer.Option(help="File of `sartorius data folds`; with --fold.")]
Fold = Annotated[int | None, typer.Option(min=0, help="Only the images of this fold of --folds.")]
Device = Annotated[str, typer.Option(help="What torch computes on: cpu, cuda, cuda:1 …")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]


def images_to_read(images: Path | None, split: ImagesSplit) -> dict[str, Path] | None:
    """The images of the folder by id, None without one; UserError for --split without --images."""
    from sartorius.pipeline import choose_images

    if images is None and split is not None:
        raise UserError(
            f"--split {split} chooses among the images of --images DIR: give both, or leave out --split"
        )
    return None if images is None else choose_images(images, split)


def parsed_ids(ids: str | None) -> list[str] | None:
    """The image ids of a comma-separated text."""
    return None if ids is None else [part.strip() for part in ids.split(",") if part.strip()]


def refuse_half_a_fold(folds: Path | None, fold: int | None) -> None:
    """Raise UserError if only one of --folds and --fold is given."""
    if (folds is None) != (fold is None):
        raise UserError(
            "--folds FILE and --fold K go together: give both or neither; make the file with `sartorius data folds`"
        )
