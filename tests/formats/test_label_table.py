"""The table beside label images: it has a row for each label."""

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawing import cell, cells

from sartorius.cells import annotated
from sartorius.errors import UserError
from sartorius.formats import convert, read_any, write_any
from sartorius.rle import Crop, cocos_from_crops

HEADER = "image_id,label,cell_type,score,source\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x,1,cort,1,me\n", "a row for each label of the label images, there is none for image 'x', label 2"),
        ("", r"there is none for image 'x', label 1 \(the first of 2\); mend the table, or remove it"),
    ],
)  # fmt: skip
def test_a_table_that_lacks_a_label_is_refused(tmp_path, rows, message):
    cv2.imwrite(str(tmp_path / "x.png"), np.array([[0, 1, 2]], np.uint16))
    (tmp_path / "labels.csv").write_text(HEADER + rows)
    with pytest.raises(UserError, match=rf"labels\.csv: expected .*{message}"):
        read_any(tmp_path)


def test_a_table_may_be_of_more_images_and_labels(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.array([[0, 1, 0]], np.uint16))
    (tmp_path / "labels.csv").write_text(f"{HEADER}x,1,cort,0.5,me\nx,2,cort,1,me\ny,1,cort,1,me\n")
    assert {name: cells.scores.tolist() for name, cells in read_any(tmp_path).items()} == {"x": [0.5]}


@pytest.mark.parametrize("name", ["labels", "labels-png", "labels-by-type"])
def test_cells_that_lie_wholly_under_others_are_lost_and_the_rest_keep_their_rows(tmp_path, name):
    covered = cell(".#./...", score=0.25, cell_type="cort", source="x/none")
    empty = cell(".../...", score=0.75, cell_type="cort", source="x/none")
    sure = cell("##./##.", score=0.5, cell_type="cort", source="y/none")
    apart = cell("..#/...", score=0.125, cell_type="astro", source="x/none")
    before = {"a": replace(cells(covered, empty, sure, apart), image_id="a")}
    write_any(tmp_path / "found.json", before, "coco")
    lost = convert(tmp_path / "found.json", tmp_path / "out", name).lost
    assert lost[0] == "2 of 4 cells"
    after = read_any(tmp_path / "out")["a"]
    assert (after.areas_px.tolist(), after.scores.tolist()) == ([4, 1], [0.5, 0.125])
    assert (after.cell_types.tolist(), after.sources.tolist()) == (["cort", "astro"], ["y/none", "x/none"])


def test_a_cell_under_one_of_another_type_stays_in_label_images_by_type(tmp_path):
    found = cells(cell("##", score=0.5, cell_type="cort"), cell("#.", score=0.25, cell_type="astro"))
    write_any(tmp_path / "out", {"a": replace(found, image_id="a")}, "labels-by-type")
    assert read_any(tmp_path / "out")["a"].scores.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("name", ["labels", "labels-png", "labels-by-type"])
def test_one_cell_in_many_pieces_is_no_photograph_where_a_table_lists_it(tmp_path, name):
    before = {"a": replace(cell("#." * 11), image_id="a")}
    write_any(tmp_path / "out", before, name)
    assert read_any(tmp_path / "out")["a"].masks == before["a"].masks
    (tmp_path / "out" / "labels.csv").unlink()
    with pytest.raises(UserError, match="its 1 numbers lie in 11 separate pieces, as in a photograph"):
        read_any(tmp_path / "out")


def test_a_large_label_image_is_read_in_little_more_memory_than_its_own(tmp_path):
    square = cocos_from_crops([Crop(5, 5, np.ones((9, 9), np.bool_))], (1000, 1000))
    write_any(tmp_path / "out", {"a": annotated("a", (1000, 1000), square, ["cort"])}, "labels")
    read_any(tmp_path / "out")
    tracemalloc.start()
    try:
        found = read_any(tmp_path / "out")["a"]
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.areas_px.tolist() == [81]
    assert most_bytes < 20 * 1000 * 1000  # 8 of each pixel are the labels
