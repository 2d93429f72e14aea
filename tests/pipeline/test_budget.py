import math
from pathlib import Path

import pytest
from fake_predictors import JitteredTruth, small_ensemble, small_truth, written_images

from sartorius.cells import annotated, no_cells
from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.config.ensemble import StageWiseSettings
from sartorius.config.fusion import MasksSettings, WbfSettings
from sartorius.config.gains import FewerSources, Gains
from sartorius.config.members import ViewSettings
from sartorius.pipeline import SubmitOptions, submit
from sartorius.pipeline.budget import ImageSeconds, estimated, fitted, narrowed_like, narrowings, part_names
from sartorius.submission import check_submission


@pytest.fixture
def settings(tmp_path: Path) -> EnsembleSettings:
    """Models r50 and x101, views none and horizontal."""
    return load_ensemble_settings(small_ensemble(tmp_path))


def seconds(r50: float, x101: float, horizontal: float = 1.0, rest: float = 0.0) -> ImageSeconds:
    """One image; the mirrored view takes `horizontal` times as long as the straight one."""
    parts = {"r50/none": r50, "r50/horizontal": r50 * horizontal}
    return ImageSeconds(parts | {"x101/none": x101, "x101/horizontal": x101 * horizontal}, rest)


STEADY = [seconds(1, 3)] * 5  # 8 s an image, no spread


def worth(**gains: float) -> Gains:
    views = {name: gain for name, gain in gains.items() if name in ("none", "horizontal")}
    return Gains(views=views, members={name: gain for name, gain in gains.items() if name not in views})


def names(settings: EnsembleSettings) -> tuple[list[str], list[str]]:
    return [member.name for member in settings.members], [view.name for view in settings.views]


def test_images_that_all_take_the_same_time_have_no_margin(settings):
    assert estimated(STEADY, settings, 10) == (80, 0)


def test_the_first_image_counts_only_while_it_is_the_only_one(settings):
    slow_start = [seconds(100, 100), seconds(1, 3), seconds(1, 3)]
    assert estimated(slow_start, settings, 10) == (80, 0)
    assert estimated(slow_start[:1], settings, 1).expected == 400


def test_what_is_read_fused_and_written_takes_time_too(settings):
    assert estimated([seconds(1, 3, rest=2)] * 3, settings, 10).expected == 100


def test_the_margin_grows_with_the_spread_and_shrinks_with_the_images_timed(settings):
    timed = [seconds(0, 0), seconds(1, 1), seconds(2, 2)]  # 4 and 8 s: mean 6, standard deviation 2.83
    estimate = estimated(timed, settings, 10)
    assert estimate.expected == 60
    assert estimate.margin == pytest.approx(2 * math.sqrt(8) * math.sqrt(10 + 100 / 2))
    assert estimated(timed + timed[1:] * 10, settings, 10).margin < estimate.margin


def test_an_ensemble_that_fits_stays_whole(settings):
    fit = fitted(settings, STEADY, 10, left_s=80)
    assert (fit.settings, fit.dropped, fit.estimate.most) == (settings, (), 80)


def test_the_view_with_the_least_gain_per_minute_goes_first(settings):
    valued = settings.model_copy(update={"gains": worth(none=0.001, horizontal=0.01, r50=0.01, x101=0.02)})
    fit = fitted(valued, STEADY, 10, left_s=79)
    assert names(fit.settings) == (["r50", "x101"], ["horizontal"])
    assert fit.dropped == ("view none (worth +0.0010 mAP)",)
    assert fit.estimate.expected == 40


def test_a_view_that_gains_more_but_takes_much_longer_goes_first(settings):
    timed = [seconds(1, 3, horizontal=4)] * 3
    valued = settings.model_copy(update={"gains": worth(none=0.01, horizontal=0.02, r50=0.01, x101=0.02)})
    assert names(fitted(valued, timed, 10, left_s=199).settings)[1] == ["none"]


def test_models_go_only_when_one_view_is_left(settings):
    valued = settings.model_copy(update={"gains": worth(none=0.9, horizontal=0.8, r50=0.001, x101=0.002)})
    fit = fitted(valued, STEADY, 10, left_s=39)
    # x101 gains twice as much and takes three times as long
    assert names(fit.settings) == (["r50"], ["none"])
    assert [part.split(" (")[0] for part in fit.dropped] == ["view horizontal", "model x101"]


def test_without_gains_the_slowest_goes_first_and_of_equals_the_last(settings):
    fit = fitted(settings, STEADY, 10, left_s=11)
    assert names(fit.settings) == (["r50"], ["none"])
    assert fit.dropped == ("view horizontal", "model x101")


def test_gains_that_do_not_name_every_part_are_not_used(settings):
    partly = settings.model_copy(update={"gains": worth(none=0.0, r50=1.0)})
    assert names(fitted(partly, STEADY, 10, left_s=79).settings)[1] == ["none"]


