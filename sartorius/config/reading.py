"""Settings read from YAML files, checked against a settings model.

Mappings merge, lists and scalars replace; there is no interpolation and no code in a settings file.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sartorius.config.explaining import explained, models_at
from sartorius.config.yaml_files import Layer, merged, parsed_override, read_layers, relative_to_folder
from sartorius.errors import UserError

Settings = TypeVar("Settings", bound="FrozenSettings")

_RELATIVE = "a path relative to the settings file"
#: A path relative to the file that it is written in; a file with a `base:` elsewhere gets it relative to itself. Empty
#: text, which is none, stays as it is.
RelativePath = Annotated[str, _RELATIVE]


class FrozenSettings(BaseModel):
    """A group of settings: frozen, keyword-only, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def read_settings(path: Path, model: type[Settings], overrides: Sequence[str] = ()) -> Settings:
    """The settings of a YAML file, its parents merged in and `key=value` overrides laid on top.

    path: the YAML file.
    model: the settings model that the merged mapping must fit; text is no number and 1 is not `true`.
    overrides: texts like `base_lr=1.0e-3` or `fusion.min_iou=0.4`, each value read as YAML, later ones on top.
    Raises UserError with a line for each problem: the file, the key, what was expected, what came, the nearest key.
    """
    top = Layer("--set", path.parent, merged([parsed_override(text) for text in reversed(overrides)]))
    return _checked([top, *_layers_seen_from(path, model)], model)


def changes_from_base(path: Path, model: type[Settings]) -> dict[str, tuple[Any, Any]]:
    """The leaves in which the settings of a file differ from those of its base, as `leaf_differences`.

    A leaf that neither file writes is no difference, and one that only one of them writes is compared with its default.
    Raises UserError as `read_settings`, and if there is no `base:`.
    """
    layers = _layers_seen_from(path, model)
    if len(layers) == 1:
        raise UserError(f"{path}: expected a file with a `base:` to compare with, this one stands alone")
    before, after = (_checked(some, model) for some in (layers[1:], layers))
    written = leaf_differences(
        *(some.model_dump(mode="json", exclude_unset=True) for some in (before, after))
    )
    changes = leaf_differences(*(some.model_dump(mode="json") for some in (before, after)))
    return {key: change for key, change in changes.items() if key in written}


def leaf_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Every leaf in which two mappings differ: its dotted key with both values, None for a leaf that is not there.

    Leaves are scalars and lists; an empty mapping is a leaf too. Keys come in ascending order.
    """
    leaves_before, leaves_after = _leaves(before), _leaves(after)
    pairs = {
        key: (leaves_before.get(key), leaves_after.get(key))
        for key in sorted({*leaves_before, *leaves_after})
    }
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def _checked(layers: Sequence[Layer], model: type[Settings]) -> Settings:
    mapping = merged([layer.mapping for layer in layers])
    try:
        return model.model_validate_json(json.dumps(mapping, default=str), strict=True)
    except ValidationError as error:
        raise UserError(explained(error, model, layers, mapping)) from None


def _layers_seen_from(path: Path, model: type[BaseModel]) -> list[Layer]:
    """A file and its bases, relative paths all relative to the file."""
    return [layer._replace(mapping=seen_from(path.parent, layer, model)) for layer in read_layers(path)]


def _leaves(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in mapping.items():
        inner = isinstance(value, Mapping) and value
        leaves |= _leaves(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return leaves


def seen_from(folder: Path, layer: Layer, model: type[BaseModel]) -> dict[str, Any]:
    """The mapping of a layer with its relative paths rewritten for a reader in another folder."""
    if layer.folder.resolve() == folder.resolve():
        return layer.mapping
    moved = _moved_below(layer.mapping, [model], layer.folder, folder)
    assert isinstance(moved, dict)
    return moved


def _moved_below(value: Any, models: Sequence[type[BaseModel]], source: Path, target: Path) -> Any:
    if isinstance(value, list):
        return [_moved_below(element, models, source, target) for element in value]
    if not isinstance(value, Mapping):
        return value
    result = dict(value)
    for model in models:
        for key in result.keys() & model.model_fields.keys():
            if _RELATIVE not in model.model_fields[key].metadata:
                result[key] = _moved_below(result[key], models_at(model, [key]), source, target)
            elif isinstance(result[key], str) and result[key] and not Path(result[key]).is_absolute():
                result[key] = relative_to_folder(source / result[key], target)
        if result.keys() <= model.model_fields.keys():
            break
    return result
