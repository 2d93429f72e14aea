from math import pi, sqrt

import numpy as np
import pandas as pd
import pytest
from drawing import cell, cells
from skimage.draw import ellipse
from skimage.measure import regionprops

from sartorius.cells import annotated, no_cells
from sartorius.data.competition import read_truth
from sartorius.data.images import read_image
from sartorius.morphometrics import measure_cells
from sartorius.rle import coco_from_dense, dense_from_coco


def one_cell(mask):
    return annotated("one", mask.shape, [coco_from_dense(mask)], ["cort"])


def measured(mask):
    return measure_cells(one_cell(mask)).iloc[0]


def disc(radius, hole_radius=0.0, side=220):
    rows, cols = np.ogrid[:side, :side]
    distance = np.hypot(rows - side / 2 + 0.5, cols - side / 2 + 0.5)
    return (distance <= radius) & (distance >= hole_radius)


def tilted_ellipse(long, short, degrees):
    """Semi-axes; the angle is counter-clockwise as one looks at the picture."""
    mask = np.zeros((200, 200), dtype=bool)
    rows, cols = ellipse(100, 100, short, long, rotation=np.deg2rad(degrees))
    mask[rows, cols] = True
    return mask


def test_a_disc_has_the_measures_of_a_disc():
    row = measured(disc(50))
    assert row["area_px"] == pytest.approx(pi * 50**2, rel=0.01)
    assert row["perimeter_px"] == pytest.approx(2 * pi * 50, rel=0.03)
    for name in ("equivalent_diameter_px", "major_axis_px", "minor_axis_px", "feret_diameter_px"):
        assert row[name] == pytest.approx(100, rel=0.01), name
    for name in ("aspect_ratio", "circularity", "solidity"):
        assert row[name] == pytest.approx(1, rel=0.01), name
    assert row["elongation"] == pytest.approx(0, abs=0.01)
    assert (row["holes"], row["hole_area_px"], row["parts"]) == (0, 0, 1)
    assert np.isnan(row["orientation_deg"])
    assert (row["center_x_px"], row["center_y_px"]) == (110, 110)


@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
def test_an_ellipse_has_the_measures_of_an_ellipse(degrees):
    row = measured(tilted_ellipse(60, 30, degrees))
    assert row["major_axis_px"] == pytest.approx(120, rel=0.01)
    assert row["minor_axis_px"] == pytest.approx(60, rel=0.01)
    assert row["feret_diameter_px"] == pytest.approx(120, rel=0.01)
    assert row["aspect_ratio"] == pytest.approx(2, rel=0.01)
    assert row["elongation"] == pytest.approx(0.5, rel=0.01)
    assert row["eccentricity"] == pytest.approx(sqrt(3) / 2, rel=0.01)
    assert row["circularity"] == pytest.approx(4 * pi * pi * 60 * 30 / 290.65**2, rel=0.03)
    assert row["orientation_deg"] == pytest.approx(degrees, abs=0.5)


def test_a_hole_is_no_area_but_leaves_the_outline_as_it_is():
    ring, whole = measured(disc(60, hole_radius=30)), measured(disc(60))
    assert ring["area_px"] == pytest.approx(pi * (60**2 - 30**2), rel=0.01)
    assert (ring["holes"], ring["hole_area_px"]) == (1, whole["area_px"] - ring["area_px"])
    for name in ("perimeter_px", "feret_diameter_px", "circularity"):
        assert ring[name] == whole[name], name
    assert ring["solidity"] == pytest.approx(0.75, rel=0.01)


def test_detached_parts_are_counted():
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:20, 5:20] = mask[5:20, 30:45] = True
    row = measured(mask)
    assert (row["parts"], row["holes"], row["area_px"]) == (2, 0, 450)
    assert row["perimeter_px"] == pytest.approx(2 * measured(mask[:, :25])["perimeter_px"], abs=1e-9)


def test_a_single_pixel_and_a_line_have_what_is_defined():
    pixel, line = measured(np.eye(9, dtype=bool)[:1]), measured(np.ones((1, 20), dtype=bool))
    assert (pixel["area_px"], pixel["circularity"], pixel["solidity"]) == (1, 1, 1)
    assert np.isnan([pixel["aspect_ratio"], pixel["eccentricity"], pixel["elongation"]]).all()
    assert (line["elongation"], line["eccentricity"], line["orientation_deg"]) == (1, 1, 0)
    assert np.isnan(line["aspect_ratio"])


def test_an_empty_mask_keeps_its_row():
    table = measure_cells(cells(cell("##./##./..."), cell(".../.../...")))
    assert table["area_px"].tolist() == [4, 0]
    assert table.loc[1, ["perimeter_px", "center_x_px", "nearest_neighbour_px"]].isna().all()
    assert not table.loc[1, "touches_border"]


