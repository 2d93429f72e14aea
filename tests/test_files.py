"""Files appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from sartorius.errors import UserError
from sartorius.files import (
    atomic_path,
    filled_folder,
    refuse_foreign,
    refuse_input,
    replaced_folder,
    require_suffix,
    require_writable,
)


def test_a_finished_file_takes_the_place_of_the_one_before(tmp_path: Path):
    target = tmp_path / "new" / "folder" / "cells.csv"
    for text in ("first", "second"):
        with atomic_path(target) as temporary:
            temporary.write_text(text)
            assert temporary.parent == target.parent
            assert temporary.suffix == ".csv"
        assert target.read_text() == text
    assert os.listdir(target.parent) == ["cells.csv"]


def test_an_error_leaves_what_was_there_and_no_rest(tmp_path: Path):
    target = tmp_path / "cells.csv"
    target.write_text("good")

    def fill_the_disk() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"cells.csv: the disk is full \(No space left on device\)"):
        fill_the_disk()
    assert target.read_text() == "good"
    assert os.listdir(tmp_path) == ["cells.csv"]


def test_others_may_read_what_was_written(tmp_path: Path):
    with atomic_path(tmp_path / "cells.csv") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "cells.csv").stat().st_mode & 0o777 == 0o644


def test_another_error_of_the_block_stays_what_it_was(tmp_path: Path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "cells.csv"):
        (tmp_path / "missing").read_text()
    assert os.listdir(tmp_path) == []


def test_an_error_of_writing_names_the_file(tmp_path: Path):
    with pytest.raises(OSError, match=r"File too large: '.*cells\.csv'"), atomic_path(tmp_path / "cells.csv"):
        raise OSError(errno.EFBIG, "File too large")  # as writing to an open file has it


def test_a_link_stays_one_and_the_file_it_points_to_is_replaced(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "cells.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    for text in ("first", "second"):
        with atomic_path(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert os.listdir(tmp_path / "disk") == ["cells.csv"]


def test_a_device_is_no_place_for_a_file(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: expected the name of a file to write, but this is a device"):
        require_writable(tmp_path / "pipe")


def test_a_folder_is_no_place_for_a_file(tmp_path: Path):
    with pytest.raises(UserError, match="expected the name of a file"), atomic_path(tmp_path):
        pass


def test_a_file_is_no_folder_to_write_to(tmp_path: Path):
    (tmp_path / "file").write_text("good")
    with (
        pytest.raises(UserError, match=r"file cannot be written \(.+\); choose another"),
        atomic_path(tmp_path / "file" / "cells.csv"),
    ):
        pass


def test_an_input_is_no_file_to_write_under_whatever_name(tmp_path: Path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "cells.csv")
    refuse_input(tmp_path / "other.csv", [tmp_path / "cells.csv"])
    for name in ("cells.csv", "new/../cells.csv", "link.csv"):
        with pytest.raises(UserError, match=r"expected another file than the input .*cells.csv, which stays"):
            refuse_input(tmp_path / name, [tmp_path / "train.csv", tmp_path / "cells.csv"])


def test_a_file_has_one_of_the_endings_in_lower_or_upper_case():
    for name in ("a.yaml", "a.YML"):
        require_suffix(Path(name), (".yaml", ".yml"), "file")
    for name in (".", "a.png", "yaml"):
        with pytest.raises(UserError, match=r"the name of a file ending in .yaml or .yml, got '"):
            require_suffix(Path(name), (".yaml", ".yml"), "file")


def refuse_others(folder: Path) -> None:
    refuse_foreign(
        folder, lambda found: (found / "ours").is_file(), "result", ("ours", "parts", "parts/*.npz")
    )


def test_a_result_with_a_file_of_the_users_own_is_not_replaced(tmp_path: Path):
    (tmp_path / "parts").mkdir()
    for name in ("ours", "parts/a.npz", ".DS_Store", "parts/Thumbs.db"):
        (tmp_path / name).touch()
    refuse_others(tmp_path)
    for name in ("parts/notes.txt", "a.npz"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match=f"would be replaced, but {name} is no part of a result"):
            refuse_others(tmp_path)


def test_the_folder_that_a_command_runs_in_may_be_filled_and_stays_that_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    here = Path()
    refuse_others(here)
    for text in ("first", "second"):
        with replaced_folder(here) as folder:
            (folder / text).write_text(text)
        assert os.listdir(".") == [text]
    assert os.listdir(tmp_path) == ["here"]


def test_a_link_to_a_folder_stays_one_and_what_it_points_to_is_replaced(tmp_path: Path):
    (tmp_path / "large disk" / "result").mkdir(parents=True)
    link = tmp_path / "result"
    link.symlink_to(tmp_path / "large disk" / "result")
    for text in ("first", "second"):
        with replaced_folder(link) as folder:
            (folder / text).write_text(text)
        assert os.listdir(tmp_path / "large disk" / "result") == [text]
    assert link.is_symlink()
    assert os.listdir(tmp_path / "large disk") == ["result"]


@pytest.mark.parametrize("current", [False, True])
@pytest.mark.parametrize("renames", [1, 2, 3, 4])
def test_what_was_there_is_there_again_when_the_exchange_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: bool, renames: int
):
    target = tmp_path / "result"
    target.mkdir()
    for name in ("a", "b"):
        (target / name).write_text("before")
    if current:
        monkeypatch.chdir(target)
    done: list[Path] = []
    rename = Path.rename

    def interrupted(path: Path, to: Path) -> Path:
        done.append(path)
        if len(done) == min(renames, 4 if current else 2):
            raise KeyboardInterrupt
        return rename(path, to)

    def replace() -> None:
        with replaced_folder(target) as folder:
            for name in ("b", "c"):
                (folder / name).write_text("after")
            monkeypatch.setattr(Path, "rename", interrupted)

    with pytest.raises(KeyboardInterrupt):
        replace()
    assert {path.name: path.read_text() for path in target.iterdir()} == {"a": "before", "b": "before"}
    assert os.listdir(tmp_path) == ["result"]


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_filled_at_the_end_or_left_empty(tmp_path: Path, there: bool):
    target = tmp_path / "labels"
    if there:
        target.mkdir()

    def fill(broken: bool) -> None:
        with filled_folder(target) as folder:
            (folder / "images").mkdir()
            (folder / "images" / "a.tif").touch()
            (folder / "labels.csv").touch()
            assert os.listdir(target) == [folder.name]
            if broken:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(broken=True)
    assert os.listdir(target) == []
    fill(broken=False)
    assert sorted(os.listdir(target)) == ["images", "labels.csv"]
    assert os.listdir(target / "images") == ["a.tif"]


def test_asking_whether_a_file_can_be_written_leaves_the_one_that_is_there(tmp_path: Path):
    (tmp_path / "cells.csv").write_text("good")
    require_writable(tmp_path / "cells.csv")
    assert (tmp_path / "cells.csv").read_text() == "good"
    assert os.listdir(tmp_path) == ["cells.csv"]
    with pytest.raises(UserError, match=r"the folder .+cells.csv cannot be written \(.+\); choose another"):
        require_writable(tmp_path / "cells.csv" / "table.csv")


def test_an_error_without_number_keeps_its_text(tmp_path: Path):
    with pytest.raises(OSError, match=r"^cannot write mode F as PNG$"), atomic_path(tmp_path / "a.png"):
        raise OSError("cannot write mode F as PNG")  # as Pillow does
