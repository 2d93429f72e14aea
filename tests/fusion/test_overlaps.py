from drawing import cell, cells, drawn

from sartorius.config.fusion import MaskNmsSettings, MasksSettings
from sartorius.fusion import fuse


def test_masks_nms_looks_at_masks_where_boxes_say_nothing():
    crossing = {"a/none": cell("#../.#./..#", score=0.9), "b/none": cell("..#/.#./#..", score=0.8)}
    assert len(fuse(crossing, MaskNmsSettings())) == 2


def test_a_mask_inside_a_better_one_is_the_same_cell():
    nested = {
        "a/none": cell("######", score=0.9),
        "b/none": cell(".#....", score=0.8),
    }  # IoU 1/6, containment 1
    assert drawn(fuse(nested, MaskNmsSettings())) == ["######"]
    assert len(fuse(nested, MaskNmsSettings(min_containment=None))) == 2


def test_a_better_mask_inside_a_large_one_is_kept_as_it_is():
    nested = {"a/none": cell("######", score=0.8), "b/none": cell(".#....", score=0.9)}
    assert drawn(fuse(nested, MaskNmsSettings())) == [".#...."]


def test_masks_that_overlap_by_exactly_the_limit_are_one_cell():
    sources = {"a/none": cell("####", score=0.9), "b/none": cell("##..", score=0.8)}
    assert len(fuse(sources, MaskNmsSettings(min_iou=0.5, min_containment=None))) == 1
    assert len(fuse(sources, MasksSettings(min_iou=0.5))) == 1
    assert len(fuse(sources, MasksSettings(min_iou=0.51))) == 2


def test_a_suppressed_mask_suppresses_no_other():
    chain = cells(cell("###...", score=0.9), cell(".###..", score=0.8), cell("..###.", score=0.7))
    assert drawn(fuse({"a/none": chain}, MaskNmsSettings(min_iou=0.5, min_containment=None))) == [
        "###...",
        "..###.",
    ]


def test_of_two_equal_overlaps_the_better_row_votes():
    sources = {
        "a/none": cell(".####.", score=0.9),
        "b/none": cells(cell("####..", score=0.5), cell("..####", score=0.6)),
    }
    fused = fuse(sources, MasksSettings(min_iou=0.5, mask_threshold=0.6))
    assert drawn(fused) == [".####.", "####.."]
    assert [round(score, 3) for score in fused.scores.tolist()] == [0.75, 0.25]
