"""What a customer buys again, blended with what goes with it. The customer's own never leaves.

    Habit     share x own frequencies over their largest + (1 - share) x items over their largest
    Chances   chance of buying again + what a deviation is worth x items in deviations

A customer's own part is computed where the score is, from the customer's own baskets; of the
consortium there are only the item model and a few numbers. Chances say how much is known: of a
product that was bought once in one basket as much as of one in every tenth, so that a new product
that is likelier comes first. Frequencies over their largest call both of them 1, and the share
decides for all customers at once whether any new product is listed.

Frequencies: Hu et al., "Modeling personalized item frequency information for next-basket
recommendation", 2020, https://arxiv.org/abs/2006.00556
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.blend import recommender
from grandtotal.algorithms.item_model import Recommender
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.rebuying import Rebuying
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays

_LEAST = np.float32(1e-9)  # what a customer's largest score counts as where all are 0
_OWN = ("decay", "share", "deviation")  # settings of the customer's own part


@dataclass(frozen=True)
class Habit:
    """decay: what a basket counts when one more has followed it, in (0, 1].

    share: of the customer's own frequencies in a score, in [0, 1]; the rest is the item model's.
    """

    decay: float
    share: float

    @property
    def meta(self) -> Json:
        """The two numbers."""
        return {"decay": self.decay, "share": self.share}

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {"habit": np.array([self.decay, self.share])}

    def blend(self, items: NDArray[np.float32], purchases: Purchases) -> NDArray[np.float32]:
        """Returns share x frequencies over their largest + (1 - share) x items over theirs."""
        own = over_largest(frequencies(purchases, self.decay))
        share = np.float32(self.share)
        return share * own + (np.float32(1) - share) * over_largest(items)


@dataclass(frozen=True)
class Chances:
    """again: how likely a product is bought again.

    deviation: the chance that one deviation of the item model's scores is worth; a power of 2, so
    that no product passes another one when its score is multiplied.
    """

    again: Rebuying
    deviation: float

    @property
    def meta(self) -> Json:
        """The one number."""
        return {"deviation": self.deviation}

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {**self.again.arrays, "deviation": np.array(self.deviation)}

    def blend(self, items: NDArray[np.float32], purchases: Purchases) -> NDArray[np.float32]:
        """Returns chances + deviation x items in each customer's deviations."""
        scores = np.float32(self.deviation) * in_deviations(items, purchases.history)
        chances = self.again.chances(purchases)
        customers = np.repeat(np.arange(len(scores)), np.diff(chances.indptr))
        scores[customers, chances.indices] += chances.data
        return scores


@dataclass(frozen=True)
class NextBasket:
    """items: the shared item-to-item model. habit: what is known of the customer's own products.

    Products bought already may be recommended.
    """

    items: Recommender
    habit: Habit | Chances

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; nothing of a customer is in them."""
        return {**self.items.arrays, **self.habit.arrays}

    @property
    def offered(self) -> NDArray[np.bool_] | None:
        """What others let a retailer show that does not sell it, (products,); None: nothing."""
        return self.items.offered

    @property
    def meta(self) -> Json:
        """The item model's settings with the habit's."""
        return {**self.items.meta, **self.habit.meta}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "NextBasket":
        """Returns the model that `arrays` and `meta` describe."""
        rest = {name: value for name, value in meta.items() if name not in _OWN}
        habit: Habit | Chances
        if "habit" in arrays:
            habit = Habit(*arrays["habit"].tolist())
        else:
            again = Rebuying(arrays["rates"], arrays["ratios"])
            habit = Chances(again, float(arrays["deviation"]))
        return NextBasket(recommender(arrays, rest), habit)

    def scores(self, purchases: Purchases) -> NDArray[np.float32]:
        """Returns (customers, products) scores for purchases with their baskets."""
        shared = self.items.knowing(purchases.history, purchases.context)
        return self.habit.blend(shared, purchases)

    def because(self, history: NDArray[np.int32], product: int) -> tuple[int, ...]:
        """Returns the product itself if it was bought before, and what speaks most for it."""
        itself = (product,) if product in history else ()
        return (*itself, *self.items.because(history, product, 2 - len(itself)))

    def reasons(self, history: NDArray[np.int32], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        return [self.because(history, product) for product in products]


def in_deviations(items: NDArray[np.float32], history: csr_array) -> NDArray[np.float32]:
    """Returns (customers, products) scores less their mean, in deviations, of what is new to each.

    0 where all scores are equal. One customer after the other: it needs little memory, and nobody's
    depends on who else is there.
    """
    found = np.zeros_like(items)
    new, starts = np.ones(items.shape[1], bool), history.indptr
    for customer, row in enumerate(items):
        bought = history.indices[starts[customer] : starts[customer + 1]]
        new[bought] = False
        unknown = row[new] if len(bought) < len(row) else row
        new[bought] = True
        spread = unknown.std(dtype=np.float64)
        if spread > 0:
            found[customer] = (row - unknown.mean(dtype=np.float64)) / spread
    return found


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
