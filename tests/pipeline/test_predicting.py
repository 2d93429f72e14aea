from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from fake_predictors import (
    SOURCES,
    Blind,
    JitteredTruth,
    small_ensemble,
    small_truth,
    two_predictors,
    written_images,
)

from sartorius.cells import Cells
from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.data.predictions import read_manifest, read_prediction_folder
from sartorius.errors import UserError
from sartorius.pipeline import SubmitOptions, predict_images, read_sources, submit
from sartorius.pipeline.fusing import predicted_images


class Scene(NamedTuple):
    truth: dict[str, Cells]
    paths: dict[str, Path]
    settings: EnsembleSettings
    cache: Path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    truth = small_truth()
    paths = written_images(tmp_path / "images", truth)
    return Scene(truth, paths, load_ensemble_settings(small_ensemble(tmp_path)), tmp_path / "cache")


def test_every_image_is_predicted_by_every_model_through_every_view(scene):
    predicted = predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)
    assert predicted == (12, 0, 0)
    assert {path.parent for path in scene.cache.glob("*/*/manifest.json")} == {
        scene.cache / n for n in SOURCES
    }
    for name in SOURCES:
        found = read_prediction_folder(scene.cache / name)
        assert {image_id: len(cells) for image_id, cells in found.items()} == {
            "astro_image": 2,
            "cort_image": 3,
            "empty_image": 0,
        }
        assert set(found["cort_image"].sources) == {name}


def test_the_manifest_says_which_model_and_view_it_was(scene):
    predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)
    manifest = read_manifest(scene.cache / "x101" / "horizontal")
    assert (manifest.source, manifest.model, manifest.view) == ("x101/horizontal", "x101.yaml", "horizontal")
    assert manifest.config == {"backbone": "x101"}
    assert manifest.weights_sha256 == JitteredTruth({}, "x101").weights_sha256


def test_a_second_run_predicts_only_what_is_missing(scene):
    predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)
    (scene.cache / "r50" / "horizontal" / "cort_image.npz").unlink()
    again = two_predictors(scene.truth)
    assert predict_images(again, scene.settings, scene.paths, scene.cache) == (1, 11, 0)
    assert again["r50"].seen == [("cort_image", "horizontal")]
    assert again["x101"].seen == []


def test_an_interrupted_run_keeps_what_it_had_and_goes_on(scene):
    class Interrupted(JitteredTruth):
        def __call__(self, image, image_id, view):
            if len(self.seen) == 3:
                raise KeyboardInterrupt
            return super().__call__(image, image_id, view)

    predictors = two_predictors(scene.truth) | {"x101": Interrupted(scene.truth, "x101")}
    with pytest.raises(KeyboardInterrupt):
        predict_images(predictors, scene.settings, scene.paths, scene.cache)
    resumed = predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)
    assert resumed == (5, 7, 0)


def test_new_images_join_an_existing_cache(scene):
    first = {"cort_image": scene.paths["cort_image"]}
    predict_images(two_predictors(scene.truth), scene.settings, first, scene.cache)
    assert predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache) == (8, 4, 0)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (
            JitteredTruth({}, "other", backbone="r50"),
            r"weights_sha256 is [0-9a-f]{12}… there and [0-9a-f]{12}… now",
        ),
        (JitteredTruth({}, "r50", input_scale=2.0), "input_scale is None there and 2.0 now"),
        (JitteredTruth({}, "r50", gpu_precision="float32"), "gpu_precision is None there and 'float32' now"),
        (JitteredTruth({}, "r50", cpu_convolutions="int8"), "cpu_convolutions is None there and 'int8' now"),
    ],
)
def test_a_cache_of_another_model_is_refused_before_anything_is_predicted(scene, other, difference):
    predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)
    for file in scene.cache.glob("x101/*/*"):
        file.unlink()
    with pytest.raises(
        UserError, match=f"predictions of another model: {difference}; choose another"
    ) as error:
        predict_images(two_predictors(scene.truth) | {"r50": other}, scene.settings, scene.paths, scene.cache)
    assert str(scene.cache / "r50" / "none") in str(error.value)
    assert other.seen == []
    assert list(scene.cache.glob("x101/*/*")) == []


def test_a_cache_stays_when_only_what_the_training_was_told_changes(scene):
    predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)
    r50 = JitteredTruth(scene.truth, "r50", iterations=9, hypothesis="longer", base_lr=0.1)
    changed = two_predictors(scene.truth) | {"r50": r50}
    assert predict_images(changed, scene.settings, scene.paths, scene.cache).made == 0


def test_files_without_a_manifest_are_not_taken_for_ours(scene):
    predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)
    (scene.cache / "r50" / "none" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"holds \.npz files but no manifest\.json"):
        predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)


