import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawing import drawn
from fake_predictors import Blind, small_ensemble, small_truth, two_predictors, written_images

from sartorius.cells import no_cells
from sartorius.config import load_ensemble_settings
from sartorius.config.fusion import MasksSettings
from sartorius.data.predictions import (
    read_cells,
    read_manifest,
    read_prediction_folder,
    write_cells,
    write_manifest,
)
from sartorius.errors import UserError
from sartorius.fusion import fuse
from sartorius.metrics.competition import evaluate
from sartorius.pipeline import (
    explain_image,
    fuse_predictions,
    fused_and_cleaned,
    predict_images,
    read_sources,
)
from sartorius.postprocess import clean


@pytest.fixture
def settings(tmp_path: Path):
    return load_ensemble_settings(small_ensemble(tmp_path))


@pytest.fixture
def cache(tmp_path: Path, settings) -> Path:
    truth = small_truth()
    paths = written_images(tmp_path / "images", truth)
    predict_images(two_predictors(truth), settings, paths, tmp_path / "cache")
    return tmp_path / "cache"


def contents(folder: Path):
    """Everything a folder of predictions says, in plain values."""
    return {
        image_id: (drawn(cells), cells.scores.tolist(), cells.cell_types.tolist(), cells.sources.tolist())
        for image_id, cells in read_prediction_folder(folder).items()
    }


def test_four_sources_of_the_same_cells_become_those_cells(tmp_path, settings, cache):
    fused = fuse_predictions(settings, cache, tmp_path / "fused")
    assert fused == (tmp_path / "fused", {"astro_image": 2, "cort_image": 3, "empty_image": 0})
    score = evaluate(read_prediction_folder(fused.folder), small_truth())
    assert score.total > 0.3  # the jitter of one pixel costs some on cells this small
    assert set(read_cells(fused.folder / "astro_image.npz").cell_types) == {"astro"}


def test_an_image_is_fused_and_cleaned_by_the_ensembles_settings(settings, cache):
    sources = read_sources(settings, cache, "cort_image")
    assert list(sources) == ["r50/none", "r50/horizontal", "x101/none", "x101/horizontal"]
    expected = clean(fuse(sources, settings.fusion), settings.postprocess)
    assert drawn(fused_and_cleaned(sources, settings)) == drawn(expected)


def test_a_members_weight_reaches_the_fusion(settings, cache):
    """The mean score of a cell's votes is that of the one model that has almost all the weight."""
    loud, quiet = settings.members
    members = (loud.model_copy(update={"weight": 1000.0}), quiet.model_copy(update={"weight": 0.001}))
    sources = read_sources(settings, cache, "cort_image")
    even = fused_and_cleaned(sources, settings)
    heavy = fused_and_cleaned(sources, settings.model_copy(update={"members": members}))
    r50_scores = (sources["r50/none"].scores + sources["r50/horizontal"].scores) / 2
    np.testing.assert_allclose(sorted(heavy.scores), sorted(r50_scores), atol=1e-3)
    assert not np.allclose(sorted(even.scores), sorted(r50_scores), atol=1e-2)


def test_the_result_is_one_more_folder_of_predictions_that_says_what_it_was_made_from(
    tmp_path, settings, cache
):
    fuse_predictions(settings, cache, tmp_path / "fused")
    manifest = read_manifest(tmp_path / "fused")
    assert manifest.source == "fused"
    assert manifest.fused_from == ("r50/horizontal", "r50/none", "x101/horizontal", "x101/none")
    assert manifest.config == settings.model_dump(mode="json")


