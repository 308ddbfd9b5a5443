import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms.als import ALS
from grandtotal.algorithms.blend import Blend, Blended, recommender, shares_of, standardised
from grandtotal.algorithms.item_model import ItemModel, Request
from grandtotal.algorithms.item_similarity import EASE
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest

PRODUCTS = 20


@pytest.fixture
def rows(build):
    return {"test": build.purchases(np.random.default_rng(8), 40, PRODUCTS)}


def blend(rows, shares=(0.25, 0.5, 0.25)):
    candidates = (EASE(5.0), ALS(factors=3, epochs=2), Transitions())
    return Blended(candidates, shares).fit(Local(rows), PRODUCTS, "test")


def test_a_part_with_the_whole_share_ranks_as_it_does_alone(rows):
    history = rows["test"].history
    for place in range(3):
        model = blend(rows, tuple(float(i == place) for i in range(3)))
        # To single precision: a blend's scores are the part's, moved and scaled.
        own, mixed = model.parts[place].scores(history), model.scores(history)
        for one, other in zip(own, mixed, strict=True):
            known = np.isfinite(one)
            assert np.corrcoef(one[known], other[known])[0, 1] == pytest.approx(1.0)


def test_scores_are_in_deviations_of_what_is_new(rows):
    history = rows["test"].history
    for scores in standardised(blend(rows).parts, history):
        new = np.where(history.toarray() > 0, np.nan, scores)
        assert np.allclose(np.nanmean(new, axis=1), 0.0)
        assert np.allclose(np.nanstd(new, axis=1), 1.0)


def test_equal_scores_stay_equal_and_finite():
    flat = ItemModel(np.empty((0, 0), np.float32), np.full(4, 7.0, np.float32))
    model = Blend((flat, flat), np.array([0.5, 0.5]))
    history = csr_array(np.array([[1, 0, 0, 0], [1, 2, 3, 4]], np.int32))
    assert (model.affinities(history) == 0).all()


def test_a_blend_is_what_its_arrays_say(rows):
    model = blend(rows)
    built = recommender(model.arrays, model.meta)
    history = rows["test"].history
    assert np.array_equal(built.scores(history), model.scores(history))
    assert arrays_digest(built.arrays) == arrays_digest(model.arrays)
    assert built.meta == model.meta


def test_a_customer_scores_the_same_in_any_block(rows):
    model, history = blend(rows), rows["test"].history
    assert np.array_equal(model.scores(history[[5]])[0], model.scores(history)[5])


def test_a_reason_is_that_of_the_largest_share_with_one(rows):
    popular = Popularity().fit(Local(rows), PRODUCTS, "test")
    ease = EASE(5.0).fit(Local(rows), PRODUCTS, "test")
    model = Blend((popular, ease), np.array([0.9, 0.1]))
    bought = np.array([1, 4, 6])
    for product in range(PRODUCTS):
        assert model.because(bought, product) == ease.because(bought, product)
    assert len(model.predict(Request((), k=3))) == 3


def test_every_way_to_share_begins_with_one_part_alone():
    found = list(shares_of(3))
    assert len(found) == 15
    assert all(sum(way) == 1 for way in found)
    assert sorted(found[:3]) == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert len(list(shares_of(4))) == 35
