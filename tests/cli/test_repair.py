import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from command_line import run

from sartorius.data import repair_files


class Ended(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def call(*arguments: object) -> Ended:
        status = run(monkeypatch, *arguments)
        return Ended(status, *capsys.readouterr())

    return call


HEADER = "id,annotation,width,height,cell_type,sample_id"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """One image with a cell labelled twice and one that overlaps it, one whose only row says it has no cells."""
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    for name in "ab":
        cv2.imwrite(str(folder / "train" / f"{name}.png"), np.full((1, 20), 9, np.uint8))
    rows = ["a,1 10,20,1,cort,w", "a,1 10,20,1,cort,w", "a,10 3,20,1,cort,w", "b,,20,1,astro,v"]
    (folder / "train.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def rows_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_mended_data_set_has_new_labels_the_old_columns_and_the_old_images(run_command, data_dir, tmp_path):
    out = tmp_path / "mended"
    before = (data_dir / "train.csv").read_bytes()
    ended = run_command("data", "repair", data_dir, "--out", out)
    assert ended.status == 0
    assert rows_of(out / "train.csv") == [
        HEADER,
        "a,1 9,20,1,cort,w",
        "a,10 3,20,1,cort,w",
        "b,,20,1,astro,v",
    ]
    assert (data_dir / "train.csv").read_bytes() == before
    assert sorted(path.name for path in (out / "train").iterdir()) == ["a.png", "b.png"]
    with (out / "repair.csv").open() as stream:
        table = {row["image_id"]: row for row in csv.DictReader(stream)}
    assert (table["a"]["duplicate"], table["a"]["overlap_px"], table["b"]["duplicate"]) == ("1", "1", "0")
    assert "duplicates dropped" in ended.out
    assert run_command("data", "check", out).status == 0


def test_masks_over_two_lines_and_commas_at_the_end_of_rows_lose_nothing(run_command, data_dir, tmp_path):
    rows = ['a,"1\n9",20,1,cort,w,', "a,1 9,20,1,cort,w,", "", "b,,20,1,astro,v,"]
    (data_dir / "train.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    assert run_command("data", "repair", data_dir, "--out", tmp_path / "out.csv").status == 0
    assert rows_of(tmp_path / "out.csv") == [HEADER, "a,1 9,20,1,cort,w", "b,,20,1,astro,v"]


def test_a_file_that_is_no_earlier_repair_is_not_replaced(run_command, data_dir, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("mine")
    ended = run_command("data", "repair", data_dir, "--out", other)
    assert (ended.status, other.read_text()) == (2, "mine")
    assert "is there already and no earlier repair" in ended.err
    for _ in range(2):  # a repair is replaced by a newer one
        assert run_command("data", "repair", data_dir, "--out", tmp_path / "labels.csv").status == 0


def test_only_the_named_faults_are_mended_and_json_tells_each_image(run_command, data_dir, tmp_path):
    out = tmp_path / "labels.csv"
    ended = run_command("data", "repair", data_dir, "--out", out, "--only", "duplicate", "--json")
    told = json.loads(ended.out)
    assert told["mended"] == ["duplicate"]
    assert told["types"]["cort"]["duplicate"] == 1
    assert [(image["image_id"], image["overlap"]) for image in told["images"]] == [("a", 0), ("b", 0)]
    assert rows_of(out)[1:3] == ["a,1 10,20,1,cort,w", "a,10 3,20,1,cort,w"]
    assert (tmp_path / "labels_repair.csv").is_file()


@pytest.mark.parametrize("out", ["data", "data/train.csv", "data/../data"])
def test_the_labels_themselves_are_never_replaced(run_command, data_dir, out):
    before = (data_dir / "train.csv").read_bytes()
    ended = run_command("data", "repair", data_dir, "--out", data_dir.parent / out)
    assert ended.status == 2
    assert "expected another file than the input" in ended.err
    assert (data_dir / "train.csv").read_bytes() == before


def test_unknown_faults_malformed_labels_and_missing_images_are_refused(run_command, data_dir, tmp_path):
    out = tmp_path / "out"
    asked = run_command("data", "repair", data_dir, "--out", out, "--only", "hollow,hole")
    assert (asked.status, "among hollow, cut, duplicate, overlap, got hole" in asked.err) == (2, True)
    with (data_dir / "train.csv").open("a") as stream:
        stream.write("c,1 1,20,1,cort,w\n")
    assert (
        "1 labelled images have no file in train/, for example c"
        in run_command("data", "repair", data_dir, "--out", out).err
    )
    with (data_dir / "train.csv").open("a") as stream:
        stream.write("a,30 1,20,1,cort,w\n")
    assert "line 7: a run past the last" in run_command("data", "repair", data_dir, "--out", out).err
    assert not out.exists()


def test_an_earlier_repair_is_replaced_and_another_data_set_is_not(run_command, data_dir, tmp_path):
    out, other = tmp_path / "mended", tmp_path / "other"
    for _ in range(2):
        assert run_command("data", "repair", data_dir, "--out", out).status == 0
    (other / "train").mkdir(parents=True)
    (other / "train.csv").write_text("mine")
    for _ in range(2):
        ended = run_command("data", "repair", data_dir, "--out", other)
        assert ended.status == 2
        assert f"{other}: holds something that is no earlier repair of {data_dir}" in ended.err
        (other / "repair.csv").touch()  # of its own images
    assert (other / "train.csv").read_text() == "mine"


@pytest.mark.parametrize("out", ["train", "mended", "train/labels.csv"])
def test_nothing_is_written_into_the_data_set(run_command, data_dir, out):
    before = sorted(data_dir.rglob("*"))
    ended = run_command("data", "repair", data_dir, "--out", data_dir / out)
    assert ended.status == 2
    assert f"expected a place outside the data set {data_dir}" in ended.err
    assert sorted(data_dir.rglob("*")) == before
    assert run_command("data", "repair", data_dir, "--out", data_dir / "labels.csv").status == 0


@pytest.mark.parametrize("moment", ["_link_images", "_write_labels"])
def test_a_repair_that_was_killed_is_done_by_the_same_command_again(
    run_command, data_dir, tmp_path, monkeypatch, moment
):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(repair_files, moment, killed)
        run_command("data", "repair", data_dir, "--out", tmp_path / "mended")
    assert run_command("data", "repair", data_dir, "--out", tmp_path / "mended").status == 0
    assert rows_of(tmp_path / "mended" / "train.csv")[1] == "a,1 9,20,1,cort,w"


def test_where_no_links_can_be_made_it_is_told_before_any_image_is_read(
    run_command, data_dir, tmp_path, monkeypatch
):
    def refused(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.symlink", refused)
    monkeypatch.setattr(repair_files, "read_image", refused)
    ended = run_command("data", "repair", data_dir, "--out", tmp_path / "mended")
    assert ended.status == 2
    assert (
        "links to the images can be made (Operation not permitted); give the name of a .csv file" in ended.err
    )
