"""Cells of many images written as the files of other programs."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sartorius import __version__
from sartorius.cells import Cells
from sartorius.data.competition import TRUTH_COLUMNS
from sartorius.data.predictions import PredictionManifest, prediction_path, write_cells, write_manifest
from sartorius.errors import UserError
from sartorius.files import atomic_path, filled_folder
from sartorius.formats.coco import write_coco, write_livecell
from sartorius.formats.coco_results import write_results
from sartorius.formats.detection import FormatName, as_format_name
from sartorius.formats.geojson import write_geojson
from sartorius.formats.imagej import write_imagej
from sartorius.formats.known import Images, Known
from sartorius.formats.label_images import write_labels, write_labels_by_type, write_png_labels
from sartorius.formats.yolo import write_yolo
from sartorius.postprocess import remove_overlap
from sartorius.rle import kaggles_from_cocos
from sartorius.submission import write_submission

Writer = Callable[[Path, Mapping[str, Cells], Known], None]

#: What the manifest of a converted folder of cells names as its source.
CONVERTED = "converted"


class Target(NamedTuple):
    """How a format is written.

    suffix: the ending of its file, "" for a folder. names_types: whether cell types are in names of files.
    """

    write: Writer
    suffix: str
    names_types: bool = False


def write_any(
    path: str | Path,
    found: Mapping[str, Cells],
    format_name: FormatName,
    images: Images = None,
    reference: str | Path | None = None,
) -> None:
    """Write the cells of every image as a file or folder of a format, images without cells too, whole or not at all.

    path: the file, or the new or empty folder, to write; what a format loses is told by `differences`.
    found: cells by image id, which is what they are written under, whatever id the record has.
    images: image files by id, for formats that name files.
    reference: the COCO file whose numbers of images and categories a file of COCO results gets.
    Raises UserError if the path does not fit the format, or an image, or a cell type that names files of the format,
    has a name that no file can have.
    """
    path, format_name = Path(path), as_format_name(format_name)
    require_target(path, format_name)
    target, known = TARGETS[format_name], Known(images, None if reference is None else Path(reference))
    typed = found.values() if target.names_types else ()
    for name in sorted({*found, *(str(name) for cells in typed for name in cells.cell_types)}):
        if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
            raise UserError(
                f"{path}: {name!r} cannot be part of a file's name; rename the image or cell type"
            )
    in_order = {image_id: replace(cells, image_id=image_id) for image_id, cells in sorted(found.items())}
    if target.suffix:
        target.write(path, in_order, known)
        return
    with filled_folder(path) as folder:
        target.write(folder, in_order, known)


def require_target(path: Path, format_name: FormatName) -> None:
    """Raises UserError unless the path can be written in this format."""
    suffix = TARGETS[format_name].suffix
    if suffix and path.suffix.lower() != suffix:
        raise UserError(f"{path}: expected the name of a {suffix} file for the format {format_name}")
    if not suffix and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            f"{path}: expected a new or empty folder for the format {format_name}; choose another"
        )


def _write_cells(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """A folder of predictions, which every command reads."""
    for image_id, cells in found.items():
        write_cells(prediction_path(path, image_id), cells)
    write_manifest(path, PredictionManifest(source=CONVERTED, package_version=__version__))


def _write_competition(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """The competition's table of annotations, an image without cells as a row without annotation."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        for image_id, cells in found.items():
            height, width = cells.size_hw
            rows = zip(kaggles_from_cocos(cells.masks), cells.cell_types.tolist(), strict=True)
            filled = [(image_id, text.text, width, height, name) for text, name in rows if text.text]
            writer.writerows(filled or [(image_id, "", width, height, "")])


def _write_submission(path: Path, found: Mapping[str, Cells], known: Known) -> None:
    """The competition's table of found cells; a pixel that cells share goes to the surest."""
    disjoint = (remove_overlap(cells, min_area_px=1) for cells in found.values())
    write_submission(path, disjoint, list(found))


TARGETS: dict[FormatName, Target] = {
    "cells": Target(_write_cells, ""),
    "competition": Target(_write_competition, ".csv"),
    "submission": Target(_write_submission, ".csv"),
    "coco": Target(write_coco, ".json"),
    "coco-results": Target(write_results, ".json"),
    "livecell": Target(write_livecell, ".json"),
    "labels": Target(write_labels, ""),
    "labels-png": Target(write_png_labels, ""),
    "labels-by-type": Target(write_labels_by_type, "", names_types=True),
    "yolo": Target(write_yolo, ""),
    "imagej": Target(write_imagej, "", names_types=True),
    "geojson": Target(write_geojson, ""),
}
