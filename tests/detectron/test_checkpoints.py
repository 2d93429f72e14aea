from pathlib import Path
from types import SimpleNamespace

import torch

from sartorius.detectron.checkpoints import LastCheckpoints
from sartorius.detectron.weights import CellCheckpointer


def resumed(folder: Path, start: int) -> LastCheckpoints:
    """The hook of a run that goes on at a step, writes after each one and keeps three checkpoints."""
    hook = LastCheckpoints(CellCheckpointer(torch.nn.Linear(1, 1), str(folder)), 1, max_to_keep=3)
    hook.trainer = SimpleNamespace(start_iter=start, iter=start, max_iter=9)
    hook.before_train()
    return hook


def test_a_resumed_run_keeps_no_more_checkpoints_than_one_that_never_stopped(tmp_path: Path) -> None:
    for step in range(3):
        (tmp_path / f"model_{step:07d}.pth").touch()
    hook = resumed(tmp_path, 3)
    hook.after_step()
    assert sorted(path.stem for path in tmp_path.glob("*.pth")) == [f"model_{step:07d}" for step in (1, 2, 3)]


def test_a_checkpoint_that_is_written_again_is_counted_once(tmp_path: Path) -> None:
    for step in range(3):
        (tmp_path / f"model_{step:07d}.pth").touch()
    hook = resumed(tmp_path, 2)
    for step in (2, 3, 4):
        hook.trainer.iter = step
        hook.after_step()
    assert sorted(path.stem for path in tmp_path.glob("*.pth")) == [f"model_{step:07d}" for step in (2, 3, 4)]


def test_half_written_checkpoints_of_a_killed_run_are_deleted(tmp_path: Path) -> None:
    for name in (".model_0000001.x7f.pth", ".notes.pth", "model_best.pth"):
        (tmp_path / name).touch()
    resumed(tmp_path, 0)
    assert {path.name for path in tmp_path.iterdir()} == {".notes.pth", "model_best.pth"}
