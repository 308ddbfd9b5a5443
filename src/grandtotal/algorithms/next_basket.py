"""What a customer buys again, blended with what goes with it. The habit never leaves the retailer.

A customer's own frequency of a product counts every basket, an older one less. It is computed where
the score is, from the customer's own baskets; of the consortium there are only the item model and
two numbers, the decay and the share.

Hu et al., "Modeling personalized item frequency information for next-basket recommendation", 2020,
https://arxiv.org/abs/2006.00556
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.blend import recommender
from grandtotal.algorithms.item_model import Recommender
from grandtotal.algorithms.purchases import Purchases
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays

_LEAST = np.float32(1e-9)  # what a customer's largest score counts as where all are 0


@dataclass(frozen=True)
class Habit:
    """decay: what a basket counts when one more has followed it, in (0, 1].

    share: of the customer's own frequencies in a score, in [0, 1]; the rest is the item model's.
    """

    decay: float
    share: float


@dataclass(frozen=True)
class NextBasket:
    """items: the shared item-to-item model. Products bought already may be recommended."""

    items: Recommender
    habit: Habit

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; nothing of a customer is in them."""
        return {**self.items.arrays, "habit": np.array([self.habit.decay, self.habit.share])}

    @property
    def offered(self) -> NDArray[np.bool_] | None:
        """What others let a retailer show that does not sell it, (products,); None: nothing."""
        return self.items.offered

    @property
    def meta(self) -> Json:
        """The item model's settings with the habit's."""
        return {**self.items.meta, "decay": self.habit.decay, "share": self.habit.share}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "NextBasket":
        """Returns the model that `arrays` and `meta` describe."""
        rest = {name: value for name, value in meta.items() if name not in ("decay", "share")}
        return NextBasket(recommender(arrays, rest), Habit(*arrays["habit"].tolist()))

    def scores(self, purchases: Purchases) -> NDArray[np.float32]:
        """Returns (customers, products) scores from 0 to 1 for purchases with their baskets."""
        return blend(self.habit, goes_with(self.items, purchases), purchases)

    def because(self, history: NDArray[np.int32], product: int) -> tuple[int, ...]:
        """Returns the product itself if it was bought before, and what speaks most for it."""
        itself = (product,) if product in history else ()
        return (*itself, *self.items.because(history, product, 2 - len(itself)))

    def reasons(self, history: NDArray[np.int32], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        return [self.because(history, product) for product in products]


def goes_with(items: Recommender, purchases: Purchases) -> NDArray[np.float32]:
    """Returns the item model's scores over each customer's largest, (customers, products)."""
    return over_largest(items.knowing(purchases.history, purchases.context))


def blend(habit: Habit, items: NDArray[np.float32], purchases: Purchases) -> NDArray[np.float32]:
    """Returns share x frequencies over their largest + (1 - share) x items."""
    own = over_largest(frequencies(purchases, habit.decay))
    share = np.float32(habit.share)
    return share * own + (np.float32(1) - share) * items


def frequencies(purchases: Purchases, decay: float) -> NDArray[np.float32]:
    """Returns sum over a customer's baskets with the product of decay^(baskets since).

    (customers, products); the last basket counts 1.
    """
    baskets = purchases.baskets
    assert baskets is not None
    most = int(baskets.data.max(initial=1))
    # Products of one factor after the other: the same bits on every machine, unlike a power.
    counts = np.multiply.accumulate(np.r_[1.0, np.full(most - 1, decay)]).astype(np.float32)
    weighted = csr_array(
        (counts[baskets.data - 1], baskets.indices, baskets.indptr), shape=baskets.shape
    )
    dense: NDArray[np.float32] = weighted.toarray()
    return dense


def over_largest(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns (customers, products) scores, each customer's over its largest."""
    largest = np.maximum(scores.max(axis=1, keepdims=True, initial=0), _LEAST)
    shares: NDArray[np.float32] = scores / largest
    return shares
