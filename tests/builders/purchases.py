"""Queries about which customers bought what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array, random_array

from builders.asked import Asked, Holder
from grandtotal.algorithms.als_totals import ALSMoments, ALSProducts
from grandtotal.algorithms.blend import parts_arrays
from grandtotal.algorithms.content import (
    CONTENT,
    WIDTH,
    BridgeSums,
    Content,
    ContentVectors,
)
from grandtotal.algorithms.item_similarity import ItemKNN
from grandtotal.algorithms.pair_counts import PairCounts
from grandtotal.algorithms.purchases import CoPurchases, PurchaseCounts, Purchases
from grandtotal.algorithms.rebuying import RebuyCounts, Rebuying
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.query import Query
from grandtotal.consortium.totals import Local
from grandtotal.tasks.next_basket import BasketScores
from grandtotal.tasks.ranking import RankingScores
from grandtotal.tasks.recommend_models import BlendScores
from grandtotal.tasks.scope import OfferedProducts


def make_purchases(rng: np.random.Generator, customers: int, products: int) -> Purchases:
    history = random_array((customers, products), density=0.3, rng=rng, format="csr")
    future = random_array((customers, products), density=0.15, rng=rng, format="csr").toarray() > 0
    bought = history.toarray() > 0
    days = (bought * rng.integers(1, 200, bought.shape)).astype(np.int32)
    return Purchases(csr_array(days), csr_array((future & ~bought).astype(np.int32)))


def with_baskets(rng: np.random.Generator, purchases: Purchases) -> Purchases:
    """Returns the purchases with one to three baskets of each product, and hits among the old."""
    times = rng.integers(1, 4, purchases.history.nnz)
    ago = np.concatenate([np.arange(1, n + 1) for n in times]).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(times)])[purchases.history.indptr]
    again = random_array(purchases.future.shape, density=0.2, rng=rng, format="csr")
    baskets = csr_array(
        (ago, np.repeat(purchases.history.indices, times), starts), shape=purchases.history.shape
    )
    wanted = (purchases.future + again > 0).astype(np.int32)
    return Purchases(purchases.history, csr_array(wanted), baskets)


def _of_purchases(query: Query, model: bool = False, **given: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_purchases(rng, customers, 12) for customers in (17, 30, 5)]
        pooled = {"test": Purchases.pooled(parts)}
        broadcast = ItemKNN(shrink=2.0).fit(Local(pooled), 12, "test").arrays if model else given
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder(pooled, folder))

    return build_asked


def _of_baskets(rng: np.random.Generator, folder: Path) -> Asked:
    asked = _of_purchases(BasketScores(12, 4, "test"), model=True)(rng, folder)
    parts = [with_baskets(rng, holder.rows["test"]) for holder in asked.parts]
    holders = [Holder({"test": part}, folder) for part in parts]
    pooled = Holder({"test": Purchases.pooled(parts)}, folder)
    again = Rebuying.fit(Local(pooled.rows), 12, "test").arrays
    ways = {**again, "deviations": np.array([2.0**-4, 2.0**-8])}
    return Asked(asked.query, {**asked.broadcast, **ways}, holders, pooled)


def _of_rebuying(rng: np.random.Generator, folder: Path) -> Asked:
    parts = [with_baskets(rng, make_purchases(rng, customers, 12)) for customers in (17, 30, 5)]
    pooled = Holder({"test": Purchases.pooled(parts)}, folder)
    query = RebuyCounts(12, "test")
    again = Rebuying.fit(Local(pooled.rows), 12, "test")
    holders = [Holder({"test": part}, folder) for part in parts]
    return Asked(query, {"rates": again.rates}, holders, pooled)


def _of_blends(rng: np.random.Generator, folder: Path) -> Asked:
    asked = _of_purchases(BlendScores(12, 4, "test"))(rng, folder)
    totals = Local(asked.pooled.rows)
    parts = tuple(c.fit(totals, 12, "test") for c in (ItemKNN(shrink=2.0), Transitions()))
    grid = np.array([[1.0, 0.0], [0.25, 0.75]])
    given = {**parts_arrays(parts), "grid": grid}
    return Asked(asked.query, given, asked.parts, asked.pooled)


def _of_offers(rng: np.random.Generator, folder: Path) -> Asked:
    offers = [rng.integers(0, 2, 12) for _ in range(3)]
    holders = [Holder({"offered": part}, folder) for part in offers]
    return Asked(OfferedProducts(12), {}, holders, Holder({"offered": sum(offers)}, folder))


def make_content(rng: np.random.Generator, products: int) -> Content:
    """Returns listings of some products, of words that say the remainder by 3 among others."""
    listed = np.flatnonzero(rng.random(products) < 0.8)
    words = [[f"kind {i % 3}", f"colour {rng.integers(9)}"] for i in listed]
    return Content.of(words, listed.tolist())


def _of_content(query: Query, **given: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_content(rng, 12) for _ in range(3)]
        holders = [Holder({CONTENT: part}, folder) for part in parts]
        return Asked(query, given, holders, Holder({CONTENT: Content.pooled(parts)}, folder))

    return build_asked


_FACTORS = np.random.default_rng(3).normal(size=(12, 5)) / 2


_FOLD = {"l2": 0.1, "unobserved": 0.2, "scaled": 1.0, "bits": 20, "most": 24}


_BRIDGE = np.random.default_rng(4).normal(size=(WIDTH, 5))


BUILDERS = {
    "bridge-sums": _of_content(
        BridgeSums(12), factors=_FACTORS, known=np.arange(12, dtype=np.uint8) % 4
    ),
    "content-vectors": _of_content(ContentVectors(12), bridge=_BRIDGE),
    "als-moments": _of_purchases(ALSMoments(12, "test", **_FOLD), factors=_FACTORS),
    "als-products": _of_purchases(
        ALSProducts(12, "test", **_FOLD, fine=20, first=True),
        factors=_FACTORS,
        directions=_FACTORS[::-1],
    ),
    "basket-scores": _of_baskets,
    "blend-scores": _of_blends,
    "co-purchases": _of_purchases(CoPurchases(12, "test")),
    "offered-products": _of_offers,
    "pair-counts": _of_purchases(PairCounts(12, "test")),
    "purchase-counts": _of_purchases(PurchaseCounts(12, "test", days=90)),
    "rebuy-counts": _of_rebuying,
    "ranking-scores": _of_purchases(RankingScores(12, 4, "test"), model=True),
}
