"""The checkpoints that a run writes as it goes, of which only the last ones stay."""

from pathlib import Path

from detectron2.engine.hooks import PeriodicCheckpointer


class LastCheckpoints(PeriodicCheckpointer):
    """detectron2's hook, which after a resume also counts the checkpoints from before."""

    def before_train(self) -> None:
        """Called by the trainer. Deletes what is left of checkpoints that were being written when the run was killed."""
        super().before_train()
        folder = Path(self.checkpointer.save_dir)
        for half in folder.glob(".model_*.pth"):
            half.unlink()
        written = {int(path.stem.rpartition("_")[2]): path for path in folder.glob("model_[0-9]*.pth")}
        self.recent_checkpoints = [
            str(path) for step, path in sorted(written.items()) if step < self.trainer.start_iter
        ]
