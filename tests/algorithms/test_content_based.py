"""Words alone: what is described like the latest purchases, rare words first, whoever bought it."""

from math import log, sqrt

import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms.blend import recommender
from grandtotal.algorithms.content import CONTENT, WIDTH, Content
from grandtotal.algorithms.content_based import ContentBased
from grandtotal.algorithms.item_model import Request
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest

WORDS = (
    ("brand a", "category tea"),
    ("brand a", "category tea"),
    ("brand b", "category tea"),
    ("brand b", "category tea"),
    ("brand c", "category soap"),
    (),
)


def held(words, products):
    """Returns rows of one customer, who bought the third product."""
    history = csr_array(np.array([[0, 0, 1, 0, 0, 0]], np.int32))
    empty = csr_array(history.shape, dtype=np.int32)
    return {"test": Purchases(history, empty), CONTENT: Content.of(words, products)}


@pytest.fixture(scope="module")
def model():
    return ContentBased().fit(Local(held(WORDS, range(6))), 6, "test")


def test_scores_are_cosines_of_words_weighed_by_how_rare_they_are(model):
    brand, tea = log(5 / 2), log(5 / 4)  # two and four of the five that have words at all
    cosine = tea**2 / (brand**2 + tea**2)
    scores = model.affinities(csr_array(np.array([[1, 0, 0, 0, 0, 0]], np.int32)))[0]
    assert scores == pytest.approx([1, 1, cosine, cosine, 0, 0], abs=2e-6)
    assert model.because(np.array([0, 4]), 2) == (0,)


def test_a_purchase_counts_half_as_much_a_half_life_later():
    model = ContentBased(half_life=1.0).fit(Local(held(WORDS, range(6))), 6, "test")
    scores = model.affinities(csr_array(np.array([[3, 0, 0, 0, 1, 0]], np.int32)))[0]
    assert scores[1] == pytest.approx(0.5, abs=2e-6)
    assert scores[4] == pytest.approx(1.0, abs=2e-6)


def test_listings_of_several_retailers_are_those_of_one_table(model):
    north, south = held(WORDS[:3], range(3)), held(WORDS[3:], range(3, 6))
    pooled = {**north, CONTENT: Content.pooled([north[CONTENT], south[CONTENT]])}
    found = ContentBased().fit(Local(pooled), 6, "test")
    assert arrays_digest(found.arrays) == arrays_digest(model.arrays)


def test_a_product_of_after_the_run_is_as_near_as_one_with_the_same_words(model):
    wider = model.with_products(Content.of([WORDS[0]], [0]))
    scores = wider.affinities(csr_array(np.array([[1, 0, 0, 0, 0, 0, 0]], np.int32)))[0]
    assert scores[6] == pytest.approx(scores[1], abs=2e-3)


def test_without_words_it_is_popularity_that_orders():
    bare = ContentBased().fit(Local({"test": held((), ())["test"]}), 6, "test")
    assert not bare.words.nnz
    assert bare.predict(Request((0,), 1))[0].product == 2


def test_it_travels(model):
    built = recommender(model.arrays, model.meta)
    assert type(built) is type(model)
    assert arrays_digest(built.arrays) == arrays_digest(model.arrays)
    assert built.words.shape == (6, WIDTH)
    assert sqrt((built.words[[0]].toarray() ** 2).sum()) == pytest.approx(1.0)
