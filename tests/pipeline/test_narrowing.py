import time
from pathlib import Path

import pytest
from fake_predictors import small_ensemble, small_truth, two_predictors, written_images

from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.config.ensemble import StageWiseSettings
from sartorius.pipeline.narrowing import NarrowingEnsemble

TRUTH = small_truth()
OF_R50, OF_X101 = ["r50/none", "r50/horizontal"], ["x101/none", "x101/horizontal"]


@pytest.fixture
def settings(tmp_path: Path) -> EnsembleSettings:
    """Models r50, for images of astrocytes alone, and x101; views none and horizontal."""
    settings = load_ensemble_settings(small_ensemble(tmp_path))
    expert, other = settings.members
    expert = expert.model_copy(update={"weight": {"astro": 1.0, "default": 0.0}})
    return settings.model_copy(update={"members": (expert, other)})


def opened(settings: EnsembleSettings, cache: Path | None) -> NarrowingEnsemble:
    return NarrowingEnsemble(two_predictors(TRUTH), settings, cache, time.monotonic)


@pytest.fixture
def cache(tmp_path: Path, settings: EnsembleSettings) -> Path:
    """What x101 finds in two images, r50 in none."""
    of_x101 = opened(settings.model_copy(update={"members": settings.members[1:]}), tmp_path / "cache")
    for image_id, path in written_images(tmp_path / "images", TRUTH).items():
        if image_id != "empty_image":
            assert list(of_x101.seen(image_id, path).part_seconds) == OF_X101
    return tmp_path / "cache"


def test_what_is_kept_is_not_lacking_and_its_type_tells_what_else_is_wanted(settings, cache):
    ensemble = opened(settings, cache)
    assert ensemble.lacking("astro_image") == OF_R50
    assert ensemble.lacking("cort_image") == []
    assert ensemble.lacking("empty_image") == OF_R50 + OF_X101
    assert opened(settings, None).lacking("cort_image") == OF_R50 + OF_X101


def test_only_what_was_run_has_seconds(settings, cache, tmp_path):
    ensemble = opened(settings, cache)
    assert list(ensemble.seen("astro_image", tmp_path / "images" / "astro_image.png").part_seconds) == OF_R50
    assert ensemble.seen("cort_image", tmp_path / "images" / "cort_image.png").part_seconds == {}
    assert ensemble.lacking("astro_image") == []


def test_a_type_that_a_damaged_file_does_not_tell_leaves_nothing_out(settings, cache, caplog):
    (cache / "x101" / "none" / "cort_image.npz").write_bytes(b"PK")
    assert opened(settings, cache).lacking("cort_image") == OF_R50
    assert caplog.text == ""


def test_of_networks_that_are_fused_inside_every_part_is_lacking_or_none(settings, tmp_path):
    alike = settings.members[0].model_copy(update={"weight": 1.0})
    inside = settings.model_copy(
        update={"members": (alike, settings.members[1]), "stage_wise": StageWiseSettings()}
    )
    stage_wise = {"stage_wise": two_predictors(TRUTH)["r50"]}
    ensemble = NarrowingEnsemble(stage_wise, inside, tmp_path / "cache", time.monotonic)
    assert ensemble.lacking("cort_image") == OF_R50 + OF_X101
    ensemble.seen("cort_image", written_images(tmp_path / "images", TRUTH)["cort_image"])
    assert ensemble.lacking("cort_image") == []
