"""YOLO text as other programs write it, and text that is wrong."""

import pytest
from drawing import drawn

from sartorius.errors import UserError
from sartorius.formats import detect_format, read_any


def test_two_yolo_files_of_one_image_are_refused(tmp_path, images):
    for split in ("train", "val"):
        (tmp_path / "yolo" / "labels" / split).mkdir(parents=True)
        (tmp_path / "yolo" / "labels" / split / "a.txt").write_text("0 0 0 1 0 1 1\n")
    with pytest.raises(UserError, match=r"val/a\.txt: another file of this image is .*train/a\.txt"):
        read_any(tmp_path / "yolo", images)


def test_yolo_text_without_names_has_the_competitions_types(tmp_path, images):
    (tmp_path / "a.txt").write_text("1 0.2 0.25 0.6 0.25 0.6 0.75 0.2 0.75 0.875\n\n")
    found = read_any(tmp_path / "a.txt", images)["a"]
    assert (drawn(found), found.cell_types.tolist(), found.scores.tolist()) == (
        ["...../.##../.##../....."],
        ["astro"],
        [0.875],
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [("a", "0 0 0 1 0 1 1\n"), ("a", ""), ("b", "0 0 0 1 0 1 1 .5\n"), ("a", "0 0.5 0.5 0.2 0.2\n")],
    ids=["a cell", "no cells", "of another image", "a box, which is refused by its line"],
)
def test_yolo_text_beside_an_image_is_yolo(tmp_path, name, text):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "README.txt").write_text("Cells of 3 wells")
    (tmp_path / f"{name}.txt").write_text(text)
    assert detect_format(tmp_path) == "yolo"


@pytest.mark.parametrize("place", ["labels", "labels/train", "train/labels"])
@pytest.mark.parametrize("path", ["", "a.txt"])
def test_the_names_of_classes_are_found_above_the_folder_labels(tmp_path, monkeypatch, images, place, path):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names: {0: hela}\n")
    (tmp_path / place / "a.txt").write_text("0 0 0 1 0 1 1\n")
    assert read_any(tmp_path / place / path, images)["a"].cell_types.tolist() == ["hela"]
    monkeypatch.chdir(tmp_path / place)
    assert read_any(path or ".", images)["a"].cell_types.tolist() == ["hela"]


def test_the_nearest_names_of_classes_hold_and_none_are_looked_for_far_away(tmp_path, images):
    folder, other = tmp_path / "mine" / "labels", tmp_path / "other"
    for place in (folder, other):
        place.mkdir(parents=True)
        (place / "a.txt").write_text("0 0 0 1 0 1 1\n")
    (tmp_path / "data.yaml").write_text("names: [far]\n")
    (tmp_path / "mine" / "data.yaml").write_text("names: [near]\n")
    assert read_any(folder, images)["a"].cell_types.tolist() == ["near"]
    assert read_any(folder.parent, images)["a"].cell_types.tolist() == ["near"]
    assert read_any(other, images)["a"].cell_types.tolist() == ["shsy5y"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "at least 3 points, got 2; boxes are no outlines"),
        ("x 0.1 0.1 0.2 0.2 0.3 0.3", "expected `class x1 y1"),
        ("0 1.1 1.1 1.2 1.1 1.2 1.2", "expected the outline of a cell, .* but none of it lies there"),
        ("0 10 10 20 20 30 30", "fractions of width and height"),
        ("5 0.1 0.1 0.2 0.2 0.3 0.3", "class 5 has no name"),
        ("nan 0.1 0.1 0.2 0.2 0.3 0.3", "the whole number of a class first, got nan"),
        ("1e400 0.1 0.1 0.2 0.2 0.3 0.3", "the whole number of a class first, got inf"),
        ("0.5 0.1 0.1 0.2 0.2 0.3 0.3", "the whole number of a class first, got 0.5"),
        ("é", "expected UTF-8 text, got byte 0xe9; save the file as UTF-8"),
    ],
)
def test_a_malformed_yolo_line_is_told(tmp_path, images, line, message):
    (tmp_path / "a.txt").write_text(f"{line}\n", encoding="latin-1")
    with pytest.raises(UserError, match=rf"a\.txt, line 1: .*{message}"):
        read_any(tmp_path / "a.txt", images)


def test_yolo_text_of_an_unknown_image_is_refused(tmp_path, images):
    (tmp_path / "z.txt").write_text("")
    with pytest.raises(UserError, match=r"image 'z' is none of the 2 images given \(a, 7"):
        read_any(tmp_path / "z.txt", images)


@pytest.mark.parametrize("names", ["astro", "3", "{.inf: astro}"])
def test_names_that_are_no_names_of_classes_are_refused(tmp_path, images, names):
    (tmp_path / "a.txt").write_text("0 0 0 1 0 1 1\n")
    (tmp_path / "data.yaml").write_text(f"names: {names}\n")
    with pytest.raises(UserError, match=r"data\.yaml: expected `names` with the name of each class: "):
        read_any(tmp_path, images)
