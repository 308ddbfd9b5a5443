"""How many threads linear algebra uses: on a shared machine, waiting for them can cost the most."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from itertools import islice
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Made = TypeVar("Made")
# Rows of a square matrix below which one thread is enough: it takes seconds at most, and where
# another process has the second core, two threads that wait for each other took ten times as long.
LARGE = 6000


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
    return one_thread() if rows < LARGE else nullcontext()


_chosen = os.cpu_count() or 1


def workers() -> int:
    """Returns how many threads share one question's work on rows."""
    return _chosen


@contextmanager
def limited_to(count: int) -> Iterator[None]:
    """Uses at most so many threads for work on rows, in this process, for a while."""
    global _chosen
    before, _chosen = _chosen, max(1, count)
    try:
        yield
    finally:
        _chosen = before


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "rows")


def side_by_side(calls: Sequence[Callable[[], Made]]) -> list[Made]:
    """Returns what the calls return, as many at once as there are `workers`; each works alone.

    Whoever is ready takes the next call, this thread too.
    """
    count = min(workers(), len(calls))
    if count < 2:
        return [call() for call in calls]
    left, found = iter(enumerate(calls)), {}

    def work() -> None:
        for place, call in left:
            found[place] = call()

    with limited_to(workers() // count):
        _at_once(_side(count - 1), [work] * count)
    return [found[place] for place in range(len(calls))]


@cache
def _side(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "beside")


def _at_once(pool: ThreadPoolExecutor, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Returns what the calls return; the first runs here, the others in the pool."""
    others = [pool.submit(call) for call in calls[1:]]
    try:
        first = calls[0]()
    finally:
        # An error in one leaves nobody at work behind, who would still hold a lock.
        wait(others)
    return [first, *(other.result() for other in others)]


def _forget() -> None:
    _pool.cache_clear()
    _side.cache_clear()


# A forked process has the pools and not their threads: what they were given would never begin.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Returns what the calls return; the first runs here, the others beside it."""
    if len(calls) < 2:
        return [call() for call in calls]
    return _at_once(_pool(), calls)


def each(function: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Yields what the function returns of each, in their order, `workers` of them at once.

    The function itself uses no other thread.
    """
    left = iter(items)
    while some := list(islice(left, workers())):
        yield from together([partial(function, item) for item in some])
