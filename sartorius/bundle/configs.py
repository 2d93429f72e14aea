"""An ensemble's files as a bundle has them: side by side in one folder, every `base:` merged in."""

import shutil
from pathlib import Path

import yaml
from safetensors import SafetensorError, safe_open

from sartorius.config import load_ensemble_settings, load_model_settings
from sartorius.config.members import MemberSettings
from sartorius.config.reading import FrozenSettings
from sartorius.errors import UserError
from sartorius.pipeline.foreign import refuse_foreign

ENSEMBLE = "ensemble.yaml"


def write_configs(ensemble: Path, folder: Path) -> None:
    """`folder` holds the ensemble, the settings of each model and its weights, naming each other.

    Raises UserError if a file is missing, wrong, or weights are cut short.
    """
    settings = load_ensemble_settings(ensemble)
    refuse_foreign(ensemble, settings, "a bundle is for images that nobody has seen")
    members = []
    for member in settings.members:
        here = _flat(member)
        model = load_model_settings(ensemble.parent / member.model)
        _write(folder / here.model, model)
        _copy_weights(ensemble.parent / member.weights, folder / here.weights, named_by=ensemble)
        members.append(here)
    _write(folder / ENSEMBLE, settings.model_copy(update={"members": tuple(members), "settings_of": ""}))


def _flat(member: MemberSettings) -> MemberSettings:
    weights = f"weights_{member.name}{Path(member.weights).suffix}"
    return member.model_copy(update={"model": f"model_{member.name}.yaml", "weights": weights})


def _write(path: Path, settings: FrozenSettings) -> None:
    mapping = settings.model_dump(mode="json")
    path.write_text(yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _copy_weights(source: Path, target: Path, named_by: Path) -> None:
    if not source.is_file():
        raise UserError(f"{source}: no such weights file, which {named_by} names; train the model first")
    if source.suffix == ".safetensors":
        try:
            with safe_open(source, framework="numpy"):
                pass  # opening checks that the file is as long as its head says
        except SafetensorError as error:
            raise UserError(f"{source}: these weights cannot be read: {error}") from None
    shutil.copyfile(source, target)
