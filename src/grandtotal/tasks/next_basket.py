"""The half of recommend that may name products bought before: the choice of a habit, and scores."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.blend import (
    Candidate,
    built_parts,
    mixed,
    parts_arrays,
    recommender,
    shares_of,
    standardised,
)
from grandtotal.algorithms.item_model import top
from grandtotal.algorithms.item_similarity import ItemKNN
from grandtotal.algorithms.next_basket import Habit, NextBasket, blend, goes_with, over_largest
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks import recommend_models
from grandtotal.tasks.ranking import ranking_scores, scored_customers
from grandtotal.tasks.recommend_models import Mix, best_blend, check_shares
from grandtotal.tasks.scores import Metric
from grandtotal.tasks.task import Fitted

SHARES = (0.3, 0.5, 0.7)
HABITS = tuple(Habit(decay, share) for decay in (1.0, 0.9, 0.8) for share in SHARES)
# Chance brings products together in large baskets: pairs of them count from more customers on.
GRIDS: Mapping[str, tuple[Candidate, ...]] = {
    **recommend_models.GRIDS,
    "item-knn": (
        *recommend_models.GRIDS["item-knn"],
        *(ItemKNN(shrink, 0) for shrink in (100.0, 300.0, 1000.0)),
    ),
    "transitions": (
        *recommend_models.GRIDS["transitions"],
        *(Transitions(5.0, 8.0, shrink=shrink) for shrink in (100.0, 300.0, 1000.0)),
    ),
}
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
    """Sums over customers of ndcg, recall and hit at `top`, for every way in the broadcast.

    The broadcast holds the arrays of an item model, and "habits" (habits, 2), decay and share. A
    habit is a way; or, with the arrays of several parts and "grid" (blends, parts), the share of
    each, a blend with a habit is, the habits of a blend one after the other.

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
        """Returns a sum of each score for each way, and the number of customers scored."""
        ways = _ways(broadcast)
        if self.clipped:
            scale = scale_of(self.LARGEST)
            return {
                **{name: Field((ways,), scale) for name in _SUMS},
                "customers": Field((), scale),
            }
        return {**{name: Field((ways,), scale=_STEPS) for name in _SUMS}, "customers": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each customer's score is rounded before it is added."""
        items = _items(broadcast)
        habits = [Habit(*pair) for pair in broadcast["habits"].tolist()]
        ways = _ways(broadcast)
        sums = np.zeros(ways * len(_SUMS) + 1, np.int64)
        for block, wanted in scored_customers(rows[self.split]):
            every = product(items(block), habits)
            blended = (block.only_sold(blend(habit, shared, block)) for shared, habit in every)
            lists = (top(scores, self.top) for scores in blended)
            scores = np.hstack([ranking_scores(ranked, wanted) for ranked in lists])
            if self.clipped:
                counted = np.hstack([scores, np.ones((len(scores), 1))])
                sums += sum_of_clipped(counted, self.LARGEST)
            else:
                steps = np.rint(scores * _STEPS).astype(np.int64)
                sums += np.append(steps.sum(axis=0), len(wanted))
        by_way = sums[:-1].reshape(ways, len(_SUMS))
        return {**{name: by_way[:, i] for i, name in enumerate(_SUMS)}, "customers": sums[-1]}


def _ways(broadcast: Arrays) -> int:
    return len(broadcast["habits"]) * len(broadcast.get("grid", [0]))


def _items(broadcast: Arrays) -> Callable[[Purchases], Iterator[NDArray[np.float32]]]:
    """Returns what gives a block's scores by the item model, or by one blend after the other."""
    if "grid" not in broadcast:
        model = recommender(broadcast, {})
        return lambda block: iter([goes_with(model, block)])
    grid, parts = broadcast["grid"], built_parts(broadcast, {})
    check_shares(grid, parts)

    def blends(block: Purchases) -> Iterator[NDArray[np.float32]]:
        standard = standardised(parts, block.history, block.context)
        return (over_largest(mixed(standard, shares)) for shares in grid)

    return blends


def choose(totals: Totals, candidates: Sequence[Candidate], products: int, k: int) -> Fitted:
    """Returns the item model and the habit with the best summed validation NDCG.

    One round of scores for each candidate tries all habits. The model is fitted up to the test cut.
    """
    found = _validated(totals, candidates, products, k)
    way, best = max(found, key=lambda pair: pair[0]["ndcg"])
    return _fitted(totals, best, products, _habit(way), {"tried": [way for way, _ in found]})


def choose_and_blend(
    totals: Totals, grids: Sequence[Sequence[Candidate]], products: int, k: int
) -> Fitted:
    """Returns the best blend of the best item model of each grid, and the best habit beside it.

    Blends are compared with the decay of the best item model alone, each with its best share of the
    habit; then all habits are tried with the chosen one.
    """
    chosen, choice = best_blend(
        grids,
        lambda grid: _validated(totals, grid, products, k),
        lambda candidates, first: _mixes(totals, candidates, products, k, first["decay"]),
    )
    best = max(_tried(totals, chosen, products, k), key=lambda way: way["ndcg"])
    return _fitted(totals, chosen, products, _habit(best), choice)


def _fitted(
    totals: Totals, candidate: Candidate, products: int, habit: Habit, choice: Json
) -> Fitted:
    before, model = (
        NextBasket(candidate.fit(totals, products, split), habit)
        for split in ("validation", "test")
    )
    return Fitted(model, {"chosen": model.meta, **choice}, before)


def _habit(way: Json) -> Habit:
    return Habit(way["decay"], way["share"])


def _validated(
    totals: Totals, candidates: Sequence[Candidate], products: int, k: int
) -> list[tuple[Json, Candidate]]:
    """Returns what was tried of all candidates, each habit of each, and of which."""
    return [(way, each) for each in candidates for way in _tried(totals, each, products, k)]


def _tried(totals: Totals, candidate: Candidate, products: int, k: int) -> list[Json]:
    """Returns the summed validation scores of a candidate with each habit."""
    items = candidate.fit(totals, products, "validation")
    found = _scored(totals, BasketScores(products, k, "validation"), items.arrays, HABITS)
    metas = [NextBasket(items, habit).meta for habit in HABITS]
    return [{**meta, **scores} for meta, scores in zip(metas, found, strict=True)]


def _mixes(
    totals: Totals, candidates: Sequence[Candidate], products: int, k: int, decay: float
) -> list[Mix]:
    """Returns the summed validation scores of every blend, with the best share of the habit."""
    parts = tuple(each.fit(totals, products, "validation") for each in candidates)
    grid = list(shares_of(len(parts)))
    blends = {**parts_arrays(parts), "grid": np.array(grid)}
    habits = [Habit(decay, share) for share in SHARES]
    found = _scored(totals, BasketScores(products, k, "validation"), blends, habits)
    of_blends = [found[first : first + len(habits)] for first in range(0, len(found), len(habits))]
    best = [max(ways, key=lambda way: way["ndcg"]) for ways in of_blends]
    return list(zip(grid, best, strict=True))


def _scored(
    totals: Totals, query: BasketScores, arrays: Arrays, habits: Sequence[Habit]
) -> list[Json]:
    ways = np.array([[habit.decay, habit.share] for habit in habits])
    sums = totals.total(query, {**arrays, "habits": ways})
    customers = max(float(sums["customers"]), 1.0)
    means = {name: (sums[name] / customers).tolist() for name in _SUMS}
    return [{name: means[name][i] for name in _SUMS} for i in range(len(means["ndcg"]))]


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
