import numpy as np
import pytest
from drawing import cell, cells

from sartorius.cells import no_cells
from sartorius.config.fusion import MaskNmsSettings, MasksSettings, NmsSettings, NmwSettings, WbfSettings
from sartorius.fusion import fuse

NOBODY = no_cells("drawn", (1, 2))
PAIR = {"a/none": cell("##", score=0.8), "b/none": cell("##", score=0.4)}


def score_of(sources, settings, weights=None):
    (score,) = fuse(sources, settings, weights).scores.tolist()
    return score


@pytest.mark.parametrize("method", [NmsSettings, MaskNmsSettings, MasksSettings])
def test_every_strategy_scores_by_the_same_rules(method):
    three = PAIR | {"c/none": NOBODY}
    assert score_of(three, method(score="best", agreement_power=0)) == pytest.approx(0.8)
    assert score_of(three, method(score="mean", agreement_power=0)) == pytest.approx(0.6)
    assert score_of(three, method(score="mean", agreement_power=1)) == pytest.approx(0.4)
    assert score_of(three, method(score="best", agreement_power=2)) == pytest.approx(0.8 * 4 / 9)


@pytest.mark.parametrize("method", [NmsSettings, NmwSettings, WbfSettings, MaskNmsSettings])
def test_a_source_votes_once_with_its_surest_row_however_many_of_its_rows_are_the_cell(method):
    twice = {"a/none": cell("##", score=0.8), "b/none": cells(cell("##", score=0.2), cell("##", score=0.4))}
    assert score_of(twice, method(score="mean", agreement_power=0)) == pytest.approx(0.6)
    assert len(fuse(twice, method(min_votes=2))) == 1
    assert len(fuse({"b/none": twice["b/none"]}, method(min_votes=2))) == 0


@pytest.mark.parametrize("method", [NmsSettings, MasksSettings])
def test_a_cell_has_the_type_that_one_source_tells_however_sure_others_are_that_tell_none(method):
    untold = {name: cell("##", score=1.0, cell_type="unknown") for name in ("a/none", "b/none")}
    told = {"c/none": cell("##", score=0.0, cell_type="cort")}
    assert fuse(untold | told, method()).cell_types.tolist() == ["cort"]
    assert fuse(untold, method()).cell_types.tolist() == ["unknown"]


def test_agreement_and_mean_follow_the_weights():
    weights = {"a/none": 3, "b/none": 1, "c/none": 4}
    settings = MasksSettings(score="mean", agreement_power=1)
    assert score_of(PAIR | {"c/none": NOBODY}, settings, weights) == pytest.approx((3 * 0.8 + 0.4) / 8)


def test_sure_sources_that_all_agree_score_one_and_not_more():
    sources = {f"m{number}/none": cell("##", score=1.0) for number in range(7)}
    weights = {name: 0.1 * (place + 1) for place, name in enumerate(sources)}
    assert score_of(sources, MasksSettings(), weights) == 1


def test_rescoring_multiplies_by_the_mean_probability_inside_the_mask():
    unsure = {
        "a/none": cell("##", score=0.8, soft=np.full((2, 2), 204), soft_box=(0, -1, 2, 2))
    }  # 204 / 255 = .8
    flat = {"a/none": cell("##", score=0.8)}
    for method in (NmsSettings, MasksSettings):
        assert score_of(unsure, method(mask_score_power=0)) == pytest.approx(0.8)
        assert score_of(unsure, method(mask_score_power=1)) == pytest.approx(0.8 * 0.8)
        assert score_of(unsure, method(mask_score_power=2)) == pytest.approx(0.8 * 0.8**2)
        assert score_of(flat, method(mask_score_power=1)) == pytest.approx(0.8)


def test_pixels_that_are_likelier_no_cell_do_not_count_in_the_probability_inside_an_own_mask():
    soft = np.array([[255, 102], [255, 102]])  # 102 / 255 = .4
    faded = {"a/none": cell("#.", score=0.8, soft=soft, soft_box=(0, -1, 2, 2))}
    assert score_of(faded, NmsSettings(mask_score_power=1)) == pytest.approx(0.8)


@pytest.mark.parametrize("method", [NmsSettings, MaskNmsSettings, MasksSettings])
def test_a_cell_that_its_votes_draw_differently_scores_lower(method):
    votes = {"a/none": cell("####", score=0.8), "b/none": cell("###.", score=0.4)}
    for power in (0, 1, 3):
        settings = method(score="best", agreement_power=0, vote_iou_power=power)
        assert score_of(votes, settings) == pytest.approx(0.8 * ((1 + 3 / 4) / 2) ** power)
        assert score_of(PAIR, settings) == pytest.approx(0.8)
        assert score_of({"a/none": votes["a/none"]}, settings) == pytest.approx(0.8)
    weights = {"a/none": 1, "b/none": 3}
    settings = method(score="mean", agreement_power=0, vote_iou_power=1)
    expected = (
        (0.8 + 3 * 0.4) / 4 * (3 + 3 / 4) / 4
    )  # b's 1.2 makes it the seed, a's mask the one that differs
    assert score_of(votes, settings, weights) == pytest.approx(expected)


def test_masks_without_a_common_pixel_have_an_iou_of_zero():
    boxes_meet = {"a/none": cell("#./.#", score=0.8), "b/none": cell(".#/#.", score=0.4)}
    settings = NmsSettings(agreement_power=0, vote_iou_power=2)
    assert score_of(boxes_meet, settings) == pytest.approx(0.8 * 0.5**2)


def test_the_type_is_the_one_with_the_most_weight_times_score():
    votes = {
        "a/none": cell("##", score=0.9, cell_type="cort"),
        "b/none": cell("##", score=0.5, cell_type="astro"),
        "c/none": cell("##", score=0.5, cell_type="astro"),
    }
    assert fuse(votes, MasksSettings()).cell_types.tolist() == ["astro"]
    weights = {"a/none": 2, "b/none": 1, "c/none": 1}
    assert fuse(votes, MasksSettings(), weights).cell_types.tolist() == ["cort"]


def test_a_tied_type_goes_to_the_highest_vote_and_then_to_the_first_name():
    votes = {
        "a/none": cell("##", score=0.25, cell_type="astro"),
        "b/none": cell("##", score=0.5, cell_type="cort"),
        "c/none": cell("##", score=0.25, cell_type="astro"),
    }
    assert fuse(votes, MasksSettings()).cell_types.tolist() == ["cort"]
    even = {
        "a/none": cell("##", score=0.5, cell_type="cort"),
        "b/none": cell("##", score=0.5, cell_type="astro"),
    }
    assert fuse(even, MasksSettings()).cell_types.tolist() == ["astro"]


def test_a_type_that_nobody_voted_for_never_wins():
    votes = {
        "a/none": cell("#.", score=0.0, cell_type="cort"),
        "b/none": cell(".#", score=0.0, cell_type="astro"),
    }
    assert sorted(fuse(votes, MasksSettings()).cell_types.tolist()) == ["astro", "cort"]
    assert fuse({"b/none": cell("#.", score=0.0, cell_type="cort")}, MasksSettings()).cell_types.tolist() == [
        "cort"
    ]
