"""The training kernel on a machine like Kaggle's, in two sessions."""

import csv
import importlib.util
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from kaggle_machine import PROJECT, told_the_token
from kaggle_runs import competition, kaggle_tree, run_kernel, start_kernel
from tiny_models import write_tiny_data

SCRIPT = PROJECT / "kaggle_kernels/training/train.py"
ITERATIONS = 6
OPTIONS = ["--model", "first", "--gpus", 0, "--weights", "random", "--set", f"iterations={ITERATIONS}"]
RUN = Path("runs/model_first/fold0")
#: A Python that loads this ends its session as Kaggle does, as soon as a checkpoint can be gone on from.
ENDING = """\
import os, signal
replace = os.replace
def replace_and_end(source, target):
    replace(source, target)
    if os.path.basename(target) == "last_checkpoint":
        os.killpg(0, signal.SIGKILL)
os.replace = replace_and_end
"""


@pytest.mark.slow
def test_a_session_goes_on_from_the_attached_output_of_an_earlier_one(machine, tmp_path):
    first = kaggle_tree(tmp_path / "first", machine.bundle)
    write_tiny_data(competition(first), images=6)
    (tmp_path / "sitecustomize.py").write_text(ENDING)
    running = start_kernel(machine, first, "training", *OPTIONS, PYTHONPATH=str(tmp_path))
    assert running.wait() == -signal.SIGKILL, (first / "log.txt").read_text()

    second = kaggle_tree(tmp_path / "second", machine.bundle)
    write_tiny_data(competition(second), images=6)
    attached = second / "input" / "notebooks" / "somebody" / "sartorius-bundle-training"
    attached.parent.mkdir(parents=True)
    attached.symlink_to(first / "working")
    done = run_kernel(machine, second, "training", *OPTIONS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{attached / RUN}: an earlier session's run, goes on in {second / 'working' / RUN}" in done.stdout
    assert "wheels installed" in done.stdout
    assert (second / "working" / RUN / "model.safetensors").is_file()
    assert (
        f"Starting training from iteration {done_by(first)}"
        in (second / "working" / RUN / "log.txt").read_text()
    )
    assert iterations_in(second) == list(range(1, ITERATIONS + 1)), "the earlier session's rows and its own"
    printed = [done.stdout, done.stderr, (first / "log.txt").read_text()]
    assert told_the_token(printed, first / "working", second / "working") == []


def done_by(kaggle: Path) -> int:
    """How many iterations the last checkpoint has seen."""
    name = (kaggle / "working" / RUN / "last_checkpoint").read_text()
    return int(re.fullmatch(r"model_(\d+)\.pth", name)[1]) + 1


def iterations_in(kaggle: Path) -> list[int]:
    """The iterations in the table of a run's losses."""
    with (kaggle / "working" / RUN / "metrics.csv").open(newline="") as file:
        return [int(row["iteration"]) for row in csv.DictReader(file)]


def train_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_kernel", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMAND = """\
import sys, time
from pathlib import Path
def main():
    try:
        Path(sys.argv[1]).write_text("at work")
        time.sleep(60)
    except KeyboardInterrupt:
        Path(sys.argv[1]).write_text("ended in order")
"""


def test_a_session_ends_in_order_when_its_time_is_up(tmp_path, monkeypatch, capsys):
    note = tmp_path / "note.txt"
    train = train_script()

    class Started(subprocess.Popen):
        """A process for which the time is up as soon as it is at work."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout in (None, train.GRACE_S):
                return super().wait(timeout)
            assert 3000 < timeout <= 3600
            while not note.exists() and self.poll() is None:
                time.sleep(0.01)
            raise subprocess.TimeoutExpired(self.args, timeout)

    (tmp_path / "site" / "sartorius").mkdir(parents=True)
    (tmp_path / "site" / "sartorius" / "__init__.py").touch()
    (tmp_path / "site" / "sartorius" / "cli.py").write_text(COMMAND)
    monkeypatch.setattr(subprocess, "Popen", Started)
    assert train.sartorius(tmp_path / "site", [note], time.monotonic() + 3600) == 0
    assert note.read_text() == "ended in order"
    assert "time is up; attach this kernel's output to it and run it again" in capsys.readouterr().out


def test_all_steps_of_a_session_end_at_the_same_time(tmp_path, monkeypatch):
    train, ends = train_script(), []
    monkeypatch.setitem(sys.modules, "attached", SimpleNamespace(installed=lambda bundle, site: None))
    monkeypatch.setattr(train, "chosen_config", lambda bundle, model: tmp_path / "model.yaml")

    def step(site, arguments, end_s):
        ends.append((arguments[0], end_s - train.BEGAN_S))
        if arguments[0] == "data":
            (tmp_path / "folds.csv").touch()
        return 0

    monkeypatch.setattr(train, "sartorius", step)
    places = [f"--{name}={tmp_path}" for name in ("bundle", "data", "working", "input", "site")]
    monkeypatch.setattr(sys, "argv", ["train.py", *places, "--budget", "100s", "--gpus", "0"])
    assert train.main() == 0
    assert ends == [("data", 100.0), ("train", 100.0)]


def test_what_is_missing_is_said_in_one_message(tmp_path):
    with pytest.raises(
        SystemExit, match=r"expected the competition's data, one folder with train\.csv, found none"
    ):
        train_script().one_below(tmp_path, "train.csv", "the competition's data")
    (tmp_path / "model_first.yaml").touch()
    (tmp_path / "model_second.yaml").touch()
    with pytest.raises(SystemExit, match="--model expects one of first, second, got third"):
        train_script().chosen_config(tmp_path, "third")
    with pytest.raises(SystemExit, match="--model expects one of first, second, got None"):
        train_script().chosen_config(tmp_path, None)


def test_a_budget_that_is_no_duration_ends_with_one_message(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "attached", SimpleNamespace(installed=lambda bundle, site: None))
    places = [f"--{name}={tmp_path}" for name in ("bundle", "data", "working", "input", "site")]
    monkeypatch.setattr(sys, "argv", ["train.py", *places, "--budget", "8.5 hours"])
    with pytest.raises(SystemExit, match=r"^--budget: expected a duration such as .*, got '8.5 hours'$"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
