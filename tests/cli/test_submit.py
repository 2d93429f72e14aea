import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import run
from fake_predictors import small_ensemble, small_truth, two_predictors, written_images

from sartorius.submission import check_submission


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An ensemble, a competition folder with three test images, and models that know the truth."""
    pytest.importorskip("torch")
    truth = small_truth()
    written_images(tmp_path / "data" / "test", truth)
    (tmp_path / "data" / "train.csv").write_text("id,annotation,width,height,cell_type\n")
    fake = SimpleNamespace(load_predictors=lambda ensemble, settings, device: two_predictors(truth))
    monkeypatch.setitem(sys.modules, "sartorius.detectron.ensemble", fake)
    return SimpleNamespace(
        ensemble=small_ensemble(tmp_path),
        data=tmp_path / "data",
        out=tmp_path / "submission.csv",
        cache=tmp_path / "cache",
        sizes_hw={image_id: cells.size_hw for image_id, cells in truth.items()},
    )


def test_the_competitions_folder_becomes_a_valid_submission(monkeypatch, capsys, scene):
    assert run(monkeypatch, "submit", scene.ensemble, "--images", scene.data, "--out", scene.out) == 0
    assert capsys.readouterr().out == (
        f"{scene.out}: 5 cells in 3 images (1 without a cell), checked, no problem found\n"
    )
    assert check_submission(scene.out, scene.sizes_hw) == []


def test_the_result_is_told_as_json_and_the_cache_kept_where_asked(monkeypatch, capsys, scene):
    command = ("submit", scene.ensemble, "--images", scene.data, "--out", scene.out)
    assert run(monkeypatch, *command, "--predictions", scene.cache, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": str(scene.out), "images": 3, "cells": 5, "problems": 0,
        "broken": {}, "unfinished": [], "dropped": [],
    }  # fmt: skip
    assert len(list(scene.cache.glob("*/*/manifest.json"))) == 4


def test_a_broken_image_ends_with_status_1_and_a_valid_submission_of_the_others(monkeypatch, capsys, scene):
    (scene.data / "test" / "cort_image.png").write_bytes(b"")
    assert run(monkeypatch, "submit", scene.ensemble, "--images", scene.data, "--out", scene.out) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{scene.out}: 2 cells in 3 images (2 without a cell), checked, no problem found"
    assert printed[1].startswith("left without cells: cort_image: ")
    assert check_submission(scene.out, scene.sizes_hw) == []


def test_a_budget_that_is_gone_at_once_leaves_every_image_empty_and_says_so(monkeypatch, capsys, scene):
    command = ("submit", scene.ensemble, "--images", scene.data, "--out", scene.out)
    assert run(monkeypatch, *command, "--budget", "0.000001s") == 1
    assert "no time was left for 3 images: astro_image, cort_image, empty_image" in capsys.readouterr().out
    assert check_submission(scene.out, scene.sizes_hw) == []


@pytest.mark.parametrize("text", ["soon", "9", "0h", "h", "9 hours", "-1h"])
def test_a_budget_that_is_no_duration_is_bad_input(monkeypatch, capsys, scene, text):
    command = ("submit", scene.ensemble, "--images", scene.data, "--out", scene.out)
    assert run(monkeypatch, *command, f"--budget={text}") == 2
    assert capsys.readouterr().err == (
        f"sartorius: --budget: expected a duration such as 9h, 8h30m, 45m or 90s, got {text!r}\n"
    )
    assert not scene.out.exists()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("data", "data/train.csv"),
        ("data", "data/sample_submission.csv"),
        ("data/test", "data/train.csv"),
        ("data", "folds.csv"),
        ("data", "found.csv"),
    ],
)
def test_what_is_read_or_lies_beside_the_images_is_never_overwritten(
    monkeypatch, capsys, scene, tmp_path, given, name
):
    (tmp_path / name).write_text("precious")
    scene.ensemble.write_text("members: [{name: other, predictions: found.csv}]\n")
    command = ("submit", scene.ensemble, "--images", tmp_path / given, "--out", tmp_path / name)
    assert run(monkeypatch, *command, "--folds", tmp_path / "folds.csv", "--fold", 0) == 2
    assert f"{tmp_path / name}: expected another file than the input" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("name", ["ensemble.yaml", "r50.safetensors", "data/test/cort_image.png"])
def test_a_submission_has_the_name_of_one(monkeypatch, capsys, scene, tmp_path, name):
    (tmp_path / "r50.safetensors").write_bytes(b"weights")
    before = (tmp_path / name).read_bytes()
    command = ("submit", scene.ensemble, "--images", scene.data, "--out", tmp_path / name)
    assert run(monkeypatch, *command) == 2
    assert "expected the name of a submission ending in .csv" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == before


def test_an_interrupted_submission_says_what_it_leaves_and_whether_it_goes_on(monkeypatch, capsys, scene):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sartorius.pipeline.submitting.fused_and_cleaned", interrupted)
    command = ("submit", scene.ensemble, "--images", scene.data, "--out", scene.out)
    left = f"sartorius: interrupted; {scene.out} holds the images done so far and empty rows for the others; "
    assert run(monkeypatch, *command) == 130
    error = capsys.readouterr().err
    assert f"{left}the same command starts from the beginning and replaces it" in error
    assert run(monkeypatch, *command, "--predictions", scene.cache) == 130
    kept = f"{left}predictions are kept in {scene.cache}, run the same command again to go on\n"
    assert kept in capsys.readouterr().err
