"""The half of recommend that may name products bought before: chances of that, and scores."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.blend import (
    Candidate,
    built_parts,
    mixed,
    parts_arrays,
    recommender,
    standardised,
)
from grandtotal.algorithms.item_model import Recommender, top
from grandtotal.algorithms.item_similarity import ItemKNN
from grandtotal.algorithms.next_basket import Chances, Habit, NextBasket, in_deviations
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.rebuying import Rebuying
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals, once
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks import recommend_models
from grandtotal.tasks.ranking import ranking_scores, scored_customers
from grandtotal.tasks.recommend_choice import Way
from grandtotal.tasks.recommend_models import check_shares
from grandtotal.tasks.scores import Metric

# What a deviation of the item model's scores is worth, as a chance of being in the next basket.
DEVIATIONS = tuple(2.0**-power for power in range(13, 1, -1))
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
_SHORT = 4  # lists are made of what can be on them where that is less than one product in so many


@dataclass(frozen=True)
class BasketScores:
    """Sums over customers of ndcg, recall and hit at `top`, for every way in the broadcast.

    The broadcast holds the arrays of an item model, those of `Rebuying`, and "deviations" (ways,),
    what one is worth. With the arrays of several parts and "grid" (blends, parts), the share of
    each, a blend with a deviation is a way, those of one blend after those of the other.

    clipped: whether what one customer adds, each score and the count, is cut to the norm LARGEST,
        which it never passes with as many ways as DEVIATIONS.
    """

    name: ClassVar[str] = "basket-scores"
    LARGEST: ClassVar[float] = math.sqrt(len(DEVIATIONS) * len(_SUMS) + 1)

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
        items, again = _items(broadcast), Rebuying.of(broadcast, self.products)
        deviations = broadcast["deviations"].tolist()
        ways = _ways(broadcast)
        sums = np.zeros(ways * len(_SUMS) + 1, np.int64)
        for block, wanted in scored_customers(rows[self.split]):
            chances = again.chances(block)
            scores = np.hstack(
                [
                    ranking_scores(ranked, wanted)
                    for shared in items(block)
                    for ranked in best_lists(shared, chances, block, self.top, deviations)
                ]
            )
            if self.clipped:
                counted = np.hstack([scores, np.ones((len(scores), 1))])
                sums += sum_of_clipped(counted, self.LARGEST)
            else:
                steps = np.rint(scores * _STEPS).astype(np.int64)
                sums += np.append(steps.sum(axis=0), len(wanted))
        by_way = sums[:-1].reshape(ways, len(_SUMS))
        return {**{name: by_way[:, i] for i, name in enumerate(_SUMS)}, "customers": sums[-1]}


def _ways(broadcast: Arrays) -> int:
    return len(broadcast["deviations"]) * len(broadcast.get("grid", [0]))


def _items(broadcast: Arrays) -> Callable[[Purchases], Iterator[NDArray[np.float32]]]:
    """Returns what gives a block's scores by the item model, or by one blend after the other."""
    if "grid" not in broadcast:
        model = recommender(broadcast, {})
        return lambda block: iter([model.knowing(block.history, block.context)])
    grid, parts = broadcast["grid"], built_parts(broadcast, {})
    check_shares(grid, parts)

    def blends(block: Purchases) -> Iterator[NDArray[np.float32]]:
        standard = standardised(parts, block.history, block.context)
        return (mixed(standard, shares) for shares in grid)

    return blends


def best_lists(
    items: NDArray[np.float32],
    chances: csr_array,
    block: Purchases,
    k: int,
    deviations: Sequence[float],
) -> Iterator[NDArray[np.intp]]:
    """Yields (customers, k) lists, best first, for each worth of a deviation.

    They are those of `Chances.blend`. Only what a customer has bought and the best k of the rest
    can be on a list; these are found once.
    """
    scores = block.only_sold(in_deviations(items, block.history))
    customers = np.repeat(np.arange(len(scores)), np.diff(chances.indptr))
    own = scores[customers, chances.indices]
    scores[customers, chances.indices] = -np.inf
    new = top(scores, k)
    best = np.take_along_axis(scores, new, axis=1)
    scores[customers, chances.indices] = own
    most = int(np.diff(chances.indptr).max(initial=0))
    if (most + k) * _SHORT > scores.shape[1] or not np.isfinite(best).all():
        for deviation in deviations:
            whole = np.float32(deviation) * scores
            whole[customers, chances.indices] += chances.data
            yield top(whole, k)
        return
    at = np.arange(len(customers)) - np.repeat(chances.indptr[:-1], np.diff(chances.indptr))
    short = Shortlist.empty(len(scores), most + k)
    short.fill((customers, at), chances.indices, own, chances.data)
    short.fill((slice(None), slice(most, None)), new, best, 0.0)
    yield from short.in_order().lists(k, deviations)


