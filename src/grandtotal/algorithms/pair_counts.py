"""How often one product was bought within a few purchases before another: directed counts, exact.

A customer's moments are the days on which products of the history were bought last, or the steps of
a session. A product i of one moment and a product j of the k-th moment after it add WEIGHTS[k - 1]
steps of 1 / UNIT to the pair (i, j); k up to `window`. A window of 0 counts the customers of both
products instead, in each direction alike.

Of a large catalogue almost all pairs are empty, and which ones are is not known beforehand. So
columns are counted in groups first, and only the groups with something in them are parted further.
No count is negative, so nothing is missed and the result is every pair's exact total. A retailer
answers a few questions of a bounded size instead of one of products^2 cells.

Growing prefixes: Zhu et al., "Federated heavy hitters discovery with differential privacy", 2020,
https://arxiv.org/abs/1902.08534
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from grandtotal.algorithms.purchases import Purchases, binary
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field

UNIT = 60
WEIGHTS = (60, 30, 20, 15, 12, 10, 9, 8, 7, 6)  # about UNIT / k
MOST_CELLS = 2**24  # of one answer: 64 MiB
_STEP = 8  # into how many a group of columns is parted
_CLIPPED = 256  # customers whose pairs are clipped at once


@dataclass(frozen=True)
class PairCounts:
    """Sums over customers of what each pair of products is worth, in groups of columns.

    A cell is row * groups + group, a group `width` columns side by side. Without a broadcast all
    cells are counted. The broadcast holds "cells" (chosen,), increasing cells of groups _STEP times
    as wide; each is parted into _STEP.

    window: moments after a purchase that count; 0 counts customers of both products.
    clipped: whether what one customer adds is cut to the norm 1; only with width 1, all cells.
    """

    name: ClassVar[str] = "pair-counts"

    products: int
    split: str
    window: int = 5
    width: int = 1
    clipped: bool = False

    @property
    def bound(self) -> Stated:
        """All pairs of one customer together have the norm 1; none is negative."""
        return bound_by_group(1.0 if self.clipped else 0.0, "customer", signed=False)

    @property
    def groups(self) -> int:
        """How many groups a row has."""
        return -(-self.products // self.width)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns counts, one for each cell; the parts of a chosen cell lie side by side."""
        chosen = broadcast.get("cells")
        cells = self.products * self.groups if chosen is None else len(chosen) * _STEP
        if self.clipped:
            return {"counts": Field((cells,), scale_of(1.0))}
        return {"counts": Field((cells,), modulus=2**32)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:
        """Returns this retailer's counts; each pair of a customer is a whole number of steps."""
        purchases: Purchases = rows[self.split]
        if self.clipped:
            return {"counts": self._clipped(purchases)}
        if not 0 <= self.window <= len(WEIGHTS) or self.width < 1:
            raise AnswerError(Code.MALFORMED, f"no pairs are counted as {self}")
        # The next question is about the same pairs, in smaller groups.
        key = f"pairs of {self.split}, {self.window}"
        if key not in state.memory:
            state.memory[key] = pairs(purchases, self.window)
        return {"counts": self._counts(state.memory[key], broadcast.get("cells"))}

    def _counts(self, counted: csr_array, chosen: NDArray[Any] | None) -> NDArray[np.int64]:
        rows = np.repeat(np.arange(self.products, dtype=np.int64), np.diff(counted.indptr))
        group = counted.indices.astype(np.int64) // self.width
        values = counted.data
        if chosen is None:
            return _summed(rows * self.groups + group, values, self.products * self.groups)
        wide = -(-self.products // (self.width * _STEP))
        cell = rows * wide + group // _STEP
        at = np.minimum(np.searchsorted(chosen, cell), max(len(chosen) - 1, 0))
        inside = chosen[at] == cell if len(chosen) else np.zeros(len(cell), bool)
        places = at[inside] * _STEP + group[inside] % _STEP
        return _summed(places, values[inside], len(chosen) * _STEP)

    def _clipped(self, purchases: Purchases) -> NDArray[np.int64]:
        """Returns the sum of each customer's own pairs, cut before they are added."""
        cells = self.products**2
        total = np.zeros(cells, np.int64)
        customers = purchases.history.shape[0]
        for start in range(0, customers, _CLIPPED):
            block = range(start, min(start + _CLIPPED, customers))
            own = [pairs(purchases.of(np.array([c])), self.window) for c in block]
            flat = csr_array(vstack([csr_array(each.reshape((1, cells))) for each in own]))
            flat.data = flat.data / UNIT
            total += sum_of_clipped(flat, 1.0)
        return total


def _summed(places: NDArray[Any], values: NDArray[Any], cells: int) -> NDArray[np.int64]:
    """Returns the sums (cells,) of integers, exact below 2^53."""
    return np.bincount(places, values, cells).astype(np.int64)


def moments(history: csr_array) -> NDArray[np.int64]:
    """Returns for each entry of a history how many moments ago it was: 1 for a customer's last.

    Products of one day, or step, are of one moment.
    """
    customers = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
    order = np.lexsort((history.data, customers))
    ago, whose = history.data[order], customers[order]
    first = np.append(True, whose[1:] != whose[:-1])[: len(order)]
    another = np.append(True, ago[1:] != ago[:-1])[: len(order)] | first
    count = np.cumsum(another)
    before = np.maximum.accumulate(np.where(first, count - 1, 0))
    found = np.empty(len(order), np.int64)
    found[order] = count - before
    return found


def pairs(purchases: Purchases, window: int) -> csr_array:
    """Returns (products, products) int64: what the customers add to each pair of two products."""
    if not window:
        x = binary(purchases.history, np.ones(purchases.history.nnz, bool)).astype(np.int64)
        return _of_two_products(csr_array(x.T) @ x * UNIT)
    at, whose = _by_moment(purchases.history)
    earlier, later = [], []
    for step, weight in enumerate(WEIGHTS[:window], start=1):
        # Moments are in order of time: a customer's next ones lie side by side.
        same = np.flatnonzero(whose[step:] == whose[: max(len(whose) - step, 0)])
        earlier.append(at[same])
        later.append(at[same + step] * weight)
    return _of_two_products(csr_array(csr_array(vstack(earlier)).T) @ csr_array(vstack(later)))


def _by_moment(history: csr_array) -> tuple[csr_array, NDArray[np.intp]]:
    """Returns the products (moments, products) of each moment, oldest first, and whose it is."""
    customers = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
    ago = moments(history)
    order = np.lexsort((-ago, customers))
    whose, when = customers[order], ago[order]
    starts = np.append(True, (whose[1:] != whose[:-1]) | (when[1:] != when[:-1]))[: len(order)]
    row = np.cumsum(starts) - 1
    count = int(row[-1]) + 1 if len(row) else 0
    ones = np.ones(len(order), np.int64)
    at = csr_array((ones, (row, history.indices[order])), shape=(count, history.shape[1]))
    return at, whose[starts]


def _of_two_products(counted: csr_array) -> csr_array:
    """Returns the counts in order, without those of a product and itself."""
    rows = np.repeat(np.arange(counted.shape[0]), np.diff(counted.indptr))
    kept = (rows != counted.indices) & (counted.data != 0)
    found = csr_array(
        (counted.data[kept], (rows[kept], counted.indices[kept])), shape=counted.shape
    )
    found.sort_indices()
    return found


def counted_pairs(totals: Totals, products: int, split: str, window: int) -> csr_array:
    """Returns the totals (products, products) of all pairs, in units. One round, or a few more.

    A catalogue of up to 4,096 products takes one round, one of 43,000 four.
    """
    width = 1
    while products * -(-products // width) > MOST_CELLS:
        width *= _STEP
    groups = -(-products // width)
    counts = totals.total(PairCounts(products, split, window, width))["counts"]
    cells = np.flatnonzero(counts)
    found = counts[cells]
    while width > 1:
        width //= _STEP
        cells, found = _parted(totals, PairCounts(products, split, window, width), cells, groups)
        groups = -(-products // width)
    rows, columns = np.divmod(cells, products)
    return csr_array((found / UNIT, (rows, columns)), shape=(products, products))


def _parted(
    totals: Totals, query: PairCounts, cells: NDArray[np.intp], groups: int
) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Returns the cells that are not empty, _STEP times as narrow, and their counts.

    groups: how many a row had when these cells were counted.
    """
    parts, counts = [], []
    for some in _blocks(cells):
        found = totals.total(query, {"cells": some})["counts"]
        rows, group = np.divmod(some, groups)
        first = rows * query.groups + group * _STEP
        at = np.flatnonzero(found)
        parts.append(first[at // _STEP] + at % _STEP)
        counts.append(found[at])
    return np.concatenate(parts), np.concatenate(counts)


def _blocks(cells: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    most = MOST_CELLS // _STEP
    for start in range(0, max(len(cells), 1), most):
        yield cells[start : start + most]
