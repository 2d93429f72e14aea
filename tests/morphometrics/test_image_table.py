from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawing import cell, cells

from sartorius.cells import no_cells
from sartorius.errors import UserError
from sartorius.morphometrics import (
    measure,
    measure_cells,
    measure_image,
    measure_types,
    table_paths,
    write_measurements,
)

THREE = cells(
    cell("##..../##....", cell_type="astro"),
    cell(".##.../.##...", cell_type="cort"),
    cell("....../....#.", cell_type="cort"),
)


def test_confluence_counts_pixels_that_cells_share_once():
    row = measure_image(THREE, measure_cells(THREE)).iloc[0]
    assert row["confluence"] == pytest.approx(7 / 12)
    assert row["types"] == "astro 1, cort 2"
    assert (row["cells"], row["touching_border"]) == (3, 3)
    assert row["cells_per_mpx"] == pytest.approx(3 / 12e-6)
    assert row["mean_area_px"] == pytest.approx(3)


def test_density_per_square_millimetre_needs_the_size_of_a_pixel():
    row = measure_image(THREE, measure_cells(THREE, um_per_px=2.0), um_per_px=2.0).iloc[0]
    assert row["image_area_mm2"] == pytest.approx(12 * 4 / 1e6)
    assert row["cells_per_mm2"] == pytest.approx(3 / (48 / 1e6))
    assert row["mean_area_um2"] == pytest.approx(12)


def test_an_image_without_cells_has_a_row():
    none = no_cells("none", (4, 5))
    row = measure_image(none, measure_cells(none)).iloc[0]
    assert (row["cells"], row["types"], row["confluence"]) == (0, "", 0)
    assert np.isnan(row["mean_area_px"])


def test_a_mask_over_whole_columns_is_covered_once():
    whole = cells(cell("###/###"), cell("##./##."), cell(".#./.#."))
    assert measure_image(whole, measure_cells(whole))["confluence"].tolist() == [1]


def test_each_type_has_its_own_distribution():
    types = measure_types(measure_cells(THREE)).set_index(["cell_type", "quantity"])
    area = types.loc[("cort", "area_px")]
    assert area[["cells", "mean", "min", "median", "max"]].tolist() == [2, 2.5, 1, 2.5, 4]
    assert types.loc[("astro", "area_px"), "mean"] == 4
    assert types.loc[("cort", "aspect_ratio"), "cells"] == 1  # undefined for the single pixel
    assert measure_types(measure_cells(no_cells("none", (4, 5)))).empty


def test_the_distribution_is_to_the_last_bit_what_pandas_describes():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(100, 30, (300, 2)), columns=["area_px", "orientation_deg"])
    table["image_id"], table["cell_type"] = rng.choice(["b", "a"], 300), rng.choice(["cort", "astro"], 300)
    table.loc[rng.random(300) < 0.4, "orientation_deg"] = np.nan
    table.loc[300] = [1.5, np.nan, "single", "astro"]
    types = measure_types(table).set_index(["image_id", "cell_type", "quantity"])
    names = {"cells": "count", "q25": "25%", "median": "50%", "q75": "75%"}
    assert len(types) == 10
    for (image_id, cell_type, quantity), row in types.iterrows():
        alike = (table["image_id"] == image_id) & (table["cell_type"] == cell_type)
        described = table.loc[alike, quantity].describe()
        pd.testing.assert_series_equal(
            row.rename(names).astype(float), described, check_names=False, check_exact=True
        )


def test_tables_of_many_images_are_joined_in_their_order():
    measurements = measure([(THREE, None), (no_cells("none", (2, 6)), None), (cell("#", image_id="z"), None)])
    assert measurements.cells["image_id"].tolist() == ["drawn"] * 3 + ["z"]
    assert measurements.images["image_id"].tolist() == ["drawn", "none", "z"]
    assert set(measurements.types["image_id"]) == {"drawn", "z"}
    with pytest.raises(ValueError, match="at least one image"):
        measure([])


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_written_tables_read_back(tmp_path, ending):
    measurements = measure([(THREE, np.full((2, 6), 7, np.uint8))], um_per_px=0.3)
    paths = write_measurements(tmp_path / f"deep/cells{ending}", measurements)
    assert [path.name for path in paths] == [
        f"cells{ending}",
        f"cells_images{ending}",
        f"cells_types{ending}",
    ]
    read = pd.read_csv if ending == ".csv" else pd.read_parquet
    for path, table in zip(paths, measurements, strict=True):
        pd.testing.assert_frame_equal(read(path), table, check_dtype=False, rtol=1e-6)


def test_only_images_without_cells_still_give_tables_with_columns(tmp_path):
    paths = write_measurements(tmp_path / "a.csv", measure([(no_cells("none", (4, 5)), None)]))
    assert [len(pd.read_csv(path)) for path in paths] == [0, 1, 0]


def test_another_ending_is_refused():
    with pytest.raises(
        UserError, match=r"cells\.xlsx: expected the name of a table ending in \.csv or \.parquet"
    ):
        table_paths(Path("cells.xlsx"))
