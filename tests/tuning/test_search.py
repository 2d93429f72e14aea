from types import SimpleNamespace

import numpy as np
import pytest
from optuna.distributions import IntDistribution

from sartorius.config.fusion import GaussianDecay, LinearDecay, MasksSettings, NmsSettings, SoftNmsSettings
from sartorius.errors import UserError
from sartorius.pipeline import read_sources
from sartorius.tuning import search
from sartorius.tuning.cross import cross_tuned, with_settings_of
from sartorius.tuning.objective import Objective
from sartorius.tuning.search import SCORE_THRESHOLDS, Budget, best_settings, smoothed
from sartorius.tuning.space import (
    SEARCHED,
    TypeSettings,
    at_point,
    checked_names,
    distributions,
    nearest_point,
    of_type,
    searched_unless_told,
    with_type,
    with_type_rule,
)
from sartorius.tuning.stages import ImageStages

THRESHOLDS_ONLY = Budget(("score_threshold",), 0, 0)


def start_of(fusion):
    return TypeSettings(fusion, score_threshold=0.5, min_area_px=70, nms_iou=1.0)


@pytest.fixture(scope="module")
def objective(scene):
    return Objective(
        [
            ImageStages(read_sources(scene.settings, scene.cache, name), truth, scene.settings)
            for name, truth in scene.truth.items()
        ]
    )


def test_the_best_threshold_is_the_middle_of_the_best_plateau_of_the_curve(scene, objective):
    found = best_settings(objective, scene.settings, objective.rows, THRESHOLDS_ONLY)
    for cell_type in ("astro", "cort", "shsy5y"):
        curve = smoothed(objective.curves(scene.settings, cell_type, SCORE_THRESHOLDS).mean(axis=0))
        chosen = of_type(found, cell_type).score_threshold
        assert chosen == SCORE_THRESHOLDS[np.argmax(curve)]
    assert found.postprocess.min_area_px == scene.settings.postprocess.min_area_px
    assert found.fusion_per_type == {}


def test_a_curve_is_smoothed_over_its_neighbours_and_goes_on_at_its_ends():
    assert smoothed(np.array([0.0, 0, 5, 0, 0, 0])).tolist() == pytest.approx([1, 1, 1, 1, 1, 0])
    assert smoothed(np.array([5.0, 0, 0, 0, 0, 0])).tolist() == pytest.approx([3, 2, 1, 0, 0, 0])


def test_a_search_is_the_same_each_time_and_no_worse_than_its_start_where_it_searched(scene, objective):
    budget = Budget(checked_names(SEARCHED), 4, 1)
    found = best_settings(objective, scene.settings, objective.rows, budget)
    assert found == best_settings(objective, scene.settings, objective.rows, budget)
    thresholds = best_settings(objective, scene.settings, objective.rows, THRESHOLDS_ONLY)
    assert objective.image_scores(found).mean() >= objective.image_scores(thresholds).mean() - 0.01


def test_images_outside_of_the_search_change_nothing_in_it(scene, objective):
    """The same images in an objective that knows no others: what is found is the same."""
    rows = np.array([0, 2, 3, 5])
    alone = Objective([objective.images[row] for row in rows.tolist()])
    budget = Budget(checked_names(SEARCHED), 2, 0)
    among = best_settings(objective, scene.settings, rows, budget)
    assert among == best_settings(alone, scene.settings, alone.rows, budget)


def test_each_image_is_scored_by_settings_searched_without_its_part(scene, objective):
    parts = np.arange(len(objective.images)) % 2
    reported = []
    result = cross_tuned(
        objective, scene.settings, parts, THRESHOLDS_ONLY, lambda *piece: reported.append(piece)
    )
    assert reported == [("search", 1, 3), ("search", 2, 3), ("search", 3, 3)]
    for part in (0, 1):
        own = best_settings(objective, scene.settings, np.flatnonzero(parts != part), THRESHOLDS_ONLY)
        rows = np.flatnonzero(parts == part)
        assert result.of_parts[part] == own
        assert result.out_of_fold[rows].tolist() == objective.image_scores(own, rows).tolist()
    assert result.untuned.tolist() == objective.image_scores(scene.settings).tolist()
    assert result.in_fold.tolist() == objective.image_scores(result.settings).tolist()


