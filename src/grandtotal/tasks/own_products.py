"""What a retailer sells outside a private catalogue: served by a model of its own rows, at home.

The local model knows all that the retailer sells, shared or not, so that what is bought with a
shared product speaks for one that only this retailer has. Nothing of it leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.blend import Blended, Candidate
from grandtotal.algorithms.item_model import top
from grandtotal.algorithms.next_basket import Chances, NextBasket
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.rebuying import Rebuying
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import Json
from grandtotal.privacy.agreement import NO_PROMISE
from grandtotal.tasks.ranking import BLOCK, ranking_scores, scored_customers
from grandtotal.tasks.recommend_lists import Chosen, Lists, Shelf, Wished, as_frame

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tasks.task import Common

# By how much an own product is moved up: 1 puts it after as many shared products as the local model
# does, 2 after half as many.
WEIGHTS = (1.0, 1 / 2, 2.0, 1 / 4, 4.0)


def whole_assortment(common: Common) -> Common:
    """Returns what is agreed, over all that the retailer sells: shared products, then its own."""
    shared = np.delete(np.array(common.catalogue, object), list(common.absent)).tolist()
    catalogue = (*shared, *common.own)
    return replace(
        common, catalogue=catalogue, key="product", absent=(), own=(), privacy=NO_PROMISE
    )


def with_model(shared: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """Returns both predictions, with a column `model`: "shared" or "own"."""
    import polars as pl

    parts = [shared.with_columns(model=pl.lit("shared")), own.with_columns(model=pl.lit("own"))]
    return pl.concat(parts, how="diagonal")


def same_kind(meta: Json, grid: Mapping[str, tuple[Candidate, ...]]) -> Candidate | None:
    """Returns the candidate with the settings of the model that was chosen, None if none has."""
    if meta["model"] == "blend":
        parts = [same_kind(part, grid) for part in meta["parts"]]
        found = tuple(part for part in parts if part is not None)
        shares = tuple(float(part["share"]) for part in meta["parts"])
        return Blended(found, shares) if len(found) == len(shares) else None
    candidates = grid.get(meta["model"], ())
    same = (c for c in candidates if all(meta.get(name) == v for name, v in vars(c).items()))
    return next(same, None)


def local_model(delivered: Lists, candidate: Candidate, rows: Rows, split: str) -> Lists:
    """Returns the same kind of model of the retailer's own rows before the split's cut."""
    totals, products = Local(rows), rows[split].history.shape[1]
    items = candidate.fit(totals, products, split)
    if not isinstance(delivered, NextBasket):
        return items
    habit = delivered.habit
    if isinstance(habit, Chances):  # of the products of the catalogue, and these are others
        habit = replace(habit, again=Rebuying.fit(totals, products, split))
    return NextBasket(items, habit)


def validated_weight(model: Lists, purchases: Purchases, shared: int, k: int) -> float:
    """Returns the weight of WEIGHTS with the best NDCG@k on a split; of equal ones the first.

    model: of the retailer's own rows before the split's cut, also for the shared products: the
    delivered one has seen the split. shared: how many products of the assortment, the first ones,
    are shared.
    """
    sums = np.zeros(len(WEIGHTS))
    for block, wanted in scored_customers(purchases):
        scores = _scores(model, block)
        first = top(np.ascontiguousarray(scores[:, :shared]), k)
        own, before = placed(scores, shared, k)
        for i, weight in enumerate(WEIGHTS):
            ranked = blended(first, own, before, weight, k)
            sums[i] += ranking_scores(ranked, wanted)[:, 0].sum()
    return WEIGHTS[int(sums.argmax())]


def _scores(model: Lists, block: Purchases) -> NDArray[np.float32]:
    if isinstance(model, NextBasket):
        return model.scores(block)
    return model.scores(block.history, block.context)


def placed(
    scores: NDArray[np.float32], shared: int, k: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the k best own products (customers, k), and how many shared ones come before each.

    scores: (customers, products), of which the first are shared. More are not counted than an own
    product with the largest weight could pass.
    """
    own = top(np.ascontiguousarray(scores[:, shared:]), k) + shared
    first = np.ascontiguousarray(scores[:, :shared])
    most = top(first, math.ceil(max(WEIGHTS) * k) + 1)
    best = np.take_along_axis(first, most, axis=1)
    mine = np.take_along_axis(scores, own, axis=1)
    before = (best[:, :, None] >= mine[:, None, :]).sum(axis=1)
    # What was bought already, or is all that is left, comes after everything.
    return own, np.where(np.isfinite(mine), before, shared)


def blended(
    first: NDArray[np.intp],
    own: NDArray[np.intp],
    before: NDArray[np.intp],
    weight: float,
    k: int,
) -> NDArray[np.intp]:
    """Returns (customers, k) of the lists `first` of shared products and `own`, best first.

    An own product comes after before / weight shared ones.
    """
    ranks = np.broadcast_to(np.arange(1.0, first.shape[1] + 1), first.shape)
    keys = np.concatenate([ranks, (before + 0.5) / weight], axis=1)
    order = np.argsort(keys, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(np.concatenate([first, own], axis=1), order, axis=1)


def own_frames(
    wished: Wished, purchases: Purchases, shared: int, k: int, customers: pl.Series, shelf: Shelf
) -> Iterator[pl.DataFrame]:
    """Yields what `frames` does, of the k best own products; rank: shared ones that come before."""
    history = purchases.history
    for start in range(0, history.shape[0], BLOCK):
        block = purchases.of(np.arange(start, min(start + BLOCK, history.shape[0])))
        scores = wished.scores(block)
        products, before = placed(scores, shared, k)
        values = np.take_along_axis(scores, products, axis=1)
        at = np.nonzero(np.isfinite(values))
        chosen = Chosen(at[0], before[at], products[at], values[at])
        yield as_frame(chosen, wished, block.history, customers[start : start + BLOCK], shelf)


def blended_frames(shared: pl.DataFrame, own: pl.DataFrame, weight: float, k: int) -> pl.DataFrame:
    """Returns the k best of each customer from two predictions, as `blended` does.

    The rank of the own ones is how many shared ones come before.
    """
    import polars as pl

    both = with_model(shared, own)
    moved = (pl.col("rank") + 0.5) / weight
    key = pl.when(pl.col("model") == "own").then(moved).otherwise(pl.col("rank"))
    both = both.with_columns(key=key).sort("customer", "key", maintain_order=True)
    rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("customer")
    return both.with_columns(rank=rank).filter(pl.col("rank") <= k).drop("key")
