from dataclasses import replace

import numpy as np
import pytest
from drawing import cell, cells, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_fusion import dense, dense_remove_overlap, random_cells

from sartorius.cells import no_cells
from sartorius.config.fusion import PostprocessSettings
from sartorius.errors import UserError
from sartorius.postprocess import (
    clean,
    dropped_at,
    large_enough,
    of_voted_type,
    remove_overlap,
    sure_enough,
    type_of_scores,
    voted_type,
    without_repeats,
)


def test_a_pixel_claimed_twice_goes_to_the_surer_cell():
    sure, unsure = cell("##..", score=0.9), cell(".##.", score=0.4)
    assert drawn(remove_overlap(cells(unsure, sure), min_area_px=1)) == ["##..", "..#."]


def test_a_tie_goes_to_the_cell_that_came_first():
    assert drawn(remove_overlap(cells(cell(".##.", score=0.5), cell("##..", score=0.5)), 0)) == [
        ".##.",
        "#...",
    ]


def test_a_cell_cut_in_two_keeps_both_parts():
    sure, unsure = cell(".#./.#.", score=0.9), cell("###/...", score=0.4)
    assert drawn(remove_overlap(cells(sure, unsure), 0)) == [".#./.#.", "#.#/..."]


def test_what_a_dropped_cell_had_is_free_for_the_cells_after_it():
    parts = cell("##....", score=0.9), cell(".##...", score=0.6), cell("..###.", score=0.3)
    assert drawn(remove_overlap(cells(*parts), min_area_px=2)) == ["##....", "..###."]


def test_a_minimum_area_of_zero_keeps_a_cell_that_lost_all_its_pixels():
    assert drawn(remove_overlap(cells(cell("#.", score=0.9), cell("#.", score=0.4)), 0)) == ["#.", ".."]


def test_each_cell_must_reach_its_own_minimum_area_in_whatever_order_they_come():
    found = cells(cell("##....", score=0.4), cell("...###", score=0.9))
    assert drawn(remove_overlap(found, np.array([2, 4]))) == ["##...."]
    assert drawn(remove_overlap(found, np.array([3, 3]))) == ["...###"]


def test_a_negative_minimum_area_is_refused():
    with pytest.raises(ValueError, match="-1"):
        remove_overlap(cell("#"), -1)


