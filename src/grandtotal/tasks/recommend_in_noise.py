"""The recommend task under epsilon: two totals, one model, and the retailer's own rows at home.

What is asked:
    purchase-counts     of customers who count alike                             once
    co-purchases        of the products that will be visible, if any are         once
    test-scores         the NDCG of the delivered model                          once

Nothing is chosen by shared scores: each of them would be a release. What a retailer does with its
own exact rows and the delivered model is none, and it is where the noise is made up for: an
autoencoder of its own co-purchases, whose penalty pulls the weights not to 0 but to the delivered
ones. How strongly is chosen by its own validation, and so is whether it is used at all; a layer of
its own (`personal`) comes on top where that is better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from grandtotal.algorithms.item_model import ItemModel, Recommender
from grandtotal.algorithms.item_similarity import autoencoder
from grandtotal.algorithms.item_similarity_in_noise import (
    COUNTS,
    PAIRS,
    EDLAEInNoise,
    PopularityInNoise,
)
from grandtotal.algorithms.next_basket import Habit, NextBasket
from grandtotal.algorithms.purchases import CoPurchases
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local, Totals
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.recommend_models import refuse_unbounded
from grandtotal.tasks.task import Fitted

if TYPE_CHECKING:
    from grandtotal.tasks.recommend import Recommend

HABIT = Habit(0.9, 0.5)  # of the delivered model; each retailer's own takes its place at home
SCORES = Release("test-scores", 1, 0.04)
PULLS = (100.0, 300.0, 1000.0, math.inf)  # penalties, in customers, between own and shared


def releases(task: Recommend) -> tuple[Release, ...]:
    """Returns the schedule of the module's docstring; popularity alone asks no co-purchases.

    RefusedError for a model that cannot be had under epsilon, by name.
    """
    refuse_unbounded(task.models)
    return (COUNTS, SCORES) if _counts_only(task) else (COUNTS, PAIRS, SCORES)


def _counts_only(task: Recommend) -> bool:
    return set(task.models) == {"popularity"}


def fit(task: Recommend, totals: Totals) -> Fitted:
    """Returns the model of clipped totals up to the test cut; "chosen" says what noise left."""
    candidate = PopularityInNoise() if _counts_only(task) else EDLAEInNoise()
    items = candidate.fit(totals, task.products, "test")
    model = NextBasket(items, HABIT) if task.repeat else items
    return Fitted(model, {"chosen": model.meta, "tried": []})


@dataclass(frozen=True)
class Joined(ItemModel):
    """An item model made at home of `shared` and the retailer's rows; only `shared` travels."""

    shared: ItemModel | None = None

    @property
    def arrays(self) -> Arrays:
        """The arrays of the delivered model."""
        assert self.shared is not None
        return self.shared.arrays


@dataclass(frozen=True)
class Pulled:
    """EASE of the own exact rows, whose penalty pulls the weights to the shared ones instead of 0.

    l2: ridge penalty, in customers; where it is infinite, the shared model as it is.
    """

    shared: ItemModel
    l2: float

    def fit(self, totals: Totals, products: int, split: str) -> ItemModel:
        """Returns the weights, with the shared prior."""
        if math.isinf(self.l2):
            return self.shared
        meta = {"model": "ease", "l2": self.l2, "in_noise": self.shared.meta["in_noise"]}
        gram = totals.total(CoPurchases(products, split))["gram"]
        weights = autoencoder(gram, np.full(products, self.l2), self.shared.weights)
        return ItemModel(weights, self.shared.prior, meta)


def joined(home: Recommend, own: Fitted, model: Recommender | NextBasket, rows: Rows) -> Fitted:
    """Returns a delivered model of noisy totals joined with the retailer's own rows.

    home: the task where nothing leaves. own: what it fits to the own rows alone, which stays where
    the own validation prefers it. That the delivered model has seen the validation's purchases
    does not flatter it much: no customer moves it by more than the noise hides.
    """
    # Under epsilon a plan names no other kind: see `releases`.
    shared = cast(ItemModel, model.items if isinstance(model, NextBasket) else model)
    best = own
    if shared.weights.size:
        pulled = home.choose(Local(rows), [Pulled(shared, l2) for l2 in PULLS])
        best = max(own, pulled, key=_validated)
    if isinstance(best.model, NextBasket):
        kept = _kept(cast(ItemModel, best.model.items), shared)
        return replace(best, model=replace(best.model, items=kept))
    assert isinstance(best.model, ItemModel)
    return replace(best, model=_kept(best.model, shared))


def _validated(fitted: Fitted) -> float:
    return max(float(tried["ndcg"]) for tried in fitted.choice["tried"])


def _kept(made: ItemModel, shared: ItemModel) -> Joined:
    return Joined(made.weights, made.prior, made.meta, shared)
