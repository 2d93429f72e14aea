"""The strategies on boxes: which row survives, that it keeps its own mask, and that ensemble-boxes agrees."""

import numpy as np
import pytest
from drawing import cell, cells, drawn
from ensemble_boxes import nms as ensemble_nms
from ensemble_boxes import non_maximum_weighted, weighted_boxes_fusion
from hypothesis import given, settings
from hypothesis import strategies as st

from sartorius.cells import Cells, no_cells
from sartorius.config.fusion import (
    GaussianDecay,
    LinearDecay,
    NmsSettings,
    NmwSettings,
    SoftNmsSettings,
    WbfSettings,
)
from sartorius.fusion import boxes, fuse
from sartorius.fusion.boxes import detected_boxes
from sartorius.fusion.clusters import NONE
from sartorius.fusion.detections import detections
from sartorius.fusion.engine import fusion_of

WINNER_TAKES_ALL = [
    NmsSettings(min_iou=0.4),
    NmwSettings(min_iou=0.4),
    WbfSettings(min_iou=0.4, agreement_power=0),
]
BY_NAME = pytest.mark.parametrize("strategy", WINNER_TAKES_ALL, ids=lambda strategy: strategy.method)
SEEDS = st.integers(0, 2**32 - 1)


@BY_NAME
def test_the_surviving_row_keeps_its_own_mask(strategy):
    sources = {"a/none": cell("###./#...", score=0.8), "b/none": cell("###./..#.", score=0.9)}
    fused = fuse(sources, strategy)
    assert drawn(fused) == ["###./..#."]
    assert fused.sources.tolist() == ["b/none"]


def test_the_weight_of_a_source_decides_which_row_survives():
    sources = {"a/none": cell("###.", score=0.6), "b/none": cell("####", score=0.8)}
    assert drawn(fuse(sources, NmsSettings())) == ["####"]
    assert drawn(fuse(sources, NmsSettings(), {"a/none": 2, "b/none": 1})) == ["###."]


def test_boxes_that_overlap_by_exactly_the_limit_are_two_cells():
    sources = {"a/none": cell("####.", score=0.9), "b/none": cell("##...", score=0.8)}
    assert len(fuse(sources, NmsSettings(min_iou=0.5))) == 2
    assert len(fuse(sources, NmsSettings(min_iou=0.49))) == 1


def test_the_detector_s_box_counts_and_not_the_mask_s():
    touching = {
        "a/none": cell("#..#", score=0.9, soft=[[255]], soft_box=(0, 0, 2, 1)),
        "b/none": cell("#..#", score=0.8, soft=[[255]], soft_box=(2, 0, 4, 1)),
    }
    assert len(fuse(touching, NmsSettings())) == 2


def test_a_box_outside_the_image_gives_way_to_the_mask_s_own():
    outside = cell(".##.", soft=[[255]], soft_box=(9, 9, 12, 12))
    found = detections({"a/none": outside}, None)
    assert detected_boxes(found, [outside]).tolist() == [[1, 0, 3, 1]]


def test_a_box_over_the_rim_counts_as_far_as_the_image_goes():
    over = cell(".##.", soft=[[255]], soft_box=(-2, -1, 3, 5))
    assert detected_boxes(detections({"a/none": over}, None), [over]).tolist() == [[0, 0, 3, 1]]


def test_soft_nms_lowers_the_scores_of_overlapping_boxes_and_drops_none():
    sources = {"a/none": cell("####.", score=0.9), "b/none": cell("##...", score=0.8)}  # IoU .5
    linear = fuse(sources, SoftNmsSettings(decay=LinearDecay(min_iou=0.4)))
    assert linear.scores.tolist() == pytest.approx([0.9, 0.8 * 0.5])
    gaussian = fuse(sources, SoftNmsSettings(decay=GaussianDecay(sigma=0.5)))
    assert gaussian.scores.tolist() == pytest.approx([0.9, 0.8 * np.exp(-0.5)])
    assert drawn(gaussian) == ["####.", "##..."]


def test_soft_nms_drops_what_is_not_above_the_least_score():
    sources = {"a/none": cell("####.", score=0.9), "b/none": cell("##...", score=0.8)}
    assert len(fuse(sources, SoftNmsSettings(decay=LinearDecay(min_iou=0.4), min_score=0.45))) == 1


def test_soft_nms_leaves_the_scores_of_other_types_alone_if_told_so():
    pair = {
        "a/none": cell("##", cell_type="astro", score=0.9),
        "b/none": cell("##", cell_type="cort", score=0.8),
    }
    apart = fuse(pair, SoftNmsSettings(across_types=False))
    assert apart.scores.tolist() == pytest.approx([0.9, 0.8])
    assert fuse(pair, SoftNmsSettings()).scores.tolist() == pytest.approx([0.9, 0.8 * np.exp(-2)])


def test_a_soft_nms_score_does_not_depend_on_the_scale_of_weights():
    sources = {"a/none": cell("##.", score=0.5), "b/none": cell("..#", score=0.5)}
    assert fuse(sources, SoftNmsSettings(), {"a/none": 1, "b/none": 4}).scores.tolist() == pytest.approx(
        [0.5, 0.5]
    )


def test_wbf_scores_count_the_sources_that_missed_the_cell():
    sources = {
        "a/none": cell("##", score=0.8),
        "b/none": cell("##", score=0.4),
        "c/none": no_cells("drawn", (1, 2)),
    }
    assert fuse(sources, WbfSettings()).scores.tolist() == pytest.approx([(0.8 + 0.4) / 3])


