import numpy as np
import pytest
from drawing import cell, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sartorius.cells import annotated
from sartorius.data.competition import read_truth
from sartorius.formats.rings import masks_of_rings, one_ring, parts_of_masks, ring_area
from sartorius.rle import coco_from_dense


def parts(drawing):
    (found,) = parts_of_masks(cell(drawing).masks)
    return found


def rings_of(found):
    return [ring for part in found for ring in (part.outer, *part.holes)]


def test_the_ring_of_a_pixel_runs_around_it_clockwise():
    (part,) = parts("..../..#./....")
    assert part.outer.tolist() == [[2, 1], [3, 1], [3, 2], [2, 2]]
    assert (part.holes, ring_area(part.outer)) == ((), 1)


def test_straight_edges_have_points_at_their_ends_only():
    (part,) = parts("......../.#####../.#####../........")
    assert part.outer.tolist() == [[1, 1], [6, 1], [6, 3], [1, 3]]


def test_a_hole_has_a_ring_of_its_own_inside_its_part():
    first, second = parts("###.../#.#.##/###.##")
    assert len(first.holes) == 1
    assert sorted(first.holes[0].tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert ring_area(first.holes[0]) == -1
    assert (second.holes, ring_area(second.outer)) == ((), 4)


@pytest.mark.parametrize(
    ("drawing", "outer", "holes"),
    [
        ("#./.#", 2, 0),  # two parts that touch at a corner
        ("####/#.##/##.#/####", 1, 2),  # two holes that touch at a corner
        (".##/#.#/###", 1, 1),  # a hole that touches the outside at a corner
        ("", 0, 0),
    ],
)
def test_rings_touch_at_corners_but_none_touches_itself(drawing, outer, holes):
    found = parts(drawing) if drawing else parts("..")
    assert (len(found), sum(len(part.holes) for part in found)) == (outer, holes)
    for ring in rings_of(found):
        assert len({tuple(point) for point in ring.tolist()}) == len(ring)


PIXELS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@settings(max_examples=150, deadline=None)
@given(PIXELS)
def test_any_mask_comes_back_from_its_rings_and_from_one_ring(pixels):
    mask = coco_from_dense(pixels)
    (found,) = parts_of_masks([mask])
    assert masks_of_rings([rings_of(found)], pixels.shape) == [mask]
    assert sum(map(ring_area, rings_of(found))) == pixels.sum()
    if found:
        jitter = np.random.default_rng(0).uniform(
            -0.01, 0.01, (1, 2)
        )  # as rounding to few digits moves points
        assert masks_of_rings([[one_ring(found) + jitter]], pixels.shape) == [mask]


def test_a_long_ring_that_touches_itself_is_the_outside_and_the_hole():
    teeth = 5_000
    pixels = np.ones((4, 2 * teeth + 2), np.bool_)
    pixels[2, 1:-1] = pixels[1, 1:-1:2] = False  # a comb, its teeth upwards
    pixels[0, 0] = False  # outside, at the upper left corner of the first tooth
    ((part,),) = parts_of_masks([coco_from_dense(pixels)])
    (hole,) = part.holes
    width = pixels.shape[1]
    assert sorted(part.outer.tolist()) == [[0, 1], [0, 4], [1, 0], [1, 1], [width, 0], [width, 4]]
    assert (len(hole), len(np.unique(hole, axis=0)), ring_area(hole)) == (
        4 * teeth + 2,
        4 * teeth + 2,
        -3 * teeth,
    )


def test_the_rings_of_many_cells_are_filled_together():
    two = annotated(
        "two", (3, 5), [*cell("##.../##.../.....").masks, *cell(".#.../###../.#...").masks], ["a"] * 2
    )
    rings = [rings_of(found) for found in parts_of_masks(two.masks)]
    assert masks_of_rings([rings[0], [], rings[1]], (3, 5)) == [
        two.masks[0],
        cell("...../...../.....").masks[0],
        two.masks[1],
    ]
    assert masks_of_rings([], (3, 5)) == []


def test_what_leaves_the_image_is_cut_off():
    ring = np.array([[-3.0, -2.0], [2.0, -2.0], [2.0, 9.0], [-3.0, 9.0]])
    assert masks_of_rings([[ring]], (2, 4)) == list(cell("##../##..").masks)


def test_a_pixel_is_cell_if_its_centre_is_inside():
    triangle = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    (mask,) = masks_of_rings([[triangle]], (4, 4))
    assert drawn(annotated("t", (4, 4), [mask], ["a"])) == ["###./##../#.../...."]
    assert masks_of_rings([[triangle[:2]]], (4, 4)) == [coco_from_dense(np.zeros((4, 4), bool))]


def test_every_real_mask_comes_back_from_its_rings(competition_dir):
    ids = ["c4121689002f", "182c3da676bd", "03b27b381a5f"]
    holes = 0
    for truth in read_truth(competition_dir / "train.csv", ids).values():
        found = parts_of_masks(truth.masks)
        holes += sum(len(part.holes) for of_cell in found for part in of_cell)
        assert tuple(masks_of_rings([rings_of(p) for p in found], truth.size_hw)) == truth.masks
        assert tuple(masks_of_rings([[one_ring(p)] for p in found], truth.size_hw)) == truth.masks
    assert holes > 0
