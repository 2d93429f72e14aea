"""What holds for every strategy."""

from dataclasses import replace

import numpy as np
import pytest
from drawing import cell, cells, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_fusion import content, random_cells, random_sources

from sartorius.cells import Cells, no_cells
from sartorius.config.fusion import (
    LinearDecay,
    MaskNmsSettings,
    MasksSettings,
    NmsSettings,
    NmwSettings,
    SoftNmsSettings,
    WbfSettings,
)
from sartorius.fusion import fuse

STRATEGIES = [
    NmsSettings(),
    SoftNmsSettings(),
    SoftNmsSettings(decay=LinearDecay()),
    NmwSettings(),
    WbfSettings(),
    MaskNmsSettings(),
    MasksSettings(),
    MasksSettings(second_of_source="drop", min_votes=2, mask_score_power=1, across_types=False),
    NmsSettings(score="mean", agreement_power=0.5, vote_iou_power=2, min_votes=2, across_types=False),
]
BY_NAME = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.method)
SEEDS = st.integers(0, 2**32 - 1)


@BY_NAME
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_the_order_of_sources_and_of_rows_changes_nothing(strategy, seed):
    sources = random_sources(seed)
    rng = np.random.default_rng(seed)
    shuffled = {
        name: sources[name][rng.permutation(len(sources[name]))] for name in rng.permutation(list(sources))
    }
    assert content(fuse(shuffled, strategy)) == content(fuse(sources, strategy))


@BY_NAME
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_scores_stay_between_zero_and_one_and_fall(strategy, seed):
    weights = {"model0/none": 3.0, "model1/none": 0.5, "model2/none": 1.0}
    scores = fuse(random_sources(seed), strategy, weights).scores
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) <= 0).all()


@BY_NAME
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_only_the_ratio_of_weights_matters(strategy, seed):
    sources = random_sources(seed)
    once = fuse(sources, strategy, {"model0/none": 2.0, "model1/none": 1.0, "model2/none": 4.0})
    twice = fuse(sources, strategy, {"model0/none": 4.0, "model1/none": 2.0, "model2/none": 8.0})
    assert content(once) == content(twice)


@BY_NAME
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_every_fused_cell_has_pixels_and_comes_from_a_source(strategy, seed):
    sources = random_sources(seed)
    fused = fuse(sources, strategy)
    assert (fused.areas_px > 0).all()
    assert set(fused.sources.tolist()) <= set(sources)
    assert len(fused) <= sum(len(part) for part in sources.values())


@pytest.mark.parametrize("side", [None, 6])
@BY_NAME
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_one_source_in_gives_the_same_cells_out(strategy, side, seed):
    apart = no_two_boxes_meet(random_cells(np.random.default_rng(seed), 10, soft_side=side))
    apart = apart[apart.scores > 0.01]  # soft NMS drops what has no score
    one_vote = strategy.model_copy(update={"min_votes": 1, "mask_score_power": 0})
    fused = fuse({"a/none": apart}, one_vote)
    assert sorted(row[:3] for row in content(fused)) == sorted(row[:3] for row in content(apart))


def no_two_boxes_meet(found: Cells) -> Cells:
    """Filled rows whose boxes and detected boxes keep clear of each other, the first of each crowd."""
    kept: list[int] = []
    for row in np.flatnonzero(found.areas_px > 0).tolist():
        boxes = found.boxes_xyxy if found.soft_boxes_xyxy is None else found.soft_boxes_xyxy
        if all(
            (boxes[row, :2] >= boxes[other, 2:]).any() or (boxes[other, :2] >= boxes[row, 2:]).any()
            for other in kept
        ):
            kept.append(row)
    return found[kept]


