"""The files that a visitor takes away: written when asked for, of all searched images, with the cells the page shows."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sartorius.app.finding import cells_above, searched_images
from sartorius.app.measuring import cell_table
from sartorius.app.offers import Choice
from sartorius.app.quantities import FIRST_NUMBER
from sartorius.app.sessions import Session
from sartorius.cells import Cells
from sartorius.data.images import read_image
from sartorius.errors import UserError
from sartorius.formats import FormatName, write_any
from sartorius.morphometrics import Measurements, measure_image, measure_types, write_measurements
from sartorius.plots import overlay, write_picture
from sartorius.submission import write_submission


class Download(NamedTuple):
    """One kind of file that can be taken away.

    write: called as write(folder, session, choice); writes one file into the folder and returns its path.
    """

    title: str
    note: str
    write: Callable[[Path, Session, Choice], Path]


def write_download(key: str, folder: Path, session: Session, choice: Choice) -> Path:
    """The file of one kind, in the folder.

    Raises UserError if there is no such kind, or no image was searched.
    """
    if key not in DOWNLOADS:
        raise UserError(f"there is no file called {key}; there are {', '.join(DOWNLOADS)}")
    if not searched_images(session, choice.offer):
        raise UserError("no cells have been looked for in any image yet")
    return DOWNLOADS[key].write(folder, session, choice)


def _found(session: Session, choice: Choice) -> dict[str, Cells]:
    return {
        image_id: cells_above(session, choice.offer, image_id, choice.thresholds)
        for image_id in searched_images(session, choice.offer)
    }


def _measurements(folder: Path, session: Session, choice: Choice) -> tuple[Path, Path, Path]:
    found = _found(session, choice)
    tables = {image_id: cell_table(session, choice, image_id) for image_id in found}
    filled = [table for table in tables.values() if len(table)] or list(tables.values())[:1]
    cells = pd.concat(filled, ignore_index=True)
    cells.insert(2, "label", cells["cell"] + FIRST_NUMBER)
    images = pd.concat(
        [measure_image(found[image_id], table, choice.um_per_px) for image_id, table in tables.items()],
        ignore_index=True,
    )
    return write_measurements(folder / "cells.csv", Measurements(cells, images, measure_types(cells)))


def _cells_csv(folder: Path, session: Session, choice: Choice) -> Path:
    return _measurements(folder, session, choice)[0]


def _images_csv(folder: Path, session: Session, choice: Choice) -> Path:
    return _measurements(folder, session, choice)[1].rename(folder / "images.csv")


def _labels(folder: Path, session: Session, choice: Choice) -> Path:
    written = _written(folder / "labels", session, choice, "labels")
    images = [path for path in written if path.suffix == ".tif"]
    return _one_or_zip(folder / "labels.zip", images if len(images) == 1 else written)


def _coco(folder: Path, session: Session, choice: Choice) -> Path:
    return _written(folder / "coco.json", session, choice, "coco")[0]


def _imagej(folder: Path, session: Session, choice: Choice) -> Path:
    return _one_or_zip(folder / "imagej.zip", _written(folder / "imagej", session, choice, "imagej"))


def _geojson(folder: Path, session: Session, choice: Choice) -> Path:
    return _one_or_zip(folder / "qupath.zip", _written(folder / "qupath", session, choice, "geojson"))


def _written(path: Path, session: Session, choice: Choice, format_name: FormatName) -> list[Path]:
    """The files of a format: the path itself, or what lies in it."""
    write_any(path, _found(session, choice), format_name, session.images)
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _submission(folder: Path, session: Session, choice: Choice) -> Path:
    found, path = _found(session, choice), folder / "submission.csv"
    write_submission(path, found.values(), list(found))
    return path


def _pictures(folder: Path, session: Session, choice: Choice) -> Path:
    written, cell_types = [], choice.offer.cell_types
    for image_id, cells in _found(session, choice).items():
        image = read_image(session.images[image_id])
        picture = overlay(image, cells, um_per_px=choice.um_per_px, cell_types=cell_types)
        written.append(write_picture(folder / "outlines" / f"{image_id}.png", picture))
    return _one_or_zip(folder / "outlines.zip", written)


def _one_or_zip(path: Path, written: list[Path]) -> Path:
    """All files in one ZIP file, not compressed again; a single one as it is, `well_labels.tif` for `labels.zip`."""
    if len(written) == 1:
        return written[0].rename(path.with_name(f"{written[0].stem}_{path.stem}{written[0].suffix}"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in written:
            archive.write(file, file.name)
    return path


#: Every kind of file by its key, in the order of the page.
DOWNLOADS: Mapping[str, Download] = {
    "cells": Download("Measurements", "CSV, one row per cell, every number", _cells_csv),
    "images": Download("Images", "CSV, one row per image: count, density, area covered", _images_csv),
    "pictures": Download("Pictures", "PNG with outlines, to show to others", _pictures),
    "labels": Download("Label images", "TIFF, every cell's pixels have its number", _labels),
    "coco": Download("COCO", "JSON for training and annotation tools", _coco),
    "imagej": Download("ImageJ", "ZIP of ROIs for ImageJ and Fiji", _imagej),
    "qupath": Download("QuPath", "GeoJSON outlines for QuPath", _geojson),
    "submission": Download("Submission", "CSV for the Kaggle competition", _submission),
}
