"""The most bought products: one count per product, exact, and the baseline of every recommender."""

from dataclasses import dataclass

import numpy as np

from grandtotal.algorithms.item_model import ItemModel
from grandtotal.algorithms.purchases import PurchaseCounts
from grandtotal.consortium.totals import Totals


@dataclass(frozen=True)
class Popularity:
    """Recommends what most customers bought in the last `days` before the cut (0: ever)."""

    days: int = 0

    def fit(self, totals: Totals, products: int, split: str) -> ItemModel:
        """Returns the model whose score is the number of customers. One round."""
        counts = totals.total(PurchaseCounts(products, split, self.days))["counts"]
        return ItemModel(
            np.empty((0, 0), np.float32),
            counts.astype(np.float32),
            {"model": "popularity", "days": self.days},
        )
