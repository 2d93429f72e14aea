from pathlib import Path

import pytest
from fake_predictors import JitteredTruth, small_ensemble, small_truth, written_images

from sartorius.cells import annotated, no_cells
from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.config.ensemble import StageWiseSettings
from sartorius.config.fusion import WbfSettings
from sartorius.config.gains import FewerSources, Gains
from sartorius.pipeline import SubmitOptions, growing, submit
from sartorius.pipeline.budget import part_names
from sartorius.submission import check_submission, write_texts


@pytest.fixture
def settings(tmp_path: Path) -> EnsembleSettings:
    """Models r50 and x101, views none and horizontal."""
    return load_ensemble_settings(small_ensemble(tmp_path))


class Clock:
    """Time that passes only when a model works, or a file is written that is said to take time."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class StageWise(JitteredTruth):
    """All models and views as one predictor that can do with fewer; each takes a second."""

    def __init__(self, truth, clock, settings):
        super().__init__(truth, "both", parts=part_names(settings))
        self.clock, self.settings, self.part_seconds = clock, settings, {}

    def narrowed(self, settings):
        return StageWise(self.truth, self.clock, settings)

    def __call__(self, image, image_id, view):
        self.part_seconds = dict.fromkeys(part_names(self.settings), 1.0)
        self.clock.now_s += len(self.part_seconds)
        return super().__call__(image, image_id, view)


class Slow(JitteredTruth):
    """A model that takes its time."""

    def __init__(self, truth, name, clock, seconds):
        super().__init__(truth, name)
        self.clock, self.seconds = clock, seconds

    def __call__(self, image, image_id, view):
        self.clock.now_s += self.seconds
        return super().__call__(image, image_id, view)


@pytest.fixture
def run(tmp_path, settings, monkeypatch):
    """Submits 20 images with models of 1 and 3 s a view: 160 s in all."""
    shape = small_truth()["cort_image"]
    truth = {
        name: annotated(name, shape.size_hw, list(shape.masks), ["cort"] * 3)
        for name in (f"image{number:02}" for number in range(20))
    }
    paths = written_images(tmp_path / "images", truth)

    def submitted_in(budget_s, ensemble=settings, found=truth, cache=None, write_s=0):
        clock = Clock()

        def write(path, texts):
            clock.now_s += write_s
            write_texts(path, texts)

        monkeypatch.setattr(growing, "write_texts", write)
        models = {"r50": Slow(found, "r50", clock, 1), "x101": Slow(found, "x101", clock, 3)}
        if ensemble.stage_wise is not None:
            models = {"stage_wise": StageWise(found, clock, ensemble)}
        options = SubmitOptions(cache, clock() + budget_s, clock=clock)
        submitted = submit(models, ensemble, paths, tmp_path / "submission.csv", options)
        sizes_hw = dict.fromkeys(paths, shape.size_hw)
        assert check_submission(submitted.path, sizes_hw) == []
        return submitted, models, clock() - 1000

    return submitted_in


def test_a_budget_that_is_large_enough_changes_nothing(run):
    submitted, models, took_s = run(170)
    assert (submitted.dropped, submitted.unfinished, took_s) == ((), (), 160)
    assert len(models["r50"].seen) == len(models["x101"].seen) == 40


def test_images_that_are_kept_already_are_not_counted_as_work(run, tmp_path):
    run(1000, cache=tmp_path / "cache")
    submitted, models, took_s = run(100, cache=without(tmp_path / "cache", "image0[0-4].npz"))
    assert (submitted.dropped, submitted.unfinished, took_s) == ((), (), 40)
    assert len(models["r50"].seen) == 10


def test_images_for_whose_models_there_is_no_time_leave_those_that_need_none_their_cells(run, tmp_path):
    run(1000, cache=tmp_path / "cache")
    submitted, _, _ = run(12, cache=without(tmp_path / "cache", "image0[0-4].npz"))
    assert submitted.unfinished
    assert set(submitted.unfinished) <= {f"image0{number}" for number in range(5)}
    assert all(submitted.cells[f"image{number:02}"] for number in range(5, 20))


@pytest.fixture
def straight_kept(run, settings, tmp_path):
    """A cache in which all 20 images are seen through the view none by both models, of the other nothing."""
    run(1000, settings.model_copy(update={"views": settings.views[:1]}), cache=tmp_path / "cache")
    return tmp_path / "cache"


def without(cache: Path, pattern: str) -> Path:
    for cached in sorted(cache.rglob(pattern)):
        cached.unlink()
    return cache


def test_views_are_dropped_where_others_are_kept_already(run, straight_kept):
    submitted, models, took_s = run(50, cache=straight_kept)  # what is lacking takes 80 s
    assert (submitted.dropped, submitted.unfinished) == (("view horizontal",), ())
    assert took_s <= 50
    assert {view for _, view in models["r50"].seen} == {"horizontal"}


def test_of_an_image_that_is_kept_in_part_only_the_rest_is_work(run, straight_kept):
    cache = without(straight_kept, "image0?.npz")
    submitted, _, took_s = run(125, cache=cache)  # 10 images of 8 s, 10 of 4 s
    assert (submitted.dropped, submitted.unfinished, took_s) == ((), (), 120)


def test_what_was_not_run_yet_because_it_was_kept_counts_where_it_is_not(run, straight_kept, caplog):
    cache = without(straight_kept, "image1?.npz")
    submitted, _, took_s = run(100, cache=cache)  # 10 images of 4 s, 10 of 8 s
    assert (submitted.dropped, submitted.unfinished, took_s) == (("view horizontal",), (), 60)
    assert "time budget: 15 images left would take 100 s" in caplog.text


def test_an_image_that_is_kept_fits_into_less_time_than_another(run, tmp_path):
    run(1000, cache=tmp_path / "cache")
    cache = without(tmp_path / "cache", "image0?.npz")
    submitted, _, took_s = run(88, cache=cache)  # at the end less than the 8 s of another image are left
    assert (submitted.dropped, submitted.unfinished, took_s) == ((), (), 80)


def test_views_are_dropped_after_the_first_images_and_every_image_is_done(run, caplog):
    submitted, models, took_s = run(130)
    assert submitted.dropped == ("view horizontal",)
    assert took_s <= 130
    assert set(submitted.cells.values()) == {3}
    assert models["r50"].seen.count(("image03", "horizontal")) == 1
    assert ("image04", "horizontal") not in models["r50"].seen
    assert "time budget: 16 images left would take 2 min ± 0.0 s, 94 s are left; dropped" in caplog.text
    assert "slowest first, gains are not known): view horizontal; now 64 s ± 0.0 s" in caplog.text


def test_a_small_budget_is_noticed_before_five_images_are_timed(run):
    submitted, models, took_s = run(40)
    assert submitted.dropped == ("view horizontal", "model x101")
    assert submitted.unfinished == ()
    assert took_s <= 40
    assert len(models["x101"].seen) == 4  # two images through both views


def test_a_budget_too_small_for_one_view_of_one_model_does_what_it_can(run, caplog):
    submitted, _, took_s = run(20)
    assert 0 < len(submitted.unfinished) < 20
    assert took_s <= 20
    assert all(submitted.cells[image_id] == 0 for image_id in submitted.unfinished)
    assert "some may stay without cells" in caplog.text
    assert "out of time" in caplog.text


def test_writing_the_file_takes_time_too(run):
    submitted, _, took_s = run(190, write_s=4)  # an image takes 12 s, 8 s through one view, 5 s without x101
    assert (submitted.dropped, submitted.unfinished) == (("view horizontal",), ())
    assert took_s <= 190
    submitted, _, took_s = run(170, write_s=4)
    assert (submitted.dropped, submitted.unfinished) == (("view horizontal", "model x101"), ())
    assert took_s <= 170


def test_images_without_cells_pass_a_budget_too(run):
    nothing = {f"image{number:02}": no_cells(f"image{number:02}", (40, 56)) for number in range(20)}
    submitted, _, _ = run(130, found=nothing)
    assert set(submitted.cells.values()) == {0}
    assert submitted.unfinished == ()


def test_the_tuned_files_gains_decide(run, settings):
    gains = Gains(views={"none": 0.001, "horizontal": 0.01}, members={"r50": 0.02, "x101": 0.01})
    valued = settings.model_copy(update={"gains": gains})
    submitted, models, _ = run(130, valued)
    assert submitted.dropped == ("view none (worth +0.0010 mAP)",)
    assert ("image19", "horizontal") in models["r50"].seen


def test_a_run_goes_on_with_the_score_threshold_of_what_is_left(run, settings):
    fewer = (FewerSources(sources=2, score_threshold=1, total=0.3),)
    views, members = {"none": 0.02, "horizontal": 0.01}, {"r50": 0.01, "x101": 0.02}
    gains = Gains(views=views, members=members, fewer_sources=fewer)
    submitted, _, _ = run(130, settings.model_copy(update={"gains": gains}))
    assert submitted.dropped == ("view horizontal (worth +0.0100 mAP)",)
    assert list(submitted.cells.values()) == [3] * 4 + [0] * 16


def test_an_ensemble_fused_inside_the_networks_is_made_smaller_too(run, settings, tmp_path):
    whole = settings.model_copy(update={"stage_wise": StageWiseSettings(boxes=WbfSettings(min_votes=2))})
    submitted, models, took_s = run(60, whole, cache=tmp_path / "cache")
    assert submitted.dropped == ("view horizontal",)
    assert set(submitted.cells.values()) == {3}
    assert took_s <= 60
    kept = len(models["stage_wise"].seen)
    assert kept < 20
    assert len(list((tmp_path / "cache" / "stage_wise" / "none").glob("*.npz"))) == kept


def test_what_an_ensemble_fused_inside_the_networks_found_whole_still_takes_no_time(run, settings, tmp_path):
    whole = settings.model_copy(update={"stage_wise": StageWiseSettings(boxes=WbfSettings())})
    run(1000, whole, cache=tmp_path / "cache")
    cache = without(tmp_path / "cache", "image0[0-4].npz")
    submitted, models, took_s = run(25, whole, cache=cache)
    assert submitted.dropped
    assert set(submitted.cells.values()) == {3}
    assert took_s < 5 * 4
    assert len(list((cache / "stage_wise" / "none").glob("*.npz"))) == 15 + len(models["stage_wise"].seen)
