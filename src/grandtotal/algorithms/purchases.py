"""Who bought what before a cut, and the counts that every item-to-item model is made of.

Under epsilon every customer counts alike, whatever was bought: a contribution is as many equal
entries as there are products, or pairs of products, and all of them together have the norm of STEPS
steps. No entry is negative, so that a customer who becomes another one moves a total by sqrt(2) of
that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from grandtotal.algorithms.customer_context import Context
from grandtotal.consortium.query import Rows, State
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy import clipping
from grandtotal.privacy.bound import Bound, Stated
from grandtotal.privacy.clipping import STEPS, changed
from grandtotal.privacy.fixedpoint import Arrays, Field

# Customers of one retailer: what keeps the sum of counts inside 2^31 for up to 127 retailers.
MOST_CUSTOMERS = 2**24
# Measured on one core, in units of one multiplication of a dense product: counting a pair in a
# sparse product, and making room for a cell of its result.
_PAIR, _CELL = 135, 1200
BLANKS = 256  # entries of a clipped total to which nobody adds: they show how large the noise is
PRESENCE = STEPS // 8  # steps of a clipped contribution that say that there is a customer at all
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
    sold: (retailers, products), False where a retailer is known not to sell a product, and seller:
        (customers,) the row of each customer's; None where all sell all.
    context: what else is known of the customers at the cut; None where no model asks for it.
    """

    history: csr_array
    future: csr_array
    baskets: csr_array | None = None
    sold: NDArray[np.bool_] | None = None
    seller: NDArray[np.intp] | None = None
    context: Context | None = None

    def of(self, customers: NDArray[np.intp]) -> "Purchases":
        """Returns the rows of some customers."""
        own = None if self.baskets is None else self.baskets[customers]
        seller = None if self.seller is None else self.seller[customers]
        known = None if self.context is None else self.context.of(customers)
        held = self.history[customers], self.future[customers]
        return Purchases(*held, own, self.sold, seller, known)

    def without(self, absent: Sequence[int]) -> "Purchases":
        """Returns the same of a retailer that does not sell these products."""
        if not absent:
            return self
        sold = np.ones((1, self.history.shape[1]), bool)
        sold[0, list(absent)] = False
        return replace(self, sold=sold, seller=np.zeros(self.history.shape[0], np.intp))

    def only_sold(
        self, scores: NDArray[np.float32], offered: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Returns (customers, products) scores, -inf where the retailer does not sell.

        offered: (products,) what others let it show all the same.
        """
        if self.sold is None:
            return scores
        shown = self.sold if offered is None else self.sold | offered
        return np.where(shown[self.seller], scores, np.float32(-np.inf))

    @staticmethod
    def pooled(parts: list["Purchases"]) -> "Purchases":
        """Returns the rows of several retailers as if one held them: for simulations."""
        baskets = [part.baskets for part in parts if part.baskets is not None]
        return Purchases(
            csr_array(vstack([part.history for part in parts])),
            csr_array(vstack([part.future for part in parts])),
            csr_array(vstack(baskets)) if baskets else None,
            *_sellers(parts),
            Context.pooled([part.context for part in parts]),
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
    """How many customers bought each product, in the last `days` before the cut (0: ever).

    clipped: whether a customer of n products adds about 1 / sqrt(n) to each, not 1; the total then
        has blanks as well.
    """

    name: ClassVar[str] = "purchase-counts"

    products: int
    split: str
    days: int = 0
    clipped: bool = False

    @property
    def bound(self) -> Stated:
        """Counts and presence of one customer together have the norm STEPS."""
        return Bound(changed(STEPS, signed=False)) if self.clipped else None

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (products,) and the number of customers with a history."""
        if self.clipped:
            return {
                "counts": Field((self.products,), STEPS),
                "customers": Field((), PRESENCE),
                "blanks": Field((BLANKS,), STEPS),
            }
        return {
            "counts": Field((self.products,), modulus=2**32, largest=MOST_CUSTOMERS),
            "customers": Field((), modulus=2**32, largest=MOST_CUSTOMERS),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's counts."""
        history = rows[self.split].history
        recent = history.data <= self.days if self.days else np.ones(history.nnz, bool)
        if self.clipped:
            return self._clipped(binary(history, recent))
        return {
            "counts": np.bincount(history.indices[recent], minlength=self.products),
            "customers": np.asarray(np.count_nonzero(np.diff(history.indptr))),
        }

    def _clipped(self, x: csr_array) -> Arrays:
        bought = np.diff(x.indptr)
        steps = clipping.equal_steps(bought, math.sqrt(STEPS**2 - PRESENCE**2))
        # Sums of integers below 2^53: exact in float64.
        counts = np.bincount(x.indices, np.repeat(steps, bought), self.products)
        return {
            "counts": counts.astype(np.int64),
            "customers": np.asarray(np.count_nonzero(bought) * PRESENCE),
            "blanks": np.zeros(BLANKS, np.int64),
        }


@dataclass(frozen=True)
class CoPurchases:
    """How many customers bought both products of each pair: X'X of the binary purchase matrix X.

    clipped: whether a customer who bought n of the products in the broadcast, "products"
        (chosen,), adds 1 / sqrt(n (n + 1) / 2) to each of their pairs, not 1; no others count. The
        total then has blanks as well.
    """

    name: ClassVar[str] = "co-purchases"

    products: int
    split: str
    clipped: bool = False

    @property
    def bound(self) -> Stated:
        """The pairs of one customer, in the upper triangle, together have the norm STEPS."""
        return Bound(changed(STEPS, signed=False)) if self.clipped else None

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns gram (products, products); its diagonal counts the customers of each product."""
        if self.clipped:
            chosen = len(broadcast["products"])
            return {
                "gram": Field((chosen, chosen), STEPS, symmetric=True),
                "blanks": Field((BLANKS,), STEPS),
            }
        shape = (self.products, self.products)
        return {"gram": Field(shape, modulus=2**32, symmetric=True, largest=MOST_CUSTOMERS)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's X'X, exact: small integers in float32 blocks, or sparse."""
        history = rows[self.split].history
        x = binary(history, np.ones(history.nnz, bool))
        if not self.clipped:
            return {"gram": gram(x)}
        x = x[:, _places(broadcast["products"], self.products)]
        bought = np.diff(x.indptr).astype(np.int64)
        steps = clipping.equal_steps(bought * (bought + 1) // 2, STEPS)
        return {"gram": gram(x, steps), "blanks": np.zeros(BLANKS, np.int64)}


def binary(matrix: csr_array, kept: NDArray[np.bool_]) -> csr_array:
    """Returns 1 (float32) where the matrix has an entry that is kept."""
    starts = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return csr_array(
        (np.ones(np.count_nonzero(kept), np.float32), matrix.indices[kept], starts),
        shape=matrix.shape,
    )


def _places(products: NDArray[np.generic], many: int) -> NDArray[np.intp]:
    """Returns the products of a broadcast; AnswerError unless they rise within the catalogue."""
    places = products.astype(np.intp)
    if not (np.diff(places, prepend=-1, append=many) > 0).all():
        raise AnswerError(
            Code.MALFORMED, f"'products' must be different places below {many:,}, in their order"
        )
    return places


def gram(x: csr_array, weights: NDArray[np.int64] | None = None) -> NDArray[np.integer]:
    """Returns the upper triangle of X'X, or X'WX, as exact integers, packed row by row.

    x: binary, (customers, products). weights: (customers,), below 2^24; the sums are then int64,
    without them int32. Made some rows at a time: a full square of 20,000 products and what it is
    made of are 5 GB, the triangle is 0.8 GB.
    """
    products = x.shape[1]
    pairs = float((np.diff(x.indptr).astype(np.float64) ** 2).sum())
    cells = float(products) ** 2
    sparse = _PAIR * pairs + _CELL * min(pairs, cells) < x.shape[0] * cells
    counts = _sparse_counts if sparse else _dense_counts
    word = np.int32 if weights is None else np.int64
    packed: NDArray[np.integer] = np.empty(products * (products + 1) // 2, word)
    rows, start = max(1, _PANEL // max(products, 1)), 0
    for first in range(0, products, rows):
        panel = counts(csr_array(x[:, first:]), weights, min(rows, products - first))
        for row, together in enumerate(panel):
            packed[start : start + len(together) - row] = together[row:]
            start += len(together) - row
    return packed


def _sparse_counts(
    x: csr_array, weights: NDArray[np.int64] | None, rows: int
) -> NDArray[np.integer]:
    """Returns the first rows of X'X, or X'WX."""
    if weights is None:
        x = weighted = x.astype(np.int32)
    else:
        x = x.astype(np.int64)
        each = np.repeat(weights, np.diff(x.indptr))
        weighted = csr_array((each, x.indices, x.indptr), shape=x.shape)
    counts: NDArray[np.integer] = csr_array(csr_array(x[:, :rows].T) @ weighted).toarray()
    return counts


def _dense_counts(
    x: csr_array, weights: NDArray[np.int64] | None, rows: int
) -> NDArray[np.integer]:
    """Returns the first rows of X'X, or X'WX."""
    # Counts are exact in float32 below 2^24, weighted ones in float64 below 2^53; a block has far
    # fewer customers than would leave the exact range.
    total = np.zeros((rows, x.shape[1]), np.int32 if weights is None else np.int64)
    customers = max(256, _PANEL // x.shape[1])
    for start in range(0, x.shape[0], customers):
        block = x[start : start + customers].toarray()
        if weights is None:
            total += (block[:, :rows].T @ block).astype(np.int32)
        else:
            weighted = block * weights[start : start + customers, None].astype(np.float64)
            total += (block[:, :rows].T.astype(np.float64) @ weighted).astype(np.int64)
    return total
