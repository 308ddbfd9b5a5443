"""A warehouse's stock among stores: the best of all divisions, conserved, and shared fairly."""

import itertools

import numpy as np
import pytest

from grandtotal.decide.allocation import allocated, divided, proportional, shares

ONE = np.zeros(3, np.intp)  # three stores of one product


@pytest.fixture
def until():
    rng = np.random.default_rng(1)
    return rng.poisson([[3], [6], [11]], (3, 300)).astype(float)


def missing(until, units):
    return np.maximum(until - units[:, None], 0).mean(axis=1).sum()


@pytest.mark.parametrize("held", [0, 1, 7, 15])
@pytest.mark.parametrize("pack", [1, 2])
def test_no_other_division_leaves_fewer_units_missing(until, held, pack):
    wanted, packs, position = np.full(3, 12.0), np.full(3, float(pack)), np.array([2.0, 0.0, 1.0])
    sent = allocated(wanted, packs, ONE, until, np.array([held]), position)
    assert sent.sum() == held // pack * pack
    every = itertools.product(range(0, 13, pack), repeat=3)
    best = min(missing(until, position + np.array(units)) for units in every if sum(units) <= held)
    assert missing(until, position + sent) == pytest.approx(best)


def test_what_is_held_is_never_exceeded_and_nobody_gets_more_than_it_wants(until):
    wanted, pack = np.array([4.0, 9.0, 6.0]), np.array([2.0, 3.0, 1.0])
    for held in range(25):
        sent = allocated(wanted, pack, ONE, until, np.array([float(held)]), np.zeros(3))
        assert sent.sum() <= held
        assert (sent <= wanted).all()
        assert (sent % pack == 0).all()
    assert (sent == wanted).all()


def test_more_in_the_warehouse_is_less_for_no_store(until):
    wanted = np.full(3, 14.0)
    sent = [
        allocated(wanted, np.ones(3), ONE, until, np.array([float(held)]), np.zeros(3))
        for held in range(43)
    ]
    assert (np.diff(np.stack(sent), axis=0) >= 0).all()


def test_equal_stores_share_a_shortage_equally_and_the_emptier_goes_first():
    until = np.tile(np.random.default_rng(2).poisson(8, 300).astype(float), (3, 1))
    given = (np.full(3, 12.0), np.ones(3), ONE, until, np.array([16.0]))
    equal = allocated(*given, np.zeros(3))
    assert np.ptp(equal) <= 1
    uneven = allocated(*given, np.array([0.0, 4.0, 4.0]))
    assert uneven[0] == uneven[1] + 4


def test_products_do_not_share_a_warehouse():
    until = np.full((2, 10), 5.0)
    product = np.array([0, 1])
    sent = allocated(np.full(2, 5.0), np.ones(2), product, until, np.array([2.0, 9.0]), np.zeros(2))
    assert sent.tolist() == [2, 5]


def test_stores_add_up_to_their_product_on_every_path():
    rng = np.random.default_rng(3)
    paths = rng.gamma(2, 4, (2, 50, 3))
    product = np.array([0, 0, 1, 1, 1])
    weight = shares(np.array([30.0, 10.0, 0, 0, 5]), np.array([0, 1, 0, 1, 2]))
    found = divided(paths, product, weight, seed=1)
    assert (found >= 0).all()
    for p in (0, 1):
        assert found[product == p].sum(axis=0) == pytest.approx(paths[p])
    assert found[0].mean() == pytest.approx(3 * found[1].mean(), rel=0.15)
    assert (divided(paths, product, weight, seed=1) == found).all()


def test_a_product_that_hardly_sold_is_divided_like_the_others():
    weight = shares(np.array([90.0, 10.0, 0.0, 0.0]), np.array([0, 1, 0, 1]))
    assert weight[2] == pytest.approx(9 * weight[3], rel=0.01)
    assert (weight > 0).all()


def test_todays_rule_divides_by_what_is_asked():
    sent = proportional(np.array([10.0, 30.0]), np.ones(2), ONE[:2], np.array([20.0]))
    assert sent.tolist() == [5, 15]
    assert proportional(np.array([3.0]), np.ones(1), ONE[:1], np.array([9.0])).tolist() == [3]
