"""Fixtures for all tests: where the real data is, when it is there."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Tests run in a process per core; libraries that also start a thread per core would only be in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background ignores Ctrl-C, and so would every command that a test starts and stops.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Commands print as for no terminal, whatever the one that runs the tests is like.
os.environ["COLUMNS"] = "80"
for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TERMINAL_WIDTH", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)

# The same examples in every run, however long one takes: a busy machine, or one that compiles its loops first, is slow.
# Others are tried by `--hypothesis-profile default`.
settings.load_profile("ci")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def competition_dir() -> Path:
    """The competition's folder as downloaded; tests that need it skip without it."""
    folder = SHARED / "data" / "sartorius-cell-instance-segmentation"
    if not (folder / "train.csv").exists():
        pytest.skip("the competition's data is not on this machine")
    return folder
