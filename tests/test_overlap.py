import numpy as np
import pytest
from drawing import cell, cells
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_fusion import dense_pairs, random_cells

from sartorius.cells import no_cells
from sartorius.overlap import iou, overlapping, overlapping_within


def test_pairs_count_the_pixels_that_two_masks_share():
    a = cells(cell("##../##.."), cell("..../...#"))
    b = cells(cell("..../..##"), cell(".##./.##."))
    pairs = overlapping(a, b)
    assert list(zip(*(column.tolist() for column in pairs), strict=True)) == [(0, 1, 2), (1, 0, 1)]
    assert iou(pairs, a, b).tolist() == [2 / 6, 1 / 2]


def test_masks_whose_boxes_meet_but_whose_pixels_do_not_are_no_pair():
    assert len(overlapping(cell("#./.#"), cell(".#/#.")).rows_a) == 0


def test_within_a_record_each_pair_comes_once_and_no_row_meets_itself():
    three = cells(cell("##."), cell(".##"), cell("#.."))
    pairs = overlapping_within(three)
    assert [pairs.rows_a.tolist(), pairs.rows_b.tolist()] == [[0, 0], [1, 2]]


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 1), (1, 0)])
def test_no_cells_and_empty_masks_pair_with_nothing(left, right):
    parts = [no_cells("drawn", (1, 2)), cell("..")]
    pairs = overlapping(parts[left], parts[right])
    assert pairs.rows_a.shape == (0,)
    assert pairs.rows_a.dtype == np.int64
    assert iou(pairs, parts[left], parts[right]).shape == (0,)


def test_images_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="no common pixels"):
        overlapping(cell("##"), cell("#"))


def test_many_pairs_of_one_pixel_are_all_found():
    crowd = cells(*[cell("#./..")] * 60)
    assert len(overlapping(crowd, crowd).rows_a) == 3600


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 15), st.integers(0, 15))
def test_pairs_equal_the_dense_version_in_order(seed, n_a, n_b):
    rng = np.random.default_rng(seed)
    a, b = random_cells(rng, n_a), random_cells(rng, n_b)
    pairs = overlapping(a, b)
    assert list(zip(*(column.tolist() for column in pairs), strict=True)) == dense_pairs(a, b)
    within = overlapping_within(a)
    assert list(zip(*(column.tolist() for column in within), strict=True)) == [
        pair for pair in dense_pairs(a, a) if pair[0] < pair[1]
    ]
