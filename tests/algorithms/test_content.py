"""Words speak for products that nobody has bought, and only as long as nobody has."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms.blend import recommender
from grandtotal.algorithms.content import CONTENT, Content, Hybrid, hashed
from grandtotal.algorithms.item_model import Request
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest

KINDS, EACH = 3, 8


@pytest.fixture(scope="module")
def rows():
    """Returns customers of one kind of product each; of every kind the last was never bought."""
    rng = np.random.default_rng(2)
    kind = np.repeat(np.arange(KINDS), EACH)
    likes = rng.integers(0, KINDS, 300)
    history = (kind[None] == likes[:, None]) & (rng.random((300, len(kind))) < 0.6)
    history[:, EACH - 1 :: EACH] = False
    words = [[f"kind {k}", f"number {i}"] for i, k in enumerate(kind)]
    empty = csr_array(history.shape, dtype=np.int32)
    return {
        "test": Purchases(csr_array(history.astype(np.int32)), empty),
        CONTENT: Content.of(words, range(len(kind))),
    }


def test_a_product_that_nobody_bought_is_recommended_to_who_likes_its_kind(rows):
    model = Hybrid(factors=8).fit(Local(rows), KINDS * EACH, "test")
    for kind in range(KINDS):
        bought = tuple(range(kind * EACH, kind * EACH + 5))
        listed = [found.product for found in model.predict(Request(bought, 3))]
        assert kind * EACH + EACH - 1 in listed
        assert {product // EACH for product in listed} == {kind}


def test_without_words_the_model_is_als(rows):
    hybrid = Hybrid(factors=8).fit(Local({"test": rows["test"]}), KINDS * EACH, "test")
    words = Hybrid(factors=8, worth=0.0).fit(Local(rows), KINDS * EACH, "test")
    assert np.array_equal(hybrid.factors, words.factors)


def test_a_product_of_after_the_run_has_a_place_at_once(rows):
    model = Hybrid(factors=8).fit(Local(rows), KINDS * EACH, "test")
    wider = model.with_products(Content.of([["kind 1", "number 99"]], [0]))
    (best,) = wider.predict(Request((8, 9, 10, 11), 1, exclude=tuple(range(24))))
    assert best.product == KINDS * EACH
    ranks = wider.affinities(csr_array(np.eye(3, 25, dtype=np.int32) * 0 + _bought()))[:, 24]
    assert ranks[1] > ranks[0]
    assert ranks[1] > ranks[2]


def _bought():
    history = np.zeros((3, 25), np.int32)
    for kind in range(3):
        history[kind, kind * EACH : kind * EACH + 4] = 1
    return history


def test_a_hybrid_travels(rows):
    model = Hybrid(factors=4, epochs=1).fit(Local(rows), KINDS * EACH, "test")
    built = recommender(model.arrays, model.meta)
    assert arrays_digest(built.arrays) == arrays_digest(model.arrays)
    assert type(built) is type(model)


def test_features_have_one_norm_and_the_same_places_everywhere():
    assert hashed(["title tea", "brand x"]) == hashed(["brand x", "title tea"])
    steps = np.array(list(hashed(["a", "b", "c"]).values()))
    assert (steps[1:] ** 2).sum() == pytest.approx(2.0**20, rel=1e-3)
    assert hashed([]) == {0: 1024}
