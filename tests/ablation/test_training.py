"""Ablations of models, with a trainer and a predictor that only pretend."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import run as run_command
from tuning_scene import simulated

from sartorius.ablation.files import read_folder
from sartorius.ablation.training import Training, ablate_training, steps_to_do
from sartorius.data.folds import read_folds
from sartorius.data.predictions import PredictionManifest, prediction_path, write_cells, write_manifest
from sartorius.errors import UserError
from sartorius.experiment import file_sha256


@pytest.fixture
def setting(scene, tmp_path) -> SimpleNamespace:
    """A base and one ablation of it, and a runner that trains and predicts without a model."""
    (tmp_path / "base.yaml").write_text("backbone: r50\n")
    folder = tmp_path / "training"
    folder.mkdir()
    (folder / "four.yaml").write_text("base: ../base.yaml\nbatch_size: 4\n")
    training = Training(
        scene.truth_csv.parent, scene.folds, (0, 1), tmp_path / "runs", "cpu", ("--gpus", "1")
    )
    ran: list[tuple[str, ...]] = []

    def run(arguments) -> None:
        ran.append(tuple(arguments))
        options = dict(zip(arguments[2::2], arguments[3::2], strict=False))
        if arguments[0] == "train":
            where = tmp_path / "runs" / Path(arguments[1]).stem / f"fold{options['--fold']}"
            where.mkdir(parents=True, exist_ok=True)
            (where / "model.safetensors").write_text(f"{arguments[1]} {options['--fold']}")
            facts = {"fold": int(options["--fold"]), "folds_sha256": file_sha256(scene.folds)}
            (where / "provenance.json").write_text(json.dumps(facts))
        else:
            where = Path(arguments[1]).parent
            name = where.parent.name
            source = Path(options["--out"]) / name / "none"
            write_manifest(
                source,
                PredictionManifest(
                    source=f"{name}/none",
                    package_version="0",
                    weights_sha256=file_sha256(where / "model.safetensors"),
                ),
            )
            folds = read_folds(scene.folds)
            for number, (image_id, truth) in enumerate(scene.truth.items()):
                if folds[image_id] == int(options["--fold"]):
                    found = simulated(truth, 2, number)
                    write_cells(prediction_path(source, image_id), found[f"model0{int(name == 'four')}/none"])

    return SimpleNamespace(folder=folder, training=training, run=run, ran=ran, runs=tmp_path / "runs")


def test_every_file_and_the_base_are_trained_and_predicted_for_each_fold(setting):
    table = ablate_training(read_folder(setting.folder), setting.training, 5, 0, setting.run)
    assert [command[0] for command in setting.ran] == ["train", "predict"] * 4
    assert setting.ran[0][-4:] == ("--runs", str(setting.runs), "--gpus", "1")
    assert [row.name for row in table.rows] == ["base", "four"]
    assert table.rows[1].changes == "batch_size: 2 → 4"
    assert (table.images, table.parts) == (6, "folds 0, 1")
    assert table.rows[1].difference is not None


def test_what_is_done_is_not_done_again(setting):
    first = ablate_training(read_folder(setting.folder), setting.training, 5, 0, setting.run)
    setting.ran.clear()
    assert ablate_training(read_folder(setting.folder), setting.training, 5, 0, setting.run) == first
    assert setting.ran == []
    assert steps_to_do(setting.folder / "four.yaml", setting.training) == []


def test_a_run_that_was_interrupted_goes_on(setting):
    run = setting.runs / "four" / "fold1"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("batch_size: 8\n")
    (steps, *_) = steps_to_do(setting.folder / "four.yaml", setting.training)
    assert "--resume" not in steps.arguments  # ended before its first checkpoint, mended since
    (run / "config.yaml").write_text("batch_size: 4\n")
    (run / "model_0000009.pth").touch()
    (run / "last_checkpoint").write_text("model_0000009.pth")
    steps = steps_to_do(setting.folder / "four.yaml", setting.training)
    assert [(step.name, "--resume" in step.arguments) for step in steps] == [
        ("train", False),
        ("predict", False),
        ("train", True),
        ("predict", False),
    ]


def test_a_run_that_was_made_with_other_settings_is_refused_also_if_it_is_done(setting):
    ablate_training(read_folder(setting.folder), setting.training, 5, 0, setting.run)
    (setting.runs / "four" / "fold0" / "config.yaml").write_text("batch_size: 8\n")
    with pytest.raises(UserError, match="fold0: the run here has other settings: batch_size: 8 -> 4"):
        ablate_training(read_folder(setting.folder), setting.training, 5, 0, setting.run)


def test_runs_with_different_splits_are_refused(setting):
    ablate_training(read_folder(setting.folder), setting.training, 5, 0, setting.run)
    path = setting.runs / "four" / "fold0" / "provenance.json"
    path.write_text(json.dumps({"fold": 0, "folds_sha256": "0" * 64}))
    with pytest.raises(UserError, match="another file of folds"):
        ablate_training(read_folder(setting.folder), setting.training, 5, 0, setting.run)


def test_a_name_that_no_model_can_have_is_refused_before_anything_is_run(setting):
    (setting.folder / "four.yaml").rename(setting.folder / "größer.yaml")
    with pytest.raises(UserError, match=r"größer\.yaml: the file's name becomes the model's"):
        ablate_training(read_folder(setting.folder), setting.training, 5, 0, setting.run)
    assert not setting.ran


def test_a_step_that_fails_ends_the_whole(setting):
    def fails(arguments) -> None:
        raise UserError("no memory")

    with pytest.raises(UserError, match="no memory"):
        ablate_training(read_folder(setting.folder), setting.training, 5, 0, fails)
    assert not list(setting.runs.rglob("seconds.json"))


def test_seconds_are_those_of_every_session_that_the_result_comes_from(monkeypatch, setting):
    clock, cut_short = iter(range(0, 10_000, 100)), []
    monkeypatch.setattr("sartorius.ablation.training.time.perf_counter", lambda: next(clock))

    def run(arguments) -> None:
        step = arguments[0] + str("--resume" in arguments)
        if step not in cut_short:
            cut_short.append(step)
            where = setting.runs / "base" / "fold0"
            where.mkdir(parents=True, exist_ok=True)
            if step == "trainFalse":
                (where / "config.yaml").write_text("{}")
                (where / "model_0000009.pth").touch()
                (where / "last_checkpoint").write_text("model_0000009.pth")
            raise KeyboardInterrupt
        setting.run(arguments)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            ablate_training(read_folder(setting.folder), setting.training, 5, 0, run)
    rows = ablate_training(read_folder(setting.folder), setting.training, 5, 0, run).rows
    assert {row.name: row.seconds for row in rows} == {"base": 300 + 200 + 200, "four": 400}


def test_a_training_that_begins_anew_has_its_own_seconds(monkeypatch, setting):
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr("sartorius.ablation.training.time.perf_counter", lambda: next(clock))
    for fold in "01":
        (where := setting.runs / "four" / f"fold{fold}").mkdir(parents=True)
        (where / "seconds.json").write_text('{"train, unfinished": 5000, "predict": 7000}')
    rows = ablate_training(read_folder(setting.folder), setting.training, 5, 0, setting.run).rows
    assert {row.name: row.seconds for row in rows} == {"base": 400, "four": 400}


def test_an_interrupted_command_says_what_is_kept(monkeypatch, capsys, setting):
    def interrupted(arguments) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sartorius.cli.ablate._run", interrupted)
    given = ("--data", setting.training.data, "--folds", setting.training.folds_csv, "--runs", setting.runs)
    assert run_command(monkeypatch, "ablate", setting.folder, *given) == 130
    kept = f"what is trained and predicted is kept in {setting.runs}, run the same command again to go on"
    assert f"sartorius: interrupted; {kept}\n" in capsys.readouterr().err


def test_files_that_this_machine_cannot_train_are_told_before_the_first_training(
    monkeypatch, capsys, setting
):
    (setting.folder / "graphs.yaml").write_text("base: ../base.yaml\ncuda_graphs: true\ncrop_px: 64\n")
    (setting.folder / "thin.yaml").write_text("base: ../base.yaml\nbackbone: r50_thin\nfreeze_stages: 2\n")
    monkeypatch.setattr("sartorius.cli.ablate._run", setting.run)
    given = ("--data", setting.training.data, "--folds", setting.training.folds_csv, "--runs", setting.runs)
    assert run_command(monkeypatch, "ablate", setting.folder, *given, "--fold", 0, "--fold", 1) == 2
    head, *files = capsys.readouterr().err.strip().splitlines()
    assert head.startswith(
        "sartorius: these cannot be trained here as --train says, nothing was begun; take them"
    )
    assert [line.split(": ")[0] for line in files] == [
        str(setting.folder / "graphs.yaml"),
        str(setting.folder / "thin.yaml"),
    ]
    assert "cuda_graphs records a GPU's kernels; give --gpus 1" in files[0]
    assert "random weights of r50_thin need layers that train" in files[1]
    assert not setting.ran


def test_options_that_train_does_not_have_are_told_before_the_first_training(monkeypatch, capsys, setting):
    monkeypatch.setattr("sartorius.cli.ablate._run", setting.run)
    given = ("--data", setting.training.data, "--folds", setting.training.folds_csv, "--runs", setting.runs)
    assert run_command(monkeypatch, "ablate", setting.folder, *given, "--train", "--gpu 1") == 2
    assert "No such option" in capsys.readouterr().err
    assert not setting.ran


def test_a_dry_run_shows_changes_and_commands(monkeypatch, capsys, setting):
    given = ("--data", setting.training.data, "--folds", setting.training.folds_csv, "--fold", 1)
    assert (
        run_command(monkeypatch, "ablate", setting.folder, *given, "--dry-run", "--runs", setting.runs) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert "four: batch_size: 2 → 4" in lines
    assert sum(line.startswith("  sartorius train ") for line in lines) == 2
    asked = (*given, "--dry-run", "--runs", setting.runs, "--json")
    assert run_command(monkeypatch, "ablate", setting.folder, *asked) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["name"], row["changes"]) for row in rows] == [("base", ""), ("four", "batch_size: 2 → 4")]
    assert [f"  {command}" for row in rows for command in row["commands"]] == [
        line for line in lines if line.startswith("  ")
    ]
    assert not setting.runs.exists()


#: Runs a training (the first path) and makes a file (the second) once it waits for it.
RUN_AND_TELL = """
import subprocess, sys
from pathlib import Path
from sartorius.cli import ablate

