"""Recommendations: a customer with no purchase, one, or the whole catalogue, and other baskets."""

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import csr_array

from grandtotal.algorithms.blend import shares_of
from grandtotal.algorithms.pair_counts import PairCounts
from grandtotal.algorithms.purchases import CoPurchases, PurchaseCounts, Purchases
from grandtotal.algorithms.rebuying import CELLS, Rebuying
from grandtotal.tasks.next_basket import DEVIATIONS, BasketScores
from grandtotal.tasks.ranking import RankingScores
from grandtotal.tasks.recommend_models import BlendScores

PRODUCTS = 30
BOUGHT = st.sampled_from([0, 1, 2, 7, PRODUCTS - 1, PRODUCTS])


def customer(draw, rng):
    """Returns history, future (products,) and how many baskets ago each product was bought."""
    history = np.zeros(PRODUCTS, np.int32)
    history[rng.permutation(PRODUCTS)[: draw(BOUGHT)]] = draw(st.sampled_from([1, 20, 9000]))
    future = np.zeros(PRODUCTS, np.int32)
    future[rng.permutation(PRODUCTS)[: draw(BOUGHT)]] = 1
    return history, future


def rows_of(customers):
    history, future = (
        csr_array(np.array(part, np.int32).reshape(-1, PRODUCTS))
        for part in zip(*customers, strict=True)
    )
    last = (np.ones_like(history.data), history.indices, history.indptr)
    baskets = csr_array(last, shape=history.shape)
    return {"test": Purchases(history, future, baskets)}


def both(draw):
    """Returns the rows with the customer before and after; of nobody there are only zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    others = [customer(draw, rng) for _ in range(3)]
    return [rows_of([*others, customer(draw, rng)]) for _ in range(2)]


def purchase_counts(draw, folder):  # noqa: ARG001
    days = draw(st.sampled_from([0, 10]))
    return PurchaseCounts(PRODUCTS, "test", days, clipped=True), {}, *both(draw)


def co_purchases(draw, folder):  # noqa: ARG001
    chosen = sorted(draw(st.sets(st.integers(0, PRODUCTS - 1), min_size=PRODUCTS // 2)))
    return (
        CoPurchases(PRODUCTS, "test", clipped=True),
        {"products": np.array(chosen)},
        *both(draw),
    )


def model(draw):
    """Returns the arrays of an item model that recommends the catalogue's first or last ones."""
    prior = np.arange(PRODUCTS, dtype=np.float32) * draw(st.sampled_from([1, -1]))
    weights = draw(st.sampled_from([(0, 0), (PRODUCTS, PRODUCTS)]))
    return {"weights": np.zeros(weights, np.float32), "prior": prior}


def ranking_scores(draw, folder):  # noqa: ARG001
    query = RankingScores(PRODUCTS, draw(st.sampled_from([1, 10, PRODUCTS])), "test", clipped=True)
    return query, model(draw), *both(draw)


def basket_scores(draw, folder):  # noqa: ARG001
    # More ways than were agreed on count for less each.
    ways = np.tile(DEVIATIONS, draw(st.sampled_from([1, 3])))
    again = Rebuying(np.full(CELLS, 0.1), np.ones(PRODUCTS))
    broadcast = {**model(draw), **again.arrays, "deviations": ways}
    query = BasketScores(PRODUCTS, draw(st.sampled_from([1, 10, PRODUCTS])), "test", clipped=True)
    return query, broadcast, *both(draw)


def blend_scores(draw, folder):  # noqa: ARG001
    parts = draw(st.sampled_from([2, 4]))
    query = BlendScores(PRODUCTS, draw(st.sampled_from([1, 10, PRODUCTS])), "test", clipped=True)
    arrays = {f"{i}/{name}": a for i in range(parts) for name, a in model(draw).items()}
    return query, {**arrays, "grid": np.array(list(shares_of(parts)))}, *both(draw)


def pair_counts(draw, folder):  # noqa: ARG001
    query = PairCounts(PRODUCTS, "test", draw(st.sampled_from([0, 1, 10])), clipped=True)
    return query, {}, *both(draw)


CASES = {
    "blend-scores": blend_scores,
    "pair-counts": pair_counts,
    "purchase-counts": purchase_counts,
    "co-purchases": co_purchases,
    "ranking-scores": ranking_scores,
    "basket-scores": basket_scores,
}
