"""Who is reached by recommendations: slow sellers, small brands, customers of whom little is known.

Everything is a sum over the scored customers, so that the retailers' sums add up to everybody's.
Accuracy is traded for reach by one weight, that of `Wishes.reach`: the frontier says what each of a
few weights costs. Popularity lift as in Abdollahpouri et al., "The unfairness of popularity bias in
recommendation", 2019, https://arxiv.org/abs/1907.13286
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.item_model import top
from grandtotal.algorithms.purchases import Purchases
from grandtotal.durable import Json
from grandtotal.tasks.ranking import ranking_scores, scored_customers
from grandtotal.tasks.recommend_lists import Wished
from grandtotal.tasks.wishes import each_moved, standard

BRANDS = "brands"  # the rows that say which brand a product is of
WEIGHTS = (0.0, 0.5, 1.0, 2.0)
GROUPS = {"up to 2 products": 2, "3 to 10 products": 10, "more": np.inf}
_HALF = 0.5  # slow sellers are all products but the fewest that make up this share of purchases


def reach(wished: Wished, purchases: Purchases, brands: NDArray[np.int64] | None, k: int) -> Json:
    """Returns sums for each of WEIGHTS: of all, by customers' histories and by brands' sizes.

    brands: (products,) number of each product's brand, -1 for none; None where no table says it.
    customers, shown (places of lists), ndcg, popularity (how many customers bought what is shown),
    bought (the same of what customers had bought, a mean for each), slow (places of slow sellers),
    different (products shown to anybody), others (places of products that the retailer does not
    sell), groups {name: [customers, ndcg at each weight]}, brands [share of purchases, share of
    places at each weight] of the smaller half of all brands.
    """
    counts = np.bincount(purchases.history.indices, minlength=purchases.history.shape[1])
    popular = standard(log(counts.astype(np.float64) + 1.0))
    lifts = [(-weight * popular).astype(np.float32) for weight in WEIGHTS]
    found = [_At(len(counts)) for _ in WEIGHTS]
    model = replace(wished, lift=np.zeros(len(counts), np.float32))
    customers, bought = np.zeros(len(GROUPS), np.int64), 0.0
    for block, wanted in scored_customers(purchases):
        known = np.diff(block.history.indptr)
        group = np.searchsorted(list(GROUPS.values()), known)
        customers += np.bincount(group, minlength=len(GROUPS))
        starts = block.history.indptr[:-1]
        bought += float((np.add.reduceat(counts[block.history.indices], starts) / known).sum())
        # What scores are is the same at every weight.
        lifted = each_moved(model.scores(block), lifts)
        for each, scores in zip(found, lifted, strict=True):
            each.add(scores, block, wanted, group, k)
    slow = _slow(counts)
    return {
        "weights": list(WEIGHTS),
        "customers": int(customers.sum()),
        "products": int((counts > 0).sum()),
        "bought": round(bought, 6),
        "shown": [int(each.places.sum()) for each in found],
        "ndcg": [round(float(each.ndcg.sum()), 6) for each in found],
        "popularity": [int((each.places * counts).sum()) for each in found],
        "slow": [int(each.places[slow].sum()) for each in found],
        "different": [int((each.places > 0).sum()) for each in found],
        "others": [each.others for each in found],
        "groups": {
            name: [int(customers[g]), *(round(float(each.ndcg[g]), 6) for each in found)]
            for g, name in enumerate(GROUPS)
        },
        **_by_brand(brands, counts, [each.places for each in found]),
    }


class _At:
    """What lists are at one weight: ndcg of each of GROUPS, places of each product, and others."""

    def __init__(self, products: int) -> None:
        self.ndcg = np.zeros(len(GROUPS))
        self.places = np.zeros(products, np.int64)
        self.others = 0

    def add(
        self,
        scores: NDArray[np.float32],
        block: Purchases,
        wanted: NDArray[np.bool_],
        group: NDArray[np.intp],
        k: int,
    ) -> None:
        """Adds the lists of some customers, of whom `group` says which of GROUPS each is in."""
        ranked = top(scores, k)
        shown = np.isfinite(np.take_along_axis(scores, ranked, axis=1))
        ndcg = ranking_scores(ranked, wanted)[:, 0]
        self.ndcg += np.bincount(group, ndcg, len(GROUPS))
        self.places += np.bincount(ranked[shown], minlength=len(self.places))
        if block.sold is not None:
            sold = np.take_along_axis(block.sold[block.seller], ranked, axis=1)
            self.others += int((shown & ~sold).sum())


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
