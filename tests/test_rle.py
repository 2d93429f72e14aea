"""Masks as pixels, competition text and COCO bytes: every way round, against versions that walk pixel by pixel."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
import reference_rle as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sartorius.rle import (
    CocoRle,
    Crop,
    KaggleRle,
    areas_px,
    boxes_xyxy,
    coco_from_crop,
    coco_from_dense,
    cocos_from_crops,
    cocos_from_runs,
    crop_from_coco,
    crops_from_cocos,
    dense_from_coco,
    kaggle_from_coco,
    kaggle_runs,
    kaggles_from_cocos,
    runs_from_cocos,
)

Mask = NDArray[np.bool_]


def pixels(*rows: str) -> Mask:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def cocos_from_kaggles(texts: list[KaggleRle]) -> list[CocoRle]:
    runs, malformed = kaggle_runs(texts)
    assert malformed == {}
    return cocos_from_runs(runs, [text.size_hw for text in texts])


def coco_from_kaggle(text: KaggleRle) -> CocoRle:
    return cocos_from_kaggles([text])[0]


def text_of(*rows: str) -> str:
    return kaggle_from_coco(coco_from_dense(pixels(*rows))).text


def mask_of(text: str, size_hw: tuple[int, int]) -> list[str]:
    dense = dense_from_coco(coco_from_kaggle(KaggleRle(size_hw, text)))
    return ["".join(".#"[int(pixel)] for pixel in row) for row in dense]


def reference_coco(mask: Mask) -> CocoRle:
    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return CocoRle((mask.shape[0], mask.shape[1]), packed["counts"])


masks = arrays.arrays(
    np.bool_,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.booleans(),
    fill=st.booleans(),
)


def test_competition_text_runs_along_the_rows_from_one():
    assert text_of("##..", "#...", "....") == "1 2 5 1"


def test_coco_counts_run_down_the_columns():
    mask = coco_from_kaggle(KaggleRle((3, 4), "1 2 5 1"))
    assert coco_mask.frPyObjects({"size": [3, 4], "counts": [0, 2, 1, 1, 8]}, 3, 4)["counts"] == mask.counts


def test_text_read_along_the_wrong_axis_would_give_another_mask():
    assert mask_of("1 2 5 1", (3, 4)) == ["##..", "#...", "...."]
    assert mask_of("1 2 5 1", (4, 3)) == ["##.", ".#.", "...", "..."]


def test_a_run_may_go_over_the_end_of_a_row():
    assert mask_of("3 3", (2, 4)) == ["..##", "#..."]
    assert text_of("..##", "#...") == "3 3"


def test_a_mask_may_go_over_the_end_of_a_column():
    mask = pixels(".#.", ".#.", "#..")
    assert coco_from_kaggle(KaggleRle((3, 3), "2 1 5 1 7 1")) == reference_coco(mask)


def test_runs_that_touch_are_written_as_one():
    assert kaggle_from_coco(coco_from_kaggle(KaggleRle((2, 4), "1 2 3 2 5 1"))).text == "1 5"


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (("...", "..."), ""),
        (("###", "###"), "1 6"),
        (("#..", "..."), "1 1"),
        (("...", "..#"), "6 1"),
        ((".#.",), "2 1"),
        (("#", ".", "#"), "1 1 3 1"),
    ],
)
def test_empty_full_and_single_pixels_go_both_ways(rows, text):
    size_hw = (len(rows), len(rows[0]))
    assert text_of(*rows) == text
    assert mask_of(text, size_hw) == list(rows)
    assert coco_from_kaggle(KaggleRle(size_hw, text)) == reference_coco(pixels(*rows))


def test_no_masks_give_no_masks():
    assert cocos_from_kaggles([]) == kaggles_from_cocos([]) == cocos_from_crops([], (3, 4)) == []
    assert crops_from_cocos([]) == []
    assert areas_px([]).shape == (0,)
    assert boxes_xyxy([]).shape == (0, 4)


@settings(deadline=None)
@given(st.lists(masks, max_size=6))
def test_many_masks_of_many_sizes_agree_with_the_pixel_by_pixel_versions(many):
    cocos = [reference_coco(mask) for mask in many]
    texts = [KaggleRle(mask.shape, slow.kaggle_text(mask)) for mask in many]
    assert kaggles_from_cocos(cocos) == texts
    assert cocos_from_kaggles(texts) == cocos
    for mask, coco, text in zip(many, cocos, texts, strict=True):
        np.testing.assert_array_equal(dense_from_coco(coco), mask)
        np.testing.assert_array_equal(slow.mask_of_kaggle_text(text.text, mask.shape), mask)
        assert coco_from_dense(mask) == coco
    assert areas_px(cocos).tolist() == [mask.sum() for mask in many]
    assert boxes_xyxy(cocos).tolist() == [slow.box_xyxy(mask) for mask in many]


def test_runs_that_become_many_when_turned_are_all_there():
    cross = [pixels("." * 40, "#" * 40, "." * 40), pixels("#" * 3, "#" * 3)]
    cocos = [coco_from_dense(mask) for mask in cross]
    assert cocos_from_kaggles([KaggleRle((3, 40), "41 40"), KaggleRle((2, 3), "1 6")]) == cocos


@settings(deadline=None)
@given(masks)
def test_a_crop_holds_the_pixels_of_the_tight_box(mask):
    crop = crop_from_coco(reference_coco(mask))
    left, top, right, bottom = slow.box_xyxy(mask)
    assert (crop.row, crop.col) == (top, left)
    np.testing.assert_array_equal(crop.pixels, mask[top:bottom, left:right])
    assert coco_from_crop(crop, mask.shape) == reference_coco(mask)


def test_crops_of_one_image_are_packed_together():
    corner, middle = Crop(0, 0, pixels("##", ".#")), Crop(1, 2, pixels(".#", "##"))
    assert cocos_from_crops([corner, middle], (3, 4)) == [
        coco_from_dense(pixels("##..", ".#..", "....")),
        coco_from_dense(pixels("....", "...#", "..##")),
    ]


def test_a_crop_in_the_last_corner_and_the_next_one_in_the_first_stay_two_masks():
    first, last = Crop(0, 0, pixels("#")), Crop(1, 2, pixels("#"))
    assert cocos_from_crops([last, first, last], (2, 3)) == [
        coco_from_dense(pixels("...", "..#")),
        coco_from_dense(pixels("#..", "...")),
        coco_from_dense(pixels("...", "..#")),
    ]


@pytest.mark.parametrize(("row", "col"), [(-1, 0), (0, -1), (2, 0), (0, 3)])
def test_a_crop_that_leaves_the_image_is_refused(row, col):
    with pytest.raises(ValueError, match=r"leaves the \(3, 4\) image"):
        coco_from_crop(Crop(row, col, pixels("##", "##")), (3, 4))


def test_a_mask_wider_than_32_bits_can_count_keeps_its_pixels():
    wide = KaggleRle((50_000, 50_000), "2499999999 2")
    mask = coco_from_kaggle(wide)
    assert boxes_xyxy([mask]).tolist() == [[49_998, 49_999, 50_000, 50_000]]
    assert kaggle_from_coco(mask) == wide


def test_a_mask_must_have_two_axes():
    with pytest.raises(ValueError, match=r"shape \(1, 2, 3\), expected \(height, width\)"):
        coco_from_dense(np.zeros((1, 2, 3), dtype=bool))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 x 1", "expected whole numbers `start length …`, got 'x'"),
        ("1 2 3.0 1", "expected whole numbers `start length …`, got '3.0'"),
        ("1 2 1_0 1", "expected whole numbers `start length …`, got '1_0'"),
        ("1 2 +7 1", "expected whole numbers `start length …`, got '+7'"),
        ("1 2 ٣ 1", "expected whole numbers `start length …`, got '٣'"),
        ("1 2 99999999999999999999 1", "expected whole numbers `start length …`, got '99999999999999999999'"),
        ("1 2 9223372036854775808 1", "expected whole numbers `start length …`, got '9223372036854775808'"),
        ("1 2 -9223372036854775809 1", "expected whole numbers `start length …`, got '-9223372036854775809'"),
        ("1 " + "9" * 9000, "expected whole numbers `start length …`, got '" + "9" * 40 + "'"),
        ("1\u00a03", "expected whole numbers `start length …`, got '1\\xa03'"),
        ("nan", "expected whole numbers `start length …`, got 'nan'"),
        ("1 2 5", "expected pairs `start length …`, got 3 numbers: the last start has no length"),
        ("0 2", "a start below 1 in pair 1: `0 2`"),
        ("-3 2", "a start below 1 in pair 1: `-3 2`"),
        ("-9223372036854775808 3", "a start below 1 in pair 1: `-9223372036854775808 3`"),
        ("1 2 5 0", "a length below 1 in pair 2: `5 0`"),
        ("1 2 12 2", "a run past the last of 12 pixels in pair 2: `12 2`"),
        ("13 1", "a run past the last of 12 pixels in pair 1: `13 1`"),
        ("1 9223372036854775807", "a run past the last of 12 pixels in pair 1: `1 9223372036854775807`"),
        (
            "5 2 1 2",
            "runs must ascend without overlap, but pair 2 (`1 2`) starts before the end of the one before it (`5 2`)",
        ),
        (
            "1 3 3 2",
            "runs must ascend without overlap, but pair 2 (`3 2`) starts before the end of the one before it (`1 3`)",
        ),
    ],
)
def test_malformed_text_is_told_exactly(text, message):
    with warnings.catch_warnings(action="error"):
        runs, malformed = kaggle_runs([KaggleRle((3, 4), text)])
    assert malformed == {0: message}
    assert len(runs.masks) == 0


def test_malformed_texts_are_told_by_number_and_the_others_are_read():
    good, bad = KaggleRle((3, 4), "2 3"), KaggleRle((3, 4), "4 1 2 1")
    runs, malformed = kaggle_runs([good, KaggleRle((3, 4), "1"), good, bad, KaggleRle((1, 1), "1 2")])
    assert (runs.masks.tolist(), runs.starts.tolist(), runs.lengths.tolist()) == ([0, 2], [1, 1], [3, 3])
    assert list(malformed) == [1, 3, 4]
    assert malformed[4] == "a run past the last of 1 pixels in pair 1: `1 2`"


@pytest.mark.parametrize("counts", [b"", b"12", b"\x00", b"P", b"PPPPPPPPPPPPPPPPPPPP0", b"1O8", b"~0"])
def test_bytes_that_are_no_counts_of_the_image_are_refused(counts):
    with pytest.raises(ValueError, match=r"mask 1: .*COCO"):
        runs_from_cocos([coco_from_dense(pixels("#.", "..")), CocoRle((2, 2), counts)])


def test_an_empty_mask_has_an_empty_box_however_it_is_written():
    counts = coco_mask.frPyObjects({"size": [6, 8], "counts": [48, 0]}, 6, 8)["counts"]
    assert boxes_xyxy([CocoRle((6, 8), counts)]).tolist() == [[0, 0, 0, 0]]


def test_counts_of_zero_between_runs_change_nothing():
    split = coco_mask.frPyObjects({"size": [3, 4], "counts": [1, 2, 0, 1, 8]}, 3, 4)["counts"]
    assert kaggle_from_coco(CocoRle((3, 4), split)).text == "2 1 5 1 9 1"


def test_every_annotation_of_the_competition_survives_the_round_trip(competition_dir: Path):
    with (competition_dir / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [KaggleRle((int(row["height"]), int(row["width"])), row["annotation"]) for row in rows]
    cocos = cocos_from_kaggles(texts)
    assert len(texts) == 66_083
    assert kaggles_from_cocos(cocos) == texts
    for text, coco in list(zip(texts, cocos, strict=True))[::3000]:
        assert reference_coco(slow.mask_of_kaggle_text(text.text, text.size_hw)) == coco


@pytest.mark.parametrize(
    "mask", [np.array([[0, 256, 7]]), np.array([[0, 1, 2]], np.uint8), np.array([[0.0, 1.0, 255.0]])]
)
def test_of_whole_numbers_all_but_zero_are_cell(mask):
    assert dense_from_coco(coco_from_dense(mask)).tolist() == [[False, True, True]]


@pytest.mark.parametrize("number", [0.7, np.nan])
def test_probabilities_are_refused_for_their_threshold_is_not_known(number):
    with pytest.raises(ValueError, match=r"fractions of type float64, expected booleans: mask >= 0\.5"):
        coco_from_dense(np.array([[0, number]]))
