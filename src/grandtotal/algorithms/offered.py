"""A recommender that knows which products may be shown by a retailer that does not sell them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.customer_context import Context
from grandtotal.algorithms.item_model import Recommender
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays


@dataclass(frozen=True)
class Offered(Recommender):
    """items: what scores. offered: (products,) whether any member lets others show it."""

    items: Recommender
    offered: NDArray[np.bool_]

    @property
    def prior(self) -> NDArray[np.float32]:  # type: ignore[override]
        """The score without any history."""
        return self.items.prior

    @property
    def meta(self) -> Json:  # type: ignore[override]
        """The hyper-parameters."""
        return self.items.meta

    @property
    def arrays(self) -> Arrays:
        """The arrays of what scores, and what is offered."""
        return {**self.items.arrays, "offered": self.offered.astype(np.uint8)}

    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well."""
        return self.items.affinities(history)

    def knowing(self, history: csr_array, context: Context | None) -> NDArray[np.float32]:
        """Returns the affinities, with what else is known of the customers."""
        return self.items.knowing(history, context)

    def best(
        self, history: csr_array, k: int, hidden: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Returns the k best products for one history, best first, and their scores."""
        return self.items.best(history, k, hidden)

    def similar(self, product: int) -> NDArray[np.float32]:
        """Returns (products,) how much each goes with this one."""
        return self.items.similar(product)

    def reasons(self, history: NDArray[Any], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        return self.items.reasons(history, products)

    def because(self, history: NDArray[Any], product: int, most: int = 2) -> tuple[int, ...]:
        """Returns the bought products that speak most for this one."""
        return self.items.because(history, product, most)
