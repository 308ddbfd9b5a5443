"""How inner loops are compiled by numba: imported by files of loops, when loops are asked for."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Returns the function, compiled when it is first called and kept where there is a place."""
    try:
        return njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # an installation that nobody may write to, for a user without a home
        return njit(nogil=True, **options)(function)
