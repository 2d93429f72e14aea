"""Defects of the system this project grew from that lie in fusion and clean-up; each test fails on that system."""

import numpy as np
import pytest
from drawing import cell, cells, drawn

from sartorius.cells import no_cells
from sartorius.config.fusion import (
    MaskNmsSettings,
    MasksSettings,
    NmsSettings,
    NmwSettings,
    PostprocessSettings,
    SoftNmsSettings,
    WbfSettings,
)
from sartorius.fusion import fuse
from sartorius.postprocess import clean

STRATEGIES = [
    NmsSettings(),
    NmwSettings(),
    WbfSettings(),
    MaskNmsSettings(),
    MasksSettings(mask_threshold=0.6),
]
BY_NAME = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.method)
ORIGINAL = PostprocessSettings(
    score_threshold={"shsy5y": 0.18, "astro": 0.38, "cort": 0.58},
    min_area_px={"shsy5y": 75, "astro": 150, "cort": 75},
)


@pytest.mark.parametrize(
    "strategy", [*STRATEGIES[:4], SoftNmsSettings()], ids=lambda strategy: strategy.method
)
def test_a_mask_is_never_looked_up_by_the_value_of_its_score(strategy):
    """It searched the surviving score among all scores: of two detections with one score both got the first mask."""
    left, right = cell("##...../##.....", score=0.75), cell(".....##/.....#.", score=0.75)
    fused = fuse({"a/none": cells(left, right), "b/none": no_cells("drawn", (2, 7))}, strategy)
    assert set(drawn(fused)) == {"##...../##.....", ".....##/.....#."}


@BY_NAME
def test_tied_detections_are_ordered_without_comparing_arrays(strategy):
    """It sorted tuples of score and mask array, which raises "truth value is ambiguous" on a tie."""
    soft = np.full((4, 4), 255)
    twins = [
        cell("##../###.", score=0.5, soft=soft - change, soft_box=(0, 0, 3, 2), source="a/none")
        for change in (0, 1)
    ]
    fused = fuse({"a/none": cells(*twins), "b/none": twins[0]}, strategy)
    swapped = fuse({"b/none": twins[0], "a/none": cells(*reversed(twins))}, strategy)
    assert drawn(fused) == drawn(swapped)
    assert fused.scores.tolist() == swapped.scores.tolist()


@BY_NAME
def test_an_image_without_detections_has_no_type_to_vote_for_and_passes(strategy):
    """It took the mode of an empty list, which raises."""
    nothing = no_cells("empty", (520, 704))
    assert len(clean(fuse({"a/none": nothing, "b/none": nothing}, strategy), ORIGINAL)) == 0


def test_the_minimum_area_holds_after_overlaps_are_removed():
    """It dropped small cells before it clipped overlaps, so slivers came through."""
    sure, unsure = cell("####.", score=0.9), cell("..###", score=0.7)  # one pixel is left of the unsure one
    cleaned = clean(cells(sure, unsure), PostprocessSettings(score_threshold=0.58, min_area_px=3))
    assert drawn(cleaned) == ["####."]
