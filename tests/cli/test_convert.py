import json
import sys

import pytest
from drawing import cell

from sartorius.cli import main
from sartorius.formats import write_any


def run(monkeypatch, *arguments):
    """The exit status of `sartorius data convert <arguments>`."""
    monkeypatch.setattr(sys, "argv", ["sartorius", "data", "convert", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def coco(tmp_path):
    path = tmp_path / "cells.json"
    write_any(path, {"drawn": cell("##../##..", score=0.5)}, "coco")
    return path


def test_the_command_says_what_was_lost(monkeypatch, capsys, tmp_path, coco):
    assert run(monkeypatch, coco, "--to", "competition", "--out", tmp_path / "t.csv") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 't.csv'}: 1 cells in 1 images, read as coco, written as competition",
        "lost:",
        "  the scores of 1 cells",
        "  the sources of 1 cells (who found them)",
    ]
    assert run(monkeypatch, coco, "--to", "imagej", "--out", tmp_path / "rois") == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["lost: nothing, read back they are the same"]


def test_the_result_as_json(monkeypatch, capsys, tmp_path, coco):
    assert run(monkeypatch, coco, "--to", "geojson", "--out", tmp_path / "q", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": str(tmp_path / "q"), "format": "geojson", "read_as": "coco", "images": 1, "cells": 1, "lost": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{0}/cells.json", "--to", "cocos", "--out", "{0}/x.json"], "did you mean coco?"),
        (["{0}/cells.json", "--to", "coco", "--from", "qupath", "--out", "{0}/x.json"], "'qupath' is no known format"),
        (["{0}/cells.json", "--to", "coco", "--out", "{0}/x.csv"], "expected the name of a .json file"),
        (["{0}/cells.json", "--to", "coco", "--out", "{0}/x.json", "--split", "train"], "--images DIR: give both"),
        (["{0}/nowhere", "--to", "coco", "--out", "{0}/x.json"], "no such file or folder of cells"),
        (["{0}/cells.json", "--to", "yolo", "--out", "{0}"], "expected a new or empty folder"),
        (["{0}/cells.json", "--from", "submission", "--to", "coco", "--out", "{0}/x.json"], "--images DIR"),
    ],
)  # fmt: skip
def test_wrong_input_ends_with_one_message(monkeypatch, capsys, tmp_path, coco, arguments, message):
    assert run(monkeypatch, *(text.format(tmp_path) for text in arguments)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_what_is_read_is_never_overwritten(monkeypatch, capsys, tmp_path, coco):
    results = tmp_path / "results.json"
    folder, csv = tmp_path / "found", tmp_path / "train.csv"
    for to, out in (("coco-results", results), ("cells", folder), ("competition", csv)):
        assert run(monkeypatch, coco, "--to", to, "--out", out) == 0
    capsys.readouterr()
    for source, to, given in (
        (coco, "livecell", coco),
        (csv, "submission", csv),
        (folder, "coco", folder / "manifest.json"),
        (results, "coco", coco),
    ):
        before = given.read_bytes()
        assert run(monkeypatch, source, "--to", to, "--out", given, "--reference", coco) == 2
        assert f"expected another file than the input {given}" in capsys.readouterr().err
        assert given.read_bytes() == before


@pytest.mark.parametrize("name", ["train.csv", "images/train.csv", "sample_submission.csv"])
def test_labels_in_or_beside_the_folder_of_images_are_never_overwritten(
    monkeypatch, capsys, tmp_path, coco, name
):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "drawn.png").write_bytes(b"")
    (tmp_path / name).write_text("precious")
    command = (coco, "--to", "competition", "--images", tmp_path / "images", "--out", tmp_path / name)
    assert run(monkeypatch, *command) == 2
    assert f"expected another file than the input {tmp_path / name}" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "precious"
