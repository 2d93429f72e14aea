"""Which images a command works on."""

from collections.abc import Collection
from pathlib import Path

from sartorius.data.competition import Split, image_folder
from sartorius.data.folds import read_folds
from sartorius.data.images import list_images
from sartorius.errors import UserError


def choose_images(
    folder: Path,
    split: Split | None = None,
    image_ids: Collection[str] | None = None,
    folds_csv: Path | None = None,
    fold: int | None = None,
) -> dict[str, Path]:
    """The chosen image files by image id, in ascending order; at least one.

    folder: a folder of images, or the competition's folder (the one with `train.csv`).
    split: the competition's `train` or `test` images; None is `train` when a fold is asked for and `test` otherwise.
    image_ids: only these images.
    folds_csv, fold: only the images that this file puts into this fold.
    Raises UserError if a folder or an image that was asked for is missing, or if nothing is left.
    """
    if (fold is None) != (folds_csv is None):
        raise UserError(
            "--folds FILE and --fold NUMBER choose the images of one fold together; one of them is missing"
        )
    if split is None and (folder / "train.csv").is_file():
        split = "test" if folds_csv is None else "train"
    source = folder if split is None else image_folder(folder, split)
    paths = list_images(source)
    if folds_csv is not None and fold is not None:
        paths = _only(paths, _ids_in_fold(folds_csv, fold), source, f"fold {fold} of {folds_csv}")
    if image_ids is not None:
        paths = _only(paths, image_ids, source, "--ids")
    return paths


def _ids_in_fold(folds_csv: Path, fold: int) -> list[str]:
    fold_of = read_folds(folds_csv)
    ids = [image_id for image_id, its_fold in fold_of.items() if its_fold == fold]
    if not ids:
        there = ", ".join(map(str, sorted(set(fold_of.values()))))
        raise UserError(f"{folds_csv}: no image is in fold {fold}; the file has the folds {there}")
    return ids


def _only(paths: dict[str, Path], image_ids: Collection[str], source: Path, asked_by: str) -> dict[str, Path]:
    missing = sorted(set(image_ids) - set(paths))
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of the {len(set(image_ids))} images that {asked_by} asks for are not among its "
            f"{len(paths)} images: {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}"
        )
    chosen = set(image_ids)
    if not chosen:
        raise UserError(f"{asked_by} names no image; expected at least one of the {len(paths)} in {source}")
    return {image_id: path for image_id, path in paths.items() if image_id in chosen}
