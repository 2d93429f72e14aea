"""Settings with one value for each cell type."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag

from sartorius.errors import UserError

#: Key for the types that a mapping does not name.
DEFAULT = "default"

Fraction = Annotated[float, Field(ge=0, le=1)]
#: No image has more pixels.
MAX_PX = 1_000_000_000
Pixels = Annotated[int, Field(ge=0, le=MAX_PX)]


def _form(value: object) -> str:
    return "per type" if isinstance(value, Mapping) else "for all"


_CHOICE = Discriminator(_form)
FractionPerType = Annotated[
    Annotated[Fraction, Tag("for all")]
    | Annotated[dict[str, Fraction], Field(min_length=1), Tag("per type")],
    _CHOICE,
]
PixelsPerType = Annotated[
    Annotated[Pixels, Tag("for all")] | Annotated[dict[str, Pixels], Field(min_length=1), Tag("per type")],
    _CHOICE,
]
#: More than 0 for all types, or by type, where 0 leaves out.
WeightPerType = Annotated[
    Annotated[float, Field(gt=0), Tag("for all")]
    | Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1), Tag("per type")],
    _CHOICE,
]


def value_for(setting: float | dict[str, float] | dict[str, int], cell_type: str) -> float:
    """The value of a per-type setting for one cell type; a plain number holds for all types.

    Raises UserError if the mapping names neither the type nor `default`.
    """
    value = value_if_any(setting, cell_type)
    if value is None:
        assert isinstance(setting, dict)
        raise UserError(
            f"no value for cell type {cell_type!r}: the setting names {', '.join(sorted(setting))}; "
            f"add {cell_type!r} or {DEFAULT!r}"
        )
    return value


def value_if_any(setting: float | dict[str, float] | dict[str, int], cell_type: str) -> float | None:
    """As `value_for`, but None if the mapping names neither the type nor `default`."""
    if not isinstance(setting, dict):
        return setting
    return setting.get(cell_type, setting.get(DEFAULT))


def values_for(
    setting: float | dict[str, float] | dict[str, int], cell_types: NDArray[np.str_] | Sequence[str]
) -> NDArray[np.float64]:
    """The value of a per-type setting for each row, shape (N,)."""
    types, rows = np.unique(np.asarray(cell_types, dtype=np.str_), return_inverse=True)
    return np.array([value_for(setting, str(name)) for name in types], dtype=np.float64)[rows]
