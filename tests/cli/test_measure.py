import json
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
from fake_predictors import small_truth

from sartorius.cli import main
from sartorius.data.predictions import PredictionManifest, prediction_path, write_cells, write_manifest
from sartorius.formats import read_any, write_any
from sartorius.submission import write_submission


def run(monkeypatch, *arguments):
    """The exit status of `sartorius <arguments>`."""
    monkeypatch.setattr(sys, "argv", ["sartorius", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def found(tmp_path):
    """A folder of cells of three images, the submission of the same cells and 16-bit images of the grey value 1000."""
    truth = small_truth()
    folder = tmp_path / "fused"
    write_manifest(folder, PredictionManifest(source="fused", package_version="0"))
    (tmp_path / "images").mkdir()
    for image_id, cells in truth.items():
        write_cells(prediction_path(folder, image_id), cells)
        tifffile.imwrite(tmp_path / "images" / f"{image_id}.tif", np.full(cells.size_hw, 1000, np.uint16))
    disjoint = {name: cells[:1] for name, cells in truth.items()}
    write_submission(tmp_path / "submission.csv", disjoint.values(), list(disjoint))
    return folder


def test_three_tables_are_written_and_the_command_says_where(monkeypatch, capsys, tmp_path, found):
    assert run(monkeypatch, "measure", found, "--out", tmp_path / "cells.csv", "--um-per-px", 0.5) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"cells   {tmp_path / 'cells.csv'}  (5 rows)",
        f"images  {tmp_path / 'cells_images.csv'}  (3 rows)",
        f"types   {tmp_path / 'cells_types.csv'}  (50 rows)",
    ]
    table = pd.read_csv(tmp_path / "cells.csv")
    assert table["area_um2"].tolist() == pytest.approx((table["area_px"] / 4).tolist())
    assert pd.read_csv(tmp_path / "cells_images.csv")["cells"].tolist() == [2, 3, 0]


def test_images_add_intensities_and_the_sizes_a_submission_needs(monkeypatch, capsys, tmp_path, found):
    out = tmp_path / "cells.parquet"
    command = ("measure", tmp_path / "submission.csv", "--out", out)
    assert run(monkeypatch, *command) == 2
    assert "name their folder as well: --images DIR" in capsys.readouterr().err
    assert run(monkeypatch, *command, "--images", tmp_path / "images", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"]["cells"] == 2
    assert pd.read_parquet(out)["mean_intensity"].tolist() == [1000, 1000]


@pytest.mark.parametrize("name", ["cells.csv", "cells_images.csv"])
def test_the_cells_that_are_measured_are_never_overwritten(monkeypatch, capsys, tmp_path, found, name):
    cells = (tmp_path / "submission.csv").rename(tmp_path / name)
    before = cells.read_bytes()
    command = ("measure", cells, "--images", tmp_path / "images", "--out", tmp_path / "cells.csv")
    assert run(monkeypatch, *command) == 2
    assert f"expected another file than the input {cells}" in capsys.readouterr().err
    assert cells.read_bytes() == before


def test_the_table_of_label_images_is_never_overwritten(monkeypatch, capsys, tmp_path, found):
    write_any(tmp_path / "labels", read_any(found), "labels")
    table = tmp_path / "labels" / "labels.csv"
    before = table.read_text()
    assert run(monkeypatch, "measure", tmp_path / "labels", "--out", table) == 2
    assert "expected another file than the input" in capsys.readouterr().err
    assert table.read_text() == before


@pytest.mark.parametrize("name", ["train.csv", "images/train.csv", "sample_submission.csv"])
def test_labels_in_or_beside_the_folder_of_images_are_never_overwritten(
    monkeypatch, capsys, tmp_path, found, name
):
    (tmp_path / name).write_text("precious")
    command = ("measure", found, "--images", tmp_path / "images", "--out", tmp_path / name)
    assert run(monkeypatch, *command) == 2
    assert f"expected another file than the input {tmp_path / name}" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{0}/nowhere", "--out", "{0}/a.csv"], "nowhere"),
        (["{0}/fused", "--out", "{0}/a.xlsx"], "expected the name of a table ending in .csv or .parquet"),
        (["{0}/fused", "--out", "{0}/a.csv", "--um-per-px", "0"], "expected more than 0 micrometres per pixel, got 0"),
        (["{0}/fused", "--out", "{0}/a.csv", "--um-per-px", "-1"], "expected more than 0 micrometres"),
        (["{0}/fused", "--out", "{0}/a.csv", "--um-per-px", "inf"], "micrometres per pixel, got inf; a pixel is 1e-09 to"),
        (["{0}/fused", "--out", "{0}/a.csv", "--um-per-px", "nan"], "micrometres per pixel, got nan"),
        (["{0}/fused", "--out", "{0}/a.csv", "--um-per-px", "1e-300"], "micrometres per pixel, got 1e-300"),
        (["{0}/fused", "--out", "{0}/a.csv", "--um-per-px", "1e300"], "micrometres per pixel, got 1e+300"),
        (["{0}/fused", "--out", "{0}/a.csv", "--images", "{0}/few"], "2 of its 3 images are not among the 1 given"),
        (["{0}/fused", "--out", "{0}/a.csv", "--images", "{0}/small"], "its cells are of an image of height and width"),
        (["{0}/photographs", "--out", "{0}/a.csv"], "separate pieces, as in a photograph"),
    ],
)  # fmt: skip
def test_wrong_input_ends_with_one_message(monkeypatch, capsys, tmp_path, found, arguments, message):
    for folder, names in (("few", ["cort_image"]), ("small", ["astro_image", "cort_image", "empty_image"])):
        (tmp_path / folder).mkdir()
        for name in names:
            tifffile.imwrite(tmp_path / folder / f"{name}.tif", np.zeros((5, 6), np.uint8))
    (tmp_path / "photographs").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "photographs" / "a.tif", noise)
    assert run(monkeypatch, "measure", *(text.format(tmp_path) for text in arguments)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "a.csv").exists()


def test_a_table_that_cannot_be_written_is_told_before_cells_are_measured(
    monkeypatch, capsys, tmp_path, found
):
    (tmp_path / "file").touch()
    assert run(monkeypatch, "measure", tmp_path / "fused", "--out", tmp_path / "file" / "a.csv") == 2
    err = capsys.readouterr().err
    assert str(tmp_path / "file") in err
    assert "measure: 1/" not in err


@pytest.mark.parametrize("command", [["measure"], ["data", "convert"]])
def test_the_help_names_no_option_that_the_command_lacks(monkeypatch, capsys, command):
    assert run(monkeypatch, *command, "--help") == 0
    assert "--fold" not in capsys.readouterr().out