@pytest.mark.parametrize(
    ("own", "of_none", "chosen"),
    [("vote", 0.6, "none"), ("vote", 0.5, "vote"), ("none", 0.5, "none"), ("none", 0.4, "vote")],
)
def test_the_rule_for_the_type_is_the_better_one_and_the_file_s_own_if_both_are_alike(
    scene, own, of_none, chosen
):
    def image_scores(settings, rows):
        return np.full(len(rows), of_none if settings.postprocess.type_rule == "none" else 0.5)

    by_rule = SimpleNamespace(types_of=lambda rows, rule: [], image_scores=image_scores)
    start = with_type_rule(scene.settings, own)
    found = best_settings(by_rule, start, np.arange(2), Budget(("type_rule",), 0, 0))
    assert found.postprocess.type_rule == chosen


def test_settings_are_worth_their_mean_over_the_images(scene):
    def image_scores(settings, rows):
        as_it_was = of_type(settings, "astro").nms_iou == 1
        return np.array([1.0, 0.0]) if as_it_was else np.array([0.7, 0.7])

    of_two = SimpleNamespace(types_of=lambda rows, rule: ["astro"], image_scores=image_scores)
    found = best_settings(of_two, scene.settings, np.arange(2), Budget(("nms",), 5, 0))
    assert of_type(found, "astro").nms_iou < 1


def test_a_file_whose_images_hold_several_types_keeps_that_unless_the_rule_is_asked_for(scene):
    assert searched_unless_told(scene.settings) == SEARCHED
    assert searched_unless_told(with_type_rule(scene.settings, "none")) == SEARCHED[:-1]


def test_the_settings_of_another_ensemble_are_taken_for_every_type(scene):
    chosen = TypeSettings(NmsSettings(min_iou=0.2), score_threshold=0.7, min_area_px=15, nms_iou=0.3)
    tuned = with_type(scene.settings, "astro", chosen)
    both = with_settings_of(scene.settings, tuned)
    assert both.fusion_per_type == {"astro": NmsSettings(min_iou=0.2)}
    assert (both.fusion, both.postprocess) == (tuned.fusion, tuned.postprocess)


def test_one_part_leaves_nothing_to_search_on(scene, objective):
    with pytest.raises(UserError, match="at least two parts"):
        cross_tuned(
            objective, scene.settings, np.zeros(len(objective.images), dtype=np.int64), THRESHOLDS_ONLY
        )


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        (
            MasksSettings(),
            [
                "fusion_iou",
                "mask_threshold",
                "min_area_px",
                "min_votes",
                "nms_iou",
                "second_of_source",
                "vote_iou_power",
            ],
        ),
        (NmsSettings(), ["fusion_iou", "min_area_px", "min_votes", "nms_iou", "vote_iou_power"]),
        (SoftNmsSettings(), ["decay_sigma", "min_area_px", "nms_iou"]),
        (SoftNmsSettings(decay=LinearDecay()), ["fusion_iou", "min_area_px", "nms_iou"]),
    ],
)
def test_a_trial_draws_what_its_strategy_has(fusion, expected):
    assert sorted(distributions(start_of(fusion), SEARCHED, 4)) == expected


def test_votes_are_searched_up_to_the_sources_of_the_type(monkeypatch, scene, objective):
    expert, other = scene.settings.members
    expert = expert.model_copy(update={"weight": {"astro": 1.0, "default": 0.0}})
    settings = scene.settings.model_copy(update={"members": (expert, other)})
    most = []

    def told(start, names, sources):
        most.append(sources)
        return {}

    monkeypatch.setattr(search, "distributions", told)
    best_settings(objective, settings, objective.rows, Budget(("min_votes",), 1, 0))
    assert sorted(most) == [1, 1, 2]


