import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import run
from fake_predictors import small_ensemble, small_truth, two_predictors, written_images

from sartorius.config import load_ensemble_settings
from sartorius.data.predictions import read_prediction_folder
from sartorius.experiment import file_sha256
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


@pytest.mark.parametrize(
    ("image", "hint"),
    [
        ("cort_imag", "; did you mean cort_image?"),
        ("nope", ", which are astro_image, cort_image, empty_image …"),
    ],
)
def test_explaining_an_image_that_is_not_there_is_refused(monkeypatch, capsys, scene, image, hint):
    command = ("fuse", scene.ensemble, "--predictions", scene.cache, "--explain", image)
    assert run(monkeypatch, *command) == 2
    assert (
        f"{scene.cache}: there is no image '{image}' among the 3 predicted{hint}\n" in capsys.readouterr().err
    )


def test_predictions_named_after_another_image_are_refused(monkeypatch, capsys, scene):
    folder = scene.cache / "r50" / "none"
    (folder / "astro_image.npz").replace(folder / "cort_image.npz")
    (folder / "astro_image.npz").write_bytes((folder / "cort_image.npz").read_bytes())
    command = ("fuse", scene.ensemble, "--predictions", scene.cache, "--out", scene.out, "--workers", 0)
    assert run(monkeypatch, *command) == 2
    assert (
        "cort_image.npz: the name says image cort_image, the file holds astro_image"
        in capsys.readouterr().err
    )


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


def test_weights_that_came_after_the_predictions_are_told(monkeypatch, capsys, scene):
    settings = load_ensemble_settings(scene.ensemble)
    command = ("fuse", scene.ensemble, "--predictions", scene.cache, "--explain", "cort_image")
    old, other = (scene.ensemble.parent / member.weights for member in settings.members)
    for path in (old, other):
        path.parent.mkdir(parents=True, exist_ok=True)
    old.write_bytes(b"trained anew")
    assert run(monkeypatch, *command) == 0
    told = f"{settings.members[0].name} was predicted with .*…, {old} holds {file_sha256(old)[:12]}… now; predict again"
    assert re.search(told, " ".join(capsys.readouterr().err.split()))
    for manifest in scene.cache.rglob("manifest.json"):
        text = json.loads(manifest.read_text())
        manifest.write_text(json.dumps(text | {"weights_sha256": file_sha256(old)}))
    assert run(monkeypatch, *command) == 0
    assert capsys.readouterr().err == ""
