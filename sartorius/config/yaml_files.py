"""YAML settings files and the `base:` files they stand on, as plain mappings."""

import os
import reprlib
from collections.abc import Hashable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sartorius.errors import UserError

MAX_BASE_DEPTH = 2
#: Keys that choose what the other keys of their mapping mean; changing one leaves nothing to inherit.
CHOICE_KEYS = ("method", "kind")
#: Keys of what one search or measurement gave, which figures of another have no place in.
WHOLE_KEYS = ("tuned", "gains")


class Layer(NamedTuple):
    """What one file, or the command line, sets by itself."""

    origin: str
    folder: Path
    mapping: dict[str, Any]


def read_layers(path: Path) -> list[Layer]:
    """A settings file and its `base:` parents, the file itself first; the keys `base` are left out.

    Raises UserError naming the file that is missing, no YAML, no mapping, names a key twice, or stands on a loop or on
    more than two levels of bases.
    """
    layers: list[Layer] = []
    chain: list[Path] = []
    here: Path | None = path
    while here is not None:
        _refuse_loops([*chain, here])
        mapping = _read_mapping(here, named_by=chain[-1] if chain else None)
        base = mapping.pop("base", None)
        if base is not None and not isinstance(base, str):
            raise UserError(f"{here}: `base` must be one path relative to this file, got {base!r}")
        layers.append(Layer(str(here), here.parent, mapping))
        chain.append(here)
        here = None if base is None else here.parent / base
    return layers


def merged(mappings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One mapping of several, earlier ones over later ones: mappings merge, lists and scalars replace.

    A mapping that changes one of CHOICE_KEYS replaces the one under it, whose options belong to another choice, and so does
    one named by one of WHOLE_KEYS.
    """
    return reduce(lambda over, under: _over(under, over), mappings, {})


def parsed_override(text: str) -> dict[str, Any]:
    """The mapping that `key.below=value` stands for; the value is read as YAML.

    Raises UserError if there is no `=`, no key, or the value is no YAML.
    """
    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise UserError(f"--set expects key=value, for example base_lr=1.0e-3, got {text!r}")
    try:
        value: Any = _parsed(written)
    except yaml.YAMLError as error:
        raise UserError(f"--set {text}: the value is not valid YAML: {error}") from None
    # What stands below `detectron` is detectron2's own dotted name: detectron.MODEL.RPN.NMS_THRESH=0.6
    parts = key.split(".", 1) if key.startswith("detectron.") else key.split(".")
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses keys that are no text or written twice, and what contains itself."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node in self.recursive_objects:
            raise yaml.constructor.ConstructorError(
                None, None, "an alias (`*name`) stands for something that contains it", node.start_mark
            )
        try:
            value = super().construct_object(node, deep=True)
            if isinstance(value, int):
                str(value)  # what int() takes in hexadecimal digits, str() may refuse
            return value
        except (ValueError, LookupError, AttributeError):  # a number of thousands of digits, a 13th month
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"{str(node.value)[:40]!r} cannot be read as {node.tag.rpartition(':')[2]}",
                node.start_mark,
            ) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is no text; put it in quotes", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key}` is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parsed(text: str) -> Any:
    """Raises YAMLError, also for what PyYAML itself does not expect."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, OverflowError) as error:  # `\U` with a number that is no character's
        raise yaml.YAMLError(str(error)) from None


def _read_mapping(path: Path, named_by: Path | None) -> dict[str, Any]:
    try:
        mapping = _parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        asked = "" if named_by is None else f", which {named_by} names as its `base`"
        raise UserError(f"{path}: no such settings file{asked}{_neighbours(path)}") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected a YAML text file: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if mapping is None:
        raise UserError(f"{path}: expected a mapping of settings, but the file is empty")
    if not isinstance(mapping, dict):
        raise UserError(f"{path}: expected a mapping of settings (`key: value`), got {reprlib.repr(mapping)}")
    return mapping


def relative_to_folder(path: Path, folder: Path) -> str:
    """The path from a folder to a file as settings have it, with slashes; absolute if they are on two drives of Windows."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def require_may_be_base(path: Path) -> None:
    """Raise UserError if no file may stand on this one, because it stands on as many bases as a file may."""
    layers = read_layers(path)
    if len(layers) > MAX_BASE_DEPTH:
        shown = " → ".join(layer.origin for layer in layers)
        raise UserError(
            f"{path}: a file that stands on it would have more than {MAX_BASE_DEPTH} levels of `base:`; flatten them: {shown}"
        )


def _refuse_loops(chain: Sequence[Path]) -> None:
    shown = " → ".join(map(str, chain))
    if len({path.resolve() for path in chain}) < len(chain):
        raise UserError(f"{chain[0]}: its `base:` files stand on each other in a loop: {shown}")
    if len(chain) > MAX_BASE_DEPTH + 1:
        raise UserError(f"{chain[0]}: more than {MAX_BASE_DEPTH} levels of `base:`, flatten them: {shown}")


def _neighbours(path: Path) -> str:
    names = sorted(near.name for near in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"; {path.parent} has {', '.join(names)}" if names else ""


def _over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    if any(key in over and over[key] != under.get(key, over[key]) for key in CHOICE_KEYS):
        return dict(over)
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        merges = isinstance(value, Mapping) and isinstance(below, Mapping) and key not in WHOLE_KEYS
        result[key] = _over(below, value) if merges else value  # type: ignore[arg-type]
    return result
