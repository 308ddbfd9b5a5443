"""Stars from totals: known answers, the same model on any split, chances that are chances."""

import numpy as np
import pytest

from builders.ratings import PRODUCTS, make_cut
from grandtotal.algorithms.ratings import Cut, RatingFactors, RatingModel, Ratings, chosen
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest

GRID = (RatingFactors(factors=3, l2=0.05, epochs=6), RatingFactors(factors=0, epochs=3))


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(8)
    return [{cut: make_cut(rng, n) for cut in ("validation", "test")} for n in (40, 30, 25)]


@pytest.fixture(scope="module")
def pooled(parts):
    return {cut: Cut.pooled([part[cut] for part in parts]) for cut in parts[0]}


@pytest.fixture(scope="module")
def fitted(pooled):
    return chosen(GRID, Local(pooled), PRODUCTS)


def test_federated_is_pooled(parts, fitted, federate):
    model, tried = chosen(GRID, federate(parts).totals, PRODUCTS)
    assert arrays_digest(model.arrays) == arrays_digest(fitted[0].arrays)
    assert tried == fitted[1]


def test_tastes_are_found_by_factors_and_not_by_biases(fitted, pooled):
    model, tried = fitted
    assert model.meta["factors"] == 3
    assert tried[0]["rmse"] < 0.8 * tried[1]["rmse"]
    cut = pooled["test"]
    error = np.sqrt(((model.expected(cut) - cut.asked.stars) ** 2).mean())
    assert error < 0.9 * cut.asked.stars.std()


def test_the_likeliest_star_is_right_more_often_than_the_most_frequent(fitted, pooled):
    cut = pooled["test"]
    chances = fitted[0].probabilities(cut)
    assert chances.sum(axis=1) == pytest.approx(1.0)
    assert (chances >= 0).all()
    right = (chances.argmax(axis=1) + 1 == cut.asked.stars).mean()
    assert right > np.bincount(cut.asked.stars).max() / len(cut.asked.stars) + 0.05


def test_a_customer_is_solved_without_the_others(fitted, parts, pooled):
    """A new customer needs no training, and nobody else's rows."""
    model = fitted[0]
    together = model.expected(pooled["test"])
    apart = np.concatenate([model.expected(part["test"]) for part in parts])
    assert np.array_equal(together, apart)


def test_the_latest_rating_has_none_after_it():
    found = Ratings.of([1, 0, 1, 1], [5, 6, 7, 8], [3, 4, 5, 1], [30, 1, 10, 20])
    assert found.products.tolist() == [6, 7, 8, 5]
    assert found.later.tolist() == [0, 2, 1, 0]


def test_biases_alone_are_those_of_the_normal_equations():
    """Every customer gives product i i stars more than their own level."""
    level = np.array([1, 2, 3])
    who, what = (each.ravel() for each in np.meshgrid(range(3), range(2), indexing="ij"))
    known = Ratings.of(who, what, level[who] + what, what)
    rows = {"test": Cut(known, known)}
    model = RatingFactors(factors=0, bias=1e-9, epochs=30).fit(Local(rows), 2, "test")
    assert model.expected(rows["test"]) == pytest.approx(known.stars, abs=1e-3)


def test_nobody_and_an_unrated_product_get_the_mean(pooled):
    model = RatingFactors(factors=2, epochs=2).fit(Local(pooled), PRODUCTS + 1, "test")
    nobody = Ratings.of([], [], [], [])
    cut = Cut(nobody, Ratings.of([0], [PRODUCTS], [3], [0]))
    assert model.expected(cut) == pytest.approx([model.mean])


def test_a_saved_model_is_the_same_model(fitted, pooled):
    built = RatingModel.build(fitted[0].arrays, fitted[0].meta)
    cut = pooled["test"]
    assert np.array_equal(built.probabilities(cut), fitted[0].probabilities(cut))
