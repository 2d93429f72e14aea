from pathlib import Path

import cv2
import numpy as np
import pytest

from sartorius.data.check import DataCheck, TypeCount, check_data
from sartorius.errors import UserError

HEADER = "id,annotation,width,height,cell_type"


def data_set(folder: Path, *rows: str, images: str = "ab", size_hw: tuple[int, int] = (2, 4)) -> Path:
    """A data set of small images, each of another grey, whose train.csv has these rows from line 2 on."""
    for split in ("train", "test"):
        (folder / split).mkdir()
    for grey, name in enumerate(images):
        cv2.imwrite(str(folder / "train" / f"{name}.png"), np.full(size_hw, grey, np.uint8))
    cv2.imwrite(str(folder / "test" / "t.png"), np.full(size_hw, 200, np.uint8))
    (folder / "train.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def told(result: DataCheck) -> list[tuple[str, str, str, int | None]]:
    return [(found.severity, found.kind, found.image_id, found.line) for found in result.findings]


def test_a_sound_data_set_has_no_findings_and_is_counted_by_type(tmp_path):
    folder = data_set(tmp_path, "a,1 2,4,2,cort", "a,3 1 7 1,4,2,cort", "b,1 1,4,2,astro")
    assert check_data(folder) == DataCheck(
        (), (TypeCount("astro", 1, 1, 0, 0), TypeCount("cort", 1, 2, 0, 0))
    )


def test_a_cell_type_of_ones_own_is_told_once_and_is_no_problem(tmp_path):
    folder = data_set(
        tmp_path, "a,1 2,4,2,hela", "b,1 1,4,2,hela", "b,3 1,4,2,hela", "c,1 1,4,2,cotr", images="abc"
    )
    result = check_data(folder)
    assert told(result) == [("note", "other_type", "a", 2), ("note", "other_type", "c", 5)]
    hela, cotr = (note.message for note in result.notes)
    assert hela.startswith("cell type 'hela' of 2 images is none of")
    assert cotr.endswith("; did you mean cort?")


def test_cell_types_of_ones_own_in_one_image_are_no_problem(tmp_path):
    folder = data_set(tmp_path, "a,1 1,4,2,hela", "a,3 1,4,2,glia", "b,1 1,4,2,cort", "b,3 1,4,2,hela")
    result = check_data(folder)
    mixed = [found for found in result.notes if found.kind == "mixed_types"]
    assert [(found.image_id, found.line) for found in mixed] == [("a", 3), ("b", 5)]
    assert mixed[0].message.startswith("cell type 'glia', but 'hela' in line 2: an ensemble tells them apart")
    assert not result.problems


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("b,1,4,2,cort", "malformed_row"),
        ("b,8 2,4,2,cort", "malformed_row"),
        ("b,3 1 1 1,4,2,cort", "malformed_row"),
        ("b,1 1,four,2,cort", "malformed_row"),
        ("b,1 1,2,4,cort", "malformed_row"),
        (",1 1,4,2,cort", "malformed_row"),
        ("b,1 1,4,2,", "no_type"),
        ("b,1 1,4,2,astro", "mixed_types"),
        ("b,,4,2,cort", "empty_row_beside_cells"),
        ("nowhere,1 1,4,2,cort", "row_without_image"),
        ("b,1 1,4,2,cort,astro", "malformed_row"),
    ],
)
def test_a_faulty_row_is_a_problem_told_with_its_line(tmp_path, row, kind):
    folder = data_set(tmp_path, "a,1 2,4,2,cort", "b,3 1,4,2,cort", "", row)
    found = told(check_data(folder))
    assert ("problem", kind, row.split(",")[0], 5) in found
    assert {severity for severity, *_ in found} == {"problem"}


def test_an_image_of_two_wells_is_a_problem_told_once_for_each(tmp_path):
    folder = data_set(tmp_path, "a,1 2,4,2,cort,w", "b,1 1,4,2,cort,w", *["a,3 1,4,2,cort,v"] * 2)
    csv = folder / "train.csv"
    csv.write_text(csv.read_text().replace(HEADER, f"{HEADER},sample_id"))
    (found,) = check_data(folder).problems
    assert found[1:] == ("mixed_wells", "a", 4, "the sample_id is 'v', but 'w' in a line above")


