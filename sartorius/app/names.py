"""What cell types and numbers are called on the page."""

from collections.abc import Sequence

import numpy as np

from sartorius.plots import colours_of

_TYPE_NAMES = {"shsy5y": "SH-SY5Y", "astro": "Astrocyte", "cort": "Cortical neuron"}


def type_name(cell_type: str) -> str:
    """What a visitor reads for a cell type; other types than the competition's keep their name."""
    return _TYPE_NAMES.get(cell_type, cell_type)


def palette(cell_types: Sequence[str]) -> dict[str, str]:
    """The colour of each cell type in pictures, as `#rrggbb`."""
    colours = colours_of(np.array(cell_types, dtype=np.str_))
    return {name: f"#{red:02x}{green:02x}{blue:02x}" for name, (red, green, blue) in colours.items()}


def counted(count: int, what: str) -> str:
    """A number and its noun: `1 cell`, `2 cells`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