def test_one_model_and_one_view_stay_even_if_they_do_not_fit(settings):
    fit = fitted(settings, STEADY, 10, left_s=0.5)
    assert names(fit.settings) == (["r50"], ["none"])
    assert fit.estimate.most == 10


def test_the_last_source_that_no_type_leaves_out_stays(settings):
    r50, x101 = settings.members
    expert = r50.model_copy(update={"weight": {"astro": 1.0, "default": 0.0}})
    cheap = settings.model_copy(update={"members": (expert, x101)})
    fit = fitted(cheap, STEADY, 10, left_s=0.5)  # r50 alone would be quicker
    assert names(fit.settings) == (["x101"], ["none"])
    assert fit.dropped == ("view horizontal", "model r50")


def test_as_large_a_share_of_fewer_sources_must_agree(settings):
    strict = settings.model_copy(
        update={
            "fusion": MasksSettings(min_votes=4),
            "fusion_per_type": {"astro": WbfSettings(min_votes=3)},
        }
    )
    halved = fitted(strict, STEADY, 10, left_s=79).settings
    assert (halved.fusion.min_votes, halved.fusion_per_type["astro"].min_votes) == (2, 2)
    assert fitted(strict, STEADY, 10, left_s=1).settings.fusion.min_votes == 1


def test_what_is_left_has_the_score_threshold_of_so_few_sources(settings):
    fewer = tuple(FewerSources(sources=count, score_threshold=count / 10, total=0.3) for count in (1, 2, 4))
    gains = worth(none=0.01, horizontal=0.02, r50=0.01, x101=0.02).model_copy(update={"fewer_sources": fewer})
    whole = settings.model_copy(update={"gains": gains})
    thresholds = [narrowed_like(whole, left).postprocess.score_threshold for left in narrowings(whole)]
    assert thresholds == [0.2, 0.1]
    assert narrowed_like(whole, whole) == whole
    others = whole.model_copy(update={"gains": gains.model_copy(update={"views": {}})})  # another file's
    assert narrowed_like(others, next(narrowings(others))).postprocess == whole.postprocess


def test_views_go_by_their_pixels_where_no_time_is_known(settings):
    views = tuple(ViewSettings(scale=scale) for scale in (1, 1.5, 0.8))
    gains = Gains(
        views={"none": 0.01, "none_x1.5": 0.02, "none_x0.8": 0.007}, members={"r50": 0.1, "x101": 0.2}
    )
    whole = settings.model_copy(update={"views": views, "gains": gains})
    assert [names(left) for left in narrowings(whole)] == [
        (["r50", "x101"], ["none", "none_x0.8"]),
        (["r50", "x101"], ["none_x0.8"]),
        (["x101"], ["none_x0.8"]),
    ]


class Clock:
    """Time that passes only when a model works."""

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
def run(tmp_path, settings):
    """Submits 20 images with models of 1 and 3 s a view: 160 s in all."""
    shape = small_truth()["cort_image"]
    truth = {
        name: annotated(name, shape.size_hw, list(shape.masks), ["cort"] * 3)
        for name in (f"image{number:02}" for number in range(20))
    }
    paths = written_images(tmp_path / "images", truth)

    def submitted_in(budget_s, ensemble=settings, found=truth, cache=None):
        clock = Clock()
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
    for cached in sorted((tmp_path / "cache").rglob("image0[0-4].npz")):
        cached.unlink()
    submitted, models, took_s = run(100, cache=tmp_path / "cache")
    assert (submitted.dropped, submitted.unfinished, took_s) == ((), (), 40)
    assert len(models["r50"].seen) == 10


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
    assert "images at the end may stay without cells" in caplog.text
    assert "out of time" in caplog.text


def test_images_without_cells_pass_a_budget_too(run):
    nothing = {f"image{number:02}": no_cells(f"image{number:02}", (40, 56)) for number in range(20)}
    submitted, _, _ = run(130, found=nothing)
    assert set(submitted.cells.values()) == {0}
    assert submitted.unfinished == ()


def test_the_tuned_files_gains_decide(run, settings):
    valued = settings.model_copy(update={"gains": worth(none=0.001, horizontal=0.01, r50=0.02, x101=0.01)})
    submitted, models, _ = run(130, valued)
    assert submitted.dropped == ("view none (worth +0.0010 mAP)",)
    assert ("image19", "horizontal") in models["r50"].seen


def test_a_run_goes_on_with_the_score_threshold_of_what_is_left(run, settings):
    fewer = (FewerSources(sources=2, score_threshold=1, total=0.3),)
    gains = worth(none=0.02, horizontal=0.01, r50=0.01, x101=0.02).model_copy(update={"fewer_sources": fewer})
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