def test_a_run_over_the_end_of_a_column_stays_one_mask():
    assert drawn(remove_overlap(cells(cell("##/##", score=0.5), cell(".#/..", score=0.9)), 0)) == [
        ".#/..",
        "#./##",
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_overlap_removal_equals_the_dense_version(seed, min_area_px):
    found = random_cells(np.random.default_rng(seed), n_cells=12)
    expected_rows, expected_masks = dense_remove_overlap(found, min_area_px)
    removed = remove_overlap(found, min_area_px)
    assert list(removed.masks) == expected_masks
    assert removed.scores.tolist() == found.scores[expected_rows].tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_cleaned_masks_share_no_pixel_and_cleaning_again_changes_nothing(seed):
    found = random_cells(np.random.default_rng(seed), n_cells=15)
    rules = PostprocessSettings(score_threshold=0.2, min_area_px=3)
    cleaned = clean(found, rules)
    covered = np.sum([[row == "#" for row in mask] for mask in drawn(cleaned)] or [[0]], axis=0)
    assert covered.max() <= 1
    assert cleaned.areas_px.min(initial=99) >= 3
    assert drawn(clean(cleaned, rules)) == drawn(cleaned)


def test_the_image_takes_the_type_with_the_highest_sum_of_scores():
    found = cells(
        cell("#..", score=0.9, cell_type="cort"),
        cell(".#.", score=0.5, cell_type="astro"),
        cell("..#", score=0.5, cell_type="astro"),
    )
    assert voted_type(found) == "astro"
    assert of_voted_type(found).cell_types.tolist() == ["astro"] * 3


def test_a_tied_vote_goes_to_the_surest_cell_and_then_to_the_first_name():
    half, quarter = cell("#", score=0.5, cell_type="cort"), cell("#", score=0.25, cell_type="astro")
    assert voted_type(cells(quarter, half, quarter)) == "cort"
    assert voted_type(cells(half, replace(half, cell_types=np.array(["astro"])))) == "astro"


def test_rounding_in_the_sums_of_scores_does_not_know_the_order_of_cells():
    types, scores = np.repeat(["astro", "cort"], 3), np.array([0.3, 0.2, 0.1, 0.1, 0.2, 0.3])
    assert 0.1 + 0.2 + 0.3 > 0.3 + 0.2 + 0.1
    assert type_of_scores(types, scores) == type_of_scores(types, scores[::-1]) == "astro"


def test_cells_whose_type_nobody_told_have_no_vote_beside_others():
    untold = cell("#..", score=1.0, cell_type="unknown")
    assert voted_type(cells(untold, untold, cell(".#.", score=0.0, cell_type="cort"))) == "cort"
    assert voted_type(untold) == "unknown"


def test_a_type_without_a_value_is_told_with_the_image_and_the_step():
    settings = PostprocessSettings(score_threshold={"cort": 0.5})
    with pytest.raises(
        UserError, match="drawn: score threshold: no value for cell type 'astro': the setting"
    ):
        clean(cell("#", cell_type="astro"), settings)


def test_an_image_without_detections_has_no_type_and_passes():
    nothing = no_cells("empty", (4, 5))
    assert voted_type(nothing) is None
    assert len(clean(nothing, PostprocessSettings())) == 0


def test_thresholds_are_those_of_the_voted_type():
    found = cells(
        cell("##../....", score=0.9, cell_type="cort"),
        cell("..##/....", score=0.3, cell_type="astro"),
        cell("..../##..", score=0.6, cell_type="cort"),
    )
    thresholds = {"cort": 0.5, "astro": 0.2}
    assert len(clean(found, PostprocessSettings(score_threshold=thresholds))) == 2
    apart = PostprocessSettings(type_rule="none", score_threshold=thresholds)
    assert clean(found, apart).cell_types.tolist() == ["cort", "cort", "astro"]


def test_a_score_on_the_threshold_stays():
    assert len(sure_enough(cell("#", score=0.18), 0.18)) == 1
    assert len(sure_enough(cell("#", score=0.179), 0.18)) == 0


def test_scores_of_zero_and_one_pass_thresholds_of_zero_and_one():
    assert len(sure_enough(cells(cell("#", score=0), cell("#", score=1)), 0)) == 2
    assert sure_enough(cells(cell("#", score=0), cell("#", score=1)), 1).scores.tolist() == [1]


def test_empty_masks_never_leave_the_clean_up():
    assert len(clean(cells(cell("..", score=0.9)), PostprocessSettings(score_threshold=0))) == 0


def test_small_cells_are_dropped_by_the_minimum_of_their_type():
    found = cells(
        cell("##.", cell_type="cort"), cell("##.", cell_type="astro"), cell("#..", cell_type="cort")
    )
    assert large_enough(found, {"cort": 2, "default": 3}).cell_types.tolist() == ["cort"]


def test_a_type_without_a_value_is_named():
    with pytest.raises(UserError, match="astro"):
        sure_enough(cell("#", cell_type="astro"), {"cort": 0.5})


def test_small_holes_are_filled_and_large_ones_stay():
    ring = cell("#####", "#.#.#", "###.#", "#####")  # holes of 1 px and 2 px
    kept = PostprocessSettings(score_threshold=0, max_hole_px=1)
    assert drawn(clean(ring, kept)) == ["#####/###.#/###.#/#####"]
    assert drawn(clean(ring, PostprocessSettings(score_threshold=0, max_hole_px=2))) == [
        "#####/#####/#####/#####"
    ]
    assert drawn(clean(ring, PostprocessSettings(score_threshold=0))) == drawn(ring)


def test_a_bay_at_the_rim_is_no_hole():
    bay = cell("###", "#.#", "#.#")
    assert drawn(clean(bay, PostprocessSettings(score_threshold=0, max_hole_px=9))) == drawn(bay)


def test_small_islands_are_cut_off_but_never_the_largest_part():
    rules = PostprocessSettings(score_threshold=0, min_island_px=3)
    assert drawn(clean(cell("###.#", "..#.#"), rules)) == ["###../..#.."]
    assert drawn(clean(cell("#...#", "....#"), rules)) == ["....#/....#"]
    assert drawn(clean(cell("#.....", ".#####"), rules)) == ["#...../.#####"]


def test_every_dropped_cell_names_its_step():
    found = cells(
        cell("####..", score=0.9),
        cell("....##", score=0.1),
        cell("....#.", score=0.8),
        cell("..###.", score=0.5),
    )
    rules = PostprocessSettings(score_threshold=0.3, min_area_px=2)
    assert dropped_at(found, rules).tolist() == ["", "score threshold", "minimum area", "overlap removal"]
    assert dropped_at(no_cells("empty", (2, 2)), rules).tolist() == []


def test_a_cell_that_repeats_a_surer_one_is_dropped_whole_instead_of_clipped():
    sure, repeat, apart = cell("###...", score=0.9), cell(".###..", score=0.6), cell("...###", score=0.3)
    found = cells(apart, repeat, sure)
    assert drawn(without_repeats(found, 0.5)) == ["...###", "###..."]
    assert drawn(clean(found, PostprocessSettings(score_threshold=0.0, nms_iou=0.5))) == ["###...", "...###"]
    assert drawn(clean(found, PostprocessSettings(score_threshold=0.0))) == ["###...", "...#..", "....##"]


def test_a_cell_dropped_as_a_repeat_makes_no_other_a_repeat():
    """The second repeats the first, the third only the second."""
    chain = cells(cell("####..", score=0.9), cell(".####.", score=0.6), cell("..####", score=0.3))
    assert drawn(without_repeats(chain, 0.6)) == ["####..", "..####"]


def test_of_two_equally_sure_repeats_the_first_stays():
    found = cells(cell(".##.", score=0.5), cell(".###", score=0.5))
    assert drawn(without_repeats(found, 0.5)) == [".##."]


def test_an_iou_of_exactly_the_setting_is_a_repeat():
    found = cells(cell("###.", score=0.9), cell(".###", score=0.5))
    assert len(without_repeats(found, 0.5)) == 1
    assert len(without_repeats(found, 0.51)) == 2


def test_the_iou_of_repeats_is_that_of_the_less_sure_cells_type():
    pair = cells(cell("###.", score=0.9, cell_type="cort"), cell(".###", score=0.5, cell_type="astro"))
    assert len(without_repeats(pair, {"cort": 0.1, "astro": 1.0})) == 2
    assert len(without_repeats(pair, {"cort": 1.0, "astro": 0.1})) == 1


def test_without_cells_nothing_repeats():
    assert len(without_repeats(no_cells("image", (2, 3)), 0.5)) == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), nms_iou=st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0]))
def test_repeats_are_those_of_a_plain_loop_over_dense_masks(seed, nms_iou):
    found = random_cells(np.random.default_rng(seed), 12)
    masks, kept = dense(found), []
    for row in np.argsort(-found.scores, kind="stable").tolist():
        ious = [
            (masks[row] & masks[other]).sum() / max((masks[row] | masks[other]).sum(), 1) for other in kept
        ]
        touching = [iou for iou in ious if iou > 0]
        if nms_iou == 1 or all(iou < nms_iou for iou in touching):
            kept.append(row)
    assert drawn(without_repeats(found, nms_iou)) == drawn(found[sorted(kept)])
