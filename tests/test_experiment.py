import json
from pathlib import Path

import pytest

from sartorius.config import ModelSettings
from sartorius.errors import UserError
from sartorius.experiment import (
    continue_provenance,
    file_sha256,
    open_run,
    run_folder,
    write_provenance,
)


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
    with pytest.raises(UserError, match=r"other settings: base_lr: 0\.0005 -> 0\.1"):
        open_run(tmp_path, ModelSettings(base_lr=0.1), resume=True)


FACTS = {
    "command": "sartorius train",
    "seed": 3,
    "initial_weights": "R-50.pkl",
    "data_sha256": {"here/train.csv": "a" * 64},
    "folds_sha256": "b" * 64,
}


def test_a_resumed_run_keeps_how_it_began_and_adds_the_session(tmp_path: Path) -> None:
    write_provenance(tmp_path, ModelSettings(), FACTS)
    elsewhere = {"data_sha256": {"there/train.csv": "a" * 64}, "initial_weights": "model zoo"}
    continue_provenance(tmp_path, FACTS | elsewhere | {"command": "sartorius train --resume"})
    written = json.loads((tmp_path / "provenance.json").read_text())
    assert {key: written[key] for key in FACTS} == FACTS
    assert [session["command"] for session in written["resumed"]] == ["sartorius train --resume"]
    assert written["resumed"][0]["packages"]["numpy"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 4}, r"--seed: 3 -> 4"),
        (
            {"data_sha256": {"here/train.csv": "c" * 64}},
            r"annotations: \['aaaaaaaaaaaa'\] -> \['cccccccccccc'\]",
        ),
        ({"folds_sha256": None}, r"--folds: '.*' -> None"),
    ],
)
def test_only_the_same_data_and_seed_are_resumed(
    other: dict[str, object], message: str, tmp_path: Path
) -> None:
    write_provenance(tmp_path, ModelSettings(), FACTS)
    with pytest.raises(UserError, match=message):
        continue_provenance(tmp_path, FACTS | other)


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to resume here"):
        open_run(tmp_path, ModelSettings(), resume=True)


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
