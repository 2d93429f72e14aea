"""The table beside label images: a row for each label, and no others."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawing import cell, cells

from sartorius.errors import UserError
from sartorius.formats import convert, read_any, write_any

HEADER = "image_id,label,cell_type,score,source\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x,1,cort,1,me\n", "a row for each label of the label images, there is none for image 'x', label 2"),
        ("", r"there is none for image 'x', label 1 \(the first of 2\); mend the table, or remove it"),
        ("x,1,a,1,me\nx,2,a,1,me\nx,3,a,1,me\n", "rows of labels that .* hold, none holds image 'x', label 3"),
        ("x,1,a,1,me\nx,2,a,1,me\ny,1,a,1,me\n", "none holds image 'y', label 1"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_of_these_labels_is_refused(tmp_path, rows, message):
    cv2.imwrite(str(tmp_path / "x.png"), np.array([[0, 1, 2]], np.uint16))
    (tmp_path / "labels.csv").write_text(HEADER + rows)
    with pytest.raises(UserError, match=rf"labels\.csv: expected .*{message}"):
        read_any(tmp_path)


@pytest.mark.parametrize("name", ["labels", "labels-png", "labels-by-type"])
def test_cells_that_lie_wholly_under_others_are_left_out_of_the_table_too(tmp_path, name):
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
    assert len((tmp_path / "out" / "labels.csv").read_text().splitlines()) == 3


def test_a_cell_under_one_of_another_type_stays_in_label_images_by_type(tmp_path):
    found = cells(cell("##", score=0.5, cell_type="cort"), cell("#.", score=0.25, cell_type="astro"))
    write_any(tmp_path / "out", {"a": replace(found, image_id="a")}, "labels-by-type")
    assert read_any(tmp_path / "out")["a"].scores.tolist() == [0.5, 0.25]
