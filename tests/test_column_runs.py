from itertools import pairwise

import numpy as np
import pytest
from drawing import cell, cells
from hypothesis import given, settings
from hypothesis import strategies as st

from sartorius.column_runs import areas_px, boxes_xyxy, column_runs, packed_masks
from sartorius.rle import CocoRle, coco_from_dense, dense_from_coco


def slowly(masks: list[CocoRle]) -> list[list[tuple[int, int]]]:
    """The (start, end) runs of each mask from its pixels, down the columns."""
    edges = [
        np.flatnonzero(np.diff(dense_from_coco(mask).T.ravel(), prepend=False, append=False))
        for mask in masks
    ]
    return [[(start, end) for start, end in of_mask.reshape(-1, 2).tolist()] for of_mask in edges]


def quickly(masks: list[CocoRle]) -> list[list[tuple[int, int]]]:
    runs = column_runs(masks)
    starts, ends, offsets = (column.tolist() for column in runs)
    return [list(zip(starts[first:last], ends[first:last], strict=True)) for first, last in pairwise(offsets)]


def test_runs_go_down_the_columns_and_may_cross_their_ends():
    both = cells(cell("##", "#.", "##"), cell("..", "..", ".."))
    runs = column_runs(both.masks)
    assert (runs.starts.tolist(), runs.ends.tolist()) == ([0, 5], [4, 6])
    assert runs.offsets.tolist() == [0, 2, 2]
    assert areas_px(runs).tolist() == [5, 0]
    assert boxes_xyxy(runs, 3).tolist() == [[0, 0, 2, 3], [0, 0, 0, 0]]
    assert packed_masks(runs, (3, 2)) == both.masks


def test_no_masks_have_no_runs():
    assert [column.tolist() for column in column_runs([])] == [[], [], [0]]


def test_a_run_longer_than_its_image_is_high_is_read_whole():
    dense = np.ones((700, 900), dtype=bool)
    dense[0, 0] = dense[-1, -1] = False
    assert quickly([coco_from_dense(dense)]) == [[(1, 700 * 900 - 1)]]


@pytest.mark.parametrize("counts", [b"", b"o", b"\x20", b"\xff", b"00", b"9", b"4P", b"o" * 14 + b"0"])
def test_bytes_that_are_no_counts_of_the_image_are_refused(counts):
    whole = cell("##", "##").masks[0]
    with pytest.raises(ValueError, match="mask 1: "):
        column_runs([whole, CocoRle((2, 2), counts)])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32)), max_size=5))
def test_runs_laid_out_by_mask_are_those_of_the_counts(shapes):
    masks = []
    for height, width, seed in shapes:
        rng = np.random.default_rng(seed)
        masks.append(coco_from_dense(rng.random((height, width)) < rng.random()))
    assert quickly(masks) == slowly(masks)
