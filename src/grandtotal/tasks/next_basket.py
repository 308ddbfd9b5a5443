"""The half of recommend that may name products bought before: the choice of a habit, and scores."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.blend import Candidate, recommender
from grandtotal.algorithms.item_model import top
from grandtotal.algorithms.next_basket import Habit, NextBasket, blend, goes_with
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.ranking import ranking_scores, scored_customers
from grandtotal.tasks.scores import Metric
from grandtotal.tasks.task import Fitted

HABITS = tuple(Habit(decay, share) for decay in (1.0, 0.9, 0.8) for share in (0.3, 0.5, 0.7))
# The bestsellers only fill the list after the customer's own products and order equal ones.
ALMOST_ALL = Habit(1.0, 1.0 - 2.0**-10)
METRICS = (
    Metric("recall_repeat", True, "recall@k of the products that the customer had bought before"),
    Metric("recall_explore", True, "recall@k of the products that are new to the customer"),
)
_SUMS = ("ndcg", "recall", "hit_rate")
_STEPS = 2**20


@dataclass(frozen=True)
class BasketScores:
    """Sums over customers of ndcg, recall and hit at `top`, for every habit in the broadcast.

    The broadcast holds the arrays of an item model, and "habits" (habits, 2), decay and share.

    clipped: whether what one customer adds, each score and the count, is cut to the norm LARGEST,
        which it never passes with as many habits as HABITS.
    """

    name: ClassVar[str] = "basket-scores"
    LARGEST: ClassVar[float] = math.sqrt(len(HABITS) * len(_SUMS) + 1)

    products: int
    top: int
    split: str
    clipped: bool = False

    @property
    def bound(self) -> Stated:
        """No score is negative or above 1."""
        largest = self.LARGEST if self.clipped else 0.0
        return bound_by_group(largest, "customer", signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns a sum of each score for each habit, and the number of customers scored."""
        habits = len(broadcast["habits"])
        if self.clipped:
            scale = scale_of(self.LARGEST)
            return {
                **{name: Field((habits,), scale) for name in _SUMS},
                "customers": Field((), scale),
            }
        return {**{name: Field((habits,), scale=_STEPS) for name in _SUMS}, "customers": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each customer's score is rounded before it is added."""
        items = recommender(broadcast, {})
        habits = [Habit(*pair) for pair in broadcast["habits"].tolist()]
        sums = np.zeros(len(habits) * len(_SUMS) + 1, np.int64)
        for block, wanted in scored_customers(rows[self.split]):
            shared = goes_with(items, block)
            blended = (block.only_sold(blend(habit, shared, block)) for habit in habits)
            lists = (top(scores, self.top) for scores in blended)
            scores = np.hstack([ranking_scores(ranked, wanted) for ranked in lists])
            if self.clipped:
                counted = np.hstack([scores, np.ones((len(scores), 1))])
                sums += sum_of_clipped(counted, self.LARGEST)
            else:
                steps = np.rint(scores * _STEPS).astype(np.int64)
                sums += np.append(steps.sum(axis=0), len(wanted))
        by_habit = sums[:-1].reshape(len(habits), len(_SUMS))
        return {**{name: by_habit[:, i] for i, name in enumerate(_SUMS)}, "customers": sums[-1]}


def choose(totals: Totals, candidates: Sequence[Candidate], products: int, k: int) -> Fitted:
    """Returns the item model and the habit with the best summed validation NDCG.

    One round of scores for each candidate tries all habits. The model is fitted up to the test cut.
    """
    grid = np.array([[habit.decay, habit.share] for habit in HABITS])
    query = BasketScores(products, k, "validation")
    tried: list[Json] = []
    most = -1.0
    for candidate in candidates:
        items = candidate.fit(totals, products, "validation")
        sums = totals.total(query, {**items.arrays, "habits": grid})
        customers = max(float(sums["customers"]), 1.0)
        tried += [
            {
                **NextBasket(items, habit).meta,
                **{name: float(sums[name][i]) / customers for name in _SUMS},
            }
            for i, habit in enumerate(HABITS)
        ]
        found = max(range(len(HABITS)), key=lambda i: float(sums["ndcg"][i]))
        # Of equal ones the first; models of a large catalogue are held no longer than needed.
        if float(sums["ndcg"][found]) > most:
            most, best, before = float(sums["ndcg"][found]), candidate, items
            habit = HABITS[found]
    model = NextBasket(best.fit(totals, products, "test"), habit)
    return Fitted(model, {"chosen": model.meta, "tried": tried}, NextBasket(before, habit))


def own_favourites(totals: Totals, products: int) -> NextBasket:
    """Returns each customer's most frequent products, then the bestsellers of `totals`."""
    return NextBasket(Popularity().fit(totals, products, "test"), ALMOST_ALL)


@dataclass(frozen=True)
class BasketList:
    """Lists of some customers. ranked: (customers, k); wanted, bought: (customers, products)."""

    ranked: NDArray[np.intp]
    wanted: NDArray[np.bool_]
    bought: NDArray[np.bool_]

    def parts(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (customers, 2) recall of repeated and of new products, and if there are any."""
        hits = np.take_along_axis(self.wanted, self.ranked, axis=1)
        again = np.take_along_axis(self.bought, self.ranked, axis=1)
        found = np.stack([(hits & again).sum(axis=1), (hits & ~again).sum(axis=1)], axis=1)
        sought = [(self.wanted & self.bought).sum(axis=1), (self.wanted & ~self.bought).sum(axis=1)]
        wanted = np.stack(sought, axis=1)
        return found / np.maximum(wanted, 1), wanted > 0


def lists(model: NextBasket, purchases: Purchases, k: int) -> Iterator[BasketList]:
    """Yields the lists of the customers who are scored, block by block."""
    for block, wanted in scored_customers(purchases):
        bought = block.history.toarray() > 0
        ranked = top(block.only_sold(model.scores(block), model.offered), k)
        yield BasketList(ranked, wanted, bought)
