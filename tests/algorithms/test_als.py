"""Implicit ALS against the closed form of every row, its own other form, and its customers."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms import als_kernels, als_numpy, inner_loops
from grandtotal.algorithms.als import ALS, FactorModel, bits_for, exact_products
from grandtotal.algorithms.als_totals import ALSMoments, FoldIn, Shared
from grandtotal.algorithms.item_model import Recommender, Request
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, PlanError

PRODUCTS = 30


@pytest.fixture
def rows(build):
    return {"test": build.purchases(np.random.default_rng(4), 80, PRODUCTS)}


@pytest.fixture(params=[als_kernels, als_numpy])
def loops(request, monkeypatch):
    """Returns each of the two sets of inner loops in turn, in use."""
    monkeypatch.setattr(inner_loops, "of", lambda _: request.param)
    return request.param


def half(bought, other, als):
    """Returns each row's minimiser of Hu's loss, given the other side's factors, one by one."""
    d = other.shape[1]
    found = np.empty((len(bought), d))
    for row, x in enumerate(bought):
        known = other[x]
        penalty = als.l2 * (len(known) + als.unobserved * len(other)) ** als.scaled
        left = als.unobserved * other.T @ other + known.T @ known + penalty * np.eye(d)
        found[row] = np.linalg.solve(left, (1 + als.unobserved) * known.sum(axis=0))
    return found


@pytest.mark.parametrize("scaled", [0.0, 1.0])
def test_an_epoch_is_each_rows_own_least_squares(rows, scaled):
    als = ALS(factors=5, epochs=3, scaled=scaled, l2=0.3, spread=1.0)
    bought = rows["test"].history.toarray() > 0
    items = als.first(PRODUCTS)
    for _ in range(als.epochs):
        items = half(bought.T, half(bought, items, als), als)
    found = als.fit(Local(rows), PRODUCTS, "test").factors
    assert np.abs(found - items).max() <= 1e-6 * np.abs(items).max()


@pytest.mark.usefixtures("loops")
def test_enough_conjugate_gradients_solve_the_equations(rows):
    solved = ALS(factors=5, epochs=3, spread=1.0).fit(Local(rows), PRODUCTS, "test").factors
    stepped = ALS(factors=5, epochs=3, spread=1.0, steps=12).fit(Local(rows), PRODUCTS, "test")
    assert np.abs(stepped.factors - solved).max() <= 1e-6 * np.abs(solved).max()


@pytest.mark.usefixtures("loops")
def test_a_customer_is_nearly_solved_in_few_steps_and_the_same_in_any_block(rows):
    history = rows["test"].history
    factors, fold = ALS(factors=5, spread=1.0).first(PRODUCTS), FoldIn(0.1, 0.3, 1.0)
    solved = fold.solve(history, factors)
    near, nearer = (fold.nearly(history, factors, steps) for steps in (3, 12))
    assert np.linalg.norm(near - solved) < 0.01 * np.linalg.norm(solved)
    assert np.abs(nearer - solved).max() <= 1e-12 * np.abs(solved).max()
    for customer in (0, 17, 79):
        assert np.array_equal(fold.nearly(history[[customer]], factors, 3)[0], near[customer])


@pytest.mark.usefixtures("loops")
def test_a_customer_of_no_purchase_has_no_factors():
    found = FoldIn(0.1, 0.3, 1.0).nearly(csr_array((2, 4), dtype=np.int32), np.ones((4, 3)), 3)
    assert not found.any()


def test_what_all_share_is_solved_with_any_penalty():
    draw = np.random.default_rng(6)
    common, right, penalty = draw.normal(size=(9, 4)), draw.normal(size=(3, 4)), np.arange(1.0, 4.0)
    common = common.T @ common
    found = Shared.of(common).solve(right, penalty)
    for x, b, own in zip(found, right, penalty, strict=True):
        assert np.allclose((common + own * np.eye(4)) @ x, b)


@pytest.mark.parametrize("customers", [9, 4000])
def test_numpy_adds_the_same_integers_as_numba(customers):
    draw = np.random.default_rng(8)
    bought = csr_array((draw.random((40, customers)) < 0.02).astype(np.int32))
    steps = np.rint(draw.normal(size=(customers, 7)) * 2**22)
    directions = np.rint(draw.normal(size=(40, 7)) * 2**19)
    found = []
    for loops in (als_kernels, als_numpy):
        sums = np.zeros((40, 7), np.int64)
        size = loops.weighted(bought.indptr, bought.indices, directions, steps, 20, sums)
        found.append((size, sums.tolist()))
    assert found[0] == found[1]


def test_a_large_catalogue_is_solved_by_steps_unasked(rows, monkeypatch):
    monkeypatch.setattr("grandtotal.algorithms.als.MOST_MOMENTS", 10)
    als = ALS(factors=5, epochs=2)
    unasked = als.fit(Local(rows), PRODUCTS, "test").arrays
    monkeypatch.undo()
    asked = ALS(factors=5, epochs=2, steps=3).fit(Local(rows), PRODUCTS, "test").arrays
    assert arrays_digest(unasked) == arrays_digest(asked)


