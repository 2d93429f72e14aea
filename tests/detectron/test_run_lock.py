import os
import signal
from pathlib import Path

import pytest
from other_training import somebody_in

from sartorius.detectron import run_lock
from sartorius.detectron.run_lock import alone_in
from sartorius.errors import UserError


def test_a_second_process_is_told_who_is_in_the_folder_and_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny" / "all"
    with (
        somebody_in(folder),
        pytest.raises(UserError, match=r"tiny/all: another training writes there; wait .* another .* --runs"),
        alone_in(folder),
    ):
        pass
    assert folder.exists()


def test_a_killed_process_is_not_in_the_way_though_its_children_live_on(tmp_path: Path) -> None:
    with somebody_in(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with alone_in(tmp_path):
            pass


def test_a_folder_in_which_nothing_was_written_is_as_it_was_before(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with alone_in(tmp_path / "runs" / "tiny" / "all"):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]


def test_what_was_written_stays(tmp_path: Path) -> None:
    with alone_in(tmp_path / "all"):
        (tmp_path / "all" / "config.yaml").touch()
    with alone_in(tmp_path / "all"):
        pass
    assert (tmp_path / "all" / "config.yaml").exists()


def test_where_files_cannot_be_locked_a_training_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    for absent in (none, None):
        monkeypatch.setattr(run_lock, "lockf", absent)
        with alone_in(tmp_path):
            pass
