"""A folder of ablations: settings files that stand on one base and say what they change of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from sartorius.config import EnsembleSettings, ModelSettings, load_ensemble_settings
from sartorius.config.reading import changes_from_base, leaf_differences, seen_from
from sartorius.config.yaml_files import CHOICE_KEYS, merged, read_layers
from sartorius.errors import UserError

#: Leaves that say why a file exists, not what it does.
REASONS = ("hypothesis", "note")


class Ablation(NamedTuple):
    """One settings file, and the leaves in which it differs from the base: before and after."""

    path: Path
    changes: dict[str, tuple[Any, Any]]

    @property
    def name(self) -> str:
        """The file's stem."""
        return self.path.stem


class AblationFolder(NamedTuple):
    """A folder's base and its files by name; of_ensembles: they are ensembles, fused from cached predictions."""

    base: Path
    files: tuple[Ablation, ...]
    of_ensembles: bool


def read_folder(folder: Path) -> AblationFolder:
    """The ablations of a folder, by name.

    Raises UserError if there is none, or if one stands alone or on another base than the others.
    """
    paths = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    if not paths:
        raise UserError(f"{folder}: expected a folder of ablations (*.yaml), found none there")
    bases = {path: _base(path) for path in paths}
    base = bases[paths[0]]
    for path, other in bases.items():
        if other.resolve() != base.resolve():
            raise UserError(
                f"{path}: stands on {other}, {paths[0].name} beside it on {base}; expected one base for the whole folder"
            )
    of_ensembles = any("members" in layer.mapping for layer in read_layers(base))
    model = EnsembleSettings if of_ensembles else ModelSettings
    files = tuple(Ablation(path, gathered(changes_from_base(path, model))) for path in paths)
    return AblationFolder(base, files, of_ensembles)


def put_on(folder: AblationFolder, ensemble: Path) -> AblationFolder:
    """The same files on another ensemble than the base that they name.

    Raises UserError if what a file says does not fit on it.
    """
    base = load_ensemble_settings(ensemble).model_dump(mode="json")
    files = [
        file._replace(
            changes=gathered(leaf_differences(base, settings_on(file, ensemble).model_dump(mode="json")))
        )
        for file in folder.files
    ]
    return folder._replace(base=ensemble, files=tuple(files))


def settings_on(file: Ablation, ensemble: Path) -> EnsembleSettings:
    """What a file itself says on top of an ensemble, which may be another than the base that it names.

    Paths are relative to the ensemble's folder. Raises UserError if it does not fit.
    """
    own = seen_from(ensemble.parent, read_layers(file.path)[0], EnsembleSettings)
    whole = merged([own, load_ensemble_settings(ensemble).model_dump(mode="json")])
    if "fusion" in own:  # else a type with fusion settings of its own would not notice
        whole["fusion_per_type"] = own.get("fusion_per_type", {})
    try:
        return EnsembleSettings.model_validate(whole)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{file.path}: does not fit on {ensemble}: {where}: {first['msg']}") from None


def gathered(changes: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """The changed settings without reasons, each once.

    What goes with the choice of another strategy is that one change, and so is a value for all cell types in place of
    one for each, or the other way round.
    """
    chosen = {key.rpartition(".")[0] for key in changes if key.rpartition(".")[2] in CHOICE_KEYS}
    found: dict[str, tuple[Any, Any]] = {}
    for key, change in changes.items():
        parent, _, last = key.rpartition(".")
        below_choice = parent in chosen and last not in CHOICE_KEYS
        if key in REASONS or below_choice or parent in changes:
            continue
        by_type = {
            other.rpartition(".")[2]: of_type
            for other, of_type in changes.items()
            if other.startswith(f"{key}.")
        }
        if by_type:
            before, after = ({name: pair[side] for name, pair in by_type.items()} for side in (0, 1))
            change = (change[0], after) if change[1] is None else (before, change[1])
        found[key] = change
    return found


def shown(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """The changes in one line: `fusion.method: masks → nms`; members and views by their names if these say it all."""
    return "; ".join(f"{key}: {' → '.join(_pair(before, after))}" for key, (before, after) in changes.items())


def _pair(before: Any, after: Any) -> tuple[str, str]:
    """Both values as text, in short where that tells them apart."""
    short = _value(_named(before)), _value(_named(after))
    return short if short[0] != short[1] else (_value(before), _value(after))


def _named(value: Any) -> Any:
    """A list of members or views as their names, anything else as it is."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        return value
    return [one.get("name") or _view_name(one) or one for one in value]


def _view_name(one: Mapping[str, Any]) -> str:
    """How a view turns the image, with its scale and weight where it has any; "" for anything but a view."""
    scale, weight = one.get("scale", 1), one.get("weight", 1)
    name = str(one.get("flip", "")) + ("" if scale == 1 else f" x{scale:g}")
    return name if weight == 1 else f"{name} (weight {_value(weight)})"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return f"[{'; '.join(map(_value, value))}]"
    return "–" if value is None or value == "" else str(value)


def _base(path: Path) -> Path:
    layers = read_layers(path)
    if len(layers) < 2:
        raise UserError(
            f"{path}: expected an ablation with a `base:` to compare with, this file stands alone"
        )
    return Path(layers[1].origin)
