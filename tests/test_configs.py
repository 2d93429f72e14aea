"""Every settings file under configs/ loads, and every ablation changes little of what it stands on."""

from pathlib import Path

import pytest

from sartorius.ablation.files import REASONS, gathered, read_folder
from sartorius.config import EnsembleSettings, ModelSettings, load_ensemble_settings, load_model_settings
from sartorius.config.reading import changes_from_base

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
ABLATIONS = sorted((CONFIGS / "ablations").rglob("*.yaml"))
#: Which loader reads the files of a folder.
LOADERS = {
    "models": load_model_settings,
    "ensembles": load_ensemble_settings,
    "ablations/training": load_model_settings,
    "ablations/fusion": load_ensemble_settings,
    "ablations/original": load_ensemble_settings,
    "ablations/views": load_ensemble_settings,
}


def name_of(path: Path) -> str:
    return path.relative_to(CONFIGS).as_posix()


def loaded(path: Path) -> ModelSettings | EnsembleSettings:
    return LOADERS[path.parent.relative_to(CONFIGS).as_posix()](path)


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
    changes = gathered(changes_from_base(path, type(loaded(path))))
    assert 1 <= len(changes) <= 3


@pytest.mark.parametrize("path", ABLATIONS, ids=name_of)
def test_an_ablation_says_what_it_should_show(path):
    settings = loaded(path).model_dump()
    assert any(settings.get(key) for key in REASONS)


@pytest.mark.parametrize("folder", sorted({path.parent for path in ABLATIONS}), ids=name_of)
def test_a_folder_of_ablations_stands_on_one_base(folder):
    assert read_folder(folder).base.is_file()
