"""Lists of products and what they score, block by block of customers."""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.item_model import ItemModel
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.totals import Totals

BLOCK = 1024  # customers scored at once: bounds the dense (customers, products) block


class Candidate(Protocol):
    """What a choice is made of: hyper-parameters that make an item model of totals."""

    def fit(self, totals: Totals, products: int, split: str) -> ItemModel: ...


def scored_customers(purchases: Purchases) -> Iterator[tuple[Purchases, NDArray[np.bool_]]]:
    """Yields customers with a history and something wanted, and (customers, products) wanted."""
    known = np.diff(purchases.history.indptr) > 0
    wanting = np.diff(purchases.future.indptr) > 0
    customers = np.flatnonzero(known & wanting)
    for start in range(0, len(customers), BLOCK):
        block = purchases.of(customers[start : start + BLOCK])
        yield block, block.future.toarray() > 0


def ranking_scores(ranked: NDArray[np.intp], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns (customers, 3) ndcg, recall, hit of lists `ranked` (customers, k), best first.

    wanted: (customers, products), each with at least one product.
    NDCG = sum over hits 1/log2(rank + 1), over the same sum for a list of hits only.
    """
    hits = np.take_along_axis(wanted, ranked, axis=1)
    discount = math.log(2.0) / log(np.arange(2.0, ranked.shape[1] + 2))
    relevant = wanted.sum(axis=1)
    ideal = np.cumsum(discount)[np.minimum(relevant, ranked.shape[1]) - 1]
    return np.stack(
        [(hits * discount).sum(axis=1) / ideal, hits.sum(axis=1) / relevant, hits.any(axis=1)],
        axis=1,
    )
