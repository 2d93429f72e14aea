from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import run
from fake_predictors import JitteredTruth, small_truth, written_images

from sartorius import load_ensemble, read_any, write_any
from sartorius.bundle.configs import write_configs
from sartorius.cells import no_cells
from sartorius.config import load_ensemble_settings
from sartorius.data.predictions import read_manifest, read_prediction_folder
from sartorius.errors import UserError
from sartorius.overlap import iou, overlapping
from sartorius.pipeline import predict_images
from sartorius.pipeline.foreign import foreign_predictors
from sartorius.pipeline.staleness import models_in_cache
from sartorius.submission import read_submission

#: Two programs, of which one tells the images' sizes and the other does not.
ENSEMBLE_YAML = """\
members:
  - {name: yolo, predictions: yolo.json, weight: 2.0}
  - {name: cellpose, predictions: cellpose}
views: [{flip: none}, {flip: horizontal}]
tiling: {untiled_up_to_px: 64, tile_px: 64, overlap_px: 16}
fusion: {method: masks, min_votes: 2}
postprocess: {score_threshold: 0.1, min_area_px: 1}
"""
TRUTH = small_truth()


@pytest.fixture
def scene(tmp_path: Path) -> SimpleNamespace:
    """Images, what two programs found in them in files of their own, and the ensemble of both."""
    images = written_images(tmp_path / "images", TRUTH)
    write_any(tmp_path / "yolo.json", TRUTH, "coco-results", images)
    write_any(tmp_path / "cellpose", TRUTH, "labels")
    ensemble = tmp_path / "two_programs.yaml"
    ensemble.write_text(ENSEMBLE_YAML)
    return SimpleNamespace(ensemble=ensemble, images=images, folder=tmp_path)


def submit(monkeypatch, scene, *options: object) -> int:
    out = scene.folder / "submission.csv"
    return run(
        monkeypatch, "submit", scene.ensemble, "--images", scene.folder / "images", "--out", out, *options
    )


def test_predictions_of_two_programs_become_one_submission_without_torch(monkeypatch, capsys, scene):
    monkeypatch.setitem(__import__("sys").modules, "sartorius.detectron.ensemble", None)
    assert submit(monkeypatch, scene) == 0
    assert "5 cells in 3 images (1 without a cell), checked" in capsys.readouterr().out
    sizes_hw = {image_id: cells.size_hw for image_id, cells in TRUTH.items()}
    for image_id, cells in read_submission(scene.folder / "submission.csv", sizes_hw).items():
        pairs = overlapping(cells, TRUTH[image_id])
        assert iou(pairs, cells, TRUTH[image_id]).tolist() == [1.0] * len(TRUTH[image_id])


def test_predict_and_fuse_take_them_as_one_source_each_without_views(monkeypatch, capsys, scene):
    cache, fused = scene.folder / "cache", scene.folder / "fused"
    images = scene.folder / "images"
    assert run(monkeypatch, "predict", scene.ensemble, "--images", images, "--out", cache) == 0
    assert "3 images x 2 sources, 6 predicted now" in capsys.readouterr().out
    assert run(monkeypatch, "fuse", scene.ensemble, "--predictions", cache, "--out", fused) == 0
    found = read_prediction_folder(fused)
    assert {name: len(cells) for name, cells in found.items()} == {name: len(TRUTH[name]) for name in TRUTH}
    manifest = read_manifest(cache / "yolo" / "none")
    assert (manifest.model, manifest.config) == ("yolo.json", {"predictions": "coco-results"})
    assert set(read_prediction_folder(cache / "yolo" / "none")["cort_image"].sources) == {"yolo/none"}


def test_other_predictions_under_the_same_name_have_another_hash_and_refuse_the_cache(scene):
    settings = load_ensemble_settings(scene.ensemble)
    cache = scene.folder / "cache"
    predict_images(foreign_predictors(scene.ensemble, settings, scene.images), settings, scene.images, cache)
    before = models_in_cache(settings, cache)["cellpose/none"].weights_sha256
    write_any(scene.folder / "other", {name: cells[:1] for name, cells in TRUTH.items()}, "labels")
    (scene.folder / "other" / "cort_image.tif").replace(scene.folder / "cellpose" / "cort_image.tif")
    changed = foreign_predictors(scene.ensemble, settings, scene.images)
    assert changed["cellpose"].weights_sha256 != before
    with pytest.raises(UserError, match="predictions of another model: weights_sha256 is"):
        predict_images(changed, settings, scene.images, cache)


