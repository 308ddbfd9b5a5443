"""A shared recommender with a layer of one retailer's own on top, which stays at home.

    Biased   score = shared + s b
    Moved    the network with the products' numbers Q + A B and their biases b + c

b, c: of each product, what its own shop says. s: the deviation of a customer's shared scores over
what is new to it, so that a bias means the same for every model and scores stay as large as they
were. A B: of low rank, since one shop has little to say of most products.

Low-rank changes of a trained network: Hu et al., "LoRA", 2021, https://arxiv.org/abs/2106.09685
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.around import Around
from grandtotal.algorithms.content import Content, HybridModel
from grandtotal.algorithms.content_based import ContentModel
from grandtotal.algorithms.customer_context import Context
from grandtotal.algorithms.item_model import Recommender, in_order
from grandtotal.algorithms.next_basket import NextBasket
from grandtotal.algorithms.offered import Offered
from grandtotal.algorithms.sequential import SequenceModel
from grandtotal.algorithms.towers import TowerModel
from grandtotal.privacy.fixedpoint import Arrays


@dataclass(frozen=True)
class Biased(Around):
    """items: the shared model, whose arrays travel. bias: (products,) float32; it never travels."""

    bias: NDArray[np.float32]

    @property
    def prior(self) -> NDArray[np.float32]:  # type: ignore[override]
        """The score without any history."""
        shared = self.items.prior[None]
        nobody = in_order((), len(self.bias))
        found: NDArray[np.float32] = (shared + deviations(shared, nobody) * self.bias)[0]
        return found

    def knowing(self, history: csr_array, context: Context | None) -> NDArray[np.float32]:
        """Returns the affinities, with what else is known of the customers."""
        shared = self.items.knowing(history, context)
        return shared + deviations(shared, history) * self.bias

    def with_products(self, content: Content) -> "Biased":
        """Returns the model with these listings as products after the known ones, like the median.

        Only around a model that reads words.
        """
        assert isinstance(self.items, ContentModel | HybridModel | TowerModel)
        wider = self.items.with_products(content)
        new = np.full(len(wider.prior) - len(self.bias), np.median(self.bias), np.float32)
        return replace(self, items=wider, bias=np.append(self.bias, new))


@dataclass(frozen=True)
class Moved(Around):
    """items: the network with products moved at home. shared: as it was delivered, and travels."""

    shared: SequenceModel

    @property
    def arrays(self) -> Arrays:
        """The arrays of the shared model: nothing of the retailer's own travels."""
        return self.shared.arrays

    def with_products(self, content: Content) -> "Moved":
        """Returns the model with these listings as products after the known ones.

        Only around a model that reads words.
        """
        assert isinstance(self.items, TowerModel)
        return replace(self, items=self.items.with_products(content))


OfWords = ContentModel | HybridModel | TowerModel | Biased | Moved


def of_words(model: Any) -> OfWords | None:
    """Returns the model if it has a place for a product that no total holds, by its words."""
    inside = model.items if isinstance(model, Biased | Moved) else model
    return model if isinstance(inside, ContentModel | HybridModel | TowerModel) else None


def within(
    model: Recommender | NextBasket, make: Callable[[Recommender], Recommender]
) -> Recommender | NextBasket:
    """Returns a model with another one in place of what scores its products."""
    if isinstance(model, NextBasket):
        return replace(model, items=_inside(model.items, make))
    return _inside(model, make)


def scorer(model: Recommender | NextBasket) -> Recommender:
    """Returns what scores a model's products."""
    items = model.items if isinstance(model, NextBasket) else model
    return items.items if isinstance(items, Offered) else items


def _inside(model: Recommender, make: Callable[[Recommender], Recommender]) -> Recommender:
    return replace(model, items=make(model.items)) if isinstance(model, Offered) else make(model)


# --- a bias on top of any model ---


def deviations(scores: NDArray[np.float32], history: csr_array) -> NDArray[np.float32]:
    """Returns (customers, 1) the standard deviation of what is new to each, 1 where there is none.

    One customer after the other: it needs little memory, and nobody's depends on who else is there.
    """
    found = np.ones((len(scores), 1), np.float32)
    new, starts = np.ones(scores.shape[1], bool), history.indptr
    for customer, row in enumerate(scores):
        bought = history.indices[starts[customer] : starts[customer + 1]]
        new[bought] = False
        spread = row[new].std(dtype=np.float64) if new.any() else 0.0
        new[bought] = True
        found[customer] = spread if spread > 0 else 1.0
    return found


# --- products of a network, moved ---


def low_rank(change: NDArray[Any], rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns A (products, rank) and B (rank, width), the nearest to a change of that rank."""
    left, size, right = np.linalg.svd(change.astype(np.float64), full_matrices=False)
    kept = left[:, :rank] * size[:rank]
    return kept.astype(np.float32), right[:rank].astype(np.float32)


def moved(model: SequenceModel, left: Any, right: Any, bias: Any) -> Moved:
    """Returns the network with the products' numbers Q + A B and their biases b + c."""
    table = table_of(model)
    weights = {
        **model.weights,
        table: model.weights[table] + left @ right,
        "bias": model.weights["bias"] + bias,
    }
    return Moved(replace(model, weights=weights), model)


def table_of(model: SequenceModel) -> str:
    """Returns what the table of the products' numbers is called."""
    return next(name for name in model.weights if name.startswith("items"))
