import json
import subprocess
from pathlib import Path

import pytest

from sartorius import experiment
from sartorius.config import ModelSettings
from sartorius.errors import UserError
from sartorius.experiment import (
    continue_provenance,
    file_sha256,
    git_commit,
    last_checkpoint,
    open_run,
    remove_left_behind,
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


@pytest.mark.parametrize("name", ["model_0000009.pth", "model_final.pth", "model.safetensors"])
def test_a_run_whose_last_checkpoint_is_not_named_is_not_overwritten(name: str, tmp_path: Path) -> None:
    write_provenance(tmp_path, ModelSettings(), {})
    (tmp_path / name).touch()
    with pytest.raises(UserError, match="a run is already here"):
        open_run(tmp_path, ModelSettings(), resume=False)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "name", ["model_best.pth", "model_final.pth", "model.safetensors", "last_checkpoint"]
)
def test_weights_that_were_copied_without_their_settings_are_not_trained_over(
    name: str, resume: bool, tmp_path: Path
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"weights are already here, but no config\.yaml"):
        open_run(tmp_path, ModelSettings(), resume)


def test_a_run_goes_on_from_the_checkpoint_that_is_named(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "not made") is None
    (tmp_path / "model_best.pth").touch()
    assert last_checkpoint(tmp_path) is None
    (tmp_path / "model_0000009.pth").touch()
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    assert last_checkpoint(tmp_path) == tmp_path / "model_0000009.pth"


@pytest.mark.parametrize("name", ["", "model_0000019.pth"])
def test_a_checkpoint_that_is_gone_names_those_that_are_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "last_checkpoint").write_text(name)
    with pytest.raises(UserError, match=rf"got {name or 'nothing'}; .*\(none is left\)"):
        last_checkpoint(tmp_path)
    (tmp_path / "model_0000009.pth").touch()
    with pytest.raises(UserError, match=r"\(model_0000009\.pth\)"):
        last_checkpoint(tmp_path)


def test_what_an_earlier_run_left_behind_is_removed_and_nothing_else(tmp_path: Path) -> None:
    ours = ["best.json", "model_best.pth", "metrics.csv", "trained_on.csv", "events.out.tfevents.1.host"]
    for name in (*ours, "notes.txt", "metrics.xlsx", "model_0000009.pth"):
        (tmp_path / name).touch()
    remove_left_behind(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "metrics.xlsx", "model_0000009.pth"}


def test_only_the_same_settings_are_resumed(tmp_path: Path) -> None:
    write_provenance(tmp_path, ModelSettings(), {})
    open_run(tmp_path, ModelSettings(), resume=True)
    with pytest.raises(UserError, match=r"other settings: base_lr: 0\.0005 -> 0\.1"):
        open_run(tmp_path, ModelSettings(base_lr=0.1), resume=True)
    open_run(tmp_path, ModelSettings(hypothesis="Told better."), resume=True)


FACTS = {
    "command": "sartorius train",
    "seed": 3,
    "initial_weights": "R-50.pkl",
    "data_sha256": {"here/train.csv": "a" * 64},
    "folds_sha256": "b" * 64,
}


def test_a_resumed_run_keeps_how_it_began_and_adds_the_session(tmp_path: Path) -> None:
    write_provenance(tmp_path, ModelSettings(), FACTS)
    now = {key: value for key, value in FACTS.items() if key != "initial_weights"}
    elsewhere = {"data_sha256": {"there/train.csv": "a" * 64}}
    continue_provenance(tmp_path, now | elsewhere | {"command": "sartorius train --resume"})
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
        ({"folds_sha256": None}, r"--folds: 'bbbbbbbbbbbb' -> None"),
        ({"fold": 1}, r"--fold: None -> 1"),
        ({"training_sha256": "d" * 64}, r"training images: 'eeeeeeeeeeee' -> 'dddddddddddd'"),
        ({"validation_sha256": "d" * 64}, r"validation images: 'eeeeeeeeeeee' -> 'dddddddddddd'"),
        ({"initial_weights": "random"}, r"--weights: 'R-50\.pkl' -> 'random'"),
        ({"initial_weights_sha256": "d" * 64}, r"--weights: 'ffffffffffff' -> 'dddddddddddd'"),
    ],
)
def test_only_the_same_data_seed_and_weights_are_resumed(
    other: dict[str, object], message: str, tmp_path: Path
) -> None:
    began = {
        "fold": None,
        "training_sha256": "e" * 64,
        "validation_sha256": "e" * 64,
        "initial_weights_sha256": None if "initial_weights" in other else "f" * 64,
    }
    write_provenance(tmp_path, ModelSettings(), FACTS | began)
    with pytest.raises(UserError, match=message):
        continue_provenance(tmp_path, FACTS | began | other)


def test_initial_weights_may_lie_elsewhere_on_resume(tmp_path: Path) -> None:
    write_provenance(tmp_path, ModelSettings(), FACTS | {"initial_weights_sha256": "f" * 64})
    continue_provenance(
        tmp_path, FACTS | {"initial_weights": "there/R-50.pkl", "initial_weights_sha256": "f" * 64}
    )


def test_what_a_run_did_not_write_down_when_it_began_is_not_compared(tmp_path: Path) -> None:
    write_provenance(tmp_path, ModelSettings(), FACTS)
    newer = {"fold": 1, "training_sha256": "e" * 64, "initial_weights_sha256": "f" * 64}
    continue_provenance(tmp_path, FACTS | newer)
    assert len(json.loads((tmp_path / "provenance.json").read_text())["resumed"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"seed": 3, "da', "expected a JSON file"), ("[]", "expected what `sartorius train`")],
)
def test_a_damaged_provenance_is_told_in_one_message(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(text)
    with pytest.raises(UserError, match=message):
        continue_provenance(tmp_path, FACTS)


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to resume here"):
        open_run(tmp_path, ModelSettings(), resume=True)


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_commit_of_a_repository_that_does_not_hold_the_code_is_not_the_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "venv"
    package.mkdir()
    (package / "experiment.py").touch()
    (tmp_path / ".gitignore").write_text("venv\n")
    as_somebody = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (["init"], ["add", "."], [*as_somebody, "commit", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(experiment, "__file__", str(package / "experiment.py"))
    assert git_commit() == ""
    subprocess.run(["git", "add", "-f", "venv"], cwd=tmp_path, check=True)
    assert len(git_commit().removesuffix("+changes")) == 40


def test_detectron2_installed_from_its_source_is_among_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "detectron2-0.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: detectron2\nVersion: 0.6\n")
    monkeypatch.syspath_prepend(tmp_path)
    write_provenance(tmp_path, ModelSettings(), {})
    assert json.loads((tmp_path / "provenance.json").read_text())["packages"]["detectron2"] == "0.6"
