"""Where each true cell is lost, on images small enough to check by eye."""

from collections import Counter

import numpy as np
import pytest
from drawing import cell, cells

from sartorius.cells import no_cells
from sartorius.config import EnsembleSettings
from sartorius.config.fusion import MaskNmsSettings, PostprocessSettings
from sartorius.errors import UserError
from sartorius.metrics.competition import evaluate
from sartorius.pipeline import fused_and_cleaned, read_sources
from sartorius.report.losses import FATES, fates_of, only_step, pipeline_steps

MEMBERS = [{"name": name, "model": "m.yaml", "weights": "w"} for name in ("a", "b")]
EVERYTHING = PostprocessSettings(score_threshold=0.0)


def settings(postprocess=EVERYTHING, **fusion):
    return EnsembleSettings(members=MEMBERS, fusion=MaskNmsSettings(**fusion), postprocess=postprocess)


def fates(truth, *found, rules=None, other=()):
    """The fates of true cells when source a finds `found` and source b `other`."""
    nothing = no_cells("drawn", truth.size_hw)
    sources = {
        "a/none": cells(*found) if found else nothing,
        "b/none": cells(*other) if other else nothing,
    }
    return fates_of(pipeline_steps(sources, rules or settings()), truth).fates.tolist()


def test_a_cell_is_found_or_was_never_proposed():
    truth = cells(cell("####....", "........"), cell("......##", "........"))
    assert fates(truth, cell("####....", "........", score=0.9)) == ["found", "not proposed"]
    assert fates(truth) == ["not proposed", "not proposed"]


def test_a_mask_that_fits_too_little_is_a_poor_outline():
    truth = cell("####....")
    assert fates(truth, cell("##......", score=0.9)) == ["poorly outlined"]  # IoU .5 is not above .5
    assert fates(truth, cell("...#####", score=0.9)) == ["not proposed"]  # IoU 1/8 is below the least


def test_a_detection_that_gave_way_to_a_worse_mask_was_fused_away():
    truth = cell("####....")
    surer = cell("########", score=0.9)
    assert fates(truth, surer, cell("####....", score=0.8)) == ["fused away"]


def test_cells_with_too_few_votes_are_named():
    truth = cell("####....")
    rules = settings(min_votes=2)
    assert fates(truth, cell("####....", score=0.9), rules=rules) == ["too few votes"]
    both = fates(
        truth, cell("####....", score=0.9), rules=rules, other=[cell("####....", score=0.5, source="b/none")]
    )
    assert both == ["found"]


@pytest.mark.parametrize(
    ("found", "postprocess", "fate"),
    [
        ([cell("####....", score=0.4)], PostprocessSettings(score_threshold=0.5), "below threshold"),
        (
            [cell("##.#....", score=0.9)],
            PostprocessSettings(score_threshold=0.0, min_island_px=2),
            "reshaped",
        ),
        ([cell("####....", score=0.9)], PostprocessSettings(score_threshold=0.0, min_area_px=5), "too small"),
        (
            [cell("########", score=0.9), cell("####....", score=0.8)],
            PostprocessSettings(score_threshold=0.0, nms_iou=0.3),
            "repeat",
        ),
        (
            [cell("..######", score=0.9), cell("####....", score=0.8)],
            EVERYTHING,
            "clipped",
        ),
    ],
)
def test_each_step_of_the_clean_up_has_its_own_loss(found, postprocess, fate):
    rules = settings(postprocess, min_iou=0.9, min_containment=None)
    assert fates(cell("####...."), *found, rules=rules) == [fate]


def test_a_prediction_on_two_true_cells_counts_for_one_of_them():
    truth = cells(cell("####...."), cell("#####..."))
    assert sorted(fates(truth, cell("####....", score=0.9))) == ["found", "shared"]


def test_the_nearest_mask_is_that_of_the_last_step_with_the_cell_within_reach():
    truth = cells(cell("####...."), cell("......##"))
    found = {"a/none": cell("###.....", score=0.3), "b/none": no_cells("drawn", (1, 8))}
    steps = pipeline_steps(found, settings(PostprocessSettings(score_threshold=0.5)))
    result = fates_of(steps, truth)
    assert result.nearest == (found["a/none"].masks[0], None)
    assert result.best_iou.tolist() == [0, 0]  # nothing is left in the result


def test_a_result_alone_tells_found_from_poorly_outlined_and_not_proposed():
    truth = cells(cell("####......"), cell("....####.."), cell("........##"))
    result = cells(cell("####......", score=0.9), cell("....##....", score=0.8))
    found = fates_of(only_step(result), truth)
    assert found.fates.tolist() == ["found", "poorly outlined", "not proposed"]
    np.testing.assert_allclose(found.best_iou, [1, 0.5, 0])
    assert found.partners.tolist() == [0, -1, -1]


def test_an_image_without_true_cells_has_no_fates():
    assert fates(no_cells("drawn", (1, 8)), cell("####....", score=0.9)) == []


def test_cells_of_an_image_of_another_size_than_the_truths_are_refused():
    with pytest.raises(UserError, match=r"drawn: predictions are for 1 x 4 px .*, the truth is 1 x 8 px"):
        fates_of(only_step(cell("####")), cell("####...."))
    with pytest.raises(UserError, match="drawn: predictions are for 1 x 4 px"):
        fates_of(only_step(no_cells("drawn", (1, 4))), no_cells("drawn", (1, 8)))


def test_every_true_cell_has_one_fate_and_found_ones_are_the_metrics_true_positives(scene):
    steps = {
        name: pipeline_steps(read_sources(scene.settings, scene.cache, name), scene.settings)
        for name in scene.truth
    }
    counts = Counter()
    for name, truth in scene.truth.items():
        found = fates_of(steps[name], truth)
        assert len(found.fates) == len(truth)
        counts.update(found.fates.tolist())
    assert set(counts) <= set(FATES)
    assert sum(counts.values()) == sum(map(len, scene.truth.values()))
    score = evaluate({name: steps[name][-1].cells for name in steps}, scene.truth)
    assert counts["found"] == score.true_positives[:, 0].sum()


def test_the_last_step_is_the_pipelines_own_result(scene):
    for name in scene.truth:
        sources = read_sources(scene.settings, scene.cache, name)
        last = pipeline_steps(sources, scene.settings)[-1].cells
        expected = fused_and_cleaned(sources, scene.settings)
        assert last.masks == expected.masks
        assert last.scores.tolist() == expected.scores.tolist()
