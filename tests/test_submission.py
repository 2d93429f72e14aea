"""Submissions written, read and checked, each fault told with its line."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawing import cell, cells, drawn
from hypothesis import given
from hypothesis import strategies as st

from sartorius.cells import Cells, no_cells
from sartorius.errors import UserError
from sartorius.submission import (
    check_submission,
    inspect_submission,
    read_submission,
    write_submission,
)

SIZES = {"a": (3, 4), "b": (3, 4)}


def named(image_id: str, *parts: Cells) -> Cells:
    return dataclasses.replace(cells(*parts), image_id=image_id)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "submission.csv"


def problems(
    path: Path, content: str | bytes, sizes_hw: dict[str, tuple[int, int]] | None = None
) -> list[str]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [str(problem) for problem in check_submission(path, SIZES if sizes_hw is None else sizes_hw)]


def test_every_image_gets_its_rows_in_the_order_asked_for(path: Path):
    found = [named("a", cell("....", ".##.", "...."), cell("#...", "#...", "....")), no_cells("b", (3, 4))]
    write_submission(path, found, ["c", "b", "a"])
    assert path.read_bytes() == b"id,predicted\nc,\nb,\na,6 2\na,1 1 5 1\n"


def test_no_cells_at_all_give_an_empty_row_for_each_image(path: Path):
    write_submission(path, [], ["a", "b"])
    assert path.read_text() == "id,predicted\na,\nb,\n"
    assert check_submission(path, SIZES) == []


def test_a_mask_without_pixels_gets_no_row(path: Path):
    empty, full = cell("....", "....", "...."), cell("####", "####", "####")
    write_submission(path, [named("a", empty, full), named("b", empty)], ["a", "b"])
    assert path.read_text() == "id,predicted\na,1 12\nb,\n"


def test_overlapping_masks_are_refused_and_the_file_before_stays(path: Path):
    path.write_text("good")
    both = named(
        "a", cell("##..", "....", "...."), cell("....", "....", "...#"), cell(".##.", "....", "....")
    )
    with pytest.raises(UserError, match="a: cell 2 shares 1 px with cell 0"):
        write_submission(path, [both], ["a"])
    assert [file.read_text() for file in path.parent.iterdir()] == ["good"]


def test_an_error_while_cells_are_made_leaves_the_file_before(path: Path):
    def failing() -> Iterator[Cells]:
        yield no_cells("a", (3, 4))
        raise OSError(28, "No space left on device")

    path.write_text("good")
    with pytest.raises(OSError, match="No space left"):
        write_submission(path, failing(), ["a", "b"])
    assert [file.read_text() for file in path.parent.iterdir()] == ["good"]


def test_cells_of_an_image_that_is_not_submitted_are_refused(path: Path):
    with pytest.raises(UserError, match="cells of image c, which is none of the 2 images"):
        write_submission(path, [no_cells("c", (3, 4))], ["a", "b"])
    assert not path.exists()


def test_an_image_must_not_come_twice(path: Path):
    with pytest.raises(ValueError, match="a: two records of one image"):
        write_submission(path, [no_cells("a", (3, 4)), no_cells("a", (3, 4))], ["a"])
    with pytest.raises(ValueError, match="names an image twice"):
        write_submission(path, [], ["a", "a"])


def test_an_id_with_a_comma_is_quoted_and_read_back(path: Path):
    name = 'well 3, "left"'
    write_submission(path, [named(name, cell("##"))], [name])
    assert path.read_text() == 'id,predicted\n"well 3, ""left""",1 2\n'
    assert drawn(read_submission(path, {name: (1, 2)})[name]) == ["##"]


def test_what_was_written_is_read_back(path: Path):
    found = named("a", cell("####", "....", "...."), cell("....", "..##", "..##"))
    write_submission(path, [found], ["b", "a"])
    read = read_submission(path, SIZES)
    assert list(read) == ["a", "b"]
    assert read["a"].masks == found.masks
    assert (read["a"].scores.tolist(), set(read["a"].sources)) == ([1, 1], {"submission"})
    assert len(read["b"]) == 0


