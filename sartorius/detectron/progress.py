"""How training tells where it is: a bar on a terminal, plain lines elsewhere."""

import logging
import sys
import time

from detectron2.utils.events import CommonMetricPrinter, EventWriter, get_event_storage
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between two lines about the same validation.
LINE_EVERY_S = 10.0


def progress_writer(iterations: int) -> "BarWriter | LineWriter":
    """A progress bar when stderr is a terminal, detectron2's log lines when it is not."""
    return BarWriter(iterations) if sys.stderr.isatty() else LineWriter(iterations)


class LineWriter(CommonMetricPrinter):
    """detectron2's log lines, and one every few seconds of a validation."""

    def __init__(self, iterations: int) -> None:
        super().__init__(iterations)
        self._said = 0.0

    def validated(self, done: int, total: int) -> None:
        """Tell how many of the validation's images are done."""
        now = time.monotonic()
        if done == 1:
            self._said = now
        if done < total and now - self._said >= LINE_EVERY_S:
            self._said = now
            logging.getLogger("sartorius").info("validate: %d/%d", done, total)


class BarWriter(EventWriter):
    """A bar with the total loss, iterations per second and the time left, and one below it during a validation."""

    def __init__(self, iterations: int) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(), console=Console(stderr=True),
        )  # fmt: skip
        self._iterations = iterations
        self._task = self._bar.add_task("training", total=iterations, facts="")
        self._since: tuple[float, int] | None = None
        self._ended = False

    def validated(self, done: int, total: int) -> None:
        """Show how many of the validation's images are done."""
        if done == 1:
            self._bar.start()
            self._validation = self._bar.add_task("validate", total=total, facts="")
        self._bar.update(self._validation, completed=done)
        if done == total:
            self._bar.remove_task(self._validation)
            if self._ended:
                self._bar.stop()

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
        done = min(storage.iter + 1, self._iterations)  # detectron2 counts one further after the last step
        self._bar.update(self._task, completed=done, facts=f"loss {loss:.3f}  {rate}")

    def close(self) -> None:
        """End the bar."""
        self._ended = True
        self._bar.stop()
