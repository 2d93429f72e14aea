"""Work in a thread of its own, told step by step."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread

#: Called as progress(steps done, steps).
Progress = Callable[[int, int], None]


def steps_of(work: Callable[[Progress], None]) -> Iterator[tuple[int, int]]:
    """(steps done, steps) whenever the work says so, until it is done; what it raises is raised here."""
    told: SimpleQueue[tuple[int, int] | Exception | None] = SimpleQueue()

    def run() -> None:
        try:
            work(lambda done, total: told.put((done, total)))
            told.put(None)
        except Exception as error:
            told.put(error)

    Thread(target=run, daemon=True, name="search").start()
    while (step := told.get()) is not None:
        if isinstance(step, Exception):
            raise step
        yield step