def test_intensities_are_of_the_images_own_grey_values():
    image = np.array([[10, 2000, 7], [30, 4000, 7]], dtype=np.uint16)
    table = measure_cells(cell("##./##."), image)
    assert table["mean_intensity"].tolist() == [1510]
    assert table["intensity_std"].tolist() == [pytest.approx(np.std([10, 30, 2000, 4000]))]
    assert "mean_intensity" not in measure_cells(cell("##./##."))


def test_a_colour_image_is_weighted_to_grey():
    colour = np.zeros((1, 2, 3), np.uint8)
    colour[..., 1] = 100
    assert measure_cells(cell("##"), colour)["mean_intensity"].tolist() == [59]


def test_the_nearest_neighbour_is_the_nearest_centre():
    three = cells(cell("#......."), cell("...#...."), cell(".......#"))
    assert measure_cells(three)["nearest_neighbour_px"].tolist() == [3, 3, 4]
    assert measure_cells(cell("#...")).loc[0, ["nearest_neighbour_px"]].isna().all()


@pytest.mark.parametrize(
    ("drawing", "touches"),
    [("..../.#../....", False), (".#../..../....", True), ("..../..../.#..", True), ("..../#.../....", True),
     ("..../...#/....", True)],
)  # fmt: skip
def test_a_cell_at_the_edge_of_the_image_touches_the_border(drawing, touches):
    assert measure_cells(cell(drawing))["touches_border"].tolist() == [touches]


def test_micrometres_scale_lengths_once_and_areas_twice():
    one = one_cell(disc(20, hole_radius=5))
    table = measure_cells(one, um_per_px=0.5).iloc[0]
    assert table["area_um2"] == table["area_px"] / 4
    assert table["hole_area_um2"] == table["hole_area_px"] / 4
    for name in ("perimeter", "equivalent_diameter", "major_axis", "minor_axis", "feret_diameter"):
        assert table[f"{name}_um"] == table[f"{name}_px"] / 2, name
    assert "area_um2" not in measure_cells(one)
    pd.testing.assert_series_equal(measure_cells(one).iloc[0], table[measure_cells(one).columns])


def test_no_cells_give_the_same_columns_without_rows():
    image = np.zeros((4, 5), np.uint8)
    some, none = (
        measure_cells(found, image, 1.0) for found in (cell("##.../" * 3 + "....."), no_cells("n", (4, 5)))
    )
    assert list(none.columns) == list(some.columns)
    assert none.dtypes.to_dict() == some.dtypes.to_dict()
    assert len(none) == 0


@pytest.mark.parametrize("um_per_px", [0, -1.0, float("nan"), float("inf"), 1e-300, 1e300])
def test_a_pixel_without_size_is_refused(um_per_px):
    with pytest.raises(ValueError, match="um_per_px is"):
        measure_cells(cell("#"), um_per_px=um_per_px)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"the image has height and width \(2, 3\), its cells \(1, 3\)"):
        measure_cells(cell("#.."), np.zeros((2, 3)))


def test_measures_of_real_cells_are_scikit_images(competition_dir):
    image_id = "c4121689002f"
    truth = read_truth(competition_dir / "train.csv", [image_id])[image_id]
    image = read_image(competition_dir / "train" / f"{image_id}.png")
    table = measure_cells(truth, image, um_per_px=1.24)
    for row in (
        table[table["holes"] == 0].iloc[::40].itertuples()
    ):  # whose rims scikit-image's perimeter counts
        (region,) = regionprops(
            dense_from_coco(truth.masks[row.cell]).astype(np.uint8), intensity_image=image
        )
        assert row.area_px == region.area
        assert row.center_x_px == pytest.approx(region.centroid[1] + 0.5)
        assert row.major_axis_px == pytest.approx(region.axis_major_length)
        assert row.minor_axis_px == pytest.approx(region.axis_minor_length)
        assert row.eccentricity == pytest.approx(region.eccentricity)
        assert row.equivalent_diameter_px == pytest.approx(region.equivalent_diameter_area)
        assert row.mean_intensity == pytest.approx(region.intensity_mean)
        assert row.intensity_std == pytest.approx(region.intensity_std)
        assert row.perimeter_px == pytest.approx(region.perimeter_crofton, rel=0.06)
        assert row.feret_diameter_px == pytest.approx(region.feret_diameter_max, abs=1.5)
        assert 0 <= row.solidity - region.solidity < 0.15  # its hull counts pixels half outside


def test_what_was_measured_before_is_not_measured_again():
    image = np.arange(16, dtype=np.uint8).reshape(2, 8)
    both = cells(cell("##......", "##......"), cell("......##", ".......#"))
    known = {}
    first = measure_cells(both[:1], image, known=known)
    assert list(known) == [both.masks[0]]
    known[both.masks[0]]["mean_intensity"] = 7.0
    second = measure_cells(both, image, known=known)
    assert first["mean_intensity"].tolist() == [4.5]
    assert second["mean_intensity"].tolist() == [7.0, pytest.approx((6 + 7 + 15) / 3)]
    assert second["nearest_neighbour_px"].notna().all()
