"""Lists of products for all customers, and for one session, under a retailer's wishes. At home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.item_model import Recommender, best_of, in_order, top
from grandtotal.algorithms.next_basket import NextBasket
from grandtotal.algorithms.purchases import Purchases
from grandtotal.errors import RunError
from grandtotal.tasks.ranking import BLOCK
from grandtotal.tasks.wishes import moved

if TYPE_CHECKING:
    import polars as pl

Lists = Recommender | NextBasket


@dataclass(frozen=True)
class Wished:
    """A model, and what a retailer wishes of its lists.

    allowed: (products,) what may be shown at all. lift: (products,) what is added, see `moved`.
    again: whether products bought before may be on the list.
    """

    model: Lists
    allowed: NDArray[np.bool_]
    lift: NDArray[np.float32]
    again: bool

    def scores(self, block: Purchases) -> NDArray[np.float32]:
        """Returns (customers, products) scores, -inf for what is not on the list."""
        if isinstance(self.model, NextBasket):
            scores = self.model.scores(block)
        else:
            scores = self.model.knowing(block.history, block.context)
        return moved(self._without_hidden(scores, block), self.lift)

    def best(self, block: Purchases, k: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Returns the k best products for the one customer of a block, and their scores."""
        if isinstance(self.model, NextBasket) or self.lift.any() or block.context is not None:
            scores = self.scores(block)[0]
            return best_of(scores, k, np.isneginf(scores))
        hidden = ~self.allowed
        if block.sold is not None:
            alike = np.zeros(block.history.shape, np.float32)
            hidden |= np.isneginf(block.only_sold(alike, self.model.offered)[0])
        if not self.again:
            hidden[block.history.indices] = True
        return self.model.best(block.history, k, hidden)

    def _without_hidden(self, scores: NDArray[np.float32], block: Purchases) -> NDArray[np.float32]:
        scores = block.only_sold(scores, self.model.offered)
        if not self.again:
            customers = np.repeat(np.arange(len(scores)), np.diff(block.history.indptr))
            scores[customers, block.history.indices] = -np.inf
        if not self.allowed.all():
            scores[:, ~self.allowed] = -np.inf
        return scores

    def reasons(self, bought: NDArray[Any], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns the bought products that speak most for each of these."""
        return self.model.reasons(bought, products)


@dataclass(frozen=True)
class Shelf:
    """What products are called. keys, titles: (products,) texts."""

    keys: NDArray[Any]
    titles: NDArray[Any]

    @cached_property
    def place(self) -> dict[str, int]:
        """The place of each key in the catalogue."""
        return {key: i for i, key in enumerate(self.keys.tolist())}


def frames(
    wished: Wished, purchases: Purchases, k: int, customers: pl.Series, shelf: Shelf
) -> Iterator[pl.DataFrame]:
    """Yields customer, rank, product, title, score, because of some customers after the other.

    A block at a time, so that a million customers need no more memory than a thousand.
    """
    for start in range(0, purchases.history.shape[0], BLOCK):
        block = purchases.of(np.arange(start, min(start + BLOCK, purchases.history.shape[0])))
        scores = wished.scores(block)
        best = top(scores, k)
        values = np.take_along_axis(scores, best, axis=1)
        rows, places = np.nonzero(np.isfinite(values))
        chosen = Chosen(rows, places + 1, best[rows, places], values[rows, places])
        yield as_frame(chosen, wished, block.history, customers[start : start + BLOCK], shelf)


@dataclass(frozen=True)
class Chosen:
    """Places of lists, one after the other: whose (row of the block), rank, product and score."""

    rows: NDArray[np.intp]
    ranks: NDArray[np.intp]
    products: NDArray[np.intp]
    scores: NDArray[np.float32]


def as_frame(
    chosen: Chosen, wished: Wished, history: csr_array, customers: pl.Series, shelf: Shelf
) -> pl.DataFrame:
    """Returns customer, rank, product, title, score, because."""
    import polars as pl

    starts, because = history.indptr, list[str]()
    ends = np.searchsorted(chosen.rows, np.arange(history.shape[0] + 1))
    for row in range(history.shape[0]):
        bought = history.indices[starts[row] : starts[row + 1]]
        products = chosen.products[ends[row] : ends[row + 1]].tolist()
        reasons = wished.reasons(bought, products)
        because += [" | ".join(shelf.titles[list(reason)]) for reason in reasons]
    texts = ("customer", "product", "title", "because")
    return pl.DataFrame(
        {
            "customer": customers.gather(chosen.rows),
            "rank": chosen.ranks.astype(np.int32),
            "product": shelf.keys[chosen.products],
            "title": shelf.titles[chosen.products],
            "score": chosen.scores,
            "because": because,
        },
        schema_overrides=dict.fromkeys(texts, pl.String),
    )


# --- without a customer ---


@dataclass(frozen=True)
class Shown:
    """One product of a list, by its own name; because: titles of what speaks for it."""

    product: str
    title: str
    score: float
    because: tuple[str, ...] = ()


@dataclass(frozen=True)
class Serving:
    """A retailer's recommender in memory: an answer needs no customer, no table and no training.

    seller: the retailer's purchases without any customer, for what it does not sell.
    """

    wished: Wished
    shelf: Shelf
    seller: Purchases

    def session(self, products: Sequence[str], k: int = 10) -> list[Shown]:
        """Returns the k best for what was looked at or bought, in order, the latest last.

        Products that the model does not know are passed over; `unknown` names them.
        """
        known = tuple(self.shelf.place[key] for key in products if key in self.shelf.place)
        history = in_order(known, len(self.shelf.keys))
        baskets = history if isinstance(self.wished.model, NextBasket) else None
        context = self.seller.context
        block = replace(
            self.seller,
            history=history,
            future=history,
            baskets=baskets,
            seller=None if self.seller.sold is None else np.zeros(1, np.intp),
            context=None if context is None else context.unknown(1),
        )
        best, scores = self.wished.best(block, k)
        reasons = self.wished.reasons(history.indices, best.tolist())
        found = zip(best.tolist(), scores.tolist(), reasons, strict=True)
        return [self._shown(*each) for each in found]

    def unknown(self, products: Sequence[str]) -> list[str]:
        """Returns the products that the model knows nothing of."""
        return [key for key in products if key not in self.shelf.place]

    def similar(self, product: str, k: int = 10) -> list[Shown]:
        """Returns the k products that go best with this one; none that the model knows not to.

        RunError for a product that it does not know.
        """
        if product not in self.shelf.place:
            raise RunError(
                f"product '{product}': not among the {len(self.shelf.keys):,} products that the "
                f"model knows, the first of which is '{self.shelf.keys[0]}'"
            )
        items = self.wished.model
        scores = items.items if isinstance(items, NextBasket) else items
        found = scores.similar(self.shelf.place[product])[None]
        if self.seller.sold is not None:
            found = replace(self.seller, seller=np.zeros(1, np.intp)).only_sold(
                found, items.offered
            )
        hidden = ~((found[0] > 0) & self.wished.allowed)
        hidden[self.shelf.place[product]] = True
        found[0, hidden] = -np.inf
        best, values = best_of(moved(found, self.wished.lift)[0], k, hidden)
        listed = zip(best.tolist(), values.tolist(), strict=True)
        return [self._shown(*each, ()) for each in listed]

    def _shown(self, place: int, score: float, because: tuple[int, ...]) -> Shown:
        titles = tuple(self.shelf.titles[each] for each in because)
        return Shown(self.shelf.keys[place], self.shelf.titles[place], score, titles)
