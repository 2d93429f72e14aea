import math
from pathlib import Path

import pytest
from fake_predictors import small_ensemble

from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.config.fusion import MasksSettings, WbfSettings
from sartorius.config.gains import FewerSources, Gains
from sartorius.config.members import ViewSettings
from sartorius.pipeline.budget import (
    Estimate,
    Fit,
    ImageSeconds,
    estimated,
    fitted,
    narrowed_like,
    narrowings,
    part_names,
    usual_seconds,
)


@pytest.fixture
def settings(tmp_path: Path) -> EnsembleSettings:
    """Models r50 and x101, views none and horizontal."""
    return load_ensemble_settings(small_ensemble(tmp_path))


def seconds(r50: float, x101: float, horizontal: float = 1.0, rest: float = 0.0) -> ImageSeconds:
    """One image; the mirrored view takes `horizontal` times as long as the straight one."""
    parts = {"r50/none": r50, "r50/horizontal": r50 * horizontal}
    return ImageSeconds(parts | {"x101/none": x101, "x101/horizontal": x101 * horizontal}, rest)


STEADY = [seconds(1, 3)] * 5  # 8 s an image, no spread


def estimate_of(timed: list[ImageSeconds], settings: EnsembleSettings, images: int) -> Estimate:
    """Of so many images more, nothing of them in the cache."""
    return estimated(usual_seconds(timed, settings), [part_names(settings)] * images)


def fit_of(settings: EnsembleSettings, timed: list[ImageSeconds], images: int, left_s: float) -> Fit:
    """The same into these seconds."""
    return fitted(settings, usual_seconds(timed, settings), [part_names(settings)] * images, left_s)


def worth(**gains: float) -> Gains:
    views = {name: gain for name, gain in gains.items() if name in ("none", "horizontal")}
    return Gains(views=views, members={name: gain for name, gain in gains.items() if name not in views})


def names(settings: EnsembleSettings) -> tuple[list[str], list[str]]:
    return [member.name for member in settings.members], [view.name for view in settings.views]


def test_images_that_all_take_the_same_time_have_no_margin(settings):
    assert estimate_of(STEADY, settings, 10) == (80, 0)


def test_the_first_image_counts_only_while_it_is_the_only_one(settings):
    slow_start = [seconds(100, 100), seconds(1, 3), seconds(1, 3)]
    assert estimate_of(slow_start, settings, 10) == (80, 0)
    assert estimate_of(slow_start[:1], settings, 1).expected == 400


def test_an_image_whose_type_leaves_a_part_out_does_not_warm_it_up(settings):
    timed = [ImageSeconds({"x101/none": x101}, 0) for x101 in (0, 11, 1, 1, 1)]
    assert usual_seconds(timed, settings).parts["x101/none"] == (0.75, 0.5, 4)


def test_what_is_read_fused_and_written_takes_time_too(settings):
    assert estimate_of([seconds(1, 3, rest=2)] * 3, settings, 10).expected == 100


def test_the_margin_grows_with_the_spread_and_shrinks_with_the_images_timed(settings):
    timed = [seconds(9, 9), seconds(1, 1), seconds(2, 2)]  # 4 and 8 s: mean 6, standard deviation 2.83
    estimate = estimate_of(timed, settings, 10)
    assert estimate.expected == 60
    assert estimate.margin == pytest.approx(2 * math.sqrt(8) * math.sqrt(10 + 100 / 2))
    assert estimate_of(timed + timed[1:] * 10, settings, 10).margin < estimate.margin


def test_of_each_image_only_what_will_be_run_on_it_takes_time(settings):
    usual = usual_seconds([seconds(1, 3, rest=0.5)] * 5, settings)
    kept, half_kept, new = [], ["r50/none", "x101/none"], part_names(settings)
    assert estimated(usual, [kept, half_kept, new]) == (0.5 + 4.5 + 8.5, 0)
    assert estimated(usual, []) == (0, 0)


def test_the_margins_of_parts_are_added_up(settings):
    parts = [{"r50/none": r50, "x101/none": x101} for r50, x101 in ((9, 9), (1, 8), (3, 4))]
    usual = usual_seconds([ImageSeconds(of_image, 0) for of_image in parts], settings)
    estimate = estimated(usual, [["r50/none", "x101/none"]] * 3 + [["x101/none"]] * 7)
    assert estimate.expected == 3 * 2 + 10 * 6
    one_s, other_s = math.sqrt(2) * math.sqrt(3 + 9 / 2), math.sqrt(8) * math.sqrt(10 + 100 / 2)
    assert estimate.margin == pytest.approx(2 * (one_s + other_s))


def test_a_part_that_was_never_run_takes_as_long_for_its_pixels_as_the_slowest_of_its_model(settings):
    larger = settings.model_copy(update={"views": (ViewSettings(), ViewSettings(scale=1.5))})
    timed = [ImageSeconds({"r50/none": 1}, 0), ImageSeconds({}, 0)]
    assert usual_seconds(timed, larger).parts == {
        "r50/none": (1, 1, 1),
        "r50/none_x1.5": (2.25, 2.25, 1),
        "x101/none": (1, 1, 1),
        "x101/none_x1.5": (2.25, 2.25, 1),
    }
    timed.append(ImageSeconds({"x101/none_x1.5": 9}, 0))
    means = {name: usual.mean for name, usual in usual_seconds(timed, larger).parts.items()}
    assert means == {"r50/none": 1, "r50/none_x1.5": 2.25, "x101/none": 4, "x101/none_x1.5": 9}


