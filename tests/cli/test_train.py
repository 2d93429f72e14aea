import json
from pathlib import Path

import pytest
import yaml
from command_line import run
from other_training import somebody_in
from tiny_models import TINY, write_tiny_data

from sartorius.data.leakage import read_trained_on, write_trained_on

pytest.importorskip("detectron2")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY.model_copy(update={"iterations": 2}).model_dump(mode="json")))
    return path


def test_train_then_export_leaves_weights_and_provenance(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_tiny_data(tmp_path / "data")
    runs = tmp_path / "runs"
    arguments = ("train", config, "--data", data, "--runs", runs, "--seed", 4)
    assert run(monkeypatch, *arguments) == 0
    folder = runs / "tiny" / "all"
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"weights  {folder / 'model.safetensors'}",
        f"curves   {folder / 'curves.png'}",
    ]
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["seed"] == 4
    assert provenance["initial_weights"] == "random"
    assert provenance["command"].startswith("sartorius train")

    assert run(monkeypatch, *arguments) == 2
    assert "a run is already here" in capsys.readouterr().err

    out = tmp_path / "half.safetensors"
    assert run(monkeypatch, "export", folder, "--out", out) == 0
    assert out.stat().st_size < 0.55 * (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fold", "0"], "--folds FILE and --fold K go together"),
        (["--set", "base_rl=1"], "did you mean `base_lr`"),
        (["--set", "iterations=0"], "`iterations`"),
        (["--set", "base_lr=1e-3"], "write 1.0e-3"),
        (["--resume"], "no run to resume"),
        (["--weights", "gone.pkl"], "gone.pkl: no such weights file"),
        (["--weights", "random", "--set", "freeze_stages=2"], "freeze_stages: 0"),
        (["--machine-rank", "1"], "one machine needs neither --machine-rank nor --dist-url"),
        (
            ["--set", "patience=2", "--set", "evaluation_period=1"],
            "patience stops by the validation score; give --fold and --folds",
        ),
        (
            ["--set", "mask_iou_head=true", "--set", "train_only=[mask_iou_head]"],
            "pass its weights with --weights",
        ),
        (["--seed", "-1"], "--seed"),
        (["--seed", str(2**40)], "--seed"),
        (["--set", "cell_types=[cort, cort]"], "cell_types names a type twice"),
    ],
)
def test_a_mistake_gets_one_message_before_images_are_read(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("images are read")

    monkeypatch.setattr("sartorius.detectron.runs.read_training_data", read)
    data = write_tiny_data(tmp_path / "data")
    assert run(monkeypatch, "train", config, "--data", data, "--runs", tmp_path / "runs", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_that_another_training_writes_is_refused_before_images_are_read(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "tiny" / "all"
    with somebody_in(folder):
        assert (
            run(monkeypatch, "train", config, "--data", tmp_path / "none", "--runs", tmp_path / "runs") == 2
        )
    assert f"{folder}: another training writes there; wait" in capsys.readouterr().err


def test_a_folder_that_is_no_data_set_is_named(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "train", config, "--data", tmp_path, "--runs", tmp_path / "runs") == 2
    assert "train.csv" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_training_ends_with_the_score_of_its_own_weights_whatever_a_killed_run_left(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sartorius.detectron.validation import Judge

    data, folds = write_tiny_data(tmp_path / "data"), tmp_path / "folds.csv"
    folds.write_text("id,fold\nimage0,0\nimage1,1\nimage2,1\nimage3,1\n")
    folder = tmp_path / "runs" / "tiny" / "fold0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config.read_text())
    (folder / "best.json").write_text('{"mAP": 0.9, "iteration": 400, "evaluations_since": 0}')
    (folder / "model_best.pth").write_bytes(b"of other settings")
    monkeypatch.setattr(Judge, "scores", lambda self, model: {"validation/mAP": 0.629})
    arguments = ("--folds", folds, "--fold", 0, "--weights", "random", "--runs", tmp_path / "runs")
    assert run(monkeypatch, "train", config, "--data", data, *arguments) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "score    0.629 competition mAP on fold 0 at iteration 2",
        f"weights  {folder / 'model.safetensors'}",
        f"curves   {folder / 'curves.png'}",
    ]


def test_weights_that_have_seen_an_image_are_not_validated_on_it(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_tiny_data(tmp_path / "data")
    folds = tmp_path / "folds.csv"
    folds.write_text("id,fold\nimage0,0\nimage1,1\nimage2,1\nimage3,1\n")
    pretrained = tmp_path / "pretrained" / "model.safetensors"
    write_trained_on(pretrained.parent, {"renamed": data / "train" / "image0.png"})
    pretrained.touch()
    split = ("--folds", folds, "--fold", 0, "--runs", tmp_path / "runs")
    assert run(monkeypatch, "train", config, "--data", data, *split, "--weights", pretrained) == 2
    assert "image0 (the same pixels as renamed)" in capsys.readouterr().err
    assert run(monkeypatch, "train", config, "--data", data, *split, "--weights", "random") == 0
    assert list(read_trained_on(tmp_path / "runs" / "tiny" / "fold0")) == ["image1", "image2", "image3"]


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ("last_checkpoint", "has a checkpoint, run the same command with --resume to go on from it"),
        ("log.txt", "interrupted; the same command starts from the beginning"),
    ],
)
def test_an_interrupted_training_goes_on_if_it_has_a_checkpoint(
    left: str,
    told: str,
    tmp_path: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*given: object) -> None:
        (tmp_path / "runs" / "tiny" / "all" / left).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("sartorius.detectron.trainer.train", interrupted)
    data = write_tiny_data(tmp_path / "data")
    assert run(monkeypatch, "train", config, "--data", data, "--runs", tmp_path / "runs") == 130
    assert told in capsys.readouterr().err
