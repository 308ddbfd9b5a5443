"""Who bought what before a cut, and the counts that every item-to-item model is made of."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from grandtotal.consortium.query import Rows, State
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

# Customers of one retailer: what keeps the sum of counts inside 2^31 for up to 127 retailers.
MOST_CUSTOMERS = 2**24
# Measured on one core, in units of one multiplication of a dense product: counting a pair in a
# sparse product, and making room for a cell of its result.
_PAIR, _CELL = 135, 1200
_PANEL = 2**24  # cells that are counted at once


@dataclass(frozen=True)
class Purchases:
    """The customers of one retailer at one cut, over the shared catalogue.

    history: (customers, products); where bought before the cut, the days since then, from 1.
    future: (customers, products); 1 where bought after the cut, within the horizon, for the first
        time; where baskets are given, at any time. Only scoring reads it.
    baskets: (customers, products) with an entry for every basket that held the product, several of
        one product side by side: how many baskets ago, the customer's last one is 1. Only where
        products are recommended again.
    """

    history: csr_array
    future: csr_array
    baskets: csr_array | None = None

    def of(self, customers: NDArray[np.intp]) -> "Purchases":
        """Returns the rows of some customers."""
        own = None if self.baskets is None else self.baskets[customers]
        return Purchases(self.history[customers], self.future[customers], own)

    @staticmethod
    def pooled(parts: list["Purchases"]) -> "Purchases":
        """Returns the rows of several retailers as if one held them: for simulations."""
        baskets = [part.baskets for part in parts if part.baskets is not None]
        return Purchases(
            csr_array(vstack([part.history for part in parts])),
            csr_array(vstack([part.future for part in parts])),
            csr_array(vstack(baskets)) if baskets else None,
        )


@dataclass(frozen=True)
class PurchaseCounts:
    """How many customers bought each product, in the last `days` before the cut (0: ever)."""

    name: ClassVar[str] = "purchase-counts"
    bound: ClassVar[Stated] = None

    products: int
    split: str
    days: int = 0

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (products,) and the number of customers with a history."""
        return {
            "counts": Field((self.products,), modulus=2**32, largest=MOST_CUSTOMERS),
            "customers": Field((), modulus=2**32, largest=MOST_CUSTOMERS),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's counts."""
        history = rows[self.split].history
        recent = history.data <= self.days if self.days else np.ones(history.nnz, bool)
        return {
            "counts": np.bincount(history.indices[recent], minlength=self.products),
            "customers": np.asarray(np.count_nonzero(np.diff(history.indptr))),
        }


@dataclass(frozen=True)
class CoPurchases:
    """How many customers bought both products of each pair: X'X of the binary purchase matrix X."""

    name: ClassVar[str] = "co-purchases"
    bound: ClassVar[Stated] = None

    products: int
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns gram (products, products); its diagonal counts the customers of each product."""
        shape = (self.products, self.products)
        return {"gram": Field(shape, modulus=2**32, symmetric=True, largest=MOST_CUSTOMERS)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's X'X, exact: small integers in float32 blocks, or sparse."""
        history = rows[self.split].history
        x = csr_array(
            (np.ones(history.nnz, np.float32), history.indices, history.indptr), shape=history.shape
        )
        return {"gram": gram(x)}


def gram(x: csr_array) -> NDArray[np.int32]:
    """Returns the upper triangle of X'X as exact integers, packed row by row.

    x: binary, (customers, products). Made some rows at a time: a full square of 20,000 products
    and what it is made of are 5 GB, the triangle is 0.8 GB.
    """
    products = x.shape[1]
    pairs = float((np.diff(x.indptr).astype(np.float64) ** 2).sum())
    cells = float(products) ** 2
    sparse = _PAIR * pairs + _CELL * min(pairs, cells) < x.shape[0] * cells
    counts = _sparse_counts if sparse else _dense_counts
    packed = np.empty(products * (products + 1) // 2, np.int32)
    rows, start = max(1, _PANEL // products), 0
    for first in range(0, products, rows):
        panel = counts(csr_array(x[:, first:]), min(rows, products - first))
        for row, together in enumerate(panel):
            packed[start : start + len(together) - row] = together[row:]
            start += len(together) - row
    return packed


def _sparse_counts(x: csr_array, rows: int) -> NDArray[np.int32]:
    """Returns the first rows of X'X."""
    x = x.astype(np.int32)
    counts: NDArray[np.int32] = csr_array(csr_array(x[:, :rows].T) @ x).toarray()
    return counts


def _dense_counts(x: csr_array, rows: int) -> NDArray[np.int32]:
    """Returns the first rows of X'X."""
    total = np.zeros((rows, x.shape[1]), np.int32)
    # float32 counts are exact below 2^24; a block has far fewer customers.
    customers = max(256, _PANEL // x.shape[1])
    for start in range(0, x.shape[0], customers):
        block = x[start : start + customers].toarray()
        total += (block[:, :rows].T @ block).astype(np.int32)
    return total
