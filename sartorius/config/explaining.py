"""What is wrong with settings, in words: file, key, what was expected, what came, the nearest known key."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sartorius.config.yaml_files import Layer
from sartorius.errors import did_you_mean

_NUMBER_WITH_EXPONENT = re.compile(r"([+-]?\d+)(\.\d*)?e([+-]?)(\d+)", re.IGNORECASE)

#: What pydantic's kinds of problems expected, with its own figures filled in; other kinds say it well themselves.
_EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} in it",
    "too_long": "at most {max_length} in it",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def explained(
    error: ValidationError, model: type[BaseModel], layers: Sequence[Layer], mapping: Mapping[str, Any]
) -> str:
    """One line for each problem of settings that do not fit their model.

    layers: where the settings come from, the topmost first; a problem is told of the topmost that sets its key.
    mapping: the merged settings that were refused.
    """
    problems = [problem for problem in error.errors() if not _follows_from_another(problem, error)]
    return "\n".join(_line(problem, model, layers, mapping) for problem in problems)


def _follows_from_another(problem: Any, error: ValidationError) -> bool:
    """Whether a list is only too short because its elements were refused."""
    depth = len(problem["loc"])
    below = (other for other in error.errors() if len(other["loc"]) > depth)
    return problem["type"] == "too_short" and any(other["loc"][:depth] == problem["loc"] for other in below)


def _line(problem: Any, model: type[BaseModel], layers: Sequence[Layer], mapping: Mapping[str, Any]) -> str:
    keys = _keys(problem, mapping)
    key = ".".join(map(str, keys))
    kind, location = problem["type"], problem["loc"]
    if kind == "extra_forbidden":
        known = sorted({name for group in models_at(model, location[:-1]) for name in group.model_fields})
        hint = did_you_mean(str(keys[-1]), known, "`") or f"; known: {', '.join(known)}"
        text = f"unknown key `{key}`{hint}"
    elif kind == "missing":
        text = f"`{key}` is missing{_description(model, location)}"
    elif kind == "union_tag_not_found":
        choice = problem["ctx"]["discriminator"].strip("'")
        text = f"`{key}.{choice}` is missing; expected {_listed(_choices(model, location, choice))}"
    elif kind == "union_tag_invalid":
        choice, came = problem["ctx"]["discriminator"].strip("'"), str(problem["ctx"]["tag"])
        known = _choices(model, location, choice)
        text = f"`{key}.{choice}`: expected {_listed(known)}, got '{came}'{did_you_mean(came, known, '`')}"
    elif kind == "value_error":
        text = f"`{key}`: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    else:
        text = f"`{key}`: {_expected(problem)}, got {problem['input']!r}{_hint(problem)}"
    return f"{_origin(layers, keys)}: {text}"


def models_at(model: type[BaseModel], location: Sequence[Any]) -> list[type[BaseModel]]:
    """The settings models that may stand at a place; one, unless several strategies share it."""
    models = [model]
    for part in location:
        fields = [group.model_fields[part] for group in models if part in group.model_fields]
        if fields:
            models = _models_in(fields[0].annotation)
        elif isinstance(part, str):  # the name of a chosen strategy, which is no key of its own
            models = [group for group in models if part in _literal_defaults(group)] or models
    return models


def _keys(problem: Any, mapping: Mapping[str, Any]) -> list[str | int]:
    """The keys that lead to a problem; pydantic's own steps, such as the name of a strategy, are left out."""
    keys: list[str | int] = []
    here: Any = mapping
    last = len(problem["loc"]) - 1
    for step, part in enumerate(problem["loc"]):
        if _holds(here, part):
            here = here[part]
            keys.append(part)
        elif problem["type"] == "missing" and step == last:
            keys.append(part)
    return keys


def _holds(here: Any, key: str | int) -> bool:
    if isinstance(here, list):
        return isinstance(key, int) and key < len(here)
    return isinstance(here, Mapping) and key in here


def _origin(layers: Sequence[Layer], keys: Sequence[str | int]) -> str:
    """The topmost layer that sets a key, or the nearest mapping around it."""
    for length in range(len(keys), 0, -1):
        for layer in layers:
            if _has(layer.mapping, keys[:length]):
                return layer.origin
    return next((layer.origin for layer in layers if layer.origin != "--set"), "settings")


def _has(here: Any, keys: Sequence[str | int]) -> bool:
    for key in keys:
        if not _holds(here, key):
            return False
        here = here[key]
    return True


def _expected(problem: Any) -> str:
    if problem["type"] in _EXPECTED:
        return "expected " + _EXPECTED[problem["type"]].format(**problem.get("ctx", {}))
    return str(problem["msg"]).replace("Input should be", "expected")


def _hint(problem: Any) -> str:
    value, kind = problem["input"], problem["type"]
    number = _NUMBER_WITH_EXPONENT.fullmatch(value) if isinstance(value, str) else None
    if number and kind.startswith("int"):
        return f"; write {float(value):.0f}" if float(value).is_integer() else ""
    if number:
        whole, fraction, sign, exponent = number.groups()
        return f"; YAML reads {value} as text, write {whole}{fraction or '.0'}e{sign or '+'}{exponent}"
    if kind == "string_type" and isinstance(value, (int, float)):
        return "; put it in quotes"
    if kind == "literal_error":
        return did_you_mean(str(value), re.findall(r"'([^']*)'", problem["ctx"]["expected"]), "`")
    return ""


def _choices(model: type[BaseModel], location: Sequence[Any], choice: str) -> list[str]:
    return [str(group.model_fields[choice].default) for group in models_at(model, location)]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _description(model: type[BaseModel], location: Sequence[Any]) -> str:
    for group in models_at(model, location[:-1]):
        text = group.model_fields[str(location[-1])].description
        if text:
            return f": {text}"
    return ""


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _literal_defaults(model: type[BaseModel]) -> set[Any]:
    return {field.default for field in model.model_fields.values() if get_origin(field.annotation) is Literal}
