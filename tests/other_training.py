"""A run folder that another process writes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Stays in a run folder, together with a process of its own as a data loader has them, until it is told to go.
STAY = """
import os, sys
from pathlib import Path
from sartorius.detectron.run_lock import alone_in
with alone_in(Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        sys.stdin.read()
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
"""


@contextmanager
def somebody_in(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is alone in the folder, and its child."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STAY, str(folder)], text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()