def test_broken_images_are_all_named_once_the_others_are_done(scene):
    scene.paths["astro_image"].write_bytes(b"")
    whole = scene.paths["cort_image"].read_bytes()
    scene.paths["cort_image"].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as error:
        predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)
    assert str(error.value).startswith("2 of 3 images cannot be used")
    assert "astro_image.png" in str(error.value)
    assert "cort_image.png" in str(error.value)
    assert sorted(path.name for path in scene.cache.rglob("*.npz")) == ["empty_image.npz"] * 4


def test_models_that_find_nothing_leave_empty_predictions(scene):
    blind = {"r50": Blind(scene.truth, "r50"), "x101": Blind(scene.truth, "x101")}
    assert predict_images(blind, scene.settings, scene.paths, scene.cache) == (12, 0, 0)
    assert [len(cells) for cells in read_prediction_folder(scene.cache / "r50" / "none").values()] == [
        0,
        0,
        0,
    ]


def test_progress_counts_up_to_the_whole_and_starts_where_a_run_goes_on(scene):
    said = []
    first = {"cort_image": scene.paths["cort_image"]}
    predict_images(two_predictors(scene.truth), scene.settings, first, scene.cache)
    predict_images(
        two_predictors(scene.truth),
        scene.settings,
        scene.paths,
        scene.cache,
        lambda *words: said.append(words),
    )
    assert [done for _, done, _ in said] == [1, 2, 3, 4, 9, 10, 11, 12]
    assert {(what, total) for what, _, total in said} == {("predict", 12)}


def test_another_image_of_the_same_name_does_not_get_the_cells_of_the_first(scene):
    predict_images(two_predictors(scene.truth), scene.settings, scene.paths, scene.cache)
    size_hw = scene.truth["cort_image"].size_hw
    cv2.imwrite(str(scene.paths["cort_image"]), np.full(size_hw, 90, np.uint8))
    again = two_predictors(scene.truth)
    with pytest.raises(
        UserError, match=r"none/cort_image\.npz: holds predictions of another image called"
    ) as told:
        predict_images(again, scene.settings, scene.paths, scene.cache)
    assert "1 of 3 images cannot be used" in str(told.value)
    assert again["r50"].seen == []
    submitted = submit(
        again, scene.settings, scene.paths, scene.cache / "s.csv", SubmitOptions(cache_dir=scene.cache)
    )
    assert list(submitted.broken) == ["cort_image"]


def test_an_image_is_not_looked_at_by_sources_that_its_type_leaves_out(scene):
    r50, x101 = scene.settings.members
    expert = r50.model_copy(update={"weight": {"astro": 1.0, "default": 0.0}})
    by_type = scene.settings.model_copy(update={"members": (expert, x101)})
    finders, told = two_predictors(scene.truth), []
    made = predict_images(
        finders, by_type, scene.paths, scene.cache, lambda _, done, total: told.append((done, total))
    )
    assert made == (8, 0, 4)
    assert {image_id for image_id, _ in finders["r50"].seen} == {"astro_image"}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (12, 12)
    assert predict_images(two_predictors(scene.truth), by_type, scene.paths, scene.cache) == (0, 8, 4)
    assert set(read_sources(by_type, scene.cache, "cort_image")) == {"x101/none", "x101/horizontal"}
    assert len(read_sources(by_type, scene.cache, "astro_image")) == 4
    with pytest.raises(UserError, match=r"4 predictions are missing: r50/none of cort_image"):
        predicted_images(scene.settings, scene.cache)
    (scene.cache / "r50" / "none" / "astro_image.npz").unlink()
    with pytest.raises(UserError, match=r"1 predictions are missing: r50/none of astro_image; .* predict"):
        read_sources(by_type, scene.cache, "astro_image")
    assert predict_images(two_predictors(scene.truth), by_type, scene.paths, scene.cache) == (1, 7, 4)


def test_a_damaged_prediction_that_tells_a_type_costs_its_own_image_only(scene):
    r50, x101 = scene.settings.members
    by_type = scene.settings.model_copy(
        update={"members": (r50.model_copy(update={"weight": {"astro": 1.0, "default": 0.0}}), x101)}
    )
    only = by_type.model_copy(update={"members": (x101,)})
    predict_images(
        two_predictors(scene.truth), only, {"astro_image": scene.paths["astro_image"]}, scene.cache
    )
    (scene.cache / "x101" / "none" / "astro_image.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"1 of 3 images cannot be used(.|\n)*x101/none/astro_image\.npz"):
        predict_images(two_predictors(scene.truth), by_type, scene.paths, scene.cache)
    assert set(read_sources(by_type, scene.cache, "cort_image")) == {"x101/none", "x101/horizontal"}
