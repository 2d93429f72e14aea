import json
from pathlib import Path

import pytest

from sartorius.config import ModelSettings
from sartorius.errors import UserError
from sartorius.experiment import file_sha256, open_run, run_folder, write_provenance


def test_a_run_is_named_after_its_settings_file(tmp_path: Path) -> None:
    assert run_folder(tmp_path, Path("configs/models/r50.yaml"), 2) == tmp_path / "r50" / "fold2"
    assert run_folder(tmp_path, Path("configs/models/r50.yaml"), None) == tmp_path / "r50" / "all"


def test_provenance_keeps_settings_packages_and_facts(tmp_path: Path) -> None:
    write_provenance(tmp_path, ModelSettings(iterations=7), {"seed": 3})
    written = json.loads((tmp_path / "provenance.json").read_text())
    assert written["seed"] == 3
    assert written["packages"]["numpy"]
    assert "iterations: 7" in (tmp_path / "config.yaml").read_text()


def test_a_start_that_failed_before_its_first_checkpoint_may_be_repeated_with_other_settings(
    tmp_path: Path,
) -> None:
    write_provenance(tmp_path, ModelSettings(), {})
    open_run(tmp_path, ModelSettings(base_lr=0.1), resume=False)


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    write_provenance(tmp_path, ModelSettings(), {})
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    with pytest.raises(UserError, match="a run is already here"):
        open_run(tmp_path, ModelSettings(), resume=False)


def test_only_the_same_settings_are_resumed(tmp_path: Path) -> None:
    write_provenance(tmp_path, ModelSettings(), {})
    open_run(tmp_path, ModelSettings(), resume=True)
    with pytest.raises(UserError, match=r"these changed: base_lr: 0\.0005 -> 0\.1"):
        open_run(tmp_path, ModelSettings(base_lr=0.1), resume=True)


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to resume here"):
        open_run(tmp_path, ModelSettings(), resume=True)


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
