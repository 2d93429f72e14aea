"""`compiled`: loops turned into machine code by numba, kept on disk between runs."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Ints = NDArray[np.int64]


def compiled(loop: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function as machine code, made at the first call and then read back from the cache.

    The cache lies beside the source file or, where that folder cannot be written (a read-only site-packages), in the
    user's cache folder; `NUMBA_CACHE_DIR` moves it. Where neither can be written each process compiles for itself.
    """
    options: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True}  # nobody calls it from C
    try:
        fast: Callable[Arguments, Result] = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # numba found no folder that it may write
        fast = numba.njit(**options)(loop)
    return fast


def with_room(loop: Callable[[Ints, Ints], int], room: int) -> tuple[Ints, Ints]:
    """The two columns that a loop fills, of the length that it needs.

    loop: writes what fits into two int64 arrays of the same length and returns how many there are; called again with
        as much room if that is more. Loops that make no arrays themselves compile in a third of the time.
    room: the length to begin with.
    """
    while True:
        columns = np.zeros(room, dtype=np.int64), np.zeros(room, dtype=np.int64)
        needed = loop(*columns)
        if needed <= room:
            return columns[0][:needed], columns[1][:needed]
        room = needed
