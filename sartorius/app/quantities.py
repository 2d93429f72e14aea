"""Measurements as the page shows them: chosen columns, plain names, units, few digits."""

from math import isnan
from typing import Any, NamedTuple

import pandas as pd

from sartorius.app.names import type_name
from sartorius.data.grey_levels import MOST_RATIO


class Quantity(NamedTuple):
    """One measurement.

    key: how it is called in the table of measurements, without its unit.
    title: how it is called on the page.
    power: 1 for lengths, 2 for areas, 0 for plain numbers.
    decimals: digits behind the point, in px and as a plain number.
    """

    key: str
    title: str
    power: int
    decimals: int


#: What is worth seeing first; the CSV file has all.
QUANTITIES = (
    Quantity("score", "Confidence", 0, 2),
    Quantity("area", "Area", 2, 0),
    Quantity("perimeter", "Perimeter", 1, 1),
    Quantity("equivalent_diameter", "Diameter", 1, 1),
    Quantity("major_axis", "Length", 1, 1),
    Quantity("minor_axis", "Width", 1, 1),
    Quantity("elongation", "Elongation", 0, 2),
    Quantity("circularity", "Roundness", 0, 2),
    Quantity("solidity", "Solidity", 0, 2),
    Quantity("mean_intensity", "Brightness", 0, 0),
    Quantity("nearest_neighbour", "Nearest cell", 1, 1),
)
#: The page counts an image's cells from here, as label images do, where 0 is background.
FIRST_NUMBER = 1
#: Digits behind the point for lengths and areas in µm.
_UM_DECIMALS = {1: 1, 2: 1}
#: Digits behind the point for the brightness of images of fractions.
_RATIO_DECIMALS = 3


def column(quantity: Quantity, in_um: bool) -> str:
    """The name of a quantity's column in the table of measurements."""
    if not quantity.power:
        return quantity.key
    unit = "px" if not in_um else "um2" if quantity.power == 2 else "um"
    return f"{quantity.key}_{unit}"


def heading(quantity: Quantity, in_um: bool) -> str:
    """The title with its unit, `Area (px²)`."""
    if not quantity.power:
        return quantity.title
    return f"{quantity.title} ({'µm' if in_um else 'px'}{'²' if quantity.power == 2 else ''})"


def shown_table(table: pd.DataFrame, in_um: bool) -> pd.DataFrame:
    """The rows of a table of measurements as the page shows them: every column text or rounded numbers."""
    shown: dict[str, Any] = {"Cell": table["cell"] + FIRST_NUMBER, "Type": table["cell_type"].map(type_name)}
    for quantity in QUANTITIES:
        values = table[column(quantity, in_um)].astype(float)
        shown[heading(quantity, in_um)] = values.round(_decimals(quantity, in_um, values))
    shown["At border"] = table["touches_border"].map({True: "yes", False: ""})
    return pd.DataFrame(shown)


def shown_texts(shown: pd.DataFrame, in_um: bool) -> list[list[str]]:
    """The rows of `shown_table` as text with as many digits in every row of a column, undefined values as a dash."""
    texts = shown.astype(object)
    for quantity in QUANTITIES:
        values = shown[heading(quantity, in_um)]
        decimals = _decimals(quantity, in_um, values)
        texts[heading(quantity, in_um)] = [
            "–" if isnan(value) else f"{value:,.{decimals}f}" for value in values
        ]
    rows: list[list[str]] = texts.astype(str).to_numpy().tolist()
    return rows


def _decimals(quantity: Quantity, in_um: bool, values: pd.Series) -> int:
    """Digits behind the point for these values; rounded ones get as many again."""
    if quantity.key == "mean_intensity" and values.round().max() <= MOST_RATIO:
        return _RATIO_DECIMALS
    return _UM_DECIMALS[quantity.power] if in_um and quantity.power else quantity.decimals
