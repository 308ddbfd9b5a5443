"""How many threads linear algebra uses: on a shared machine, waiting for them can cost the most."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

# Rows of a square matrix below which one thread is enough: it takes seconds at most, and where
# another process has the second core, two threads that wait for each other took ten times as long.
_LARGE = 6000


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Returns a context in which linear algebra uses one thread."""
    limit: AbstractContextManager[Any] = _libraries().limit(limits=1)
    return limit


def threads_for(rows: int) -> AbstractContextManager[Any]:
    """Returns a context for a factorisation of so many rows: one thread, or all for large ones.

    The choice depends on the size alone, so that a model has the same bits wherever it is fitted.
    """
    return one_thread() if rows < _LARGE else nullcontext()
