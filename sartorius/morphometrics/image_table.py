"""One row for each image, and one for each cell type and quantity: what the cells of an image are like together."""

from math import nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.column_runs import column_runs
from sartorius.morphometrics.cell_table import INTENSITIES, QUANTITIES, in_px, in_um

_UM2_PER_MM2 = 1.0e6
_DISTRIBUTION = ["mean", "std", "min", "q25", "median", "q75", "max"]
TYPE_COLUMNS = ["image_id", "cell_type", "quantity", "cells", *_DISTRIBUTION]


def measure_image(cells: Cells, table: pd.DataFrame, um_per_px: float | None = None) -> pd.DataFrame:
    """One row about an image.

    table: what `measure_cells` returned for these cells.
    um_per_px: micrometres per pixel; adds density and area in mm.

    Columns: image_id, height_px, width_px, cells, types (their number of each type as text, `astro 3, cort 12`),
    touching_border, cells_per_mpx (per million pixels), confluence (the part of the image's pixels that any cell
    covers, 0 to 1; pixels that cells share count once), the cells' mean_area_px and mean_nearest_neighbour_px;
    with `um_per_px` also image_area_mm2, cells_per_mm2, mean_area_um2 and mean_nearest_neighbour_um.
    Without cells the means are NaN.
    """
    height, width = cells.size_hw
    means = ["area", "nearest_neighbour"]
    row: dict[str, object] = {
        "image_id": cells.image_id,
        "height_px": height,
        "width_px": width,
        "cells": len(cells),
        "types": ", ".join(f"{name} {count}" for name, count in sorted(_counts(cells).items())),
        "touching_border": int(table["touches_border"].sum()),
        "cells_per_mpx": len(cells) / (height * width / 1e6),
        "confluence": _covered_px(cells) / (height * width),
    }
    row |= {f"mean_{in_px(name)}": _mean(table[in_px(name)]) for name in means}
    if um_per_px is not None:
        area_mm2 = height * width * um_per_px**2 / _UM2_PER_MM2
        row |= {"image_area_mm2": area_mm2, "cells_per_mm2": len(cells) / area_mm2}
        row |= {f"mean_{in_um(name)}": _mean(table[in_um(name)]) for name in means}
    return pd.DataFrame([row])


def measure_types(table: pd.DataFrame) -> pd.DataFrame:
    """How each quantity is distributed over the cells of each type of each image, one row for each.

    table: what `measure_cells` returned, of one image or several joined.

    Columns: image_id, cell_type, quantity (a column of `table`), cells (those for which it is defined), mean, std
    (sample standard deviation, NaN for one cell), min, q25, median, q75, max. No cells give no rows.
    """
    wanted = [name for name in _number_columns() if name in table.columns]
    rows = [
        (*key, name, *_distribution(cells[name].to_numpy(np.float64)))
        for key, cells in table.groupby(["image_id", "cell_type"])
        for name in wanted
    ]
    return pd.DataFrame(rows, columns=TYPE_COLUMNS)


def _distribution(values: NDArray[np.float64]) -> tuple[float, ...]:
    """How many of the values are numbers, and the figures of `_DISTRIBUTION` for these, NaN where there is none.

    They are those of pandas' `describe`, which takes ten times as long for so few values.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return (0, *[nan] * len(_DISTRIBUTION))
    std = float(np.nanstd(values, ddof=1)) if len(defined) > 1 else nan
    quartiles = np.quantile(defined, [0.25, 0.5, 0.75]).tolist()
    return len(defined), float(np.nanmean(values)), std, defined.min(), *quartiles, defined.max()


def _number_columns() -> list[str]:
    lengths_and_areas = [name for name, power in QUANTITIES.items() if power]
    return ["score", *map(in_px, QUANTITIES), *INTENSITIES, *map(in_um, lengths_and_areas)]


def _counts(cells: Cells) -> dict[str, int]:
    names, counts = np.unique(cells.cell_types, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _mean(column: pd.Series) -> float:
    return float(column.mean()) if column.notna().any() else nan


def _covered_px(cells: Cells) -> int:
    """The number of pixels that at least one cell covers."""
    runs = column_runs(cells.masks)
    order = np.argsort(runs.starts, kind="stable")
    starts, ends = runs.starts[order], runs.ends[order]
    reached = np.concatenate([np.zeros(1, np.int64), np.maximum.accumulate(ends)])[:-1]
    return int(np.maximum(ends - np.maximum(starts, reached), 0).sum()) if len(starts) else 0
