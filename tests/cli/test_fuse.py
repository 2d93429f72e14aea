import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import run
from fake_predictors import small_ensemble, small_truth, two_predictors, written_images

from sartorius.config import load_ensemble_settings
from sartorius.data.predictions import read_prediction_folder
from sartorius.pipeline import predict_images


@pytest.fixture
def scene(tmp_path: Path) -> SimpleNamespace:
    """An ensemble and its predictions of three images."""
    ensemble, truth = small_ensemble(tmp_path), small_truth()
    paths = written_images(tmp_path / "images", truth)
    predict_images(two_predictors(truth), load_ensemble_settings(ensemble), paths, tmp_path / "cache")
    return SimpleNamespace(ensemble=ensemble, cache=tmp_path / "cache", out=tmp_path / "fused")


def test_the_fused_cells_are_written_and_counted(monkeypatch, capsys, scene):
    assert run(monkeypatch, "fuse", scene.ensemble, "--predictions", scene.cache, "--out", scene.out) == 0
    assert capsys.readouterr().out == f"{scene.out}: 5 cells in 3 images, fused from 4 sources\n"
    counts = {image_id: len(cells) for image_id, cells in read_prediction_folder(scene.out).items()}
    assert counts == {"astro_image": 2, "cort_image": 3, "empty_image": 0}


def test_the_result_is_told_as_json(monkeypatch, capsys, scene):
    command = ("fuse", scene.ensemble, "--predictions", scene.cache, "--out", scene.out, "--workers", 0)
    assert run(monkeypatch, *command, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(scene.out), "images": 3, "cells": 5}


def test_an_image_is_explained_without_writing_anything(monkeypatch, capsys, scene):
    command = ("fuse", scene.ensemble, "--predictions", scene.cache, "--explain", "cort_image")
    assert run(monkeypatch, *command) == 0
    out = capsys.readouterr().out
    assert out.startswith("cort_image: 12 detections, 3 fused cells, 3 in the result\n")
    assert not scene.out.exists()


def test_an_explanation_as_json_names_every_detection(monkeypatch, capsys, scene):
    command = ("fuse", scene.ensemble, "--predictions", scene.cache, "--explain", "cort_image", "--json")
    assert run(monkeypatch, *command) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["image"] == "cort_image"
    assert len(result["fused_cells"]) == 3
    assert len(result["detections"]) == 12


def test_explaining_an_image_that_was_not_predicted_is_refused(monkeypatch, capsys, scene):
    command = ("fuse", scene.ensemble, "--predictions", scene.cache, "--explain", "unseen")
    assert run(monkeypatch, *command) == 2
    assert "r50/none of unseen" in capsys.readouterr().err


def test_nothing_to_do_is_refused(monkeypatch, capsys, scene):
    assert run(monkeypatch, "fuse", scene.ensemble, "--predictions", scene.cache) == 2
    assert "expected --out DIR" in capsys.readouterr().err


def test_a_missing_source_ends_with_one_message_and_status_2(monkeypatch, capsys, scene):
    (scene.cache / "x101" / "none" / "cort_image.npz").unlink()
    assert run(monkeypatch, "fuse", scene.ensemble, "--predictions", scene.cache, "--out", scene.out) == 2
    err = capsys.readouterr().err
    assert err.startswith("sartorius: ")
    assert "1 predictions are missing: x101/none of cort_image" in err
    assert err.count("\n") == 1
    assert not scene.out.exists()
