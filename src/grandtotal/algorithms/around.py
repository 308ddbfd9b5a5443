"""A recommender around another one: what it does not change is said by that one."""

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
class Around(Recommender):
    """items: the model inside."""

    items: Recommender

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
        """The arrays that travel and are saved."""
        return self.items.arrays

    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well."""
        return self.knowing(history, None)

    def knowing(self, history: csr_array, context: Context | None) -> NDArray[np.float32]:
        """Returns the affinities, with what else is known of the customers."""
        return self.items.knowing(history, context)

    def similar(self, product: int) -> NDArray[np.float32]:
        """Returns (products,) how much each goes with this one."""
        return self.items.similar(product)

    def reasons(self, history: NDArray[Any], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        return self.items.reasons(history, products)

    def because(self, history: NDArray[Any], product: int, most: int = 2) -> tuple[int, ...]:
        """Returns the bought products that speak most for this one."""
        return self.items.because(history, product, most)