@pytest.mark.parametrize("sources", [2, 3])
def test_as_many_votes_are_tried_as_there_are_sources(sources):
    drawn = distributions(start_of(MasksSettings()), ["min_votes"], sources)
    assert drawn == {"min_votes": IntDistribution(1, sources)}


def test_one_source_has_no_votes_to_search():
    assert (
        distributions(start_of(NmsSettings()), SEARCHED, 1).keys().isdisjoint({"min_votes", "vote_iou_power"})
    )


def test_a_point_changes_what_it_names_and_nothing_else():
    start = start_of(MasksSettings(min_iou=0.3, mask_threshold={"astro": 0.4, "default": 0.5}))
    point = {
        "fusion_iou": 0.45,
        "mask_threshold": 0.35,
        "min_votes": 3,
        "vote_iou_power": 2.0,
        "nms_iou": 0.2,
        "min_area_px": 90,
    }
    found = at_point(start, point)
    assert found.fusion == MasksSettings(min_iou=0.45, mask_threshold=0.35, min_votes=3, vote_iou_power=2)
    assert (found.score_threshold, found.min_area_px, found.nms_iou) == (0.5, 90, 0.2)
    assert at_point(start, {}) == start


def test_a_point_of_soft_nms_changes_its_decay():
    assert at_point(start_of(SoftNmsSettings()), {"decay_sigma": 0.2}).fusion.decay == GaussianDecay(
        sigma=0.2
    )
    linear = start_of(SoftNmsSettings(decay=LinearDecay()))
    assert at_point(linear, {"fusion_iou": 0.2}).fusion.decay == LinearDecay(min_iou=0.2)


@pytest.mark.parametrize(
    "fusion",
    [MasksSettings(min_iou=0.37), NmsSettings(), SoftNmsSettings(), SoftNmsSettings(decay=LinearDecay())],
)
def test_the_point_nearest_to_the_start_is_one_that_can_be_drawn(fusion):
    drawn = distributions(start_of(fusion), SEARCHED, 4)
    point = nearest_point(start_of(fusion), drawn, "astro")
    assert all(drawn[name]._contains(drawn[name].to_internal_repr(value)) for name, value in point.items())
    assert point["min_area_px"] == 75
    if "fusion_iou" in point:
        assert abs(point["fusion_iou"] - getattr(fusion, "min_iou", 0.4)) <= 0.025


def test_the_point_nearest_to_a_start_outside_of_what_is_searched_lies_at_its_end():
    start = start_of(MasksSettings(min_iou=0.02))._replace(min_area_px=900, nms_iou=0.0)
    point = nearest_point(start, distributions(start, SEARCHED, 4), "astro")
    assert (point["fusion_iou"], point["min_area_px"], point["nms_iou"]) == (0.1, 240, 0.1)


def test_the_point_nearest_to_the_start_has_the_types_own_mask_threshold():
    start = start_of(MasksSettings(mask_threshold={"shsy5y": 0.3, "astro": 0.6, "default": 0.5}))
    drawn = distributions(start, SEARCHED, 4)
    assert nearest_point(start, drawn, "astro")["mask_threshold"] == pytest.approx(0.6)
    assert nearest_point(start, drawn, "cort")["mask_threshold"] == pytest.approx(0.5)


def test_settings_of_one_type_leave_those_of_others_alone(scene):
    chosen = TypeSettings(MasksSettings(min_votes=2), score_threshold=0.7, min_area_px=15, nms_iou=0.3)
    found = with_type(scene.settings, "astro", chosen)
    assert of_type(found, "astro") == chosen
    for other in ("cort", "shsy5y"):
        assert of_type(found, other) == of_type(scene.settings, other)


def test_a_name_that_cannot_be_searched_is_refused():
    with pytest.raises(UserError, match=r"min_area.*got threshold"):
        checked_names(["threshold", "nms"])
    with pytest.raises(UserError, match="got none"):
        checked_names([])
    assert checked_names(["nms", "score_threshold"]) == ("score_threshold", "nms")
