"""How far long work has come: a bar on a terminal, plain lines elsewhere, both on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds between two plain lines about the same work.
LINE_EVERY_S = 10.0

Report = Callable[[str, int, int], None]


@contextmanager
def shown_progress() -> Iterator[Report]:
    """A function report(what, done, total) that shows rate and time left until the block ends."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, completed=done - 1, rate="")
            speed = bars.tasks[tasks[what]].speed
            bars.update(tasks[what], completed=done, total=total, rate=f"{speed:.1f}/s" if speed else "")

        yield report


class _Lines:
    """A line at the first piece of work, at the last, and every few seconds between."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[float, int]] = {}
        self._said: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        began, first = self._started.setdefault(what, (now, done))
        if done < total and now - self._said.get(what, -LINE_EVERY_S) < LINE_EVERY_S:
            return
        self._said[what] = now
        rate = (done - first) / (now - began) if now > began else 0.0
        pace = f", {rate:.2f}/s, {(total - done) / rate:.0f} s left" if rate and done < total else ""
        sys.stderr.write(f"{what}: {done}/{total}{pace}\n")
        sys.stderr.flush()
