"""Who bought what before a cut, and the counts that every item-to-item model is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Purchases:
    """The customers of one retailer at one cut, over the shared catalogue.

    history: (customers, products); where bought before the cut, the days since then, from 1.
    future: (customers, products); 1 where bought after the cut, within the horizon, for the first
        time; where baskets are given, at any time. Only scoring reads it.
    baskets: (customers, products) with an entry for every basket that held the product, several of
        one product side by side: how many baskets ago, the customer's last one is 1. Only where
        products are recommended again.
    sold: (retailers, products), False where a retailer is known not to sell a product, and seller:
        (customers,) the row of each customer's; None where all sell all.
    """

    history: csr_array
    future: csr_array
    baskets: csr_array | None = None
    sold: NDArray[np.bool_] | None = None
    seller: NDArray[np.intp] | None = None

    def of(self, customers: NDArray[np.intp]) -> "Purchases":
        """Returns the rows of some customers."""
        own = None if self.baskets is None else self.baskets[customers]
        seller = None if self.seller is None else self.seller[customers]
        return Purchases(self.history[customers], self.future[customers], own, self.sold, seller)

    def without(self, absent: Sequence[int]) -> "Purchases":
        """Returns the same of a retailer that does not sell these products."""
        if not absent:
            return self
        sold = np.ones((1, self.history.shape[1]), bool)
        sold[0, list(absent)] = False
        return replace(self, sold=sold, seller=np.zeros(self.history.shape[0], np.intp))

    def only_sold(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns (customers, products) scores, -inf where the retailer does not sell."""
        if self.sold is None:
            return scores
        return np.where(self.sold[self.seller], scores, np.float32(-np.inf))

    @staticmethod
    def pooled(parts: list["Purchases"]) -> "Purchases":
        """Returns the rows of several retailers as if one held them: for simulations."""
        baskets = [part.baskets for part in parts if part.baskets is not None]
        return Purchases(
            csr_array(vstack([part.history for part in parts])),
            csr_array(vstack([part.future for part in parts])),
            csr_array(vstack(baskets)) if baskets else None,
            *_sellers(parts),
        )


def _sellers(
    parts: list[Purchases],
) -> tuple[NDArray[np.bool_] | None, NDArray[np.intp] | None]:
    if all(part.sold is None for part in parts):
        return None, None
    sold, sellers, rows = [], [], 0
    for part in parts:
        customers, products = part.history.shape
        sold.append(np.ones((1, products), bool) if part.sold is None else part.sold)
        own = np.zeros(customers, np.intp) if part.seller is None else part.seller
        sellers.append(own + rows)
        rows += len(sold[-1])
    return np.concatenate(sold), np.concatenate(sellers)


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
    """Returns X'X of a binary matrix (customers, products) as exact integers."""
    pairs = float((np.diff(x.indptr).astype(np.float64) ** 2).sum())
    cells = float(x.shape[1]) ** 2
    if _PAIR * pairs + _CELL * min(pairs, cells) < x.shape[0] * cells:
        counts = csr_array(x.T.astype(np.int32) @ x.astype(np.int32))
        dense: NDArray[np.int32] = counts.toarray()
        return dense
    total = np.zeros((x.shape[1], x.shape[1]), np.int32)
    # float32 counts are exact below 2^24; a block has far fewer rows.
    rows = max(256, 2**24 // x.shape[1])
    for start in range(0, x.shape[0], rows):
        block = x[start : start + rows].toarray()
        total += (block.T @ block).astype(np.int32)
    return total
