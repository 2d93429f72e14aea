import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from bright_cells import DISCS, SIZE_HW, BrightCells, written_png

from sartorius.app.downloads import DOWNLOADS, write_download
from sartorius.app.finding import cells_above, find_cells
from sartorius.app.names import palette
from sartorius.app.offers import Choice
from sartorius.errors import UserError
from sartorius.formats import read_any
from sartorius.rle import dense_from_coco
from sartorius.submission import check_submission


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def two(visit, tmp_path):
    """The visitor has a second image, in which nothing is found."""
    visit.session.images["empty"] = written_png(tmp_path / "empty.png", [])
    find_cells(visit.session, visit.offer, {"bright": visit.model}, "empty", lambda done, total: None)
    return visit


def written(key: str, out: Path, visit) -> Path:
    path = write_download(key, out, visit.session, visit.session.choice)
    assert path.parent == out
    return path


def pixels_of(colour: str, path: Path) -> int:
    """The number of a picture's pixels that have about the colour `#rrggbb`."""
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return int((np.abs(cv2.imread(str(path))[:, :, ::-1] - wanted).max(axis=2) < 30).sum())


def test_measurements_have_a_row_for_each_cell_that_is_shown(visit, out):
    table = pd.read_csv(written("cells", out, visit))
    assert table["score"].round(2).tolist() == [0.9, 0.8, 0.6]
    assert table["label"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(table["area_px"], [np.pi * d.radius**2 for d in DISCS], rtol=0.06)
    assert "area_um2" not in table


def test_files_follow_the_thresholds_and_the_pixel_size(visit, out):
    sure = dict.fromkeys(visit.offer.cell_types, 0.7)
    visit.session.choice = visit.choice._replace(thresholds=sure, um_per_px=0.5)
    table = pd.read_csv(written("cells", out, visit))
    assert table["score"].round(2).tolist() == [0.9, 0.8]
    np.testing.assert_allclose(table["area_um2"], table["area_px"] / 4)


def test_images_have_a_row_each_those_without_cells_too(two, out):
    table = pd.read_csv(written("images", out, two))
    assert table[["image_id", "cells"]].values.tolist() == [["well", 3], ["empty", 0]]


def test_the_label_image_has_each_cells_number_in_its_pixels(visit, out):
    path = written("labels", out, visit)
    assert path.name == "well_labels.tif"
    labels = tifffile.imread(path)
    cells = cells_above(visit.session, visit.offer, "well", visit.offer.thresholds)
    for row, mask in enumerate(cells.masks):
        np.testing.assert_array_equal(labels == row + 1, dense_from_coco(mask))


def test_label_images_of_several_images_come_together(two, out):
    with zipfile.ZipFile(written("labels", out, two)) as archive:
        assert sorted(archive.namelist()) == ["empty.tif", "labels.csv", "well.tif"]


@pytest.mark.parametrize("key", ["coco", "qupath", "imagej"])
def test_other_programs_files_hold_the_same_cells(visit, out, key):
    path = written(key, out, visit)
    expected = cells_above(visit.session, visit.offer, "well", visit.offer.thresholds)
    (found,) = read_any(path, visit.session.images).values()
    assert sorted(found.areas_px.tolist()) == sorted(expected.areas_px.tolist())
    assert set(found.cell_types.tolist()) == {"astro"}


def test_coco_names_images_and_types(two, out):
    document = json.loads(written("coco", out, two).read_text())
    assert sorted(image["file_name"] for image in document["images"]) == ["empty.png", "well.png"]
    assert len(document["annotations"]) == 3
    assert "astro" in {category["name"] for category in document["categories"]}


def test_the_submission_passes_the_check(two, out):
    path = written("submission", out, two)
    assert check_submission(path, {"well": SIZE_HW, "empty": SIZE_HW}) == []
    assert path.read_text().count("\nwell,") == 3


def test_pictures_show_outlines_in_the_colour_of_the_type(visit, out):
    path = written("pictures", out, visit)
    assert path.name == "well_outlines.png"
    assert pixels_of(palette(["astro"])["astro"], path) > 100


def test_a_type_has_the_pages_colour_in_pictures_where_others_of_the_ensemble_do_not_occur(visit, out):
    offer = visit.offer._replace(key="others", cell_types=("bv2", "hela"))
    find_cells(visit.session, offer, {"bright": BrightCells("hela")}, "well", lambda done, total: None)
    visit.session.choice = Choice(offer, {"bv2": 0.5, "hela": 0.5})
    path, colours = written("pictures", out, visit), palette(offer.cell_types)
    assert pixels_of(colours["hela"], path) > 100
    assert pixels_of(colours["bv2"], path) == 0


def test_an_image_of_one_pixel_does_not_cost_the_pictures_of_the_others(visit, out, tmp_path):
    visit.session.images["dot"] = tmp_path / "dot.png"
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1), np.uint8))
    find_cells(visit.session, visit.offer, {"bright": visit.model}, "dot", lambda done, total: None)
    visit.session.choice = visit.choice._replace(um_per_px=1.24)
    with zipfile.ZipFile(written("pictures", out, visit)) as archive:
        assert sorted(archive.namelist()) == ["dot.png", "well.png"]


def test_a_file_that_does_not_exist_or_has_no_cells_yet_is_refused(visit, out):
    with pytest.raises(UserError, match="no file called passwords; there are cells, images"):
        write_download("passwords", out, visit.session, visit.choice)
    visit.session.images.clear()
    for key in DOWNLOADS:
        with pytest.raises(UserError, match="no cells have been looked for"):
            write_download(key, out, visit.session, visit.choice)


def test_every_file_can_be_written_where_no_cell_is_shown(visit, out):
    visit.session.choice = visit.choice._replace(thresholds=dict.fromkeys(visit.offer.cell_types, 1.0))
    for key in DOWNLOADS:
        folder = out / key
        folder.mkdir()
        assert write_download(key, folder, visit.session, visit.session.choice).is_file()
