"""`compiled`: loops turned into machine code by numba, kept on disk between runs."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(loop: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function as machine code, made at the first call and then read back from the cache.

    The cache lies beside the source file or, where that folder cannot be written (a read-only site-packages), in the
    user's cache folder; `NUMBA_CACHE_DIR` moves it. Where neither can be written each process compiles for itself.
    """
    try:
        return numba.njit(cache=True, nogil=True)(loop)  # type: ignore[no-any-return]
    except RuntimeError:  # numba found no folder that it may write
        return numba.njit(nogil=True)(loop)  # type: ignore[no-any-return]
