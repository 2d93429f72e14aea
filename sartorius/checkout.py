"""Files of the repository that lie beside the package, not in it."""

from pathlib import Path

import sartorius
from sartorius.errors import UserError


def checkout_file(name: str) -> Path:
    """A file that lies beside the package in a checkout of the repository, for example under `configs/`.

    Raises UserError if the package does not run from a checkout.
    """
    root = Path(sartorius.__file__).resolve().parent.parent
    path = root / name
    if not path.is_file():
        raise UserError(
            f"expected {name} beside the package, but there is no {path}: this file comes with the "
            "repository, not with the installed package; clone it and call `uv run sartorius …` there"
        )
    return path
