"""Processes that share work with this one, end when it ends and leave Ctrl-C to it."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from multiprocessing import forkserver, get_all_start_methods, get_context, parent_process, resource_tracker
from multiprocessing.context import BaseContext
from threading import Thread, current_thread, main_thread
from typing import Any

from fastcore.parallel import ProcessPoolExecutor


class _Pool(ProcessPoolExecutor):  # type: ignore[misc]
    """Processes that Ctrl-C leaves whole: each is started wholly or not at all, and work that has not begun never does."""

    def submit(self, *work: Any, **named: Any) -> Future[Any]:
        with _interrupted_later():  # it starts processes, and one started by half says so
            begun: Future[Any] = super().submit(*work, **named)
        return begun

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.shutdown(cancel_futures=kind is not None)


def worker_pool(n_workers: int, module: str) -> ProcessPoolExecutor:
    """A pool of processes that end with this one, however it ends, and that Ctrl-C does not reach: this one answers it.

    n_workers: 0 works in this process.
    module: name of the module that the work is in, which is imported once and not in each process.
    """
    context = _fresh_processes(module) if n_workers else None
    return _Pool(n_workers, mp_context=context, initializer=_follow_creator)


def _fresh_processes(module: str) -> BaseContext:
    """Processes that begin without this one's threads: forking a process that has torch's can hang."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    _start_deaf_server()
    # The first process waits for the imports. Interrupted meanwhile, a pool would leave a process without its queues.
    first = context.Process(target=int)
    first.start()
    first.join()
    return context


def _start_deaf_server() -> None:
    """Start the process that workers are forked from with SIGINT blocked, as theirs is then from the first instruction.

    Here SIGINT waits only until that process is there, not for what it imports.
    """
    resource_tracker.ensure_running()  # the server starts it too, which unblocks SIGINT in Python 3.11
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """A block that ends before Ctrl-C is answered."""
    if current_thread() is not main_thread():  # where Ctrl-C is never answered
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _follow_creator() -> None:
    """Let this worker end when its creator is gone; SIGINT is ignored where no deaf server forked it, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_creator, daemon=True).start()


def _end_with_creator() -> None:
    creator = parent_process()
    if creator is not None:
        creator.join()
        os._exit(1)
