from pathlib import Path

import pytest
from drawing import cell, cells
from fake_predictors import Blind, JitteredTruth, small_ensemble, small_truth, two_predictors, written_images

from sartorius.config import load_ensemble_settings
from sartorius.data.predictions import PredictionManifest, write_cells, write_manifest
from sartorius.errors import UserError
from sartorius.metrics.competition import evaluate
from sartorius.pipeline import (
    SubmitOptions,
    fuse_predictions,
    growing,
    narrowing,
    submit,
    write_checked,
)
from sartorius.submission import Problem, check_submission, read_submission, write_texts

ALL_EMPTY = "id,predicted\nastro_image,\ncort_image,\nempty_image,\n"


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
        {},
        (),
        (),
    )
    sizes_hw = {image_id: cells.size_hw for image_id, cells in truth.items()}
    assert check_submission(submitted.path, sizes_hw) == []
    assert evaluate(read_submission(submitted.path, sizes_hw), truth).total > 0.3


def test_an_image_without_a_cell_gets_its_empty_row(tmp_path, scene):
    truth, settings, paths = scene
    blind = {"r50": Blind(truth, "r50"), "x101": Blind(truth, "x101")}
    submit(blind, settings, paths, tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text() == ALL_EMPTY


def test_predictions_are_kept_where_asked_and_used_again(tmp_path, scene):
    truth, settings, paths = scene
    keeping = SubmitOptions(cache_dir=tmp_path / "cache")
    submit(two_predictors(truth), settings, paths, tmp_path / "one.csv", keeping)
    again = two_predictors(truth)
    submit(again, settings, paths, tmp_path / "two.csv", keeping)
    assert again["r50"].seen == []
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()


def test_a_model_does_not_look_at_images_of_types_that_it_is_not_fused_in(tmp_path, scene):
    truth, settings, paths = scene
    expert, other = settings.members
    expert = expert.model_copy(update={"weight": {"astro": 1.0, "default": 0.0}})
    by_type = settings.model_copy(update={"members": (expert, other)})
    for number, cache in enumerate((None, tmp_path / "kept", tmp_path / "kept", tmp_path / "cache")):
        finders = two_predictors(truth)
        submit(finders, by_type, paths, tmp_path / f"{number}.csv", SubmitOptions(cache_dir=cache))
        seen = {name: {image_id for image_id, _ in finder.seen} for name, finder in finders.items()}
        again = number == 2
        assert seen == {"r50": set() if again else {"astro_image"}, "x101": set() if again else set(paths)}
        assert (tmp_path / f"{number}.csv").read_text() == (tmp_path / "0.csv").read_text()
    fused = fuse_predictions(by_type, tmp_path / "kept", tmp_path / "fused")
    write_checked(fused.folder, tmp_path / "fused.csv")
    assert (tmp_path / "fused.csv").read_text() == (tmp_path / "0.csv").read_text()


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
    keeping = SubmitOptions(cache_dir=tmp_path / "cache")
    submit(two_predictors(truth), settings, paths, tmp_path / "all.csv", keeping)
    one = {"empty_image": paths["empty_image"]}
    submit(two_predictors(truth), settings, one, tmp_path / "one.csv", keeping)
    assert (tmp_path / "one.csv").read_text() == "id,predicted\nempty_image,\n"


def test_a_broken_image_costs_its_own_rows_and_is_told(tmp_path, scene, caplog):
    truth, settings, paths = scene
    whole = paths["cort_image"].read_bytes()
    paths["cort_image"].write_bytes(whole[: len(whole) // 2])
    submitted = submit(two_predictors(truth), settings, paths, tmp_path / "submission.csv")
    assert submitted.cells == {"astro_image": 2, "cort_image": 0, "empty_image": 0}
    assert list(submitted.broken) == ["cort_image"]
    assert "cut short" in submitted.broken["cort_image"]
    assert "image cort_image is left without cells" in caplog.text
    ids = [line.split(",")[0] for line in (tmp_path / "submission.csv").read_text().splitlines()]
    assert ids == ["id", "astro_image", "astro_image", "cort_image", "empty_image"]


def test_an_image_that_a_model_stumbles_over_costs_its_own_rows_too(tmp_path, scene, caplog):
    truth, settings, paths = scene
    forgetful = {name: cells for name, cells in truth.items() if name != "astro_image"}
    submitted = submit(two_predictors(forgetful), settings, paths, tmp_path / "submission.csv")
    assert submitted.broken == {"astro_image": "KeyError: 'astro_image'"}
    assert submitted.cells["cort_image"] == 3
    assert "Traceback" in caplog.text


def test_a_fault_with_every_image_is_raised_and_leaves_a_valid_file(tmp_path, scene):
    _, settings, paths = scene
    with pytest.raises(KeyError):
        submit(two_predictors({}), settings, paths, tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text() == ALL_EMPTY


def test_images_of_which_none_can_be_read_are_bad_input(tmp_path, scene):
    truth, settings, paths = scene
    for path in paths.values():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of the 3 images could be used"):
        submit(two_predictors(truth), settings, paths, tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text() == ALL_EMPTY


class Watching(JitteredTruth):
    """Looks at the file that would be left if the process were killed while the model works."""

    def __init__(self, truth, path):
        super().__init__(truth)
        self.path, self.seen_files = path, []

    def __call__(self, image, image_id, view):
        self.seen_files.append(self.path.read_text())
        return super().__call__(image, image_id, view)


def test_the_file_is_complete_and_valid_from_before_the_first_image_on(tmp_path, scene, monkeypatch):
    truth, settings, paths = scene
    monkeypatch.setattr("sartorius.pipeline.submitting.WRITE_EVERY_S", 0)
    watching = Watching(truth, tmp_path / "submission.csv")
    submit({"r50": watching, "x101": watching}, settings, paths, tmp_path / "submission.csv")
    assert watching.seen_files[0] == ALL_EMPTY
    assert len(set(watching.seen_files)) == 3  # before each of the three images another file
    sizes_hw = {image_id: cells.size_hw for image_id, cells in truth.items()}
    for number, text in enumerate(watching.seen_files):
        left = tmp_path / f"left{number}.csv"
        left.write_text(text)
        assert check_submission(left, sizes_hw) == []


def test_a_disk_that_is_full_for_a_while_costs_only_versions_in_between(tmp_path, scene, monkeypatch, caplog):
    truth, settings, paths = scene
    submit(two_predictors(truth), settings, paths, tmp_path / "whole.csv")
    written = []

    def write(path, texts):
        written.append(path)
        if len(written) in (2, 3):
            raise UserError(f"{path}: the disk is full")
        write_texts(path, texts)

    monkeypatch.setattr("sartorius.pipeline.submitting.WRITE_EVERY_S", 0)
    monkeypatch.setattr(growing, "write_texts", write)
    submitted = submit(two_predictors(truth), settings, paths, tmp_path / "submission.csv")
    assert (submitted.broken, len(written)) == ({}, 5)  # before, after each of the three images, at the end
    assert (tmp_path / "submission.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert caplog.text.count("the disk is full") == 1


def test_a_damaged_file_of_the_cache_is_predicted_again(tmp_path, scene, caplog):
    truth, settings, paths = scene
    keeping = SubmitOptions(cache_dir=tmp_path / "cache")
    submit(two_predictors(truth), settings, paths, tmp_path / "one.csv", keeping)
    (tmp_path / "cache" / "r50" / "none" / "cort_image.npz").write_bytes(b"PK")
    again = two_predictors(truth)
    submit(again, settings, paths, tmp_path / "two.csv", keeping)
    assert again["r50"].seen == [("cort_image", "none")]
    assert "predicting again" in caplog.text
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()


def test_cells_count_even_if_the_cache_cannot_keep_them(tmp_path, scene, monkeypatch, caplog):
    truth, settings, paths = scene
    submit(two_predictors(truth), settings, paths, tmp_path / "kept.csv")

    def fill_the_disk(path: Path, *_: object) -> None:
        raise UserError(f"{path}: the disk is full")

    monkeypatch.setattr(narrowing, "write_cells", fill_the_disk)
    keeping = SubmitOptions(cache_dir=tmp_path / "cache")
    submitted = submit(two_predictors(truth), settings, paths, tmp_path / "unkept.csv", keeping)
    assert submitted.broken == {}
    assert (tmp_path / "unkept.csv").read_text() == (tmp_path / "kept.csv").read_text()
    assert "not kept for another run" in caplog.text
    assert "cort_image.npz: the disk is full" in caplog.text


def test_another_models_cache_is_refused_before_a_file_is_written(tmp_path, scene):
    truth, settings, paths = scene
    keeping = SubmitOptions(cache_dir=tmp_path / "cache")
    submit(two_predictors(truth), settings, paths, tmp_path / "one.csv", keeping)
    others = {name: JitteredTruth(truth, "other") for name in ("r50", "x101")}
    with pytest.raises(UserError, match="another model"):
        submit(others, settings, paths, tmp_path / "two.csv", keeping)
    assert not (tmp_path / "two.csv").exists()


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
    monkeypatch.setattr(growing, "check_submission", lambda path, sizes_hw: [Problem(2, "made up")])
    with pytest.raises(ValueError, match="line 2: made up"):
        write_checked(folder, tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text() == "precious"


def test_work_is_reported_image_by_image(tmp_path, scene):
    truth, settings, paths = scene
    said = []
    options = SubmitOptions(report=lambda *words: said.append(words))
    submit(two_predictors(truth), settings, paths, tmp_path / "s.csv", options)
    assert said == [("submit", 1, 3), ("submit", 2, 3), ("submit", 3, 3)]