class Started(subprocess.Popen):
    def communicate(self, *given, **named):
        Path({1!r}).touch()
        return super().communicate(*given, **named)

subprocess.Popen = Started
sys.executable = {0!r}
ablate._run([])
"""


def test_a_command_that_is_terminated_takes_the_training_with_it(tmp_path):
    training = tmp_path / "training"
    training.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/pid\nuntil [ -e {tmp_path}/waits ]; do sleep 0.1; done\n"
        "kill -TERM $PPID\nexec sleep 60\n"
    )
    training.chmod(0o755)
    code = RUN_AND_TELL.format(str(training), str(tmp_path / "waits"))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_dry_run_without_data_shows_the_changes_alone(monkeypatch, capsys, setting):
    assert run_command(monkeypatch, "ablate", setting.folder, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "four: batch_size: 2 → 4" in out
    assert "sartorius train" not in out


def test_a_fold_given_twice_is_left_out_once(monkeypatch, capsys, setting):
    given = ("--data", setting.training.data, "--folds", setting.training.folds_csv, "--dry-run")
    assert run_command(monkeypatch, "ablate", setting.folder, *given, "--fold", 1, "--fold", 1) == 0
    assert sum(line.startswith("  sartorius train ") for line in capsys.readouterr().out.splitlines()) == 2
    assert run_command(monkeypatch, "ablate", setting.folder, *given, "--fold", -3) == 2
    assert "--fold" in capsys.readouterr().err


def test_missing_options_are_told_in_one_line(monkeypatch, capsys, setting):
    assert run_command(monkeypatch, "ablate", setting.folder) == 2
    assert "need --data DIR and --folds CSV" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--gpus 1 --set iterations=10 --fold=2", "--train: --set, --fold=2: --data, .* are not passed on"),
        ("--weights 'a", '--train "--weights \'a": expected options of `sartorius train`: No closing'),
    ],
)
def test_options_that_are_not_for_training_alone_are_refused(options, message, monkeypatch, capsys, setting):
    given = ("--data", setting.training.data, "--folds", setting.training.folds_csv)
    assert run_command(monkeypatch, "ablate", setting.folder, *given, "--train", options) == 2
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


def test_options_of_ensembles_are_refused(monkeypatch, capsys, setting):
    assert run_command(monkeypatch, "ablate", setting.folder, "--trials", 3, "--truth", "train.csv") == 2
    assert "--truth, --trials: has no effect on ablations of models" in capsys.readouterr().err
