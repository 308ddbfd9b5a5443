"""Stars from totals: known answers, the same model on any split, chances that are chances."""

import numpy as np
import pytest

from builders.ratings import PRODUCTS, make_cut
from grandtotal.algorithms.rating_factors import FactorModel, RatingFactors
from grandtotal.algorithms.ratings import Cut, ItemMeans, Ratings
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.tasks.ratings_models import choose

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
    return choose(Local(pooled), GRID, PRODUCTS)


def expected(model, cut):
    return model.tastes(cut.known, cut.people).expected(cut.asked.customers, cut.asked.products)


def chances(model, cut):
    return model.tastes(cut.known, cut.people).chances(cut.asked.customers, cut.asked.products)


def test_federated_is_pooled(parts, fitted, federate):
    found = choose(federate(parts).totals, GRID, PRODUCTS)
    assert arrays_digest(found.model.arrays) == arrays_digest(fitted.model.arrays)
    assert found.choice == fitted.choice


def test_tastes_are_found_by_factors_and_not_by_biases(fitted, pooled):
    model, (with_factors, without) = fitted.model, fitted.choice["tried"]
    assert model.meta["factors"] == 3
    assert with_factors["stars_rmse"] < 0.8 * without["stars_rmse"]
    cut = pooled["test"]
    error = np.sqrt(((expected(model, cut) - cut.asked.stars) ** 2).mean())
    assert error < 0.9 * cut.asked.stars.std()


def test_the_likeliest_star_is_right_more_often_than_the_most_frequent(fitted, pooled):
    cut = pooled["test"]
    found = chances(fitted.model, cut)
    assert found.sum(axis=1) == pytest.approx(1.0)
    assert (found >= 0).all()
    right = (found.argmax(axis=1) + 1 == cut.asked.stars).mean()
    assert right > np.bincount(cut.asked.stars).max() / len(cut.asked.stars) + 0.05


def test_a_customer_is_solved_without_the_others(fitted, parts, pooled):
    """A new customer needs no training, and nobody else's rows."""
    together = expected(fitted.model, pooled["test"])
    apart = np.concatenate([expected(fitted.model, part["test"]) for part in parts])
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
    rows = {"validation": Cut(known, known)}
    model = RatingFactors(factors=0, bias=1e-9, epochs=30).fit(Local(rows), 2, "validation")
    assert expected(model, rows["validation"]) == pytest.approx(known.stars, abs=1e-3)


def test_nobody_and_an_unrated_product_get_the_mean(pooled):
    model = RatingFactors(factors=2, epochs=2).fit(Local(pooled), PRODUCTS + 1, "test")
    nobody = Ratings.of([], [], [], [])
    cut = Cut(nobody, Ratings.of([0], [PRODUCTS], [3], [0]))
    assert expected(model, cut) == pytest.approx([model.mean])


def test_the_expected_stars_of_all_products_are_those_of_each_pair(fitted, pooled):
    cut, people = pooled["test"], np.array([3, 0, 60])
    for model in (fitted.model, ItemMeans().fit(Local(pooled), PRODUCTS, "test")):
        tastes = model.tastes(cut.known, cut.people)
        every = [tastes.expected(np.full(PRODUCTS, who), np.arange(PRODUCTS)) for who in people]
        assert tastes.table(people) == pytest.approx(np.stack(every), abs=1e-12)


def test_the_mean_of_a_product_is_drawn_to_that_of_all():
    """Product 0 has five ratings of 5 stars, product 1 one of 1 star, product 2 none."""
    known = Ratings.of(range(6), [0] * 5 + [1], [5] * 5 + [1], range(6))
    model = ItemMeans(worth=5.0).fit(Local({"test": Cut(known, known)}), 3, "test")
    tastes, usual = model.tastes(known, 6), (np.array([2, 1, 1, 1, 6]) / 11) @ np.arange(1, 6)
    means = tastes.expected(np.zeros(3, int), np.arange(3))
    assert means == pytest.approx([(5 * 5 + 5 * usual) / 10, (1 + 5 * usual) / 6, usual])
    assert tastes.chances(np.zeros(1, int), np.array([0]))[0, 4] == pytest.approx(
        (5 + 30 / 11) / 10
    )


def test_a_saved_model_is_the_same_model(fitted, pooled):
    built = FactorModel.build(fitted.model.arrays, fitted.model.meta)
    assert np.array_equal(chances(built, pooled["test"]), chances(fitted.model, pooled["test"]))