def test_wbf_takes_the_own_mask_of_the_highest_weighted_row():
    sources = {
        "a/none": cell("###.", score=0.6),
        "b/none": cell("####", score=0.8),
        "c/none": cell(".###", score=0.7),
    }
    assert drawn(fuse(sources, WbfSettings(min_iou=0.4))) == ["####"]
    assert drawn(fuse(sources, WbfSettings(min_iou=0.4), {"a/none": 1, "b/none": 1, "c/none": 3})) == [".###"]


def test_a_mean_box_lies_nearer_to_the_box_of_the_weightier_source():
    def bar(start: int, score: float) -> Cells:
        return cell("." * start + "#" * 10 + "." * (7 - start), score=score)

    sources = {"a/none": bar(0, 0.8), "b/none": bar(4, 0.8), "c/none": bar(7, 0.1)}
    strategy = WbfSettings(min_iou=0.42)
    assert len(fuse(sources, strategy)) == 2  # the mean of a and b begins at 2: IoU 5/15 with c
    assert len(fuse(sources, strategy, {"a/none": 1, "b/none": 3, "c/none": 1})) == 1  # at 3: 6/14


def crowd(rng: np.random.Generator, source: str, n_cells: int = 25) -> Cells:
    """Rectangles that overlap a lot; no two scores are the same."""
    drawn_cells = []
    for _ in range(n_cells):
        top, left = rng.integers(0, 12, 2)
        rows, cols = rng.integers(3, 9, 2)
        plane = np.zeros((20, 20), dtype=bool)
        plane[top : top + rows, left : left + cols] = True
        lines = ["".join(".#"[int(pixel)] for pixel in line) for line in plane]
        drawn_cells.append(cell(*lines, score=float(rng.uniform(0.1, 1)), source=source))
    return cells(*drawn_cells)


@pytest.mark.parametrize("method", [NmsSettings, NmwSettings, WbfSettings])
def test_how_many_boxes_are_compared_at_once_changes_nothing(monkeypatch, method):
    rng = np.random.default_rng(3)
    sources = {name: crowd(rng, name) for name in ("a/none", "b/none")}
    for part in sources.values():
        part.cell_types[::2] = "astro"
    strategy = method(min_iou=0.37, score="mean", agreement_power=1, across_types=False)
    at_once = fuse(sources, strategy)
    monkeypatch.setattr(boxes, "CHUNK", 3)
    in_pieces = fuse(sources, strategy)
    assert (in_pieces.masks, in_pieces.scores.tolist()) == (at_once.masks, at_once.scores.tolist())


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_ensemble_boxes_itself_keeps_the_same_boxes_and_scores(seed):
    rng = np.random.default_rng(seed)
    sources = {name: crowd(rng, name) for name in ("a/none", "b/none")}
    scaled = [part.boxes_xyxy.astype(float) / 20 for part in sources.values()]
    scores = [part.scores.astype(float) for part in sources.values()]
    labels = [np.zeros(len(part)) for part in sources.values()]
    for strategy, theirs in [
        (NmsSettings(min_iou=0.37), ensemble_nms(scaled, scores, labels, iou_thr=0.37)),
        (NmwSettings(min_iou=0.37), non_maximum_weighted(scaled, scores, labels, iou_thr=0.37)),
        (
            WbfSettings(min_iou=0.37, score="best", agreement_power=0),
            weighted_boxes_fusion(scaled, scores, labels, iou_thr=0.37, conf_type="max"),
        ),
    ]:
        fused = fuse(sources, strategy)
        assert fused.scores.tolist() == pytest.approx(sorted(theirs[1].tolist(), reverse=True))
        if strategy.method == "nms":
            assert np.allclose(fused.boxes_xyxy / 20, theirs[0][np.argsort(-theirs[1])])


@pytest.mark.parametrize("method", [NmwSettings, WbfSettings])
@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_a_seed_votes_for_its_cell_and_no_better_row_does(method, seed):
    rng = np.random.default_rng(seed)
    sources = {name: crowd(rng, name) for name in ("a/none", "b/none", "c/none")}
    clusters = fusion_of(sources, method(min_iou=0.2)).grouped
    assert clusters.votes[clusters.seeds].all()
    members = np.flatnonzero(clusters.seed != NONE)
    assert (clusters.seed[members] <= members).all()  # best first


def test_nmw_lets_a_row_join_the_best_of_those_before_it_alone():
    sources = {
        "a/none": cell("#" * 10 + "." * 10, score=0.9),
        "b/none": cells(
            cell("." * 4 + "#" * 10 + "." * 6, score=0.8, source="b/none"),
            cell("." * 5 + "#" * 10 + "." * 5, score=0.3, source="b/none"),
        ),
    }
    seen_twice = fuse(sources, NmwSettings(min_iou=0.4, min_votes=2))
    assert seen_twice.scores.tolist() == pytest.approx([0.9])


def test_soft_nms_compares_scores_and_not_weights_with_its_limit():
    sources = {"a/none": cell("##..", score=0.5), "b/none": cell("..##", score=0.5)}
    fused = fuse(sources, SoftNmsSettings(min_score=0.3), {"a/none": 1, "b/none": 4})
    assert fused.scores.tolist() == pytest.approx([0.5, 0.5])
