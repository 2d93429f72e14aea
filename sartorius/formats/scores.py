"""Scores as files of other programs have them."""

from typing import Any

from sartorius.errors import UserError


def as_score(where: str, value: Any) -> float:
    """The score of a cell; raises UserError if it is no number from 0 to 1. where: the cell's place in its file."""
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{where}: expected a score from 0 to 1, got {value!r}")
    return float(value)
