"""Work in a thread of its own, told step by step."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread

#: Called as progress(steps done, steps).
Progress = Callable[[int, int], None]
#: Seconds between two looks whether the work is over.
_LOOK_S = 0.2


class Abandoned(Exception):  # noqa: N818 - not an error
    """Nobody awaits the work any more."""


def steps_of(
    work: Callable[[Progress], None], is_over: Callable[[], bool] = lambda: False
) -> Iterator[tuple[int, int]]:
    """(steps done, steps) whenever the work says so, until it is done; what it raises is raised here.

    If the iterator is closed before, `Abandoned` is raised in the work when it tells its next step. Raises `Abandoned`
    here too as soon as the work is over, though it may still be at a step.
    """
    told: SimpleQueue[tuple[int, int] | Exception | None] = SimpleQueue()
    abandoned = Event()

    def tell(done: int, total: int) -> None:
        if abandoned.is_set():
            raise Abandoned
        told.put((done, total))

    def run() -> None:
        try:
            work(tell)
            told.put(None)
        except Exception as error:
            told.put(error)

    Thread(target=run, daemon=True, name="search").start()
    try:
        while not is_over():
            try:
                step = told.get(timeout=_LOOK_S)
            except Empty:
                continue
            if step is None:
                return
            if isinstance(step, Exception):
                raise step
            yield step
        raise Abandoned
    finally:
        abandoned.set()
