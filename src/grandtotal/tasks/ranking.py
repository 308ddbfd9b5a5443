"""Lists of products and what they score, block by block of customers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.blend import recommender
from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.item_model import Recommender, top
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Rows, State
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.scores import Metric
from grandtotal.threads import each

BLOCK = 1024  # customers scored at once: bounds the dense (customers, products) block
METRICS = (
    Metric("ndcg", True, "NDCG@k: hits count 1/log2(rank + 1), over the best that was possible"),
    Metric("recall", True, "recall@k: share of a customer's new products among the k"),
    Metric("hit_rate", True, "hit rate@k: share of customers with at least one hit"),
)


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


@dataclass(frozen=True)
class RankingScores:
    """Sums over customers of ndcg, recall and hit at `top`, for a model in the broadcast.

    clipped: whether what one customer adds, each score and the count, is cut to the norm LARGEST,
        which it never passes.
    """

    name: ClassVar[str] = "ranking-scores"
    LARGEST: ClassVar[float] = math.sqrt(len(METRICS) + 1)

    products: int
    top: int
    split: str
    clipped: bool = False

    @property
    def bound(self) -> Stated:
        """No score is negative or above 1."""
        largest = self.LARGEST if self.clipped else 0.0
        return bound_by_group(largest, "customer", signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns a sum for each metric and the number of customers scored."""
        if self.clipped:
            scale = scale_of(self.LARGEST)
            return {name: Field((), scale) for name in (*(m.name for m in METRICS), "customers")}
        sums = {metric.name: Field((), scale=metric.steps) for metric in METRICS}
        return {**sums, "customers": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each customer's score is rounded before it is added."""
        model = recommender(broadcast, {})
        sums = np.zeros(len(METRICS) + 1, np.int64)
        for ranked, wanted, _ in ranked_lists(model, rows[self.split], self.top):
            scores = ranking_scores(ranked, wanted)
            if self.clipped:
                counted = np.hstack([scores, np.ones((len(scores), 1))])
                sums += sum_of_clipped(counted, self.LARGEST)
            else:
                steps = np.rint(scores * [m.steps for m in METRICS]).astype(np.int64)
                sums += np.append(steps.sum(axis=0), len(ranked))
        named = {metric.name: sums[i] for i, metric in enumerate(METRICS)}
        return {**named, "customers": sums[-1]}


def ranked_lists(
    model: Recommender, purchases: Purchases, k: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yields the k best products, the products wanted, and which of the k are new to the customer.

    Block by block of scored customers. Only where fewer than k are left to buy are some not new.
    """

    def listed(
        given: tuple[Purchases, NDArray[np.bool_]],
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
        block, wanted = given
        scores = block.only_sold(model.scores(block.history, block.context), model.offered)
        ranked = top(scores, k)
        return ranked, wanted, np.isfinite(np.take_along_axis(scores, ranked, axis=1))

    yield from each(listed, scored_customers(purchases))
