"""How inner loops are compiled by numba: imported by files of loops, when loops are asked for."""

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Returns the function, compiled when it is first called and kept where there is a place.

    A division by 0 gives what it does in NumPy, so that loops have no way out in between.
    """
    make = partial(njit, nogil=True, error_model="numpy", **options)
    try:
        return make(cache=True)(function)
    except RuntimeError:  # an installation that nobody may write to, for a user without a home
        return make()(function)
