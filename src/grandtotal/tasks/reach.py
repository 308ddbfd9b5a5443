"""Who is reached by recommendations: slow sellers, small brands, customers of whom little is known.

Everything is a sum over the scored customers, so that the retailers' sums add up to everybody's.
Accuracy is traded for reach by one weight, that of `Wishes.reach`: the frontier says what each of a
few weights costs. Popularity lift as in Abdollahpouri et al., "The unfairness of popularity bias in
recommendation", 2019, https://arxiv.org/abs/1907.13286
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.item_model import top
from grandtotal.algorithms.purchases import Purchases
from grandtotal.durable import Json
from grandtotal.tasks.ranking import ranking_scores, scored_customers
from grandtotal.tasks.recommend_lists import Wished
from grandtotal.tasks.wishes import standard

if TYPE_CHECKING:
    from grandtotal.tables.read import Tables
    from grandtotal.tasks.task import Common

BRANDS = "brands"  # the rows that say which brand a product is of
WEIGHTS = (0.0, 0.5, 1.0, 2.0)
GROUPS = {"up to 2 products": 2, "3 to 10 products": 10, "more": np.inf}
_HALF = 0.5  # slow sellers are all products but the fewest that make up this share of purchases


def reach(wished: Wished, purchases: Purchases, brands: NDArray[np.int64] | None, k: int) -> Json:
    """Returns sums for each of WEIGHTS: of all, by customers' histories and by brands' sizes.

    brands: (products,) number of each product's brand, -1 for none; None where no table says it.
    customers, shown (places of lists), ndcg, popularity (how many customers bought what is shown),
    bought (the same of what customers had bought, a mean for each), slow (places of slow sellers),
    different (products shown to anybody), groups {name: [customers, ndcg at each weight]}, brands
    [share of purchases, share of places at each weight] of the smaller half of all brands.
    """
    counts = np.bincount(purchases.history.indices, minlength=purchases.history.shape[1])
    slow = _slow(counts)
    found = [_at(w, wished, purchases, counts, slow, k) for w in WEIGHTS]
    customers = int(found[0]["groups"].sum(axis=0)[0])
    sums = {
        name: [round(float(each[name]), 6) for each in found]
        for name in ("shown", "ndcg", "popularity", "slow", "different")
    }
    return {
        "weights": list(WEIGHTS),
        "customers": customers,
        "products": int((counts > 0).sum()),
        "bought": round(float(found[0]["bought"]), 6),
        **sums,
        "groups": {
            name: [int(found[0]["groups"][g][0])]
            + [round(float(each["groups"][g][1]), 6) for each in found]
            for g, name in enumerate(GROUPS)
        },
        **_by_brand(brands, counts, [each["places"] for each in found]),
    }


def _at(
    weight: float,
    wished: Wished,
    purchases: Purchases,
    counts: NDArray[np.int64],
    slow: NDArray[np.bool_],
    k: int,
) -> Json:
    lift = (-weight * standard(log(counts.astype(np.float64) + 1.0))).astype(np.float32)
    model = replace(wished, lift=lift)
    groups = np.zeros((len(GROUPS), 2))
    places = np.zeros(len(counts), np.int64)
    bought = 0.0
    for block, wanted in scored_customers(purchases):
        scores = model.scores(block)
        ranked = top(scores, k)
        shown = np.isfinite(np.take_along_axis(scores, ranked, axis=1))
        ndcg = ranking_scores(ranked, wanted)[:, 0]
        known = np.diff(block.history.indptr)
        group = np.searchsorted(list(GROUPS.values()), known)
        groups[:, 0] += np.bincount(group, minlength=len(GROUPS))
        groups[:, 1] += np.bincount(group, ndcg, len(GROUPS))
        places += np.bincount(ranked[shown], minlength=len(counts))
        starts = block.history.indptr[:-1]
        bought += float((np.add.reduceat(counts[block.history.indices], starts) / known).sum())
    return {
        "groups": groups,
        "ndcg": groups[:, 1].sum(),
        "shown": places.sum(),
        "popularity": (places * counts).sum(),
        "bought": bought,
        "slow": places[slow].sum(),
        "different": (places > 0).sum(),
        "places": places,
    }


def _slow(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    slow = np.zeros(len(counts), bool)
    slow[order] = before >= _HALF * counts.sum()
    return slow


def _by_brand(
    brands: NDArray[np.int64] | None, counts: NDArray[np.int64], places: list[NDArray[np.int64]]
) -> Json:
    if brands is None or len({*brands.tolist()} - {-1}) < 2:
        return {}
    known = brands >= 0
    sizes = np.bincount(brands[known], counts[known])
    sold = np.flatnonzero(sizes)
    small = np.zeros(len(sizes), bool)
    small[sold[np.argsort(sizes[sold], kind="stable")[: len(sold) // 2]]] = True
    mine = known & small[np.maximum(brands, 0)]
    shares = [each[mine].sum() / max(each[known].sum(), 1) for each in (counts, *places)]
    return {"brands": [round(float(share), 6) for share in shares]}


def brands_of(tables: Tables, common: Common) -> NDArray[np.int64] | None:
    """Returns (products,) the number of each product's brand, -1 for none; None without brands."""
    from grandtotal.tasks.lines import positions

    if "products" not in tables or "brand" not in tables["products"].columns:
        return None
    known = tables["products"].select("product", "brand").drop_nulls()
    known = known.join(positions(tables, common), on="product")
    found = np.full(len(common.catalogue), -1, np.int64)
    found[known["i"].to_numpy()] = np.unique(known["brand"].to_numpy(), return_inverse=True)[1]
    return found
