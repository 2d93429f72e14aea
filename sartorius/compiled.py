"""`compiled`: loops turned into machine code by numba, kept on disk between runs."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(loop: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function as machine code, made at the first call and then read back from the cache.

    The cache lies beside the source file or, where that folder cannot be written (a read-only site-packages), in the
    user's cache folder; `NUMBA_CACHE_DIR` moves it. Where neither can be written each process compiles for itself.
    """
    try:
        fast: Callable[Arguments, Result] = numba.njit(cache=True, nogil=True)(loop)
    except RuntimeError:  # numba found no folder that it may write
        fast = numba.njit(nogil=True)(loop)
    return fast


@compiled
def grown(values: NDArray[np.int64], filled: int, length: int) -> NDArray[np.int64]:
    """A longer array that begins with the first `filled` values, for compiled loops that find they need more room."""
    longer = np.empty(length, np.int64)
    for place in range(filled):  # a slice assignment would take numba two seconds to compile
        longer[place] = values[place]
    return longer