def test_reading_keeps_overlaps_and_leaves_out_images_that_are_not_named(path: Path):
    path.write_text("id,predicted\nb,1 2\nb,1 2\nb,2 3\n")
    assert drawn(read_submission(path, SIZES)["b"]) == ["##../..../....", "##../..../....", ".###/..../...."]
    assert list(read_submission(path, SIZES)) == ["b"]


def test_reading_stops_at_the_first_line_that_is_wrong(path: Path):
    path.write_text("id,predicted\na,1 2\nb,0 3\nc,1 1\n")
    with pytest.raises(UserError) as caught:
        read_submission(path, SIZES)
    assert str(caught.value) == (f"{path}, line 3: a start below 1 in pair 1: `0 3` (1 more problems)")


def test_a_single_problem_is_told_without_a_number_of_others(path: Path):
    path.write_text("id,predicted\na,1 2\nb,0 3\n")
    with pytest.raises(UserError) as caught:
        read_submission(path, SIZES)
    assert str(caught.value) == f"{path}, line 3: a start below 1 in pair 1: `0 3`"


def test_a_good_file_has_no_problem_and_is_counted(path: Path):
    path.write_text("id,predicted\nb,1 2\na,\nb,4 1 7 2\n")
    assert inspect_submission(path, SIZES) == ([], {"a": 0, "b": 2})


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffid,predicted\na,1 2\nb,\n",
        "id,predicted\r\na,1 2\r\nb,\r\n",
        "id,predicted\ra,1 2\rb,\r",
        'id,predicted\n"a","1 2"\n"b",""\n',
        "id,predicted\n\na,1 2\n\nb,\n\n",
        "id,predicted\nb,\na,1 2",
        "id,predicted\nb, \na,  1\t2  ",
    ],
)
def test_line_ends_quotes_marks_and_blank_lines_are_no_problem(path: Path, content: str):
    assert problems(path, content) == []
    assert [drawn(found) for found in read_submission(path, SIZES).values()] == [["##../..../...."], []]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "line 1: the file is empty; expected the header `id,predicted` and rows"),
        (b"\xef\xbb\xbf\n \n", "line 1: the file is empty; expected the header `id,predicted` and rows"),
        (b"\x89PNG\r\n\x1a\n\0\0", "line 3: expected UTF-8 text, but this is a binary file"),
        (b"id,predicted\na,\0\n", "line 2: expected UTF-8 text, but this is a binary file"),
        (b"\x1f\x8b\x08", "line 1: expected UTF-8 text, but the file is compressed with gzip; unpack it"),
        (b"PK\x03\x04\0", "line 1: expected UTF-8 text, but the file is a ZIP archive or a spreadsheet; unpack it or "
         "save it as CSV"),
        ("id,predicted\na,\n".encode("utf-16"), "line 1: expected UTF-8 text, but the file is UTF-16 text; save it as UTF-8"),
        (b"id,predicted\na,\nb\xe4,\n", "line 3: expected UTF-8 text, got byte 0xe4; save the file as UTF-8"),
        (b"a,1 2\nb,\n", "line 1: expected the header `id,predicted`, got 'a,1 2'"),
        (b"predicted,id\n", "line 1: expected the header `id,predicted`, got 'predicted,id'"),
        (b"id,predicted,score\na,1 2,.5\n", "line 1: expected the header `id,predicted`, got 'id,predicted,score'"),
        (b"\n\nid;predicted\n", "line 3: expected the header `id,predicted`, got 'id;predicted'"),
        (b'"id"x,predicted\n', "line 1: expected the header `id,predicted`, got the quotes of this row do not close "
         "where a field ends (',' expected after '\"')"),
        (b"x" * 1_000_000, "line 1: expected the header `id,predicted`, got '" + "x" * 40 + "'…"),
        (b"," * 1_000_000, "line 1: expected the header `id,predicted`, got '" + "," * 40 + "'…"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_submission_at_all_has_one_problem(path: Path, content: bytes, expected: str):
    assert problems(path, content) == [expected]
    with pytest.raises(UserError, match=r"submission\.csv, line"):
        read_submission(path, SIZES)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("a,1 2\nb,x 1", ["line 3: expected whole numbers `start length …`, got 'x'"]),
        ("a,nan\nb,", ["line 2: expected whole numbers `start length …`, got 'nan'"]),
        ("a,1 2 3\nb,", ["line 2: expected pairs `start length …`, got 3 numbers: the last start has no length"]),
        ("a,0 2\nb,", ["line 2: a start below 1 in pair 1: `0 2`"]),
        ("a,1 0\nb,", ["line 2: a length below 1 in pair 1: `1 0`"]),
        ("a,12 2\nb,", ["line 2: a run past the last of 12 pixels in pair 1: `12 2`"]),
        (
            "a,5 1 1 1\nb,",
            ["line 2: runs must ascend without overlap, but pair 2 (`1 1`) starts before the end of the one before it (`5 1`)"],
        ),
        ("a\nb,", ["line 2: expected 2 fields `id,predicted`, got 1", "image a is missing; an image without cells needs a row `a,`"]),
        ("a,1 2,3 4\na,\nb,", ["line 2: expected 2 fields `id,predicted`, got 3"]),
        ('a,"1 2"x\na,"1\n2"\nb,', ["line 2: the quotes of this row do not close where a field ends (',' expected after '\"')"]),
        ('a,1 2\nb,"\nb,3 4\n', ["line 3: the quotes of this row do not close where a field ends (unexpected end of data)",
                               "image b is missing; an image without cells needs a row `b,`"]),
        ("a,\nb,\nc,1 2", ["line 4: 'c' is none of the 2 images; expected an image's name without folder and ending"]),
        ("a,\nb,\n" + "c" * 40 + ",", [f"line 4: '{'c' * 40}' is none of the 2 images; expected an image's name without folder and ending"]),
        ("a,\nb,\n" + "c" * 99 + ",", [f"line 4: '{'c' * 40}'… is none of the 2 images; expected an image's name without folder and ending"]),
        ("", ["image a is missing; an image without cells needs a row `a,`", "image b is missing; an image without cells needs a row `b,`"]),
        ("c,", ["line 2: 'c' is none of the 2 images; expected an image's name without folder and ending",
                "image a is missing; an image without cells needs a row `a,`",
                "image b is missing; an image without cells needs a row `b,`"]),
        ("a,\na,1 2\nb,", ["line 2: an empty row says that a has no cells, but line 3 is of it too"]),
        ("a,\nb,\na,", ["line 4: an empty row says that a has no cells, but line 2 is of it too"]),
        ("a,1 2\nb,1 2\na,1 2", ["line 4: repeats the mask of line 2; masks of one image may not overlap"]),
        ("a,1 2\nb,\na,1 1 2 1", ["line 4: repeats the mask of line 2; masks of one image may not overlap"]),
        ("a,1 3\nb,\na,6 1\na,3 2 6 1", ["line 5: 2 of its pixels are in lines 2, 4; masks of one image may not overlap"]),
        ("a,2 1\na,1 3\nb,", ["line 3: 1 of its pixels are in line 2; masks of one image may not overlap"]),
        ("a,1 3\na,2 1\na,2 1\nb,", ["line 3: 1 of its pixels are in line 2; masks of one image may not overlap",
                                    "line 4: repeats the mask of line 3; masks of one image may not overlap"]),
        ("a,1 1\na,2 1\na,3 1\na,4 1\na,5 1\na,1 7\nb,",
         ["line 7: 5 of its pixels are in lines 2, 3, 4, 5, 6; masks of one image may not overlap"]),
        ("a,1 1\na,2 1\na,3 1\na,4 1\na,5 1\na,6 1\na,1 7\nb,",
         ["line 8: 6 of its pixels are in lines 2, 3, 4, 5, 6 and 1 more; masks of one image may not overlap"]),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_its_line(path: Path, rows: str, expected: list[str]):
    assert problems(path, f"id,predicted\n{rows}") == expected


def test_every_fault_of_a_file_is_listed_by_line(path: Path):
    content = "id,predicted\na,2 1 1 1\nc,\na,1 2\na\na,2 2\na,\na,99 1\n"
    assert [message.split(":")[0] for message in problems(path, content)] == [
        *(f"line {line}" for line in (2, 3, 5, 6, 7, 8)),
        "image b is missing; an image without cells needs a row `b,`",
    ]


def test_lines_are_counted_over_quoted_line_ends(path: Path):
    assert problems(path, 'id,predicted\na,"1\n2\n"\nb,0 1\n') == ["line 5: a start below 1 in pair 1: `0 1`"]


def test_masks_of_different_images_may_share_pixels_and_sizes_differ(path: Path):
    content = "id,predicted\na,1 12\nb,1 1\n"
    assert problems(path, content, {"a": (3, 4), "b": (1, 1)}) == []
    assert problems(path, content, {"a": (3, 3), "b": (1, 1)}) == [
        "line 2: a run past the last of 9 pixels in pair 1: `1 12`"
    ]


def test_a_mask_may_have_more_text_than_a_csv_field_usually_may(path: Path):
    checkerboard = " ".join(f"{start} 1" for start in range(1, 80_000, 2))
    assert len(checkerboard) > 131_072
    assert problems(path, f"id,predicted\na,{checkerboard}\n", {"a": (200, 400)}) == []


def test_a_missing_file_is_not_a_faulty_one(tmp_path: Path):
    with pytest.raises(UserError, match=r"none.csv: no such file"):
        check_submission(tmp_path / "none.csv", SIZES)
    with pytest.raises(UserError, match=r"expected a CSV file, got a folder"):
        check_submission(tmp_path, SIZES)


@given(st.one_of(st.binary(), st.text().map(str.encode), st.text('id,predct\nab 123"').map(lambda s: s.encode())),
       st.booleans())  # fmt: skip
def test_no_file_whatever_gives_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, headed: bool
):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(b"id,predicted\n" * headed + content)
    found = check_submission(path, SIZES)
    try:
        read_submission(path, SIZES)
    except UserError:
        assert found


