import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import run as run_command


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit status of `sartorius check <arguments>`."""
    return run_command(monkeypatch, "check", *arguments)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The competition's folder with test images a and b of 2 x 4 px, and one training image."""
    folder = tmp_path / "data"
    for image in ("test/a.png", "test/b.png", "train/c.png"):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / image), np.full((2, 4), 99, np.uint8))
    (folder / "train.csv").write_text("id,annotation,width,height,cell_type\nc,1 2,4,2,cort\n")
    return folder


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    path = tmp_path / "submission.csv"
    path.write_text("id,predicted\na,1 2\na,5 4\nb,\n")
    return path


@pytest.mark.parametrize("folder", [".", "test"])
def test_a_valid_file_is_counted_and_ends_with_status_0(monkeypatch, capsys, data_dir, submission, folder):
    assert run(monkeypatch, submission, "--images", data_dir / folder) == 0
    assert capsys.readouterr().out == f"{submission}: valid, 2 cells in 2 images, 1 of them without cells\n"


def test_every_problem_is_told_with_its_line_and_ends_with_status_1(
    monkeypatch, capsys, data_dir, submission
):
    submission.write_text("id,predicted\na,1 2\na,2 2\na,8 2\n")
    assert run(monkeypatch, submission, "--images", data_dir) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{submission}:3: 1 of its pixels are in line 2; masks of one image may not overlap",
        f"{submission}:4: a run past the last of 8 pixels in pair 1: `8 2`",
        f"{submission}: image b is missing; an image without cells needs a row `b,`",
        f"{submission}: 3 problems",
    ]


def test_the_result_as_json_says_the_same(monkeypatch, capsys, data_dir, submission):
    assert run(monkeypatch, submission, "--images", data_dir, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "submission": str(submission),
        "valid": True,
        "images": 2,
        "cells": 2,
        "images_without_cells": 1,
        "problems": [],
    }
    submission.write_bytes(b"\0")
    assert run(monkeypatch, submission, "--images", data_dir, "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["valid"] is False
    assert result["problems"] == [
        {"line": 1, "message": "expected UTF-8 text, but this is a binary file"},
    ]


def test_training_images_and_single_images_can_be_checked(monkeypatch, capsys, data_dir, submission):
    submission.write_text("id,predicted\nc,1 2\n")
    assert run(monkeypatch, submission, "--images", data_dir, "--split", "train") == 0
    submission.write_text("id,predicted\na,1 2\n")
    assert run(monkeypatch, submission, "--images", data_dir, "--ids", "a") == 0
    assert run(monkeypatch, submission, "--images", data_dir) == 1


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        ("none.csv", "test", "no such file; expected a CSV file"),
        ("data", "test", "expected a CSV file, got a folder"),
        ("submission.csv", "none", "expected a folder of images"),
    ],
)
def test_a_wrong_path_is_one_message_and_status_2(
    monkeypatch, capsys, data_dir, submission, name, images, message
):
    assert run(monkeypatch, submission.parent / name, "--images", data_dir / images) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_image_that_is_cut_short_after_its_size_is_an_image_like_any_other(
    monkeypatch, capsys, data_dir, submission
):
    broken = data_dir / "test" / "a.png"
    broken.write_bytes(broken.read_bytes()[:-20])
    assert run(monkeypatch, submission, "--images", data_dir) == 0
    submission.write_text("id,predicted\na,8 2\nb,\n")
    assert run(monkeypatch, submission, "--images", data_dir) == 1
    captured = capsys.readouterr()
    assert f"{submission}:2: a run past the last of 8 pixels" in captured.out
    assert captured.err == ""


def test_of_an_image_that_tells_no_size_an_empty_row_is_right_and_one_line_says_so(
    monkeypatch, capsys, data_dir, submission
):
    (data_dir / "test" / "b.png").write_bytes(b"")
    assert run(monkeypatch, submission, "--images", data_dir) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{submission}: valid, 2 cells in 2 images, 1 of them without cells\n"
    assert captured.err.startswith("warning: 1 of 2 images cannot be read, so only an empty row")
    assert "b.png: expected a whole PNG" in captured.err
    assert captured.err.count("\n") == 1
    submission.write_text("id,predicted\na,1 2\na,2 2\nb,1 1\n")
    assert run(monkeypatch, submission, "--images", data_dir) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{submission}:3: 1 of its pixels are in line 2; masks of one image may not overlap",
        f"{submission}:4: a run past the last of 0 pixels in pair 1: `1 1`",
        f"{submission}: 2 problems",
    ]


def test_the_competitions_sample_submission_is_valid(monkeypatch, capsys, competition_dir):
    sample = competition_dir / "sample_submission.csv"
    assert run(monkeypatch, sample, "--images", competition_dir) == 0
    assert "0 cells in 3 images, 3 of them without cells" in capsys.readouterr().out
