from pathlib import Path

import pytest
from drawing import cell, cells
from fake_predictors import Blind, JitteredTruth, small_ensemble, small_truth, two_predictors, written_images

from sartorius.config import load_ensemble_settings
from sartorius.data.predictions import PredictionManifest, write_cells, write_manifest
from sartorius.errors import UserError
from sartorius.metrics.competition import evaluate
from sartorius.pipeline import submit, submitting, write_checked
from sartorius.submission import Problem, check_submission, read_submission


@pytest.fixture
def scene(tmp_path: Path):
    truth = small_truth()
    return (
        truth,
        load_ensemble_settings(small_ensemble(tmp_path)),
        written_images(tmp_path / "images", truth),
    )


def test_images_become_a_submission_that_passes_the_check_and_scores(tmp_path, scene):
    truth, settings, paths = scene
    submitted = submit(two_predictors(truth), settings, paths, tmp_path / "submission.csv")
    assert submitted == (
        tmp_path / "submission.csv",
        {"astro_image": 2, "cort_image": 3, "empty_image": 0},
    )
    sizes_hw = {image_id: cells.size_hw for image_id, cells in truth.items()}
    assert check_submission(submitted.path, sizes_hw) == []
    assert evaluate(read_submission(submitted.path, sizes_hw), truth).total > 0.3


def test_an_image_without_a_cell_gets_its_empty_row(tmp_path, scene):
    truth, settings, paths = scene
    blind = {"r50": Blind(truth, "r50"), "x101": Blind(truth, "x101")}
    submit(blind, settings, paths, tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text() == (
        "id,predicted\nastro_image,\ncort_image,\nempty_image,\n"
    )


def test_predictions_are_kept_where_asked_and_used_again(tmp_path, scene):
    truth, settings, paths = scene
    submit(two_predictors(truth), settings, paths, tmp_path / "one.csv", tmp_path / "cache")
    again = two_predictors(truth)
    submit(again, settings, paths, tmp_path / "two.csv", tmp_path / "cache")
    assert again["r50"].seen == []
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()


def test_predictions_are_not_kept_otherwise(tmp_path, scene, monkeypatch):
    truth, settings, paths = scene
    before = set(tmp_path.iterdir())
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    submit(two_predictors(truth), settings, paths, tmp_path / "out" / "submission.csv")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out", tmp_path / "temporary"}
    assert list((tmp_path / "temporary").iterdir()) == []


def test_only_the_images_of_this_run_are_submitted_from_a_larger_cache(tmp_path, scene):
    truth, settings, paths = scene
    submit(two_predictors(truth), settings, paths, tmp_path / "all.csv", tmp_path / "cache")
    one = {"empty_image": paths["empty_image"]}
    submit(two_predictors(truth), settings, one, tmp_path / "one.csv", tmp_path / "cache")
    assert (tmp_path / "one.csv").read_text() == "id,predicted\nempty_image,\n"


def test_a_broken_image_leaves_an_earlier_submission_as_it_was(tmp_path, scene):
    truth, settings, paths = scene
    (tmp_path / "submission.csv").write_text("precious")
    paths["cort_image"].write_bytes(b"")
    with pytest.raises(UserError, match=r"cort_image\.png"):
        submit(two_predictors(truth), settings, paths, tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text() == "precious"


def test_a_folder_in_the_place_of_the_submission_is_refused_before_the_work(tmp_path, scene):
    truth, settings, paths = scene
    predictor = JitteredTruth(truth)
    with pytest.raises(UserError, match="expected the name of a CSV file"):
        submit({"r50": predictor, "x101": predictor}, settings, paths, tmp_path / "images")
    assert predictor.seen == []


def test_a_submission_that_fails_its_check_never_takes_its_place(tmp_path, monkeypatch):
    folder = tmp_path / "fused"
    write_manifest(folder, PredictionManifest(source="fused", package_version="0"))
    write_cells(folder / "drawn.npz", cells(cell("##.."), cell("..##")))
    (tmp_path / "submission.csv").write_text("precious")
    monkeypatch.setattr(submitting, "check_submission", lambda path, sizes_hw: [Problem(2, "made up")])
    with pytest.raises(ValueError, match="line 2: made up"):
        write_checked(folder, tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text() == "precious"


def test_work_is_reported_stage_by_stage(tmp_path, scene):
    truth, settings, paths = scene
    said = []
    submit(
        two_predictors(truth), settings, paths, tmp_path / "s.csv", report=lambda *words: said.append(words)
    )
    assert said[0] == ("predict", 1, 12)
    assert said[11] == ("predict", 12, 12)
    assert said[12:] == [("fuse", 1, 3), ("fuse", 2, 3), ("fuse", 3, 3)]