def test_what_a_file_manager_leaves_beside_predictions_does_not_make_them_others(scene):
    settings = load_ensemble_settings(scene.ensemble)
    before = foreign_predictors(scene.ensemble, settings, scene.images)["cellpose"].weights_sha256
    for name in (".DS_Store", "._cort_image.tif", "Thumbs.db", "desktop.ini"):
        (scene.folder / "cellpose" / name).write_bytes(b"looked at")
    assert foreign_predictors(scene.ensemble, settings, scene.images)["cellpose"].weights_sha256 == before


def test_predictions_vote_beside_a_model_that_sees_several_views(scene):
    scene.ensemble.write_text(
        ENSEMBLE_YAML.replace("{name: cellpose, predictions: cellpose}", "{name: r50, model: m, weights: w}")
    )
    settings = load_ensemble_settings(scene.ensemble)
    assert settings.sources == ("yolo/none", "r50/none", "r50/horizontal")
    assert settings.weights_for("cort")["yolo/none"] == 2
    predictors = {
        **foreign_predictors(scene.ensemble, settings, scene.images),
        "r50": JitteredTruth(TRUTH, "r50"),
    }
    made = predict_images(predictors, settings, scene.images, scene.folder / "cache")
    assert made == (9, 0, 0)


def test_a_coco_file_explains_the_numbers_of_results(scene):
    write_any(scene.folder / "truth.json", TRUTH, "coco")
    numbered = scene.folder / "numbered.json"
    write_any(numbered, TRUTH, "coco-results", reference=scene.folder / "truth.json")
    scene.ensemble.write_text("members: [{name: other, predictions: numbered.json, reference: truth.json}]\n")
    settings = load_ensemble_settings(scene.ensemble)
    (found,) = foreign_predictors(scene.ensemble, settings, scene.images).values()
    assert found.config == {"predictions": "coco-results"}
    expected = read_any(numbered, scene.images, reference=scene.folder / "truth.json")
    assert len(expected["cort_image"]) == 3


def test_an_image_without_predictions_is_told_before_anything_is_done(monkeypatch, capsys, scene):
    (scene.folder / "cellpose" / "cort_image.tif").unlink()
    assert submit(monkeypatch, scene) == 2
    assert "expected predictions of all 3 images, 1 are not in it, for example cort_image" in (
        capsys.readouterr().err
    )
    assert submit(monkeypatch, scene, "--ids", "astro_image") == 0


def test_predictions_of_an_image_of_another_size_are_refused(monkeypatch, capsys, scene):
    scene.ensemble.write_text("members: [{name: cellpose, predictions: cellpose}]\n")
    written_images(scene.folder / "images", {"cort_image": no_cells("cort_image", (20, 28))})
    assert submit(monkeypatch, scene) == 1
    told = capsys.readouterr().out
    assert "left without cells: cort_image: " in told
    assert "of height and width (40, 56), but the image has (20, 28); they were found in a resized" in told


def test_commands_that_need_models_say_so(scene):
    for needs_models in (load_ensemble, lambda path: write_configs(path, scene.folder / "bundle")):
        with pytest.raises(UserError, match="member yolo, cellpose has predictions of certain images and no"):
            needs_models(scene.ensemble)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("{name: a}", "expected either `model` and `weights`, or `predictions`"),
        ("{name: a, model: m}", "expected either `model` and `weights`, or `predictions`"),
        ("{name: a, model: m, weights: w, predictions: p}", "expected either"),
        ("{name: a, model: m, weights: w, reference: r}", "`reference` explains `predictions`"),
    ],
)
def test_a_member_is_either_a_model_or_predictions(tmp_path, members, message):
    ensemble = tmp_path / "wrong.yaml"
    ensemble.write_text(f"members: [{members}]\n")
    with pytest.raises(UserError, match=message):
        load_ensemble_settings(ensemble)


def test_predictions_cannot_be_fused_inside_networks(scene):
    scene.ensemble.write_text(ENSEMBLE_YAML + "stage_wise: {}\n")
    with pytest.raises(
        UserError, match="stage_wise runs every member's network, but yolo, cellpose has only"
    ):
        load_ensemble_settings(scene.ensemble)


def test_a_file_that_is_not_there_is_named(monkeypatch, capsys, scene):
    (scene.folder / "yolo.json").unlink()
    assert submit(monkeypatch, scene) == 2
    assert f"{scene.folder / 'yolo.json'}: no such file or folder of cells" in capsys.readouterr().err