def test_a_customer_scores_the_same_alone_and_in_any_block(rows):
    model = ALS(factors=5, epochs=2).fit(Local(rows), PRODUCTS, "test")
    history = rows["test"].history
    whole = model.affinities(history)
    for customer in (0, 17, 79):
        assert np.array_equal(model.affinities(history[[customer]])[0], whole[customer])


def test_tastes_that_were_planted_are_found():
    """Four groups buy four groups of products, and a group's customers miss a few of theirs."""
    draw = np.random.default_rng(1)
    group = np.arange(200) % 4
    taste = np.arange(PRODUCTS) % 4 == group[:, None]
    bought = csr_array((taste & (draw.random(taste.shape) < 0.6)).astype(np.int32))
    rows = {"test": Purchases(bought, csr_array(bought.shape, dtype=np.int32))}
    model = ALS(factors=4, epochs=6).fit(Local(rows), PRODUCTS, "test")
    for first in range(4):
        listed = model.predict(Request((first, first + 4), k=4))
        assert {found.product % 4 for found in listed} == {first}
        assert all(set(found.because) <= {first, first + 4} for found in listed)


def test_because_adds_up_to_the_score(rows):
    model = ALS(factors=5, epochs=3).fit(Local(rows), PRODUCTS, "test")
    history = rows["test"].history[[3]]
    shares = (1 + model.fold.unobserved) * model._shares(history.indices, [2])
    score = model.customers(history)[0] @ model.factors[2].astype(np.float64)
    assert shares.sum() == pytest.approx(score)


def test_products_of_integers_have_no_order():
    draw = np.random.default_rng(2)
    left, right = draw.normal(size=(40, 64)) * 10.0, draw.normal(size=(50, 64))
    whole = exact_products(left, right)
    assert np.array_equal(exact_products(left[7:9], right), whole[7:9])
    assert np.abs(whole - left @ right.T).max() < 2e-6 * np.abs(whole).max()


def test_a_step_is_finer_for_fewer_customers_and_sums_never_overflow():
    items = np.full((9, 4), 0.5)
    for customers in (1.0, 1e3, 1e6, 1e9):
        bits, most = bits_for(items, customers)
        assert customers * 4.0**most <= 2.0**62
        assert bits <= most


def test_more_customers_than_were_counted_are_refused_where_sums_could_wrap():
    history = csr_array(np.ones((9, 2), np.int32))
    rows = {"test": Purchases(history, history)}
    query = ALSMoments(2, "test", 1e-9, 0.1, 0.0, bits=26, most=31)
    with pytest.raises(AnswerError, match="pass 2\\^62"):
        Local(rows).total(query, {"factors": np.full((2, 3), 1e-3)})


def test_a_retailer_with_nobody_or_one_product_has_a_model():
    for shape in ((0, 1), (3, 1)):
        history = csr_array(np.ones(shape, np.int32))
        totals = Local({"test": Purchases(history, history)})
        model = ALS(factors=3, epochs=2).fit(totals, 1, "test")
        assert np.isfinite(model.factors).all()
        assert model.predict(Request((0,))) == []
        assert [found.product for found in model.predict(Request(()))] == [0]


@pytest.mark.parametrize(
    ("wrong", "words"), [({"factors": 0}, "factors = 0"), ({"l2": 0.0}, "both must be above 0")]
)
def test_settings_that_cannot_be_are_refused(wrong, words, rows):
    with pytest.raises(PlanError, match=words):
        ALS(**wrong).fit(Local(rows), PRODUCTS, "test")


def test_a_model_is_what_its_arrays_say(rows):
    model = ALS(factors=5, epochs=2).fit(Local(rows), PRODUCTS, "test")
    built = FactorModel.build(model.arrays, model.meta)
    history = rows["test"].history
    assert np.array_equal(built.scores(history), model.scores(history))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_short_cut_to_a_list_is_the_list(scale):
    draw = np.random.default_rng(5)
    factors = (scale * draw.normal(size=(400, 6))).astype(np.float32)
    factors[100:200] = factors[:100]  # equal scores, which the prior orders
    prior = (draw.permutation(400) * np.float32(1e-9)).astype(np.float32)
    model = FactorModel(factors, prior, FoldIn(0.1, 0.3, 1.0))
    for k in (0, 1, 10, 400):
        bought = np.sort(draw.choice(400, 7, replace=False)).astype(np.int32)
        history = csr_array((np.ones(7, np.int32), bought, [0, 7]), shape=(1, 400))
        hidden = draw.random(400) < 0.3
        found, scores = model.best(history, k, hidden)
        expected, values = Recommender.best(model, history, k, hidden)
        assert found.tolist() == expected.tolist()
        assert scores.tolist() == values.tolist()