@pytest.mark.slow
def test_processes_change_nothing(tmp_path, settings, cache):
    fuse_predictions(settings, cache, tmp_path / "one", n_workers=0)
    fuse_predictions(settings, cache, tmp_path / "two", n_workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_a_damaged_prediction_is_named_from_another_process_too(tmp_path, settings, cache):
    (cache / "r50" / "none" / "cort_image.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cort_image\.npz"):
        fuse_predictions(settings, cache, tmp_path / "fused", n_workers=2)
    assert not (tmp_path / "fused").exists()


def test_a_prediction_that_is_missing_is_never_passed_over(tmp_path, settings, cache):
    (cache / "r50" / "none" / "cort_image.npz").unlink()
    (cache / "x101" / "horizontal" / "empty_image.npz").unlink()
    with pytest.raises(
        UserError, match="2 predictions are missing: r50/none of cort_image, x101/horizontal of empty_image"
    ):
        fuse_predictions(settings, cache, tmp_path / "fused")
    assert not (tmp_path / "fused").exists()


def test_a_source_without_predictions_is_named_beside_those_there_are(tmp_path, settings, cache):
    (cache / "x101" / "none").rename(cache / "x101" / "other")
    with pytest.raises(
        UserError, match="missing x101/none, found r50/horizontal, r50/none, x101/horizontal, x101/other"
    ):
        fuse_predictions(settings, cache, tmp_path / "fused")


def two_folders(tmp_path: Path, settings, second_size_hw: tuple[int, int]) -> Path:
    """A cache with one view predicted in one folder of images, the other view in other images of the same names."""
    truth = small_truth()
    first = written_images(tmp_path / "first", truth)
    other = {name: no_cells(name, second_size_hw) for name in truth}
    second = written_images(tmp_path / "second", other)
    for path in second.values():
        cv2.imwrite(str(path), np.full(second_size_hw, 99, np.uint8))
    for view, found, paths in zip(settings.views, (truth, other), (first, second), strict=True):
        one_view = settings.model_copy(update={"views": (view,)})
        predict_images(two_predictors(found), one_view, paths, tmp_path / "mixed")
    return tmp_path / "mixed"


@pytest.mark.parametrize("second_size_hw", [(40, 56), (20, 28)])
def test_views_of_different_images_of_the_same_name_are_refused(tmp_path, settings, second_size_hw):
    mixed = two_folders(tmp_path, settings, second_size_hw)
    with pytest.raises(
        UserError,
        match=r"r50/horizontal/astro_image\.npz: holds predictions of another image called astro_image than .*"
        r"r50/none/astro_image\.npz",
    ):
        fuse_predictions(settings, mixed, tmp_path / "fused")
    assert not (tmp_path / "fused").exists()


def test_files_that_do_not_tell_their_image_are_told_apart_by_its_size(tmp_path, settings, cache):
    silent = cache / "r50" / "none" / "cort_image.npz"
    write_cells(silent, read_cells(silent))
    assert len(read_sources(settings, cache, "cort_image")) == 4
    write_cells(silent, no_cells("cort_image", (20, 28)))
    with pytest.raises(UserError, match=r"r50/none/cort_image\.npz: holds predictions of another image"):
        read_sources(settings, cache, "cort_image")


def test_a_view_of_other_weights_than_the_members_other_views_is_refused(tmp_path, settings, cache):
    folder = cache / "x101" / "horizontal"
    write_manifest(folder, read_manifest(folder).model_copy(update={"weights_sha256": "ab" * 32}))
    with pytest.raises(
        UserError,
        match=r"x101/horizontal: holds predictions of other weights \(abababababab…\) than .*x101/none",
    ):
        fuse_predictions(settings, cache, tmp_path / "fused")


def test_a_copy_of_another_views_folder_is_refused(tmp_path, settings, cache):
    shutil.rmtree(cache / "r50" / "horizontal")
    shutil.copytree(cache / "r50" / "none", cache / "r50" / "horizontal")
    with pytest.raises(
        UserError,
        match=r"expected predictions of r50/horizontal, but its manifest\.json says that they are of r50/none",
    ):
        fuse_predictions(settings, cache, tmp_path / "fused")


def test_a_folder_without_any_prediction_is_refused(tmp_path, settings):
    with pytest.raises(UserError, match="found none; run `sartorius predict`"):
        fuse_predictions(settings, tmp_path / "nothing", tmp_path / "fused")


def test_a_cache_without_images_is_refused(tmp_path, settings):
    truth = small_truth()
    predict_images(two_predictors(truth), settings, {}, tmp_path / "cache")
    with pytest.raises(UserError, match="holds no predicted image"):
        fuse_predictions(settings, tmp_path / "cache", tmp_path / "fused")


def test_images_in_which_no_source_finds_anything_go_through(tmp_path, settings):
    truth = small_truth()
    paths = written_images(tmp_path / "images", truth)
    blind = {"r50": Blind(truth, "r50"), "x101": Blind(truth, "x101")}
    predict_images(blind, settings, paths, tmp_path / "cache")
    fused = fuse_predictions(settings, tmp_path / "cache", tmp_path / "fused")
    assert fused.cells == {"astro_image": 0, "cort_image": 0, "empty_image": 0}


def test_an_earlier_result_is_replaced_and_leaves_no_image_behind(tmp_path, settings, cache):
    fuse_predictions(settings, cache, tmp_path / "fused")
    for name in ("astro_image", "empty_image"):
        for path in cache.rglob(f"{name}.npz"):
            path.unlink()
    fuse_predictions(settings, cache, tmp_path / "fused")
    assert sorted(path.name for path in (tmp_path / "fused").iterdir()) == ["cort_image.npz", "manifest.json"]
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_an_earlier_result_stands_until_the_new_one_is_whole(tmp_path, settings, cache):
    fuse_predictions(settings, cache, tmp_path / "fused")
    before = contents(tmp_path / "fused")
    (cache / "x101" / "none" / "empty_image.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"empty_image\.npz"):
        fuse_predictions(settings, cache, tmp_path / "fused")
    assert contents(tmp_path / "fused") == before
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("precious", ["images", "cache", "cache/r50/none"])
def test_a_folder_that_holds_anything_else_is_never_replaced(tmp_path, settings, cache, precious):
    with pytest.raises(UserError, match="holds something that is no fused result"):
        fuse_predictions(settings, cache, tmp_path / precious)
    assert any((tmp_path / precious).iterdir())


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, settings, cache):
    with pytest.raises(UserError, match="expected the name of a folder"):
        fuse_predictions(settings, cache, tmp_path / "ensemble.yaml")


def test_an_empty_folder_may_be_filled(tmp_path, settings, cache):
    (tmp_path / "fused").mkdir()
    assert fuse_predictions(settings, cache, tmp_path / "fused").folder == tmp_path / "fused"


def test_a_fused_image_is_explained_by_its_types_own_settings(settings, cache):
    per_type = settings.model_copy(update={"fusion_per_type": {"cort": MasksSettings(min_votes=5)}})
    assert len(explain_image(settings, cache, "cort_image").cells) == 3
    assert len(explain_image(per_type, cache, "cort_image").cells) == 0


@pytest.mark.parametrize("name", ["notes.txt", "figures/a.png"])
def test_an_earlier_result_with_a_file_of_the_users_own_is_never_replaced(tmp_path, settings, cache, name):
    mine = fuse_predictions(settings, cache, tmp_path / "fused").folder / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(
        UserError, match=f"would be replaced, but {name.split('/')[0]} is no part of a fused result"
    ):
        fuse_predictions(settings, cache, tmp_path / "fused")
    assert mine.read_text() == "mine"


def test_the_empty_folder_that_one_stands_in_may_be_filled(tmp_path, settings, cache, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    fused = fuse_predictions(settings, cache, Path())
    assert contents(Path()) == contents(tmp_path / "here")
    assert list(fused.cells) == list(contents(Path()))
