"""Synthetic images on disk in the competition's own layout."""

import csv
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sartorius.cells import CELL_TYPES, Cells
from sartorius.data.synthetic.image import synthetic_image
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.rle import kaggle_from_coco

TRUTH_COLUMNS = (
    "id", "annotation", "width", "height", "cell_type", "plate_time", "sample_date", "sample_id", "elapsed_timedelta",
)  # fmt: skip
SPLITS = ("train", "test")
#: The files beside the images of each split.
TABLES = {"train": ("train.csv",), "test": ("test_truth.csv", "sample_submission.csv")}


def synthesize(out_dir: Path, images_per_type: int, seed: int) -> Path:
    """A folder of synthetic images in the competition's layout, the truth of its test images beside it.

    out_dir: gets `train/*.png` (`images_per_type` of each cell type), `train.csv`, `test/*.png` (a fifth as many,
        at least one of each type), `test_truth.csv` (the columns of `train.csv`) and `sample_submission.csv`.
    seed: the same seed gives the same images, and a larger `images_per_type` only adds to them.
    The columns that tell where a sample came from are empty but for `sample_id`, which is the image's id.
    Returns `out_dir`. Raises UserError if fewer than one image is asked for or the folder holds other images or tables.
    """
    if images_per_type < 1:
        raise UserError(f"expected at least 1 image per cell type, got {images_per_type}")
    wanted = {"train": images_per_type, "test": max(1, images_per_type // 5)}
    for split in SPLITS:
        ids = {_image_id(name, split, number) for name in CELL_TYPES for number in range(wanted[split])}
        _refuse_other_images(out_dir / split, ids)
        for name in TABLES[split]:
            _refuse_other_rows(out_dir / name, ids)
    truth = {split: list(_written_images(out_dir / split, split, wanted[split], seed)) for split in SPLITS}
    _write_rows(out_dir / "train.csv", TRUTH_COLUMNS, _truth_rows(truth["train"]))
    _write_rows(out_dir / "test_truth.csv", TRUTH_COLUMNS, _truth_rows(truth["test"]))
    test_ids = sorted(cells.image_id for cells in truth["test"])
    _write_rows(out_dir / "sample_submission.csv", ("id", "predicted"), ((name, "") for name in test_ids))
    return out_dir


def synthetic_rng(seed: int, cell_type: str, split: str, number: int) -> np.random.Generator:
    """The generator of one image of a data set, independent of every other image's."""
    key = (CELL_TYPES.index(cell_type), SPLITS.index(split), number)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _image_id(cell_type: str, split: str, number: int) -> str:
    return f"{cell_type}_{split}_{number:04d}"


def _refuse_other_images(folder: Path, ids: Collection[str]) -> None:
    """An image left over from another run would have no truth; hidden files are what a killed one leaves."""
    others = sorted(path.name for path in folder.glob("[!.]*") if path.stem not in ids)
    if others:
        raise UserError(
            f"{folder}: expected no images but those about to be written, found {others[0]}"
            f"{f' and {len(others) - 1} more' if len(others) > 1 else ''}; choose an empty folder"
        )


def _refuse_other_rows(path: Path, ids: Collection[str]) -> None:
    """A table of other images is not ours to replace."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        others = [line for line in list(file)[1:] if line.split(",", 1)[0] not in ids]
    if others:
        raise UserError(
            f"{path}: expected no rows but those of the images about to be written, found "
            f"{others[0].split(',', 1)[0].strip()!r}; choose an empty folder"
        )


def _written_images(folder: Path, split: str, images_per_type: int, seed: int) -> Iterator[Cells]:
    for cell_type in CELL_TYPES:
        for number in range(images_per_type):
            rng = synthetic_rng(seed, cell_type, split, number)
            image, cells = synthetic_image(cell_type, rng, image_id=_image_id(cell_type, split, number))
            _write_image(folder / f"{cells.image_id}.png", image)
            yield cells


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    done, png = cv2.imencode(".png", image)
    if not done:
        raise ValueError(f"{path}: OpenCV could not encode an image of shape {image.shape}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(png.tobytes())


def _truth_rows(images: Iterable[Cells]) -> Iterator[tuple[str | int, ...]]:
    for cells in images:
        height, width = cells.size_hw
        for mask, cell_type in zip(cells.masks, cells.cell_types.tolist(), strict=True):
            text = kaggle_from_coco(mask).text
            yield cells.image_id, text, width, height, cell_type, "", "", cells.image_id, ""


def _write_rows(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[str | int, ...]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
