"""Every settings file under configs/ loads, and every ablation changes little of what it stands on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sartorius.config import EnsembleSettings, ModelSettings, load_ensemble_settings, load_model_settings
from sartorius.config.reading import leaf_differences

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
ABLATIONS = sorted((CONFIGS / "ablations").rglob("*.yaml"))
#: Which loader reads the files of a folder.
LOADERS = {
    "models": load_model_settings,
    "ensembles": load_ensemble_settings,
    "ablations/training": load_model_settings,
    "ablations/fusion": load_ensemble_settings,
}
#: What says why a file exists rather than what it does.
REASONS = ("hypothesis", "note")


def name_of(path: Path) -> str:
    return path.relative_to(CONFIGS).as_posix()


def loaded(path: Path) -> ModelSettings | EnsembleSettings:
    return LOADERS[path.parent.relative_to(CONFIGS).as_posix()](path)


def loaded_base(path: Path) -> ModelSettings | EnsembleSettings:
    base = yaml.safe_load(path.read_text(encoding="utf-8"))["base"]
    return LOADERS[path.parent.relative_to(CONFIGS).as_posix()](path.parent / base)


def changed_leaves(
    before: ModelSettings | EnsembleSettings, after: ModelSettings | EnsembleSettings
) -> set[str]:
    """The settings in which two files differ, defaults that neither writes left out."""

    def written(settings: ModelSettings | EnsembleSettings) -> dict[str, Any]:
        return settings.model_dump(mode="json", exclude_unset=True, exclude=set(REASONS))

    return set(leaf_differences(written(before), written(after)))


def test_there_are_settings_to_look_at():
    assert {path.parent.name for path in FILES} >= {"models", "ensembles"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_settings_file_loads(path):
    loaded(path)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_settings_file_says_in_its_first_line_what_it_is_for(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(("# ", "base: "))


@pytest.mark.parametrize("path", ABLATIONS, ids=name_of)
def test_an_ablation_changes_one_to_three_settings_of_its_base(path):
    assert 1 <= len(changed_leaves(loaded_base(path), loaded(path))) <= 3


@pytest.mark.parametrize("path", ABLATIONS, ids=name_of)
def test_an_ablation_says_what_it_should_show(path):
    settings = loaded(path).model_dump()
    assert any(settings.get(key) for key in REASONS)


def test_changed_settings_are_counted_by_leaf_without_their_reason():
    before = ModelSettings(hypothesis="as it was", base_lr=1.0e-3, flips=True)
    after = ModelSettings(hypothesis="something new", base_lr=2.0e-3, flips=True, crop_px=256)
    assert changed_leaves(before, after) == {"base_lr", "crop_px"}
