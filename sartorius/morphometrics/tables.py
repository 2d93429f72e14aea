"""The tables of many images, written as CSV or Parquet."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.files import atomic_path, require_suffix
from sartorius.morphometrics.cell_table import measure_cells
from sartorius.morphometrics.image_table import measure_image, measure_types

TABLE_SUFFIXES = (".csv", ".parquet")
#: Numbers in CSV files have as many digits as a measurement on pixels can justify, and areas keep theirs.
_CSV_NUMBERS = "%.7g"


class Measurements(NamedTuple):
    """One row per cell, one per image, and one per image, cell type and quantity."""

    cells: pd.DataFrame
    images: pd.DataFrame
    types: pd.DataFrame


def measure(
    found: Iterable[tuple[Cells, NDArray[Any] | None]], um_per_px: float | None = None
) -> Measurements:
    """The measurements of all images in the order in which they come.

    found: the cells of each image with its grey values, or None to leave out the intensities of that image.
    um_per_px: micrometres per pixel of all images; None measures in pixels only.
    Raises ValueError if there is no image.
    """
    cell_tables, image_tables = [], []
    for cells, image in found:
        cell_tables.append(measure_cells(cells, image, um_per_px))
        image_tables.append(measure_image(cells, cell_tables[-1], um_per_px))
    if not image_tables:
        raise ValueError("measure() needs at least one image")
    filled = [table for table in cell_tables if len(table)] or cell_tables[:1]
    table = pd.concat(filled, ignore_index=True)
    return Measurements(table, pd.concat(image_tables, ignore_index=True), measure_types(table))


def write_measurements(path: Path, measurements: Measurements) -> tuple[Path, Path, Path]:
    """The three tables as files, each whole or not at all: `cells.csv`, `cells_images.csv`, `cells_types.csv`.

    path: of the table of cells, a .csv or .parquet file; the others are named after it.
    Returns their paths: cells, images, types.
    Raises UserError if the ending is another.
    """
    paths = table_paths(path)
    for table_path, table in zip(paths, measurements, strict=True):
        _write(table_path, table)
    return paths


def table_paths(path: Path) -> tuple[Path, Path, Path]:
    """The files of the three tables: cells, images, types, the latter two named after the first.

    Raises UserError unless the ending is one of a table that can be written.
    """
    require_suffix(path, TABLE_SUFFIXES, "table")
    images, types = (path.with_name(f"{path.stem}_{name}{path.suffix}") for name in ("images", "types"))
    return path, images, types


def _write(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".csv":
            table.to_csv(temporary, index=False, float_format=_CSV_NUMBERS)
        else:
            table.to_parquet(temporary, index=False)
