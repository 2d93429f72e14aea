"""Files and folders of cells read, whatever format they are in."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from sartorius.cells import Cells
from sartorius.data.competition import read_truth
from sartorius.data.predictions import MANIFEST, read_prediction_folder
from sartorius.errors import UserError
from sartorius.formats.image_sizes import Images, sizes_of
from sartorius.submission import read_submission

FormatName = Literal["cells", "truth", "submission"]


def read_any(path: Path, images: Images = None, format_name: FormatName | None = None) -> dict[str, Cells]:
    """The cells of every image of a file or folder, by image id in ascending order.

    images: image files by id; needed by formats that do not tell the images' sizes.
    format_name: None tells the format from the name and the first bytes.
    Raises UserError naming the file if its format is unknown, it is malformed, or images are missing.
    """
    reader = _READERS[format_name or detect_format(path)]
    return dict(sorted(reader(path, images).items()))


def detect_format(path: Path) -> FormatName:
    """The format of a file or folder of cells; raises UserError if it is none of the known ones."""
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return "cells"
    elif path.suffix.lower() == ".csv":
        return _csv_format(path)
    raise UserError(f"{path}: expected a folder of predictions or a CSV file of cells")


def _csv_format(path: Path) -> FormatName:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            columns = stream.readline(1000)
    except OSError as error:
        raise UserError(f"{path}: expected a CSV file, but it cannot be read: {error.strerror}") from None
    return "truth" if "annotation" in columns else "submission"


def _cells(path: Path, images: Images) -> Mapping[str, Cells]:
    return read_prediction_folder(path)


def _truth(path: Path, images: Images) -> Mapping[str, Cells]:
    return read_truth(path)


def _submission(path: Path, images: Images) -> Mapping[str, Cells]:
    return read_submission(path, sizes_of(images, path, "a submission"))


_READERS: dict[FormatName, Callable[[Path, Images], Mapping[str, Cells]]] = {
    "cells": _cells,
    "truth": _truth,
    "submission": _submission,
}
