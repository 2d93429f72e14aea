"""The cell types that weights were trained for, in the order of the network's classes: no tensor tells them."""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml
from safetensors import SafetensorError, safe_open

from sartorius.errors import UserError
from sartorius.experiment import PROVENANCE

#: Under which name an exported file has them.
CELL_TYPES = "cell_types"


def types_of(weights: Path) -> tuple[str, ...] | None:
    """The cell types that an exported file names, or the settings of the run that a checkpoint lies in; otherwise None.

    Raises UserError if an exported file cannot be read.
    """
    if weights.suffix == ".safetensors":
        try:
            with safe_open(weights, "pt") as opened:
                named = (opened.metadata() or {}).get(CELL_TYPES)
        except SafetensorError as error:
            raise UserError(f"{weights}: these weights cannot be read: {error}") from None
        return None if named is None else tuple(json.loads(named))
    # In a folder of another program's, config.yaml is its own.
    return _types_in(weights.parent / "config.yaml") if (weights.parent / PROVENANCE).is_file() else None


def _types_in(config: Path) -> tuple[str, ...] | None:
    """Only they are read: other keys of a run of an older version may be unknown by now."""
    try:
        types = yaml.safe_load(config.read_text(encoding="utf-8"))["cell_types"]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None
    return tuple(types) if isinstance(types, list) and all(isinstance(name, str) for name in types) else None


def require_types(weights: Path, cell_types: Sequence[str]) -> None:
    """Raises UserError if the weights are known to be for other types, or for these in another order."""
    trained = types_of(weights)
    if trained is not None and trained != tuple(cell_types):
        raise UserError(
            f"{weights}: was trained for the cell types {', '.join(trained)}, in this order; the settings have "
            f"{', '.join(cell_types)}: its cells would have other types' names"
        )
