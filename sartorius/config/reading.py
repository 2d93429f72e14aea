"""YAML files with one `base:` parent, checked against a settings model.

Mappings merge, lists and scalars replace; there is no interpolation and no code in a settings file.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sartorius.errors import UserError

Settings = TypeVar("Settings", bound="FrozenSettings")
MAX_BASE_DEPTH = 2


class FrozenSettings(BaseModel):
    """A group of settings: frozen, keyword-only, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def read_settings(path: Path, model: type[Settings], overrides: Sequence[str] = ()) -> Settings:
    """The settings of a YAML file, its parents merged in and `key=value` overrides laid on top.

    path: the YAML file.
    model: the settings model that the merged mapping must fit.
    overrides: texts like `solver.base_lr=1.0e-3`, each value read as YAML.
    Raises UserError naming the file, the key, what was expected and the nearest known key.
    """
    merged = merged_mapping(path)
    for override in overrides:
        merged = _merge(merged, _nested(override))
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise UserError(
            "\n".join(_explain(path, model, problem, merged) for problem in error.errors())
        ) from None


def merged_mapping(path: Path, depth: int = 0) -> dict[str, Any]:
    """The mapping of a YAML file with its `base:` parents merged in, as plain values, `base` itself left out."""
    if depth > MAX_BASE_DEPTH:
        raise UserError(
            f"{path}: more than {MAX_BASE_DEPTH} levels of `base:`; flatten the chain or break the loop"
        )
    mapping = _read_mapping(path)
    base = mapping.pop("base", None)
    if base is None:
        return mapping
    if not isinstance(base, str):
        raise UserError(f"{path}: `base` must be one path relative to this file, got {base!r}")
    parent = merged_mapping((path.parent / base).resolve(), depth + 1)
    return _merge(parent, mapping)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such settings file{_neighbours(path)}") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected a YAML text file: {error}") from None
    try:
        mapping = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(mapping, dict):
        raise UserError(f"{path}: expected a mapping of settings, got {type(mapping).__name__}")
    return mapping


def _neighbours(path: Path) -> str:
    names = sorted(near.name for near in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"; {path.parent} has {', '.join(names)}" if names else ""


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _nested(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set expects key=value, got {override!r}")
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not valid YAML: {error}") from None
    # A key below `detectron` is detectron2's own dotted name: detectron.MODEL.RPN.NMS_THRESH=0.6
    parts = key.strip().split(".", 1) if key.strip().startswith("detectron.") else key.strip().split(".")
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


def _explain(path: Path, model: type[BaseModel], problem: Any, merged: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(
            str(problem["loc"][-1]), _keys_beside(model, problem["loc"]), n=1, cutoff=0.5
        )
        hint = (
            f"; did you mean `{near[0]}`?"
            if near
            else f"; known: {', '.join(_keys_beside(model, problem['loc']))}"
        )
        return f"{path}: unknown key `{where}`{hint}"
    value = problem.get("input")
    hint = ""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value, re.IGNORECASE):
        mantissa, exponent = value.lower().split("e")
        hint = f"; YAML reads {value} as text, write {mantissa}.0e{exponent}"
    came = "" if problem["type"] == "missing" else f", got {value!r}"
    return f"{path}: `{where}`: {problem['msg']}{came}{hint}"


def _keys_beside(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """The keys that are known where an unknown one was found."""
    current: type[BaseModel] = model
    for part in location[:-1]:
        field = current.model_fields.get(str(part)) if isinstance(part, str) else None
        if field is None:
            continue
        inner = _models_in(field.annotation)
        if inner:
            current = inner[0]
    return sorted(current.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
