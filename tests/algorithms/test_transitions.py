"""Counts of pairs in order against a loop over customers, and lists from histories in order."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms import pair_counts
from grandtotal.algorithms.item_model import Request, in_order
from grandtotal.algorithms.pair_counts import UNIT, WEIGHTS, PairCounts, counted_pairs, moments
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.transitions import TransitionModel, Transitions
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import PlanError

PRODUCTS = 14


@pytest.fixture
def rows(build):
    return {"test": build.purchases(np.random.default_rng(6), 50, PRODUCTS)}


def rows_of(*histories, products=PRODUCTS):
    """Returns rows of customers with these products in order, the latest last."""
    stacked = np.concatenate([in_order(h, products).toarray() for h in histories])
    history = csr_array(stacked.astype(np.int32))
    return {"test": Purchases(history, csr_array(history.shape, dtype=np.int32))}


def one_by_one(history, window):
    """Returns what a loop over customers and pairs counts, in steps."""
    dense = history.toarray()
    counted = np.zeros((dense.shape[1], dense.shape[1]), np.int64)
    for days in dense:
        known = sorted({day for day in days if day})
        for i in np.flatnonzero(days):
            for j in np.flatnonzero(days):
                apart = known.index(days[i]) - known.index(days[j])
                if i != j and not window:
                    counted[i, j] += UNIT
                elif i != j and 1 <= apart <= window:
                    counted[i, j] += WEIGHTS[apart - 1]
    return counted


@pytest.mark.parametrize("window", [0, 1, 5, 10])
def test_pairs_are_counted_as_one_by_one(rows, window):
    found = counted_pairs(Local(rows), PRODUCTS, "test", window).toarray()
    assert np.array_equal(np.rint(found * UNIT), one_by_one(rows["test"].history, window))


@pytest.mark.parametrize(("products", "most"), [(14, 20), (14, 120), (70, 90), (500, 4000)])
def test_a_large_catalogue_is_counted_in_groups_and_exactly(monkeypatch, build, products, most):
    rows = {"test": build.purchases(np.random.default_rng(products), 12, products)}
    expected = counted_pairs(Local(rows), products, "test", 3)
    monkeypatch.setattr(pair_counts, "MOST_CELLS", most)
    asked = []

    class Noting(Local):
        def total(self, query, broadcast=None):
            found = super().total(query, broadcast)
            asked.append(len(found["counts"]))
            return found

    found = counted_pairs(Noting(rows), products, "test", 3)
    assert (found != expected).nnz == 0
    assert len(asked) > 1
    assert max(asked) <= max(most, products)


def test_products_of_one_day_are_of_one_moment():
    history = csr_array(np.array([[9, 3, 9, 0], [0, 0, 1, 0], [0, 0, 0, 0]], np.int32))
    assert moments(history).tolist() == [2, 1, 2, 1]


def test_what_usually_follows_the_last_purchase_comes_first():
    rows = rows_of(*[(0, 1, 2), (0, 1, 2), (3, 1, 4), (5, 2, 6), (5, 2, 6)] * 3)
    model = Transitions(half_life=1.0, follows=8.0, shrink=1.0).fit(Local(rows), PRODUCTS, "test")
    first, other = model.predict(Request((0, 1), k=1)), model.predict(Request((1, 5, 2), k=1))
    assert (first[0].product, other[0].product) == (2, 6)
    assert first[0].because == (1, 0)
    # The same products in another order are another session.
    assert model.predict(Request((5, 2, 1), k=1)) != other


def test_a_session_that_repeats_a_product_ends_with_it():
    model_of = Transitions(half_life=1.0).fit(Local(rows_of((0, 1), (2, 3))), PRODUCTS, "test")
    assert model_of.predict(Request((0, 2, 0), k=1)) == model_of.predict(Request((2, 0), k=1))


def test_a_session_may_come_back_to_a_product_where_that_is_asked():
    rows = rows_of((0, 1), (0, 2))
    model = Transitions(half_life=1.0, again=0.9).fit(Local(rows), PRODUCTS, "test")
    assert [found.product for found in model.predict(Request((3, 1), k=2, again=True))] == [1, 3]
    assert not {1, 3} & {found.product for found in model.predict(Request((3, 1), k=9))}


def test_an_empty_session_gets_the_bestsellers():
    model = Transitions().fit(Local(rows_of((0, 1), (2, 1), (3, 1))), PRODUCTS, "test")
    assert model.predict(Request((), k=1))[0].product == 1


def test_a_model_is_what_its_arrays_say_whether_sparse_or_not(rows, monkeypatch):
    history = rows["test"].history
    model = Transitions(neighbours=4).fit(Local(rows), PRODUCTS, "test")
    assert np.diff(model.weights.indptr).max() == 4
    monkeypatch.setattr("grandtotal.algorithms.transitions._DENSE", 0)
    built = TransitionModel.build(model.arrays, model.meta)
    assert np.array_equal(built.scores(history), model.scores(history))


def test_a_customer_of_many_lines_counts_as_one_by_one():
    many = tuple(range(300))
    rows = rows_of(many, (0, 1), products=300)
    found = counted_pairs(Local(rows), 300, "test", 10)
    assert np.rint(found.sum() * UNIT) == one_by_one(rows["test"].history, 10).sum()


def test_a_retailer_without_repeats_or_with_one_product_adds_nothing():
    alone = rows_of((0,), (1,), ())
    known = rows_of((0, 1, 2), (1, 3))
    both = {"test": Purchases.pooled([alone["test"], known["test"]])}
    for window in (0, 4):
        apart = counted_pairs(Local(known), PRODUCTS, "test", window)
        assert (counted_pairs(Local(both), PRODUCTS, "test", window) != apart).nnz == 0
    single = rows_of((0,), products=1)
    assert Transitions().fit(Local(single), 1, "test").predict(Request((0,))) == []


def test_one_customer_moves_a_clipped_total_alike_with_many_pairs_or_few():
    query = PairCounts(PRODUCTS, "test", clipped=True)
    norms = [
        np.linalg.norm(Local(rows_of(h)).total(query)["counts"])
        for h in ((0, 1), tuple(range(PRODUCTS)))
    ]
    assert max(norms) <= 1.0
    assert norms[1] == pytest.approx(1.0, abs=1e-3)


def test_a_window_without_weights_is_refused(rows):
    with pytest.raises(PlanError, match="window = 11"):
        Transitions(window=11).fit(Local(rows), PRODUCTS, "test")


def test_the_same_counts_have_the_same_bits(rows):
    found = [Transitions().fit(Local(rows), PRODUCTS, "test").arrays for _ in range(2)]
    assert arrays_digest(found[0]) == arrays_digest(found[1])
