import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sartorius.pipeline.workers import worker_pool

#: Two workers that say "works" and then have enough to do; Ctrl-C ends with 130 and says nothing.
CREATOR = """
import sys, time
from functools import partial
from sartorius.pipeline.workers import worker_pool
try:
    with worker_pool(2, "imported") as pool:
        list(pool.map(partial(print, flush=True), ["works"]))
        list(pool.map(time.sleep, [0.1] * 1000))
except KeyboardInterrupt:
    sys.exit(130)
"""
#: What is imported for the workers says "imports" when that begins.
IMPORTED = """
import time
print("imports", flush=True)
time.sleep(0.5)
import sartorius.pipeline.workers
"""


@contextmanager
def creator(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with workers, in a process group of its own, of which nothing is left afterwards."""
    (folder / "imported.py").write_text(IMPORTED)
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", CREATOR]
    with subprocess.Popen(
        command, cwd=folder, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert f"{word}\n" in process.stdout


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["imports", "works"])
def test_workers_are_gone_once_their_creator_was_killed(tmp_path: Path, moment: str) -> None:
    with creator(tmp_path) as process:
        wait_for(process, moment)
        process.kill()
        process.communicate(timeout=60)  # ends when nobody holds the pipes any more


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["imports", "works"])
def test_workers_say_nothing_when_ctrl_c_ends_their_creator(tmp_path: Path, moment: str) -> None:
    with creator(tmp_path) as process:
        wait_for(process, moment)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


@pytest.mark.slow
def test_what_has_not_begun_when_ctrl_c_comes_is_not_waited_for() -> None:
    waiting: list[Future[None]] = []

    def interrupted() -> None:
        with worker_pool(1, "time") as pool:
            waiting.extend(pool.submit(time.sleep, 0.2) for _ in range(1000))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert waiting[-1].cancelled()


def test_ctrl_c_waits_for_a_process_that_is_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def submit(_: object, number: int) -> None:
        signal.raise_signal(signal.SIGINT)
        started.append(number)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    with pytest.raises(KeyboardInterrupt):
        worker_pool(0, __name__).submit(7)
    assert started == [7]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_workers_are_this_process() -> None:
    with worker_pool(0, __name__) as pool:
        assert list(pool.map(lambda _: os.getpid(), range(2))) == [os.getpid()] * 2
