"""The record: what it refuses, how it is indexed and joined."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawing import cell, cells, drawn

from sartorius.cells import Cells, annotated, no_cells, together
from sartorius.rle import coco_from_dense

SOFT = np.full((2, 2), 200)


def two(**changes: Any) -> Cells:
    """Two drawn cells with soft masks, with some columns changed."""
    pair = cells(
        cell("##..", "....", score=0.9, soft=SOFT, soft_box=(0, 0, 2, 1)),
        cell("....", "..##", score=0.4, soft=SOFT, soft_box=(2, 1, 4, 2)),
    )
    return dataclasses.replace(pair, **changes)


def test_boxes_and_areas_are_those_of_the_masks():
    found = cells(cell(".##.", ".#.."), cell("....", "...."))
    assert found.areas_px.tolist() == [3, 0]
    assert found.boxes_xyxy.tolist() == [[1, 0, 3, 2], [0, 0, 0, 0]]
    assert (found.areas_px.dtype, found.boxes_xyxy.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("scores", np.array([0.9], np.float32), r"scores has dtype float32 and shape \(1,\), expected"),
        ("scores", np.array([0.9, 0.4]), "scores has dtype float64"),
        ("scores", np.array([0.9, 1.5], np.float32), r"scores lie in \[0.8\d*, 1.5\]"),
        ("scores", np.array([0.9, np.nan], np.float32), "scores lie in"),
        ("scores", [0.9, 0.4], "scores is a list, expected a numpy array"),
        (
            "soft_boxes_xyxy",
            [[0, 0, 2, 1], [2, 1, 4, 2]],
            "soft_boxes_xyxy is a list, expected a numpy array",
        ),
        ("cell_types", np.array(["cort"]), r"cell_types has dtype <U4 and shape \(1,\)"),
        ("sources", np.array([1, 2]), "sources has dtype int64"),
        ("size_hw", (4, 2), r"a mask has size \(2, 4\), expected \(4, 2\)"),
        ("masks", two().masks[:1], r"scores has dtype float32 and shape \(2,\), expected float32 and \(1,\)"),
        ("soft_masks", None, "soft_masks and soft_boxes_xyxy come together or not at all"),
        ("soft_boxes_xyxy", None, "soft_masks and soft_boxes_xyxy come together or not at all"),
        ("soft_masks", np.zeros((2, 2, 3), np.uint8), r"soft_masks has dtype uint8 and shape \(2, 2, 3\)"),
        ("soft_masks", np.zeros((2, 2), np.uint8), r"soft_masks has dtype uint8 and shape \(2, 2\)"),
        ("soft_masks", np.zeros((2, 2, 2), np.float32), "soft_masks has dtype float32"),
        ("soft_boxes_xyxy", np.zeros((2, 3), np.float32), r"soft_boxes_xyxy .* shape \(2, 3\)"),
        (
            "soft_boxes_xyxy",
            np.full((2, 4), np.inf, np.float32),
            "soft_boxes_xyxy holds numbers that are not",
        ),
    ],
)
def test_columns_that_do_not_agree_are_refused_by_name(column, value, message):
    with pytest.raises(ValueError, match=f"drawn: {message}"):
        two(**{column: value})


def test_a_column_of_a_table_whose_rows_were_sorted_is_refused_since_its_labels_would_choose_others():
    scores = pd.DataFrame({"score": np.array([0.4, 0.9], np.float32)}).sort_values("score", ascending=False)
    with pytest.raises(ValueError, match="drawn: scores is a Series, expected a numpy array"):
        two(scores=scores["score"])


def test_a_record_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        two().scores = np.zeros(2, np.float32)


def test_boxes_and_areas_cannot_be_changed_in_place_for_the_record_keeps_them():
    found = two()
    with pytest.raises(ValueError, match="read-only"):
        found.boxes_xyxy[:, 2:] -= found.boxes_xyxy[:, :2]
    with pytest.raises(ValueError, match="read-only"):
        found.areas_px[0] = 0
    assert (found.boxes_xyxy.tolist(), found.areas_px.tolist()) == ([[0, 0, 2, 1], [2, 1, 4, 2]], [2, 2])


@pytest.mark.parametrize("rows", [[1], np.array([1]), np.array([False, True]), [False, True], slice(1, None)])
def test_rows_are_chosen_by_number_by_truth_and_by_slice(rows):
    chosen = two()[rows]
    assert drawn(chosen) == ["..../..##"]
    assert chosen.scores.tolist() == pytest.approx([0.4])
    assert chosen.soft_boxes_xyxy.tolist() == [[2, 1, 4, 2]]
    assert chosen.soft_masks.shape == (1, 2, 2)


@pytest.mark.parametrize("rows", [[], slice(0), np.array([], dtype=np.intp), np.array([False, False])])
def test_no_rows_chosen_give_a_record_without_cells(rows):
    chosen = two()[rows]
    assert (len(chosen), chosen.image_id, chosen.size_hw) == (0, "drawn", (2, 4))
    assert chosen.areas_px.shape == (0,)
    assert chosen.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize("row", [0, np.int64(0)])
def test_a_single_row_number_is_refused_with_what_to_write(row):
    with pytest.raises(
        TypeError, match=r"expected a slice, row numbers or booleans, got .*0.*; cells\[\[0\]\] has one row"
    ):
        two()[row]


def test_rows_come_in_the_order_asked_for():
    assert drawn(two()[[1, 0]]) == ["..../..##", "##../...."]


def test_annotations_have_score_one_and_no_soft_masks():
    mask = coco_from_dense(np.eye(2, dtype=bool))
    truth = annotated("a", (2, 2), [mask], ["astro"])
    assert (truth.scores.tolist(), truth.cell_types.tolist(), truth.sources.tolist()) == (
        [1],
        ["astro"],
        ["truth"],
    )
    assert truth.soft_masks is None


def test_an_image_without_cells_is_a_record():
    empty = no_cells("a", (2, 2))
    assert len(empty) == 0
    assert len(together([empty, empty])) == 0


def test_records_are_joined_in_order_and_keep_soft_masks():
    joined = together([two()[[1]], two()[[]], two()[[0]]])
    assert drawn(joined) == ["..../..##", "##../...."]
    assert joined.soft_masks.shape == (2, 2, 2)


@pytest.mark.parametrize(
    "other", [cell("####", "...."), cell("####", "....", soft=np.zeros((3, 3)), soft_box=(0, 0, 4, 1))]
)
def test_soft_masks_are_left_out_when_not_all_rows_have_them_on_one_grid(other):
    joined = together([two(), other])
    assert len(joined) == 3
    assert joined.soft_masks is None
    assert joined.soft_boxes_xyxy is None


def test_a_part_without_cells_does_not_cost_the_others_their_soft_masks():
    assert together([no_cells("drawn", (2, 4)), two()]).soft_masks.shape == (2, 2, 2)


def test_only_parts_of_one_image_can_be_joined():
    with pytest.raises(ValueError, match="cells of other"):
        together([two(), cell("....", "....", image_id="other")])
    with pytest.raises(ValueError, match="at least one part"):
        together([])
