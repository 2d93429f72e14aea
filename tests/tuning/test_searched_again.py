"""A tuned file is not searched again on images that it, or a file it was tuned from, was searched on."""

import shutil

import pytest
import yaml
from tuning_scene import data_of

from sartorius.config import load_ensemble_settings
from sartorius.data.predictions import prediction_path, read_cells, write_cells
from sartorius.errors import UserError
from sartorius.tuning.images import read_cached_images, refuse_searched_on
from sartorius.tuning.search import Budget
from sartorius.tuning.tuned_file import tune

THRESHOLDS = Budget(("score_threshold",), 0, 0)


def tuned(scene, ensemble, cache, out):
    return tune(ensemble, data_of(scene, caches=(cache,)), out, THRESHOLDS, 2, "sartorius tune …")


@pytest.fixture(scope="module")
def first(scene, tmp_path_factory):
    return tuned(scene, scene.ensemble, scene.cache, tmp_path_factory.mktemp("first") / "tuned.yaml").path


def cache_of(scene, root, images, changed=()):
    """A cache of some images, the predictions of those in `changed` being other ones."""
    shutil.copytree(scene.cache, root)
    for name in scene.settings.sources:
        for image_id in scene.truth:
            path = prediction_path(root / name, image_id)
            if image_id not in images:
                path.unlink()
            elif image_id in changed:
                write_cells(path, read_cells(path)[1:])
    return root


def refuse(scene, ensemble, cache):
    settings = load_ensemble_settings(ensemble)
    data = data_of(scene, caches=(cache,))
    refuse_searched_on(ensemble, settings, read_cached_images(ensemble, settings, data, 2, 0))


def refusal(file, source="ensemble.yaml"):
    return rf"{file}: its settings were searched on these predictions of model00/none, model01/none .* from {source}"


def test_it_is_not_searched_again_on_the_same_predictions(first, scene, tmp_path):
    with pytest.raises(UserError, match=refusal("tuned.yaml")):
        tuned(scene, first, scene.cache, tmp_path / "again.yaml")
    assert not (tmp_path / "again.yaml").exists()


def test_one_image_more_or_less_makes_no_other_predictions(first, scene, tmp_path):
    images = sorted(scene.truth)
    fewer = cache_of(scene, tmp_path / "fewer", images[1:])
    shared = cache_of(scene, tmp_path / "shared", images, changed=images[1:])
    for cache in (fewer, shared):
        with pytest.raises(UserError, match=refusal("tuned.yaml")):
            tuned(scene, first, cache, tmp_path / "again.yaml")


def test_it_is_searched_again_on_other_predictions_and_remembers_the_first(first, scene, tmp_path):
    images = sorted(scene.truth)
    other = cache_of(scene, tmp_path / "other", images, changed=images)
    again = tuned(scene, first, other, tmp_path / "again.yaml")
    assert again.record.ensemble == "tuned.yaml"
    with pytest.raises(UserError, match=refusal("again.yaml", "tuned.yaml")):
        refuse(scene, again.path, cache_of(scene, tmp_path / "some", images[:3]))


def test_a_file_from_before_images_were_named_is_still_known_by_all_of_them(first, scene, tmp_path):
    written = yaml.safe_load(first.read_text()) | {"base": str(scene.ensemble)}
    for source in written["tuned"]["sources"]:
        del source["images_sha256"]
    del written["tuned"]["searched_before"]
    old = tmp_path / "old.yaml"
    old.write_text(yaml.safe_dump(written))
    with pytest.raises(UserError, match=refusal("old.yaml")):
        refuse(scene, old, scene.cache)
    images = sorted(scene.truth)
    other = cache_of(scene, tmp_path / "other", images, changed=images)
    again = tuned(scene, old, other, tmp_path / "again.yaml").path
    with pytest.raises(UserError, match=refusal("again.yaml", "old.yaml")):
        refuse(scene, again, scene.cache)


def test_its_record_and_gains_are_those_of_its_own_search_alone(first, scene, tmp_path):
    corts = [image_id for image_id, truth in scene.truth.items() if set(truth.cell_types) == {"cort"}]
    cache = cache_of(scene, tmp_path / "cache", corts, changed=corts)
    made = tuned(scene, first, cache, tmp_path / "again.yaml")
    loaded = load_ensemble_settings(made.path)
    assert loaded.tuned == made.record
    assert list(loaded.tuned.out_of_fold.per_type) == ["cort"]
    assert loaded.gains == made.settings.gains
