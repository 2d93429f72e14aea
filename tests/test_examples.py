"""Every script under docs/examples runs and does what it says."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from bright_blobs import BrightBlobs, with_discs
from fake_predictors import small_truth

import sartorius
from sartorius import Ensemble, measure_cells, read_any, read_grey, read_image, write_any
from sartorius.config.ensemble import EnsembleSettings

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLES = PROJECT / "docs" / "examples"
DISCS = [(row, col, 12) for row in (30, 90) for col in (30, 90, 130)]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A picture of six discs, and instead of the starter model one that finds bright discs."""
    members = [{"name": "blobs", "model": "model.yaml", "weights": "weights.safetensors"}]
    settings = EnsembleSettings(members=members, postprocess={"score_threshold": 0.1})
    finder = BrightBlobs()
    asked: list[str] = []

    def load(path: str) -> Ensemble:
        asked.append(path)
        return Ensemble(settings, {"blobs": finder})

    monkeypatch.setattr(sartorius, "load_ensemble", load, raising=False)
    cv2.imwrite(str(tmp_path / "picture.png"), with_discs((120, 160), DISCS))
    return SimpleNamespace(folder=tmp_path, finder=finder, asked=asked)


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: Path) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_every_example_is_run_by_a_test_of_this_file():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in tested] == []


def test_every_ensemble_that_an_example_loads_is_there(monkeypatch, scene):
    run(monkeypatch, "own_thresholds.py", scene.folder / "picture.png", scene.folder / "overlay.png")
    assert all((PROJECT / path).is_file() for path in scene.asked)


def test_a_picture_is_measured(monkeypatch, capsys, scene):
    table_csv = scene.folder / "cells.csv"
    run(monkeypatch, "measure_a_picture.py", scene.folder / "picture.png", table_csv)
    table = pd.read_csv(table_csv)
    assert len(table) == 6
    np.testing.assert_allclose(table["area_um2"], np.pi * 12**2 * 1.24**2, rtol=0.05)
    assert "circularity" in capsys.readouterr().out


def test_intensities_of_a_measured_picture_are_the_files_own(monkeypatch, scene):
    picture, table_csv = scene.folder / "picture.tif", scene.folder / "cells.csv"
    tifffile.imwrite(picture, with_discs((120, 160), DISCS).astype(np.uint16) * 257)
    run(monkeypatch, "measure_a_picture.py", picture, table_csv)
    cells = sartorius.load_ensemble("")(read_image(picture))
    expected = measure_cells(cells, read_grey(picture))["mean_intensity"]
    assert expected.max() > 255
    np.testing.assert_allclose(pd.read_csv(table_csv)["mean_intensity"], expected)


def test_two_programs_results_are_fused(monkeypatch, capsys, tmp_path):
    truth = small_truth()
    only_one = {name: cells[1:] for name, cells in truth.items()}
    reference = tmp_path / "images.json"
    write_any(reference, truth, "coco")
    write_any(tmp_path / "first.json", truth, "coco-results", reference=reference)
    write_any(tmp_path / "second.json", only_one, "coco-results", reference=reference)
    files = [tmp_path / name for name in ("images.json", "first.json", "second.json", "fused.json")]
    run(monkeypatch, "fuse_two_frameworks.py", *files)
    assert capsys.readouterr().out.splitlines() == [
        "astro_image: 2 and 1 became 1 cells",
        "cort_image: 3 and 2 became 2 cells",
        "empty_image: 0 and 0 became 0 cells",
    ]
    assert len(json.loads((tmp_path / "fused.json").read_text())) == 3


def test_label_tiffs_become_coco(monkeypatch, capsys, tmp_path):
    write_any(tmp_path / "labels", small_truth(), "labels")
    run(monkeypatch, "label_tiffs_to_coco.py", tmp_path / "labels", tmp_path / "cells.json")
    assert capsys.readouterr().out == "5 cells in 3 images; lost: nothing\n"
    assert sum(map(len, read_any(tmp_path / "cells.json").values())) == 5


def test_a_large_tiff_is_seen_in_tiles(monkeypatch, capsys, scene):
    discs = [(row, col, 30) for row in range(60, 800, 120) for col in range(60, 1300, 120)]
    tifffile.imwrite(scene.folder / "slide.tif", with_discs((800, 1300), discs).astype(np.uint16) * 257)
    run(monkeypatch, "large_tiff.py", scene.folder / "slide.tif", scene.folder / "labels")
    assert capsys.readouterr().out == f"{len(discs)} cells in 1300 x 800 pixels\n"
    assert set(scene.finder.shown_hw) == {(512, 512)}
    (found,) = read_any(scene.folder / "labels").values()
    assert len(found) == len(discs)


def test_thresholds_are_tried_on_what_the_models_found_once(monkeypatch, capsys, scene):
    run(monkeypatch, "own_thresholds.py", scene.folder / "picture.png", scene.folder / "overlay.png")
    assert capsys.readouterr().out.splitlines() == [
        "score of at least 0.2: 6 cells",
        "score of at least 0.4: 4 cells",
        "score of at least 0.6: 2 cells",
    ]
    assert len(scene.finder.shown_hw) == 1
    picture = cv2.imread(str(scene.folder / "overlay.png"))
    assert picture.shape[1] == 320
