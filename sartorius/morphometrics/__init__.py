"""Measurements of cells: one row per cell, one per image, one per type and quantity, in pixels or micrometres."""

from sartorius.morphometrics.cell_table import measure_cells
from sartorius.morphometrics.image_table import measure_image, measure_types
from sartorius.morphometrics.tables import Measurements, measure, table_paths, write_measurements

__all__ = [
    "Measurements",
    "measure",
    "measure_cells",
    "measure_image",
    "measure_types",
    "table_paths",
    "write_measurements",
]