@given(
    st.lists(st.lists(st.booleans(), min_size=12, max_size=12), max_size=6),
    st.lists(st.booleans(), min_size=6),
)
def test_overlaps_found_along_runs_are_those_of_the_pixels(
    tmp_path_factory: pytest.TempPathFactory, many: list[list[bool]], in_a: list[bool]
):
    import reference_rle as slow

    masks = [
        (np.array(mask).reshape(3, 4), "a" if first else "b") for mask, first in zip(many, in_a, strict=False)
    ]
    masks = [(mask, image_id) for mask, image_id in masks if mask.any()]
    rows = [f"{image_id},{slow.kaggle_text(mask)}" for mask, image_id in masks]
    faulty = set()
    for line, (mask, image_id) in enumerate(masks):
        if any(np.any(mask & other) for other, other_id in masks[:line] if other_id == image_id):
            faulty.add(line + 2)
    path = tmp_path_factory.getbasetemp() / "overlaps.csv"
    path.write_text("\n".join(["id,predicted", *rows]))
    assert {problem.line for problem in check_submission(path, SIZES)} - {None} == faulty


def test_the_real_annotations_overlap_and_repeat_and_have_no_other_fault(path: Path, competition_dir: Path):
    rows = [line.split(",")[:2] for line in (competition_dir / "train.csv").read_text().splitlines()[1:]]
    path.write_text("\n".join(["id,predicted", *(",".join(row) for row in rows)]))
    found = check_submission(path, dict.fromkeys({image_id for image_id, _ in rows}, (520, 704)))
    assert len(found) > 100
    assert all(
        "of its pixels are in line" in problem.message or "repeats" in problem.message for problem in found
    )