def test_every_malformed_row_is_told_not_only_the_first(tmp_path):
    folder = data_set(tmp_path, "a,x,4,2,cort", "b,1 1,4,2,cort", "b,0 1,4,2,cort", "a,1 1,4,2,cort")
    result = check_data(folder)
    assert told(result) == [("problem", "malformed_row", "a", 2), ("problem", "malformed_row", "b", 4)]
    assert "whole numbers" in result.findings[0].message
    assert "a start below 1" in result.findings[1].message
    assert result.types == (TypeCount("cort", 2, 2, 0, 0),)


def test_an_image_without_row_is_a_problem_and_one_without_cells_is_a_note(tmp_path):
    folder = data_set(tmp_path, "a,,4,2,", images="abc")
    assert told(check_data(folder)) == [
        ("problem", "image_without_row", "b", None),
        ("problem", "image_without_row", "c", None),
        ("note", "image_without_cells", "a", None),
    ]


def test_an_image_of_another_size_than_its_rows_say_is_a_problem(tmp_path):
    folder = data_set(tmp_path, "a,1 1,4,2,cort", images="a", size_hw=(4, 2))
    (found,) = check_data(folder).problems
    assert (found.kind, found.image_id) == ("wrong_size", "a")
    assert "a.png has height and width (4, 2), but (2, 4) in train.csv" in found.message


def test_images_that_cannot_be_read_are_problems_in_both_folders(tmp_path):
    folder = data_set(tmp_path, "a,1 1,4,2,cort", "b,1 1,4,2,cort")
    whole = (folder / "train" / "b.png").read_bytes()
    (folder / "train" / "b.png").write_bytes(whole[:-8])
    (folder / "test" / "u.tif").write_bytes(b"")
    result = check_data(folder)
    assert told(result) == [
        ("problem", "unreadable_image", "b", None),
        ("problem", "unreadable_image", "u", None),
    ]
    assert "b.png" in result.findings[0].message
    assert "is empty" in result.findings[1].message


def test_the_same_picture_in_training_and_test_images_is_noted(tmp_path):
    folder = data_set(tmp_path, "a,1 1,4,2,cort", images="a")
    (folder / "test" / "z.png").write_bytes((folder / "train" / "a.png").read_bytes())
    (found,) = check_data(folder).notes
    assert found.kind == "same_image_twice"
    assert found.message == "test/z.png has the same pixels as train/a.png"


def test_overlapping_and_repeated_masks_are_counted_and_no_problem(tmp_path):
    rows = ["a,1 2,4,2,cort", "a,2 2,4,2,cort", "a,1 2,4,2,cort", "a,5 1,4,2,cort", "b,1 2,4,2,cort"]
    result = check_data(data_set(tmp_path, *rows))
    assert told(result) == [("note", "duplicate_masks", "a", 4)]
    assert result.types == (TypeCount("cort", 2, 5, overlapping_pairs=3, duplicate_masks=1),)
    assert not result.problems


def test_a_missing_test_folder_is_noted(tmp_path):
    folder = data_set(tmp_path, "a,1 1,4,2,cort", images="a")
    (folder / "test" / "t.png").unlink()
    (folder / "test").rmdir()
    assert told(check_data(folder)) == [("note", "no_test_images", "", None)]


@pytest.mark.parametrize("inside", [[], [".gitkeep", "._t.png", "notes.txt"]])
def test_a_test_folder_without_images_is_noted_and_hides_no_problem(tmp_path, inside):
    folder = data_set(tmp_path, "a,1 1,4,2,", images="a")
    (folder / "test" / "t.png").unlink()
    for name in inside:
        (folder / "test" / name).touch()
    result = check_data(folder)
    assert told(result) == [("problem", "no_type", "a", 2), ("note", "no_test_images", "", None)]
    assert result.notes[0].message == f"there is no image in {folder / 'test'}"


def test_a_truth_file_without_rows_leaves_every_image_without_row(tmp_path):
    result = check_data(data_set(tmp_path))
    assert [kind for _, kind, *_ in told(result)] == ["image_without_row"] * 2
    assert result.types == ()


def test_a_folder_without_truth_or_images_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"train\.csv"):
        check_data(tmp_path)
    (tmp_path / "train.csv").write_text(f"{HEADER}\na,1 1,4,2,cort\n")
    with pytest.raises(UserError, match="train/"):
        check_data(tmp_path)


def test_the_real_data_has_no_problem(competition_dir):
    result = check_data(competition_dir)
    assert result.problems == ()
    assert {found.kind for found in result.notes} == {"duplicate_masks"}
    assert {count.cell_type: count.cells for count in result.types} == {
        "astro": 9669, "cort": 9727, "shsy5y": 46687,
    }  # fmt: skip
    assert all(count.overlapping_pairs > 1000 for count in result.types)
