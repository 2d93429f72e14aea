import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import run


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Four images of one cell each, two of each type."""
    folder = tmp_path / "data"
    rows = ["id,annotation,width,height,cell_type"]
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
    for grey, (image_id, cell_type) in enumerate(
        zip("abcd", ["cort", "cort", "astro", "astro"], strict=True)
    ):
        cv2.imwrite(str(folder / "train" / f"{image_id}.png"), np.full((2, 4), grey, np.uint8))
        rows.append(f"{image_id},1 2,4,2,{cell_type}")
    cv2.imwrite(str(folder / "test" / "t.png"), np.full((2, 4), 99, np.uint8))
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder


def add_row(data_dir: Path, row: str) -> None:
    with (data_dir / "train.csv").open("a") as stream:
        stream.write(f"{row}\n")


def test_checking_sound_data_counts_and_ends_with_status_0(monkeypatch, capsys, data_dir):
    assert run(monkeypatch, "data", "check", data_dir) == 0
    out = capsys.readouterr().out
    assert "problems: 0, notes: 0" in out
    assert "overlapping pairs" in out


def test_a_problem_in_the_data_is_told_with_its_line_and_ends_with_status_1(monkeypatch, capsys, data_dir):
    add_row(data_dir, "a,9 1,4,2,cort")
    assert run(monkeypatch, "data", "check", data_dir) == 1
    out = capsys.readouterr().out
    assert "problem: train.csv line 6: image a: a run past the last of 8 pixels" in out
    assert "problems: 1, notes: 0" in out


def test_the_check_as_json_is_json_and_nothing_else(monkeypatch, capsys, data_dir):
    add_row(data_dir, "a,9 1,4,2,cort")
    add_row(data_dir, "b,1 2,4,2,cort")
    assert run(monkeypatch, "data", "check", data_dir, "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert [(found["kind"], found["line"]) for found in result["problems"]] == [("malformed_row", 6)]
    assert [found["kind"] for found in result["notes"]] == ["duplicate_masks"]
    assert result["types"][1] == {
        "cell_type": "cort", "images": 2, "cells": 3, "overlapping_pairs": 1, "duplicate_masks": 1,
    }  # fmt: skip


def test_a_folder_without_train_csv_ends_with_one_message_and_status_2(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, "data", "check", tmp_path) == 2
    err = capsys.readouterr().err
    assert err.startswith("sartorius: ")
    assert "train.csv" in err
    assert err.count("\n") == 1


def test_folds_are_written_and_shown_per_type(monkeypatch, capsys, data_dir, tmp_path):
    out = tmp_path / "splits" / "folds.csv"
    assert run(monkeypatch, "data", "folds", data_dir, "--out", out, "--folds", 2) == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "id,fold"
    assert sorted(line.split(",")[0] for line in lines[1:]) == ["a", "b", "c", "d"]
    shown = capsys.readouterr().out
    assert "1 / 1" in shown
    assert f"folds of 4 images: {out}" in shown


def test_folds_as_json_tell_images_and_cells_per_fold_and_type(monkeypatch, capsys, data_dir, tmp_path):
    out = tmp_path / "folds.csv"
    assert run(monkeypatch, "data", "folds", data_dir, "--out", out, "--folds", 2, "--seed", 3, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["path"], result["seed"]) == (str(out), 3)
    assert result["folds"] == [
        {"fold": fold, "cell_type": cell_type, "images": 1, "cells": 1}
        for fold in (0, 1)
        for cell_type in ("astro", "cort")
    ]


def test_too_many_folds_end_with_status_2_and_leave_the_old_file(monkeypatch, capsys, data_dir, tmp_path):
    out = tmp_path / "folds.csv"
    out.write_text("id,fold\n")
    assert run(monkeypatch, "data", "folds", data_dir, "--out", out, "--folds", 9) == 2
    assert "for 9 folds, got 4" in capsys.readouterr().err
    assert out.read_text() == "id,fold\n"


def test_synthetic_data_pass_the_check(monkeypatch, capsys, tmp_path):
    out = tmp_path / "synthetic"
    assert run(monkeypatch, "data", "synthesize", "--out", out, "--images-per-type", 1, "--seed", 1) == 0
    assert str(out) in capsys.readouterr().out
    assert run(monkeypatch, "data", "check", out) == 0
    assert "problems: 0" in capsys.readouterr().out


def test_folds_never_replace_the_labels_they_are_made_of(monkeypatch, capsys, data_dir):
    before = (data_dir / "train.csv").read_bytes()
    assert run(monkeypatch, "data", "folds", data_dir, "--folds", 2, "--out", data_dir / "train.csv") == 2
    assert "expected another file than the input" in capsys.readouterr().err
    assert (data_dir / "train.csv").read_bytes() == before


def test_types_with_brackets_are_shown_as_they_are_written(monkeypatch, capsys, data_dir, tmp_path):
    labels = data_dir / "train.csv"
    labels.write_text(labels.read_text().replace("astro", "astro [/x]").replace("cort", "cort [gfp]"))
    run(monkeypatch, "data", "check", data_dir)
    assert "│ cort [gfp] │" in capsys.readouterr().out
    assert run(monkeypatch, "data", "folds", data_dir, "--out", tmp_path / "folds.csv", "--folds", 2) == 0
    assert "┃ astro [/x]: images / cells ┃" in capsys.readouterr().out
