"""The optima of the textbook's examples; the figures are Snyder & Shen's and stockpyl's."""

import itertools

import numpy as np
import pytest
from scipy import stats

from grandtotal.decide.inventory import (
    economic_order_quantity,
    expected_shortage,
    lot_sizes,
    min_max,
    newsvendor,
    reorder_quantity,
)
from grandtotal.decide.network import Node, Stage, guaranteed_service, serial
from grandtotal.errors import PlanError

CLOSE = pytest.approx


def near(value):
    return CLOSE(value, rel=1e-3)


@pytest.mark.parametrize(
    ("demand", "holding", "shortage", "level", "cost"),
    [
        (stats.norm(120, 10), 2, 18, 132.8155, 35.0997),
        (stats.norm(50, 8), 0.18, 0.70, 56.6040, 1.99761),
        (stats.poisson(6), 1, 4, 8, 3.57011),
    ],
)
def test_the_newsvendor_of_the_textbook(demand, holding, shortage, level, cost):
    found = newsvendor(demand, holding, shortage)
    assert found.low == near(level)
    assert found.cost == CLOSE(cost, rel=1e-5)


def test_the_order_quantity_of_the_textbook():
    found = economic_order_quantity(8, 0.225, 1300)
    assert (found.high, found.cost) == (CLOSE(304.0468, rel=1e-6), CLOSE(68.41053, rel=1e-6))


def test_the_min_max_policy_of_the_textbook():
    found = min_max(stats.poisson(6), holding=1, shortage=4, fixed=5)
    assert (found.low, found.high) == (4, 10)
    assert found.cost == CLOSE(8.03411, rel=1e-5)


def test_the_reorder_quantity_of_the_textbook():
    found = reorder_quantity(1.5, 2, holding=20, shortage=150, fixed=100)
    assert (found.low, found.high) == (3, 5)
    assert found.cost == CLOSE(107.92358, rel=1e-6)


def test_the_lot_sizes_of_the_textbook():
    orders, cost = lot_sizes([90, 120, 80, 70], holding=0.4, fixed=500)
    assert orders == [360, 0, 0, 0]
    assert cost == CLOSE(696.0)


def test_lot_sizes_are_the_best_of_all():
    demand, holding, fixed = [30, 5, 60, 10, 45], 1.0, 40.0

    def cost(places):
        total = 0.0
        for t, units in enumerate(demand):
            ordered = max(p for p in places if p <= t)
            total += holding * (t - ordered) * units
        return total + fixed * len(places)

    every = [
        (0, *rest) for n in range(len(demand)) for rest in itertools.combinations(range(1, 5), n)
    ]
    assert lot_sizes(demand, holding, fixed)[1] == CLOSE(min(map(cost, every)))


def test_the_serial_system_of_the_textbook():
    stages = [Stage(3, 1), Stage(2, 1), Stage(2, 2)]
    levels, cost = serial(stages, stats.norm(5, 1), shortage=37.12)
    assert levels == [near(6.49), near(12.02), near(22.71)]
    assert cost == near(47.65)


def test_one_stage_in_series_is_a_newsvendor():
    demand = stats.norm(20, 4)
    levels, cost = serial([Stage(2, 1)], demand, shortage=18)
    alone = newsvendor(demand, 2, 18)
    # In series what is on its way is paid for as well: holding * mean more.
    assert levels == [CLOSE(alone.low, rel=1e-4)]
    assert cost == CLOSE(alone.cost, rel=1e-4)


def test_the_tree_of_the_textbook():
    nodes = {
        "1": Node(time=2, holding=1, supplied=1),
        "2": Node(time=1, holding=3, sd=1, promised=0),
        "3": Node(time=1, holding=2),
        "4": Node(time=1, holding=3, sd=1, promised=1),
    }
    promises, cost = guaranteed_service(nodes, [("1", "3"), ("3", "2"), ("3", "4")])
    assert promises == {"1": 0, "2": 0, "3": 0, "4": 1}
    assert cost == CLOSE(8.277917, rel=1e-6)


@pytest.mark.parametrize("demand", [stats.poisson(3.2), stats.gamma(2, scale=3), stats.norm(5, 2)])
@pytest.mark.parametrize("level", [0.0, 2.5, 4.0, 9.0])
def test_a_shortage_is_the_mean_of_what_is_missing(demand, level):
    draws = demand.rvs(400_000, random_state=np.random.default_rng(1))
    assert expected_shortage(demand, level) == CLOSE(np.maximum(draws - level, 0).mean(), abs=0.02)


def test_a_policy_costs_what_a_long_simulation_costs():
    found = min_max(stats.poisson(6), holding=1, shortage=4, fixed=5)
    stock, cost = found.high, 0.0
    demands = np.random.default_rng(2).poisson(6, 200_000)
    for demand in demands:
        if stock <= found.low:
            stock, cost = found.high, cost + 5
        stock -= demand
        cost += max(stock, 0) + 4 * max(-stock, 0)
    assert cost / len(demands) == CLOSE(found.cost, rel=0.01)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_a_cost_that_is_none_is_refused(wrong):
    with pytest.raises(PlanError, match="holding"):
        newsvendor(stats.poisson(6), wrong, 4)


def test_edges_that_are_no_tree_are_refused():
    nodes = {name: Node(1, 1) for name in "abc"}
    with pytest.raises(PlanError, match="a tree"):
        guaranteed_service(nodes, [("a", "b")])
