"""A run's losses and scores of every step as a table, `metrics.csv`, and as curves, `curves.png`."""

from pathlib import Path

import pandas as pd
from detectron2.engine import HookBase
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sartorius.errors import UserError
from sartorius.files import atomic_path

VALIDATION = "validation/"


class LossTable(HookBase):
    """Writes the losses, rate and scores of each step, unsmoothed; a resumed run goes on in the same table.

    period: steps between writes, those between checkpoints; evaluations are written at once. Rows after the last checkpoint come again on resume.
    """

    def __init__(self, folder: Path, period: int) -> None:
        self._folder = folder
        self._period = period
        self._rows: list[dict[str, float]] = []

    def before_train(self) -> None:
        """Take over the rows of the steps before the first one of now; UserError if they cannot be read."""
        path = self._folder / "metrics.csv"
        if path.exists():
            try:
                # Python's float keeps every digit, pandas' may not
                table = pd.read_csv(path, dtype=str).astype(float)
                kept = table[table["iteration"] <= self.trainer.start_iter]
            except (ValueError, KeyError) as error:
                raise UserError(
                    f"{path}: expected the losses of the run's steps: {error}; delete the file to go on without those before"
                ) from None
            self._rows = [row.dropna().to_dict() for _, row in kept.iterrows()]

    def after_step(self) -> None:
        """Called by the trainer."""
        self._rows.append({"iteration": self.trainer.iter + 1} | self._latest())
        evaluated = any(name.startswith(VALIDATION) for name in self._rows[-1])
        if evaluated or (self.trainer.iter + 1) % self._period == 0:
            self._write()

    def after_train(self) -> None:
        """Add the last evaluation, which comes after the last step, and draw the curves."""
        if not self._rows:
            return
        late = {name: value for name, value in self._latest().items() if name.startswith(VALIDATION)}
        self._rows[-1] |= late
        self._write()
        curves_png(self._folder / "metrics.csv", self._folder / "curves.png")

    def _latest(self) -> dict[str, float]:
        storage = self.trainer.storage
        return {
            name: value
            for name, (value, step) in storage.latest().items()
            if step == storage.iter
            and (name in ("lr", "total_loss") or name.startswith(("loss", VALIDATION)))
        }

    def _write(self) -> None:
        with atomic_path(self._folder / "metrics.csv") as path:
            table = pd.DataFrame(self._rows).astype({"iteration": int})
            table.to_csv(path, index=False)


def curves_png(table: Path, out: Path) -> None:
    """Draw the losses of a `metrics.csv`, and below them the validation scores if there are any.

    Losses are shown as the median of 1 % of the run around each step, so that single batches do not hide the course.
    """
    metrics = pd.read_csv(table).set_index("iteration")
    losses = [name for name in metrics if name.startswith("loss") or name == "total_loss"]
    scores = [name for name in metrics if name.startswith(VALIDATION)]
    figure = Figure(figsize=(9, 8 if scores else 4.5), layout="constrained")
    axes = figure.subplots(2 if scores else 1, 1, squeeze=False, sharex=True)[:, 0]
    smooth = metrics[losses].rolling(max(1, len(metrics) // 100), center=True, min_periods=1).median()
    for name in losses:
        axes[0].plot(
            smooth.index, smooth[name], label=_plain(name), linewidth=2 if name == "total_loss" else 1
        )
    axes[0].set_ylabel("loss")
    for name in scores:
        known = metrics[name].dropna()
        axes[1].plot(known.index, known, marker=".", label=_plain(name.removeprefix(VALIDATION)))
        axes[1].set_ylabel("competition mAP of the validation fold")
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize="small")
    axes[-1].set_xlabel("iteration")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    with atomic_path(out) as path:
        figure.savefig(path, dpi=120, format="png")


def _plain(name: str) -> str:
    """A name as it is, where Matplotlib would read a formula between two `$`."""
    return name.replace("$", r"\$")
