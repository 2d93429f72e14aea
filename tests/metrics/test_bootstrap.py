import numpy as np
import pytest

from sartorius.metrics.bootstrap import draws, mean_interval, mean_intervals, paired_difference


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_every_resample_draws_as_many_images_as_there_are():
    drawn = draws(5, rng(), resamples=100)
    assert drawn.shape == (100, 5)
    assert set(drawn.sum(axis=1).tolist()) == {5}


def test_equal_scores_leave_no_doubt():
    assert mean_interval(np.full(4, 0.25), rng()) == (0.25, 0.25, 0.25)


def test_one_image_alone_has_no_width():
    assert mean_interval(np.array([0.4]), rng()) == (0.4, 0.4, 0.4)


def test_the_interval_is_that_of_the_normal_law_for_many_images():
    scores = rng().normal(0.3, 0.1, size=400)
    value, low, high = mean_interval(scores, rng())
    half_width = 1.96 * scores.std() / np.sqrt(len(scores))
    assert value == scores.mean()
    assert [value - low, high - value] == pytest.approx([half_width, half_width], rel=0.05)


def test_several_figures_of_the_same_images_share_their_draws():
    scores = rng().random(30)
    first, turned = mean_intervals(np.stack([scores, 1 - scores], axis=1), rng())
    assert first == pytest.approx(mean_interval(scores, rng()))
    assert turned == pytest.approx((1 - first.value, 1 - first.high, 1 - first.low))


def test_the_same_seed_gives_the_same_interval():
    scores = rng().random(30)
    assert mean_interval(scores, rng()) == mean_interval(scores, rng())


def test_a_result_against_itself_is_neither_better_nor_worse():
    scores = rng().random(30)
    assert paired_difference(scores, scores, rng()) == (0, 0, 0, 0.5)


def test_a_small_gain_on_every_image_is_certain_though_the_scores_scatter():
    scores = rng().random(30)
    difference, low, high, share_better = paired_difference(scores + 0.001, scores, rng())
    assert [difference, low, high] == pytest.approx([0.001] * 3)
    assert share_better == 1
    alone = mean_interval(scores, rng())
    assert alone.high - alone.low > 0.1


def test_swapping_the_two_results_turns_the_difference_around():
    ours, theirs = rng().random(20), np.random.default_rng(8).random(20)
    ahead, behind = paired_difference(ours, theirs, rng()), paired_difference(theirs, ours, rng())
    assert behind == pytest.approx((-ahead.difference, -ahead.high, -ahead.low, 1 - ahead.share_better))


def test_results_of_different_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="the same images"):
        paired_difference(np.zeros(3), np.zeros(4), rng())


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        mean_interval(np.zeros(0), rng())
