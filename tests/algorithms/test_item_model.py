import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from grandtotal.algorithms.item_model import ItemModel, Request, top
from grandtotal.algorithms.item_similarity import EASE, ItemKNN
from grandtotal.algorithms.popularity import Popularity
from grandtotal.consortium.totals import Local

PRODUCTS = 12
values = st.sampled_from([-np.inf, -2.5, -1e-40, -0.0, 0.0, 1e-40, 0.5, 2.0, np.inf]) | st.floats(
    allow_nan=False, width=32
)
blocks = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=values
)


@pytest.fixture
def purchases(build):
    return build.purchases(np.random.default_rng(4), 40, PRODUCTS)


@pytest.fixture(params=[Popularity(), ItemKNN(shrink=1.0), EASE(l2=3.0)], ids=lambda a: str(a))
def model(request, purchases):
    return request.param.fit(Local({"test": purchases}), PRODUCTS, "test")


@given(blocks, st.integers(0, 10))
def test_top_is_a_stable_sort_with_ties_to_the_lower_index(scores, k):
    expected = [sorted(range(len(row)), key=lambda i: (-row[i], i))[:k] for row in scores.tolist()]
    assert top(scores, k).tolist() == expected


def test_a_customer_alone_scores_bit_for_bit_as_in_a_block(model, purchases):
    block = model.scores(purchases.history)
    for customer in range(len(block)):
        alone = model.scores(purchases.history[[customer]])
        assert alone.tobytes() == block[customer].tobytes()


def test_scores_do_not_depend_on_when_something_was_bought(model, purchases):
    later = purchases.history.copy()
    later.data += 7
    assert model.scores(later).tobytes() == model.scores(purchases.history).tobytes()


def test_what_was_bought_is_never_recommended(model, purchases):
    bought = purchases.history.toarray() > 0
    scores = model.scores(purchases.history)
    assert (scores[bought] == -np.inf).all()
    assert np.isfinite(scores[~bought]).all()


def test_a_prediction_is_the_best_of_the_scores(model, purchases):
    history = purchases.history
    for customer in range(10):
        bought = history.indices[history.indptr[customer] : history.indptr[customer + 1]]
        scores = model.scores(history[[customer]])
        found = model.predict(Request(tuple(bought.tolist()), k=4))
        expected = [i for i in top(scores, 4)[0] if np.isfinite(scores[0, i])]
        assert [r.product for r in found] == expected
        assert [r.score for r in found] == scores[0, expected].tolist()


def test_the_order_of_a_history_does_not_matter(model):
    assert model.predict(Request((3, 1, 7))) == model.predict(Request((7, 3, 1, 3)))


def test_a_new_customer_gets_the_most_bought_products(model, purchases):
    customers = (purchases.history.toarray() > 0).sum(axis=0)
    expected = sorted(range(PRODUCTS), key=lambda i: (-customers[i], i))
    found = model.predict(Request((), k=PRODUCTS))
    assert [r.product for r in found] == expected
    assert all(r.because == () for r in found)


def test_excluded_products_are_left_out_and_the_others_stay(model):
    everything = model.predict(Request((2,), k=PRODUCTS))
    without = model.predict(Request((2,), k=PRODUCTS, exclude=(5, 0)))
    assert without == [r for r in everything if r.product not in (5, 0)]
    assert len(everything) == PRODUCTS - 1


def test_a_recommendation_names_the_bought_products_that_speak_most_for_it():
    weights = np.zeros((4, 4), np.float32)
    weights[:, 3] = [0.2, 0.9, -1.0, 0.0]
    model = ItemModel(weights, np.zeros(4, np.float32))
    (found,) = model.predict(Request((0, 1, 2), k=1))
    assert (found.product, found.because) == (3, (1, 0))
    assert model.because(np.array([2]), 3) == ()


def test_a_model_is_its_arrays_and_meta(model, purchases):
    built = ItemModel.build(model.arrays, model.meta)
    assert built.scores(purchases.history).tobytes() == model.scores(purchases.history).tobytes()
    assert built.meta == model.meta


def test_customers_without_a_history_do_not_disturb_the_others(model, purchases):
    dense = purchases.history.toarray()
    spaced = csr_array(np.insert(dense, [0, 3, len(dense)], 0, axis=0))
    kept = [i for i in range(spaced.shape[0]) if i not in (0, 4, spaced.shape[0] - 1)]
    assert model.scores(spaced)[kept].tobytes() == model.scores(purchases.history).tobytes()