def test_nothing_is_known_of_any_part_before_one_is_run(settings):
    usual = usual_seconds([ImageSeconds({}, 0.5)] * 3, settings)
    assert usual == ({}, (0.5, 0, 2))
    assert estimated(usual, [part_names(settings)] * 2) == (1, 0)


def test_a_part_that_was_run_on_one_image_varies_as_much_as_the_others(settings):
    timed = [ImageSeconds({"r50/none": r50}, 0) for r50 in (9, 3, 5)]  # mean 4, standard deviation √2
    timed.append(ImageSeconds({"r50/none": 4, "x101/none": 12}, 0))
    parts = usual_seconds(timed, settings).parts
    assert parts["r50/none"] == (4, 1, 3)
    assert parts["x101/none"] == (12, 3, 1)
    assert parts["x101/horizontal"] == (12, 3, 1)


def test_an_ensemble_that_fits_stays_whole(settings):
    fit = fit_of(settings, STEADY, 10, left_s=80)
    assert (fit.settings, fit.dropped, fit.estimate.most) == (settings, (), 80)


def test_the_view_with_the_least_gain_per_minute_goes_first(settings):
    valued = settings.model_copy(update={"gains": worth(none=0.001, horizontal=0.01, r50=0.01, x101=0.02)})
    fit = fit_of(valued, STEADY, 10, left_s=79)
    assert names(fit.settings) == (["r50", "x101"], ["horizontal"])
    assert fit.dropped == ("view none (worth +0.0010 mAP)",)
    assert fit.estimate.expected == 40


def test_a_view_that_gains_more_but_takes_much_longer_goes_first(settings):
    timed = [seconds(1, 3, horizontal=4)] * 3
    valued = settings.model_copy(update={"gains": worth(none=0.01, horizontal=0.02, r50=0.01, x101=0.02)})
    assert names(fit_of(valued, timed, 10, left_s=199).settings)[1] == ["none"]


def test_models_go_only_when_one_view_is_left(settings):
    valued = settings.model_copy(update={"gains": worth(none=0.9, horizontal=0.8, r50=0.001, x101=0.002)})
    fit = fit_of(valued, STEADY, 10, left_s=39)
    # x101 gains twice as much and takes three times as long
    assert names(fit.settings) == (["r50"], ["none"])
    assert [part.split(" (")[0] for part in fit.dropped] == ["view horizontal", "model x101"]


def test_without_gains_the_slowest_goes_first_and_of_equals_the_last(settings):
    fit = fit_of(settings, STEADY, 10, left_s=11)
    assert names(fit.settings) == (["r50"], ["none"])
    assert fit.dropped == ("view horizontal", "model x101")


def test_gains_that_do_not_name_every_part_are_not_used(settings):
    partly = settings.model_copy(update={"gains": worth(none=0.0, r50=1.0)})
    assert names(fit_of(partly, STEADY, 10, left_s=79).settings)[1] == ["none"]


def test_one_model_and_one_view_stay_even_if_they_do_not_fit(settings):
    fit = fit_of(settings, STEADY, 10, left_s=0.5)
    assert names(fit.settings) == (["r50"], ["none"])
    assert fit.estimate.most == 10


def test_the_last_source_that_no_type_leaves_out_stays(settings):
    r50, x101 = settings.members
    expert = r50.model_copy(update={"weight": {"astro": 1.0, "default": 0.0}})
    cheap = settings.model_copy(update={"members": (expert, x101)})
    fit = fit_of(cheap, STEADY, 10, left_s=0.5)  # r50 alone would be quicker
    assert names(fit.settings) == (["x101"], ["none"])
    assert fit.dropped == ("view horizontal", "model r50")


def test_what_is_in_the_cache_for_every_image_is_not_dropped(settings):
    usual = usual_seconds(STEADY, settings)
    mirrored_kept = [["r50/none", "x101/none"]] * 10
    fit = fitted(settings, usual, mirrored_kept, left_s=30)
    assert (names(fit.settings)[1], fit.estimate) == (["horizontal"], (0, 0))
    of_r50_kept = [["x101/none", "x101/horizontal"]] * 10
    fit = fitted(settings, usual, of_r50_kept, left_s=10)
    assert (names(fit.settings), fit.estimate) == ((["r50"], ["none"]), (0, 0))
    slow_to_fuse = usual_seconds([seconds(1, 3, rest=5)] * 5, settings)
    fit = fitted(settings, slow_to_fuse, [[]] * 10, left_s=10)
    assert (fit.settings, fit.dropped, fit.estimate) == (settings, (), (50, 0))


def test_as_large_a_share_of_fewer_sources_must_agree(settings):
    strict = settings.model_copy(
        update={
            "fusion": MasksSettings(min_votes=4),
            "fusion_per_type": {"astro": WbfSettings(min_votes=3)},
        }
    )
    halved = fit_of(strict, STEADY, 10, left_s=79).settings
    assert (halved.fusion.min_votes, halved.fusion_per_type["astro"].min_votes) == (2, 2)
    assert fit_of(strict, STEADY, 10, left_s=1).settings.fusion.min_votes == 1


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
