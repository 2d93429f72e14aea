"""Files appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from sartorius.errors import UserError
from sartorius.files import atomic_path


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
