from pathlib import Path

import pytest
from drawing import cell, cells, drawn

from sartorius.cells import no_cells
from sartorius.data.competition import (
    image_folder,
    read_annotation_table,
    read_truth,
    truth_csv,
)
from sartorius.data.dataset_dicts import dataset_dicts
from sartorius.errors import UserError
from sartorius.rle import CocoRle, dense_from_coco

HEADER = "id,annotation,width,height,cell_type,sample_id\n"


def csv_of(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "train.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def test_rows_become_the_cells_of_their_images_in_order_of_ids(tmp_path):
    truth = read_truth(
        csv_of(tmp_path, "b,1 2 5 1,4,2,cort,", "a,3 1,4,1,astro,", "b,7 2,4,2,cort,", "123,1 1,2,1,cort,")
    )
    assert list(truth) == ["123", "a", "b"]
    assert drawn(truth["b"]) == ["##../#...", "..../..##"]
    assert drawn(truth["a"]) == ["..#."]
    assert truth["a"].cell_types.tolist() == ["astro"]
    assert truth["b"].scores.tolist() == [1, 1]


def test_only_the_images_asked_for_are_read_so_a_fault_elsewhere_does_not_matter(tmp_path):
    csv = csv_of(tmp_path, "a,1 1,2,1,cort,", "b,oops,2,1,cort,")
    assert list(read_truth(csv, ["a"])) == ["a"]
    with pytest.raises(UserError, match="1 images have no row, for example c"):
        read_truth(csv, ["a", "c"])


def test_an_empty_annotation_is_an_image_without_cells(tmp_path):
    truth = read_truth(csv_of(tmp_path, "a,,2,1,cort,", "b,1 1,2,1,cort,"))
    assert len(truth["a"]) == 0
    assert truth["a"].size_hw == (1, 2)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a,1 2 3,4,2,cort,", "the last start has no length"),
        ("a,0 2,4,2,cort,", "a start below 1"),
        ("a,8 2,4,2,cort,", "past the last of 8 pixels"),
        ("a,1 x,4,2,cort,", "whole numbers"),
        ("a,1 2,4.0,2,cort,", "width and height in whole pixels, got '4.0' and '2'"),
        ("a,1 2,0,2,cort,", "width and height in whole pixels"),
        ("a,1 2,9999999,2,cort,", "width and height in whole pixels"),
        (",1 2,4,2,cort,", "the id is empty"),
        ("a,1 2,4,2,cort,,astro,x", "one value for each column, got 'astro,x' after the last"),
        ("a,1 2", "width and height in whole pixels, got '' and ''"),
        ("good,1 1,3,1,cort,", r"height and width are \(1, 3\), but \(1, 2\) in the image's first"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path, row, what):
    with pytest.raises(UserError, match=rf"train\.csv, line 4: image .*{what}"):
        read_truth(csv_of(tmp_path, "good,1 1,2,1,cort,", "", row))


def test_missing_columns_are_named(tmp_path):
    with pytest.raises(UserError, match="there is no width and no cell_type"):
        read_truth(csv_of(tmp_path, "a,1 1,2", header="id,annotation,height\n"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "line 1: the file is empty; expected the header `id,annotation,width,height,cell_type`"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "line 1: expected UTF-8 text, got byte 0x89; save the file as UTF-8"),
        (b"id\n\xe9\n", "line 2: expected UTF-8 text, got byte 0xe9; save the file as UTF-8"),
        (
            HEADER.encode("utf-16"),
            "line 1: expected UTF-8 text, but the file is UTF-16 text; save it as UTF-8",
        ),
        (b'a,b\n"', "line 2: the quotes of this row do not close"),
        (b"id,annotation,width,height,cell_type,id\n", "expected each column once, but id is there 2 times"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, what):
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=what):
        read_truth(path)


def test_a_folder_or_nothing_in_place_of_the_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="got a folder"):
        read_truth(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_truth(tmp_path / "train.csv")


def test_a_folder_without_train_csv_is_told_with_what_is_in_it(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match=r"with train\.csv, got a folder with pictures"):
        truth_csv(tmp_path)
    with pytest.raises(UserError, match="with train/, got a folder with pictures"):
        image_folder(tmp_path, "train")
    with pytest.raises(UserError, match="got nothing there"):
        truth_csv(tmp_path / "nowhere")
    (tmp_path / "test").mkdir()
    assert image_folder(tmp_path, "test") == tmp_path / "test"


def test_the_index_of_the_table_is_the_line_in_the_file(tmp_path):
    table = read_annotation_table(
        csv_of(tmp_path, "a,1 1,2,1,cort,", "", 'NA,"2\n1",2,1,cort,w', "b,2 1,2,1,cort,,")
    )
    assert table.index.tolist() == [2, 4, 6]
    assert table["id"].tolist() == ["a", "NA", "b"]
    assert table["sample_id"].tolist() == ["", "w", ""]
    assert table["beyond the last column"].tolist() == ["", "", ""]


def test_dataset_dicts_hold_masks_tight_boxes_and_class_numbers(tmp_path):
    truth = {
        "b": cells(cell("....", ".##.", cell_type="cort"), cell("#...", "#...", cell_type="astro")),
        "a": no_cells("a", (2, 4)),
    }
    paths = {name: tmp_path / f"{name}.png" for name in "abc"}
    empty, full = dataset_dicts(truth, paths, ("shsy5y", "astro", "cort"))
    assert empty == {
        "file_name": str(tmp_path / "a.png"),
        "image_id": "a",
        "height": 2,
        "width": 4,
        "annotations": [],
    }
    first, second = full["annotations"]
    assert (first["bbox"], first["bbox_mode"], first["category_id"], first["iscrowd"]) == (
        [1, 1, 3, 2],
        0,
        2,
        0,
    )
    assert (second["bbox"], second["category_id"]) == ([0, 0, 1, 2], 1)
    mask = CocoRle(tuple(first["segmentation"]["size"]), first["segmentation"]["counts"])
    assert dense_from_coco(mask).tolist() == [[False] * 4, [False, True, True, False]]


def test_dataset_dicts_leave_out_masks_without_pixels(tmp_path):
    truth = {"drawn": cells(cell("...."), cell("#..."))}
    (only,) = dataset_dicts(truth, {"drawn": tmp_path / "drawn.png"}, ["cort"])
    assert len(only["annotations"]) == 1


def test_dataset_dicts_refuse_unknown_types_and_images_without_file(tmp_path):
    truth = {"drawn": cell("#", cell_type="neuron")}
    with pytest.raises(UserError, match="got neuron"):
        dataset_dicts(truth, {"drawn": tmp_path / "drawn.png"}, ["cort"])
    with pytest.raises(UserError, match="1 annotated images have no image file, for example drawn"):
        dataset_dicts(truth, {}, ["neuron"])


def test_the_real_annotations_are_read_whole(competition_dir):
    truth = read_truth(truth_csv(competition_dir))
    assert len(truth) == 546
    assert sum(map(len, truth.values())) == 66_083
    assert {cells.size_hw for cells in truth.values()} == {(520, 704)}
