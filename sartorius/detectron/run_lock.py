"""One training at a time in a run folder: two would mix their checkpoints, tables and scores."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sartorius.errors import UserError
from sartorius.files import require_writable

try:
    from fcntl import LOCK_EX, LOCK_NB, lockf
except ImportError:  # Windows: there nothing keeps a second training away
    lockf = None

#: The file in a run folder that is locked. It may stay: the lock ends with the process, however that ends.
LOCK = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within the context no other process enters it for the same run folder, which is made if it is missing.

    A folder in which nothing is written meanwhile is left as it was found.
    Raises UserError if another process is in, or the folder cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = folder / LOCK
    require_writable(lock)
    with lock.open("a") as file:
        _lock(file.fileno(), folder)
        try:
            yield
        finally:
            if made and list(folder.iterdir()) == [lock]:
                lock.unlink()
                with suppress(OSError):  # another run has begun beside it
                    for path in made:
                        path.rmdir()


def _lock(file: int, folder: Path) -> None:
    """Lock the open file until it is closed or the process ends.

    Not by `flock`: that lock would also live on in the loader's processes, which outlast a killed training for seconds.
    """
    if lockf is None:
        return
    try:
        lockf(file, LOCK_EX | LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise UserError(
            f"{folder}: another training writes there; wait until it has ended, or choose another folder with --runs"
        ) from None
    except OSError:  # a file system that has no locks: go on without
        pass
