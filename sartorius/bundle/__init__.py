"""Everything an offline Kaggle kernel needs, in one folder with the hash of every file."""

from sartorius.bundle.kernels import Naming, checked_naming
from sartorius.bundle.target import KAGGLE_PLATFORM, KAGGLE_PYTHON, Target, read_target
from sartorius.bundle.writing import Bundle, write_bundle

__all__ = [
    "KAGGLE_PLATFORM",
    "KAGGLE_PYTHON",
    "Bundle",
    "Naming",
    "Target",
    "checked_naming",
    "read_target",
    "write_bundle",
]
