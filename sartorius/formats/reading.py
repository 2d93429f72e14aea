"""Files and folders of cells read, whatever format they are in."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sartorius.cells import Cells
from sartorius.data.competition import read_truth
from sartorius.data.predictions import read_prediction_folder
from sartorius.formats.coco import read_coco, read_livecell
from sartorius.formats.coco_results import read_results
from sartorius.formats.detection import FormatName, as_format_name, detect_format
from sartorius.formats.geojson import read_geojson
from sartorius.formats.imagej import read_imagej
from sartorius.formats.known import Images, Known, sizes_of
from sartorius.formats.label_images import read_labels
from sartorius.formats.yolo import read_yolo
from sartorius.submission import read_submission

Reader = Callable[[Path, Known], Mapping[str, Cells]]


def read_any(
    path: str | Path,
    images: Images = None,
    format_name: FormatName | None = None,
    reference: str | Path | None = None,
) -> dict[str, Cells]:
    """The cells of every image of a file or folder, by image id in ascending order.

    images: image files by id; needed by formats that do not tell the images' sizes.
    format_name: None tells the format from the name and how the file begins.
    reference: the COCO file whose numbers of images and categories a file of COCO results has.
    Raises UserError naming the file if its format is unknown, it is malformed, or images are missing.
    """
    path = Path(path)
    known = Known(images, None if reference is None else Path(reference))
    return read_known(path, as_format_name(format_name) if format_name else detect_format(path), known)


def read_known(path: Path, format_name: FormatName, known: Known) -> dict[str, Cells]:
    """The cells of every image of a file or folder in this format, by image id in ascending order.

    Raises UserError as `read_any`.
    """
    return dict(sorted(_READERS[format_name](path, known).items()))


def _cells(path: Path, known: Known) -> Mapping[str, Cells]:
    return read_prediction_folder(path)


def _competition(path: Path, known: Known) -> Mapping[str, Cells]:
    return read_truth(path)


def _submission(path: Path, known: Known) -> Mapping[str, Cells]:
    return read_submission(path, sizes_of(known, path, "a submission"))


_READERS: dict[FormatName, Reader] = {
    "cells": _cells,
    "competition": _competition,
    "submission": _submission,
    "coco": read_coco,
    "coco-results": read_results,
    "livecell": read_livecell,
    "labels": read_labels,
    "labels-png": read_labels,
    "labels-by-type": read_labels,
    "yolo": read_yolo,
    "imagej": read_imagej,
    "geojson": read_geojson,
}
