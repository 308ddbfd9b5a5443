"""Lists of shared and of own products, blended by what the validation says."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from grandtotal.algorithms.item_model import ItemModel, top
from grandtotal.algorithms.next_basket import Chances, NextBasket
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.rebuying import Rebuying
from grandtotal.consortium.totals import Local
from grandtotal.tasks.own_products import (
    WEIGHTS,
    blended,
    blended_frames,
    local_model,
    placed,
    same_kind,
    validated_weight,
    whole_assortment,
)
from grandtotal.tasks.ranking import RankingScores
from grandtotal.tasks.recommend_models import GRIDS
from grandtotal.tasks.task import Common


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(1.0, [0, 1, 10, 11, 2]), (0.5, [0, 1, 2, 3, 10]), (2.0, [0, 10, 11, 1, 2])],
)
def test_the_weight_says_after_how_many_shared_ones_an_own_product_comes(weight, expected):
    first, own, before = np.arange(4)[None], np.array([[10, 11]]), np.array([[2, 2]])
    assert blended(first, own, before, weight, 5).tolist() == [expected]


@given(seed=st.integers(0, 999))
def test_with_weight_1_the_local_lists_are_the_local_model(seed):
    scores = np.random.default_rng(seed).permutation(60).reshape(4, 15).astype(np.float32)
    first = top(np.ascontiguousarray(scores[:, :9]), 5)
    own, before = placed(scores, 9, 5)
    assert np.array_equal(blended(first, own, before, 1.0, 5), top(scores, 5))


def test_frames_are_blended_as_arrays():
    scores = np.random.default_rng(3).permutation(60).reshape(4, 15).astype(np.float32)
    first = top(np.ascontiguousarray(scores[:, :9]), 5)
    own, before = placed(scores, 9, 5)
    frames = [
        pl.DataFrame(
            {
                "customer": np.repeat(np.arange(4), 5),
                "rank": ranks.ravel().astype(np.int32),
                "product": products.ravel(),
            }
        )
        for products, ranks in ((first, np.tile(np.arange(1, 6), (4, 1))), (own, before))
    ]
    for weight in WEIGHTS:
        found = blended_frames(*frames, weight, 5)
        expected = blended(first, own, before, weight, 5)
        assert found["product"].to_list() == expected.ravel().tolist()
        assert found["rank"].to_list() == [1, 2, 3, 4, 5] * 4
        assert ((found["model"] == "own") == (found["product"] >= 9)).all()


@pytest.mark.parametrize(("bought", "expected"), [(0, 1.0), (4, 4.0)])
def test_the_weight_is_what_the_validation_wants(bought, expected):
    """Six products, of which the last two are own; customers go on to buy one kind only."""
    history = np.zeros((5, 6), np.int32)
    history[:, 3] = 1
    future = np.zeros((5, 6), np.int32)
    future[:, bought] = 1
    model = ItemModel(np.zeros((0, 0), np.float32), np.array([6, 5, 4, 3, 2, 1], np.float32))
    held = Purchases(csr_array(history), csr_array(future))
    assert validated_weight(model, held, 4, 2) == expected


def test_the_whole_assortment_is_what_is_sold_here():
    common = Common(date(2024, 1, 1), ("a", "#1", "b"), "gtin", absent=(1,), own=("x", "y"))
    whole = whole_assortment(common)
    assert whole.catalogue == ("a", "b", "x", "y")
    assert (whole.key, whole.absent, whole.own) == ("product", (), ())


def test_the_same_settings_are_found_for_every_candidate():
    for name, candidates in GRIDS.items():
        for candidate in candidates:
            meta = {"model": name, **vars(candidate), "decay": 1}
            assert same_kind(meta, GRIDS) == candidate
    assert same_kind({"model": "ease", "l2": 7.0}, GRIDS) is None
    assert same_kind({"model": "another"}, GRIDS) is None


def purchases(seed, absent):
    generator = np.random.default_rng(seed)
    bought = generator.random((40, 8)) < 0.3
    future = (generator.random((40, 8)) < 0.3) & ~bought
    bought[:, absent] = future[:, absent] = False
    held = Purchases(csr_array(bought.astype(np.int32)), csr_array(future.astype(np.int32)))
    return held.without(absent)


def test_pooled_scores_are_the_sum_where_each_sells_something_else():
    """The pooled model is chosen as the federated one only if its scores are the same."""
    parts = [purchases(1, [0, 3]), purchases(2, []), purchases(3, [7])]
    query = RankingScores(8, 3, "validation")
    prior = np.arange(8, 0, -1, dtype=np.float32)
    broadcast = ItemModel(np.zeros((0, 0), np.float32), prior).arrays
    each = [Local({"validation": part}).total(query, broadcast) for part in parts]
    pooled = Local({"validation": Purchases.pooled(parts)}).total(query, broadcast)
    for name, value in pooled.items():
        assert value == pytest.approx(sum(one[name] for one in each), abs=1e-9)
    blind = [replace(part, sold=None, seller=None) for part in parts]
    assert Local({"validation": blind[0]}).total(query, broadcast)["ndcg"] < each[0]["ndcg"]


def test_the_next_basket_of_the_whole_assortment_has_chances_of_its_own(build):
    """The delivered chances are of the shared products; there are others beside them at home."""
    rng = np.random.default_rng(6)
    shared, whole = (build.with_baskets(rng, build.purchases(rng, 30, n)) for n in (5, 9))
    again = Rebuying.fit(Local({"test": shared}), 5, "test")
    items = Popularity().fit(Local({"test": shared}), 5, "test")
    delivered = NextBasket(items, Chances(again, 2.0**-6))
    local = local_model(delivered, Popularity(), {"test": whole}, "test")
    assert local.habit.deviation == 2.0**-6
    assert local.habit.again.ratios.shape == (9,)
    assert np.isfinite(local.scores(whole)).all()
