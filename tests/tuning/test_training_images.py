"""Images that a model was trained on: tuning leaves them out, whatever tells of them."""

import json
import shutil
from types import SimpleNamespace

import pytest
from tuning_scene import data_of

from sartorius.config import load_ensemble_settings
from sartorius.data.leakage import write_trained_on
from sartorius.data.predictions import prediction_path, read_cells, read_manifest, write_cells, write_manifest
from sartorius.errors import UserError
from sartorius.experiment import file_sha256
from sartorius.tuning.images import Data, read_cached_images


@pytest.fixture
def run_folder(scene, tmp_path) -> SimpleNamespace:
    """The ensemble with weights in a run folder that says it was trained without fold 0."""
    folder = tmp_path / "run" / "fold0"
    folder.mkdir(parents=True)
    weights = folder / "model.safetensors"
    weights.write_bytes(b"weights")
    ensemble = shutil.copy(scene.ensemble, tmp_path / "ensemble.yaml")
    cache = shutil.copytree(scene.cache, tmp_path / "cache")
    for source in scene.settings.sources:
        manifest = read_manifest(cache / source)
        write_manifest(cache / source, manifest.model_copy(update={"weights_sha256": file_sha256(weights)}))

    def says(**facts) -> Data:
        (folder / "provenance.json").write_text(
            json.dumps({"fold": 0, "folds_sha256": file_sha256(scene.folds)} | facts)
        )
        return data_of(scene, caches=(cache,))

    def names(*image_ids: str) -> Data:
        return shows(dict.fromkeys(image_ids, "0" * 64))

    def shows(pictures: dict[str, str]) -> Data:
        write_trained_on(folder, pictures)
        return data_of(scene, caches=(cache,))

    return SimpleNamespace(ensemble=ensemble, weights=weights, says=says, names=names, shows=shows)


def test_images_that_a_model_was_trained_on_are_left_out(scene, run_folder):
    cached = read_cached_images(run_folder.ensemble, scene.settings, run_folder.says(), 3, 0)
    assert cached.image_ids == tuple(sorted(scene.truth))[::2]
    assert cached.left_out == tuple(sorted(scene.truth))[1::2]


def test_weights_without_a_run_tell_by_the_table_beside_them_what_they_were_trained_on(scene, run_folder):
    known = sorted(scene.truth)
    data = run_folder.names(known[1], known[2], "synthetic_1")
    cached = read_cached_images(run_folder.ensemble, scene.settings, data, 3, 0)
    assert cached.left_out == (known[1], known[2])
    assert cached.trained.origin.startswith("from ")
    assert cached.trained.origin.endswith("trained_on.csv")


def test_an_image_that_was_trained_on_under_another_name_is_left_out(scene, run_folder):
    pictures = {name: f"{number}" * 64 for number, name in enumerate(sorted(scene.truth))}
    known = list(pictures)
    data = run_folder.shows({"copy": pictures[known[1]], "other": "a" * 64, known[4]: "b" * 64})
    for image_id, picture in pictures.items():
        for name in scene.settings.sources:
            path = prediction_path(data.caches[0] / name, image_id)
            write_cells(path, read_cells(path), "" if name == "model00/none" else picture)
    cached = read_cached_images(run_folder.ensemble, scene.settings, data, 3, 0)
    assert cached.left_out == (known[1], known[4])


@pytest.fixture
def stage_wise(scene, run_folder, tmp_path) -> SimpleNamespace:
    """The same as one stage-wise ensemble; its cache tells what its manifest's config is given."""
    run_folder.ensemble.write_text(scene.ensemble.read_text() + "stage_wise: {}\n")
    cache = tmp_path / "stage_wise_cache"
    folder = shutil.copytree(scene.cache / "model00/none", cache / "stage_wise/none")

    def tells(**config) -> Data:
        manifest = read_manifest(folder).model_copy(
            update={
                "source": "stage_wise/none",
                "config": {"members": {"model00": {}, "model01": {}}} | config,
            }
        )
        write_manifest(folder, manifest)
        return run_folder.says()._replace(caches=(cache,))

    return SimpleNamespace(settings=load_ensemble_settings(run_folder.ensemble), tells=tells)


def test_images_that_any_member_of_a_stage_wise_ensemble_was_trained_on_are_left_out(
    scene, run_folder, stage_wise
):
    data = stage_wise.tells(members_sha256={"model00": "d" * 64, "model01": file_sha256(run_folder.weights)})
    cached = read_cached_images(run_folder.ensemble, stage_wise.settings, data, 3, 0)
    assert cached.left_out == tuple(sorted(scene.truth))[1::2]
    assert f"for no image of the weights {'d' * 12}, which have no" in cached.trained.origin


def test_a_stage_wise_cache_of_before_its_members_hashes_were_told_says_so(scene, run_folder, stage_wise):
    cached = read_cached_images(run_folder.ensemble, stage_wise.settings, stage_wise.tells(), 3, 0)
    assert cached.left_out == ()
    assert cached.trained.origin == (
        "for no image of stage_wise/none, predicted by a version that did not name its members' weights; "
        "predict again into another folder to know"
    )


def test_a_model_that_was_trained_on_all_images_leaves_none_to_tune_on(scene, run_folder):
    with pytest.raises(UserError, match="trained on each of the 6 images"):
        read_cached_images(run_folder.ensemble, scene.settings, run_folder.says(fold=None), 3, 0)


def test_a_model_that_was_trained_by_another_split_is_refused(scene, run_folder):
    with pytest.raises(UserError, match="another file of folds"):
        read_cached_images(run_folder.ensemble, scene.settings, run_folder.says(folds_sha256="0" * 64), 3, 0)
