"""Which recommenders a plan can name, and how lists of new products score; see recommend_choice."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.als import ALS
from grandtotal.algorithms.blend import (
    Candidate,
    built_parts,
    mixed,
    parts_arrays,
    standardised,
)
from grandtotal.algorithms.content import Hybrid
from grandtotal.algorithms.content_based import ContentBased
from grandtotal.algorithms.item_model import Recommender, top
from grandtotal.algorithms.item_similarity import EASE, EDLAE, ItemKNN
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.sequential import Sequential
from grandtotal.algorithms.towers import Towers
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code, PlanError, RefusedError
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.ranking import METRICS, RankingScores, ranking_scores, scored_customers
from grandtotal.tasks.recommend_choice import Way
from grandtotal.tasks.task import check_models

AUTO = "auto"
HYBRID = "hybrid"
TWO_TOWER = "two-tower"
READS_WORDS = ("content", HYBRID, TWO_TOWER)
GRIDS: Mapping[str, tuple[Candidate, ...]] = {
    "popularity": tuple(Popularity(days) for days in (0, 28, 91)),
    "item-knn": tuple(ItemKNN(shrink) for shrink in (0.0, 10.0, 30.0)),
    "ease": tuple(EASE(l2) for l2 in (30.0, 100.0, 300.0, 1000.0, 3000.0)),
    "edlae": tuple(
        EDLAE(l2, dropout) for dropout in (0.15, 0.33, 0.5) for l2 in (50.0, 150.0, 500.0, 1500.0)
    ),
    "als": tuple(
        ALS(factors, l2, unobserved=0.3, epochs=8, steps=3)
        for factors, l2 in ((32, 0.01), (64, 0.01), (64, 0.02), (128, 0.01))
    ),
    "hybrid": tuple(Hybrid(ridge=ridge, worth=w) for ridge in (3.0, 30.0) for w in (2.0, 10.0)),
    "content": tuple(ContentBased(half_life) for half_life in (2.0, 5.0, 20.0)),
    "transitions": tuple(
        Transitions(half_life, follows)
        for half_life in (2.0, 5.0, 20.0)
        for follows in (2.0, 8.0, 32.0)
    ),
    "sasrec": (Sequential("sasrec", spread=0.02),),
    "gru": (Sequential("gru"),),
    "two-tower": (Towers(),),
}
CORE = ("popularity", "item-knn", "ease", "als", "transitions")  # what "auto" alone stands for
BOUNDED = ("popularity", "item-knn", "ease", "edlae")  # what a plan under epsilon may name


def check_named(models: tuple[str, ...]) -> None:
    """Raises PlanError for a list of models that no choice can be made of."""
    check_models(models, {**GRIDS, AUTO: ()})
    if len(set(models)) < len(models):
        raise PlanError(f"models = {list(models)}: a model is named twice")


def kinds_of(models: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the kinds that a choice is made of; "auto" alone stands for the core ones."""
    return tuple(model for model in models if model != AUTO) or CORE


def refuse_unbounded(models: tuple[str, ...]) -> None:
    """Raises RefusedError under epsilon for a model whose totals have no bound."""
    if unbounded := [model for model in models if model not in BOUNDED]:
        raise RefusedError(
            f"models: {', '.join(unbounded)} cannot be had under epsilon, since what they ask has "
            f"no bound for a customer or is chosen by shared scores; name some of "
            f"{', '.join(BOUNDED)} instead, or take epsilon out of the plan"
        )


@dataclass(frozen=True)
class BlendScores:
    """Sums over customers of ndcg, recall and hit at `top`, for every blend in the broadcast.

    The broadcast holds the arrays of the parts, and "grid" (blends, parts), the share of each.

    clipped: whether what one customer adds, each score and the count, is cut to the norm LARGEST,
        which it never passes with as many blends as four parts have.
    """

    name: ClassVar[str] = "blend-scores"
    LARGEST: ClassVar[float] = math.sqrt(35 * len(METRICS) + 1)

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
        """Returns a sum of each score for each blend, and the number of customers scored."""
        blends = (len(broadcast["grid"]),)
        if self.clipped:
            scale = scale_of(self.LARGEST)
            return {
                **{metric.name: Field(blends, scale) for metric in METRICS},
                "customers": Field((), scale),
            }
        sums = {metric.name: Field(blends, scale=metric.steps) for metric in METRICS}
        return {**sums, "customers": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each customer's score is rounded before it is added."""
        grid = broadcast["grid"]
        parts = built_parts(broadcast, {})
        check_shares(grid, parts)
        sums = np.zeros(len(grid) * len(METRICS) + 1, np.int64)
        steps = np.tile([metric.steps for metric in METRICS], len(grid))
        for block, wanted in scored_customers(rows[self.split]):
            scores = self._scores(parts, grid, block, wanted)
            if self.clipped:
                counted = np.hstack([scores, np.ones((len(scores), 1))])
                sums += sum_of_clipped(counted, self.LARGEST)
            else:
                whole = np.rint(scores * steps).astype(np.int64)
                sums += np.append(whole.sum(axis=0), len(wanted))
        by_blend = sums[:-1].reshape(len(grid), len(METRICS))
        named = {metric.name: by_blend[:, i] for i, metric in enumerate(METRICS)}
        return {**named, "customers": sums[-1]}

    def _scores(
        self,
        parts: tuple[Recommender, ...],
        grid: NDArray[np.float64],
        block: Purchases,
        wanted: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Returns (customers, blends x metrics)."""
        history = block.history
        customers = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
        standard = standardised(parts, history, block.context)
        found = []
        for shares in grid:
            scores = mixed(standard, shares)
            scores[customers, history.indices] = -np.inf
            found.append(ranking_scores(top(block.only_sold(scores), self.top), wanted))
        return np.hstack(found)


def check_shares(grid: NDArray[np.float64], parts: Sequence[Recommender]) -> None:
    """Raises AnswerError where the blends are not of these parts."""
    if grid.ndim != 2 or grid.shape[1] != len(parts):
        raise AnswerError(
            Code.MALFORMED, f"shares of {grid.shape[1:]} parts, but {len(parts)} models"
        )


# --- lists of what is new ---


@dataclass(frozen=True)
class NewProducts:
    """Lists of what is new to a customer, of a model's scores as they are."""

    products: int
    top: int

    @property
    def grids(self) -> Mapping[str, tuple[Candidate, ...]]:
        """The candidates of each kind of model."""
        return GRIDS

    def scored(self, totals: Totals, items: Recommender) -> list[Way]:
        """Returns the summed validation scores of a model."""
        query = RankingScores(self.products, self.top, "validation")
        sums = totals.total(query, items.arrays)
        return [Way({**items.meta, **_means(sums)}, int(sums["customers"]))]

    def mixed(
        self, totals: Totals, parts: tuple[Recommender, ...], grid: Sequence[tuple[float, ...]]
    ) -> list[list[Way]]:
        """Returns the same of every blend of the grid."""
        query = BlendScores(self.products, self.top, "validation")
        sums = totals.total(query, {**parts_arrays(parts), "grid": np.array(grid)})
        customers = sums.pop("customers")
        found = [{name: each[i] for name, each in sums.items()} for i in range(len(grid))]
        return [[Way(_means({**one, "customers": customers}), int(customers))] for one in found]

    def model(self, totals: Totals, items: Recommender, way: Way, split: str) -> Recommender:  # noqa: ARG002
        """Returns the model."""
        return items


def _means(sums: Mapping[str, Any]) -> Json:
    customers = max(float(sums["customers"]), 1.0)
    return {metric.name: float(sums[metric.name]) / customers for metric in METRICS}
