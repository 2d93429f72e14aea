"""How training tells where it is: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from detectron2.utils.events import CommonMetricPrinter, EventWriter, get_event_storage
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_writer(iterations: int) -> EventWriter:
    """A progress bar when stderr is a terminal, detectron2's log lines when it is not."""
    return BarWriter(iterations) if sys.stderr.isatty() else CommonMetricPrinter(iterations)


class BarWriter(EventWriter):
    """A bar with the total loss, iterations per second and the time left."""

    def __init__(self, iterations: int) -> None:
        self._bar = Progress(
            TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(), console=Console(stderr=True),
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=iterations, facts="")
        self._since: tuple[float, int] | None = None

    def write(self) -> None:
        """Show the latest iteration."""
        storage = get_event_storage()
        now = time.monotonic()
        if self._since is None:
            self._since = (now, storage.iter)
            self._bar.start()
        done, seconds = storage.iter - self._since[1], now - self._since[0]
        rate = f"{done / seconds:.2f} it/s" if done and seconds else ""
        loss = (
            storage.histories()["total_loss"].median(20)
            if "total_loss" in storage.histories()
            else float("nan")
        )
        self._bar.update(self._task, completed=storage.iter + 1, facts=f"loss {loss:.3f}  {rate}")

    def close(self) -> None:
        """End the bar."""
        self._bar.stop()