@BY_NAME
@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_a_duplicated_source_changes_no_mask(strategy, seed):
    found = random_cells(np.random.default_rng(seed), 8, soft_side=5)
    one_vote = strategy.model_copy(update={"min_votes": 1})
    once = fuse({"a/none": found}, one_vote)
    twice = fuse({"a/none": found, "b/none": replace(found, sources=np.full(len(found), "b/none"))}, one_vote)
    if strategy.method == "soft_nms":  # drops no copy, only lowers its score
        assert set(once.masks) == set(twice.masks)
    elif strategy.method == "wbf":  # a mean box weighs every copy
        assert len(twice) <= 2 * len(once)
    else:
        assert sorted(once.masks) == sorted(twice.masks)
        assert once.scores.tolist() == pytest.approx(twice.scores.tolist())


@BY_NAME
def test_no_detections_give_no_cells(strategy):
    nothing = no_cells("empty", (6, 7))
    fused = fuse({"a/none": nothing, "b/none": nothing}, strategy)
    assert (len(fused), fused.image_id, fused.size_hw) == (0, "empty", (6, 7))


@BY_NAME
def test_a_source_that_found_nothing_is_no_obstacle(strategy):
    one_vote = strategy.model_copy(update={"min_votes": 1, "agreement_power": 0})
    fused = fuse({"a/none": no_cells("drawn", (1, 4)), "b/none": cell(".##.", score=0.5)}, one_vote)
    assert drawn(fused) == [".##."]
    assert fused.scores.tolist() == [0.5]


@BY_NAME
def test_a_cell_of_one_pixel_in_a_corner_is_a_cell(strategy):
    one_vote = strategy.model_copy(update={"min_votes": 1})
    assert drawn(fuse({"a/none": cell("..../...#", score=1.0)}, one_vote)) == ["..../...#"]


@BY_NAME
def test_a_cell_that_fills_the_image_is_a_cell(strategy):
    one_vote = strategy.model_copy(update={"min_votes": 1})
    full = cell("###/###", score=0.8)
    assert set(drawn(fuse({"a/none": full, "b/none": full}, one_vote))) == {"###/###"}


@BY_NAME
def test_empty_masks_take_no_part(strategy):
    assert len(fuse({"a/none": cell("...", score=0.9)}, strategy)) == 0


@BY_NAME
def test_scores_of_zero_are_no_obstacle(strategy):
    zeros = cells(cell("##..", score=0.0), cell("..##", score=0.0))
    assert set(fuse({"a/none": zeros, "b/none": zeros}, strategy).scores.tolist()) <= {0.0}


def test_detections_of_different_types_are_one_cell_unless_told_otherwise():
    pair = {
        "a/none": cell("##", cell_type="astro", score=0.9),
        "b/none": cell("##", cell_type="cort", score=0.8),
    }
    for method in (NmsSettings, NmwSettings, WbfSettings, MaskNmsSettings, MasksSettings):
        assert fuse(pair, method()).cell_types.tolist() == ["astro"]
        assert fuse(pair, method(across_types=False)).cell_types.tolist() == ["astro", "cort"]


def test_no_source_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one source"):
        fuse({}, MasksSettings())


def test_sources_of_different_images_are_refused():
    with pytest.raises(ValueError, match="cannot join"):
        fuse({"a/none": cell("#"), "b/none": cell("#", image_id="other")}, MasksSettings())


@pytest.mark.parametrize("weights", [{}, {"a/none": 1, "b/none": 1}, {"a/none": 0}, {"a/none": float("nan")}])
def test_weights_that_do_not_fit_the_sources_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        fuse({"a/none": cell("#")}, MasksSettings(), weights)


@BY_NAME
def test_790_cells_from_16_sources_are_fused(strategy):
    rng = np.random.default_rng(0)
    truth = random_cells(rng, 790, size_hw=(520, 704))
    sources = {
        f"m{number:02}/none": replace(truth, scores=rng.uniform(0.01, 1, 790).astype(np.float32))
        for number in range(16)
    }
    fused = fuse(sources, strategy)
    assert 0 < len(fused) <= 790 * 16
