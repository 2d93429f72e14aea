"""The strategy `masks`: clusters on mask IoU, one vote per source, the weighted mean of soft masks."""

from dataclasses import replace

import numpy as np
import pytest
from drawing import cell, cells, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_fusion import content, dense_masks_fusion, random_cells, random_sources

from sartorius.config.fusion import MasksSettings
from sartorius.errors import UserError
from sartorius.fusion import fuse

SEEDS = st.integers(0, 2**32 - 1)


def test_masks_fuse_the_detections_of_a_cell_into_their_mean():
    sources = {"a/none": cell("####.."), "b/none": cell(".####."), "c/none": cell("..####")}
    assert drawn(fuse(sources, MasksSettings(min_iou=0.3))) == [".####."]
    assert drawn(fuse(sources, MasksSettings(min_iou=0.61))) == ["####..", ".####.", "..####"]


def test_a_mean_mask_keeps_what_most_of_the_weight_says():
    sources = {"a/none": cell("###.", score=0.9), "b/none": cell(".###", score=0.3)}
    by_score = MasksSettings(min_iou=0.3)
    assert drawn(fuse(sources, by_score)) == ["###."]
    alike = MasksSettings(min_iou=0.3, weigh_masks_by_score=False, mask_threshold=0.6)
    assert drawn(fuse(sources, alike)) == [".##."]
    assert drawn(fuse(sources, alike, {"a/none": 1, "b/none": 2})) == [".###"]


def test_soft_masks_of_different_resolutions_are_averaged_in_the_image():
    fine = cell("####", score=0.5, soft=np.full((4, 4), 255), soft_box=(0, 0, 4, 1))
    coarse = cell("##..", score=0.5, soft=[[255, 0], [255, 0]], soft_box=(0, 0, 4, 1))
    fused = fuse({"a/none": fine, "b/none": coarse}, MasksSettings(mask_threshold=0.65))
    assert drawn(fused) == ["##.."]


def test_a_source_without_soft_masks_takes_part_with_its_masks():
    soft = cell("####", score=0.5, soft=np.full((2, 2), 160), soft_box=(0, -1, 4, 2))
    hard = cell("##..", score=0.5)
    assert drawn(fuse({"a/none": soft, "b/none": hard}, MasksSettings(mask_threshold=0.6))) == ["##.."]


def test_the_threshold_of_a_mean_mask_is_that_of_the_cell_s_type():
    pair = {"a/none": cell("##.", cell_type="astro"), "b/none": cell("#..", cell_type="astro")}
    per_type = MasksSettings(mask_threshold={"astro": 0.4, "cort": 0.8})
    assert drawn(fuse(pair, per_type)) == ["##."]
    assert drawn(
        fuse({name: replace(part, cell_types=np.array(["cort"])) for name, part in pair.items()}, per_type)
    ) == ["#.."]
    with pytest.raises(UserError, match="astro"):
        fuse(pair, MasksSettings(mask_threshold={"cort": 0.5}))


def test_a_cell_whose_mean_mask_has_no_pixel_is_no_cell():
    pair = {"a/none": cell("##.."), "b/none": cell(".##.")}
    strict = MasksSettings(min_iou=0.3, mask_threshold=0.9)
    assert drawn(fuse(pair, strict)) == [".#.."]
    apart = {"a/none": cell("#", soft=[[200]], soft_box=(0, 0, 1, 1))}
    assert len(fuse(apart, strict)) == 0


def test_a_pixel_that_all_sources_have_reaches_a_threshold_of_one_however_their_weights_round():
    alike = {f"m{number}/none": cell("##.") for number in range(6)}  # six times 1 / 6 is a little less than 1
    assert drawn(fuse(alike, MasksSettings(mask_threshold=1.0))) == ["##."]


def test_a_source_votes_once_with_the_mask_that_overlaps_most():
    two = cells(cell("###..", score=0.6), cell("####.", score=0.5))
    fused = fuse({"a/none": cell("####.", score=0.9), "b/none": two}, MasksSettings())
    assert drawn(fused) == ["####.", "###.."]
    assert fused.scores.tolist() == pytest.approx([0.7, 0.3])


def test_the_second_detection_of_a_source_can_be_dropped():
    two = cells(cell("###..", score=0.6), cell("####.", score=0.5))
    fused = fuse({"a/none": cell("####.", score=0.9), "b/none": two}, MasksSettings(second_of_source="drop"))
    assert drawn(fused) == ["####."]


def test_cells_that_too_few_sources_see_are_dropped():
    sources = {"a/none": cells(cell("##.."), cell("...#")), "b/none": cell("##..")}
    assert drawn(fuse(sources, MasksSettings(min_votes=2))) == ["##.."]


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, side=st.sampled_from([None, 6]))
def test_one_source_in_gives_the_same_cells_out_even_where_they_overlap(seed, side):
    found = random_cells(np.random.default_rng(seed), 10, soft_side=side)
    found = found[found.areas_px > 0]
    fused = fuse({"a/none": found}, MasksSettings())
    assert sorted(row[:3] for row in content(fused)) == sorted(row[:3] for row in content(found))


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_every_source_duplicated_changes_no_mask_and_no_score(seed):
    sources = random_sources(seed)
    doubled = sources | {f"copy of {name}": part for name, part in sources.items()}
    once, twice = fuse(sources, MasksSettings()), fuse(doubled, MasksSettings())
    assert sorted(once.masks) == sorted(twice.masks)
    assert once.scores.tolist() == pytest.approx(twice.scores.tolist())


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, dropped=st.sampled_from(["keep", "drop"]), score=st.sampled_from(["best", "mean"]))
def test_masks_equal_their_slow_dense_version(seed, dropped, score):
    rng = np.random.default_rng(seed)
    sources = {
        name: replace(part, scores=rng.uniform(0.05, 1, len(part)).astype(np.float32))
        for name, part in random_sources(seed, 4, 10).items()
    }
    weights = {name: float(weight) for name, weight in zip(sources, rng.uniform(0.5, 2, 4), strict=True)}
    rules = MasksSettings(
        min_iou=0.3, second_of_source=dropped, score=score, min_votes=int(rng.integers(1, 3)), agreement_power=0.7,
        mask_score_power=1, vote_iou_power=2.5, mask_threshold={"astro": 0.5, "default": 0.4}, weigh_masks_by_score=bool(rng.integers(2)),
    )  # fmt: skip
    expected = [row for row in dense_masks_fusion(sources, rules, weights) if row[1] > 0]
    fused = fuse(sources, rules, weights)
    assert fused.scores.tolist() == pytest.approx([row[1] for row in expected])
    assert sorted(zip(fused.masks, fused.cell_types.tolist(), strict=True)) == sorted(
        (row[0], row[2]) for row in expected
    )


def test_a_soft_mask_outside_the_image_makes_no_cell_and_harms_no_other():
    lost = cell("##..", score=0.9, soft=[[255]], soft_box=(50, 50, 60, 60))
    assert len(fuse({"a/none": lost}, MasksSettings())) == 0
    good = cell("##..", score=0.9, soft=[[255]], soft_box=(0, 0, 2, 1))
    assert drawn(fuse({"a/none": lost, "b/none": good}, MasksSettings(mask_threshold=0.3))) == ["##.."]
