"""The recommend task under epsilon: two totals, one model, and the retailer's own rows at home.

What is asked:
    purchase-counts     of customers who count alike                             once
    co-purchases        of the products that will be visible, if any are         once
    test-scores         the NDCG of the delivered model                          once

Nothing is chosen by shared scores: each of them would be a release. What a retailer does with its
own exact rows and the delivered model is none, and it is where the noise is made up for: an
autoencoder of its own co-purchases, whose penalty pulls the weights not to 0 but half way to the
delivered ones. The settings are those that its own validation chose for its own rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grandtotal.algorithms.item_model import ItemModel
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
from grandtotal.tasks.task import Fitted

if TYPE_CHECKING:
    from grandtotal.tasks.recommend import Recommend

HABIT = Habit(0.9, 0.5)  # of the delivered model; each retailer's own takes its place at home
SCORES = Release("test-scores", 1, 0.04)
_TOWARDS = np.float32(0.5)


def releases(task: Recommend) -> tuple[Release, ...]:
    """Returns the schedule of the module's docstring; popularity alone asks no co-purchases."""
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


def joined(
    own: ItemModel | NextBasket, model: ItemModel | NextBasket, rows: Rows
) -> ItemModel | NextBasket:
    """Returns a delivered model of noisy totals joined with the one that was trained on own rows.

    Of a next basket the habit is the own one.
    """
    if isinstance(model, NextBasket):
        assert isinstance(own, NextBasket)
        return NextBasket(_joined(own.items, model.items, rows), own.habit)
    assert isinstance(own, ItemModel)
    return _joined(own, model, rows)


def _joined(own: ItemModel, shared: ItemModel, rows: Rows) -> Joined:
    """Returns the own model; if it is an autoencoder, with weights pulled towards the shared."""
    if "l2" not in own.meta or not shared.weights.size:
        return Joined(own.weights, own.prior, own.meta, shared)
    products = len(own.prior)
    gram = Local(rows).total(CoPurchases(products, "test"))["gram"]
    dropout = own.meta.get("dropout", 0.0)
    penalty = dropout / (1.0 - dropout) * np.diagonal(gram) + own.meta["l2"]
    weights = autoencoder(gram, penalty, _TOWARDS * shared.weights)
    return Joined(weights, own.prior, {**own.meta, "towards": float(_TOWARDS)}, shared)
