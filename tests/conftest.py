"""Fixtures for all tests: where the real data is, when it is there."""

import os
from pathlib import Path

import pytest

# Tests run in a process per core; libraries that also start a thread per core would only be in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def competition_dir() -> Path:
    """The competition's folder as downloaded; tests that need it skip without it."""
    folder = SHARED / "data" / "sartorius-cell-instance-segmentation"
    if not (folder / "train.csv").exists():
        pytest.skip("the competition's data is not on this machine")
    return folder