@dataclass(frozen=True)
class Shortlist:
    """What can be on a list.

    products, scores, chances: (customers, at most); empty places score -inf.
    """

    products: NDArray[np.intp]
    scores: NDArray[np.float32]
    chances: NDArray[np.float32]

    @staticmethod
    def empty(customers: int, most: int) -> "Shortlist":
        """Returns a list of nothing."""
        shape = (customers, most)
        scores = np.full(shape, -np.inf, np.float32)
        return Shortlist(np.zeros(shape, np.intp), scores, np.zeros(shape, np.float32))

    def fill(self, places: Any, products: Any, scores: Any, chances: Any) -> None:
        """Puts products with their scores and chances in these places."""
        self.products[places] = products
        self.scores[places] = scores
        self.chances[places] = chances

    def in_order(self) -> "Shortlist":
        """Returns the same with the products of the catalogue's beginning first."""
        order = np.argsort(self.products, axis=1, kind="stable")
        return Shortlist(
            np.take_along_axis(self.products, order, axis=1),
            np.take_along_axis(self.scores, order, axis=1),
            np.take_along_axis(self.chances, order, axis=1),
        )

    def lists(self, k: int, deviations: Sequence[float]) -> Iterator[NDArray[np.intp]]:
        """Yields (customers, k) products, best first; of equal ones the first."""
        for deviation in deviations:
            whole = np.float32(deviation) * self.scores + self.chances
            first = np.argsort(-whole, axis=1, kind="stable")[:, :k]
            yield np.take_along_axis(self.products, first, axis=1)


@dataclass(frozen=True)
class Baskets:
    """Lists of the next basket: how likely a product is bought again, beside an item model."""

    products: int
    top: int

    @property
    def grids(self) -> Mapping[str, tuple[Candidate, ...]]:
        """The candidates of each kind of model."""
        return GRIDS

    def scored(self, totals: Totals, items: Recommender) -> list[Way]:
        """Returns the summed validation scores of a model, for each worth of a deviation."""
        return self._ways(totals, items.arrays, items.meta)

    def mixed(
        self, totals: Totals, parts: tuple[Recommender, ...], grid: Sequence[tuple[float, ...]]
    ) -> list[list[Way]]:
        """Returns the same of every blend of the grid."""
        ways = self._ways(totals, {**parts_arrays(parts), "grid": np.array(grid)}, {})
        many = len(DEVIATIONS)
        return [ways[first : first + many] for first in range(0, len(ways), many)]

    def model(self, totals: Totals, items: Recommender, way: Way, split: str) -> NextBasket:
        """Returns the model with the chances of the baskets before the split's cut."""
        return NextBasket(items, Chances(self._again(totals, split), way.settings))

    def _ways(self, totals: Totals, arrays: Arrays, meta: Mapping[str, Any]) -> list[Way]:
        again = self._again(totals, "validation")
        query = BasketScores(self.products, self.top, "validation")
        given = {**arrays, **again.arrays, "deviations": np.array(DEVIATIONS)}
        sums = totals.total(query, given)
        customers = max(float(sums["customers"]), 1.0)
        means = {name: (sums[name] / customers).tolist() for name in _SUMS}
        found = []
        for i in range(len(sums["ndcg"])):
            deviation = DEVIATIONS[i % len(DEVIATIONS)]
            scores = {name: means[name][i] for name in _SUMS}
            tried = {**meta, "deviation": deviation, **scores}
            found.append(Way(tried, int(sums["customers"]), deviation))
        return found

    def _again(self, totals: Totals, split: str) -> Rebuying:
        fit = partial(Rebuying.fit, totals, self.products, split)
        return once(totals, ("chances of buying again", self.products, split), fit)


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
