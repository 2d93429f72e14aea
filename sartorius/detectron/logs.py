"""Log lines of a run: on the screen and in its `log.txt`, for as long as the run lasts."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOGGERS = ("detectron2", "fvcore", "sartorius")
#: A table of every backbone tensor, which says nothing that a mismatch (an error here) would not.
QUIET = "detectron2.checkpoint.c2_model_loading"


@contextmanager
def logging_into(folder: Path, rank: int) -> Iterator[None]:
    """Send the log of training to `log.txt` and the screen; what was added to the loggers is removed at the end.

    rank: number of this process; only the first one (0) shows its lines and owns `log.txt`, others write
    `log.txt.rank<k>`.
    """
    form = logging.Formatter("[%(asctime)s %(name)s] %(message)s", datefmt="%m/%d %H:%M:%S")
    handlers: list[logging.Handler] = [
        logging.FileHandler(folder / ("log.txt" if rank == 0 else f"log.txt.rank{rank}"))
    ]
    if rank == 0:
        handlers.append(_Screen())
    levels = {name: logging.getLogger(name).level for name in (*LOGGERS, QUIET)}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger(QUIET).setLevel(logging.ERROR)
    for handler in handlers:
        handler.setFormatter(form)
        for name in LOGGERS:
            logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for handler in handlers:
            for name in LOGGERS:
                logging.getLogger(name).removeHandler(handler)
            handler.close()


class _Screen(logging.StreamHandler):
    """Writes to what `sys.stderr` is at the time: while there is a progress bar, that puts lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
