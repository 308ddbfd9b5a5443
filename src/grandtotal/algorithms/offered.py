"""A recommender that knows which products may be shown by a retailer that does not sell them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.around import Around
from grandtotal.privacy.fixedpoint import Arrays


@dataclass(frozen=True)
class Offered(Around):
    """items: what scores. offered: (products,) whether any member lets others show it."""

    offered: NDArray[np.bool_]

    @property
    def arrays(self) -> Arrays:
        """The arrays of what scores, and what is offered."""
        return {**self.items.arrays, "offered": self.offered.astype(np.uint8)}

    def best(
        self, history: csr_array, k: int, hidden: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Returns the k best products for one history, best first, and their scores."""
        return self.items.best(history, k, hidden)
