"""Orders from sample paths: the newsvendor's answer, what forbids an order, what a budget buys."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from grandtotal.decide.inventory import economic_order_quantity, newsvendor
from grandtotal.decide.orders import LIMITS, Demand, Shelf, Target, Terms, orders
from grandtotal.errors import PlanError

PRODUCTS, DRAWS, PERIODS = 6, 4000, 8


def constant(value, products=PRODUCTS):
    return np.full(products, float(value))


WAITS = Terms(waits=True)


def shelf(products=PRODUCTS, **changes):
    plain = {
        "on_hand": 0,
        "on_order": 0,
        "lead_time": 2,
        "pack": 1,
        "minimum": 0,
        "shelf_life": math.inf,
        "space": math.inf,
        "unit_cost": 2,
        "missing": 1,
    }
    values = {
        name: np.asarray(value, float) if np.ndim(value) else constant(value, products)
        for name, value in {**plain, **changes}.items()
    }
    return Shelf(**values)


@pytest.fixture(scope="module")
def demand():
    draws = np.random.default_rng(3).poisson(5, (PRODUCTS, DRAWS, PERIODS))
    return Demand(draws.astype(float))


def test_the_level_of_least_cost_is_the_newsvendors(demand):
    found = orders(demand, shelf(), 1, Target("cost"), Terms(holding=0.1, waits=True))
    known = newsvendor(stats.poisson(15), 0.1 * 2, 1)
    assert np.abs(found.level - known.low).max() <= 1


def test_a_cycle_target_is_reached_and_not_by_more_than_a_unit(demand):
    found = orders(demand, shelf(), 1, Target("cycle", 0.9))
    assert (found.enough >= 0.9).all()
    fewer = replace_units(demand, found.units - 1)
    assert (fewer < 0.9).all()


def replace_units(demand, units):
    until = demand.until(constant(3))
    return (until <= units[:, None]).mean(axis=1)


def test_a_fill_target_is_reached_with_less_than_the_same_cycle_target(demand):
    fill, cycle = (orders(demand, shelf(), 1, Target(kind, 0.95)) for kind in ("fill", "cycle"))
    assert (fill.missing <= 0.05 * 5 * 1.05).all()
    assert (fill.units < cycle.units).all()


def test_weeks_that_go_together_need_more_than_weeks_that_do_not():
    rng = np.random.default_rng(1)
    together = np.repeat(rng.poisson(5, (1, DRAWS, 1)), PERIODS, axis=2).astype(float)
    apart = rng.poisson(5, (1, DRAWS, PERIODS)).astype(float)
    levels = [
        orders(Demand(paths), shelf(1), 1, Target("cycle", 0.95), WAITS).level[0]
        for paths in (together, apart)
    ]
    assert levels[0] > levels[1]


def test_half_a_period_sells_half(demand):
    halves = demand.until(constant(2.5)) - demand.until(constant(2.0))
    assert halves == pytest.approx(demand.paths[:, :, 2] / 2)


def test_what_is_there_or_on_its_way_is_not_ordered_again(demand):
    empty = orders(demand, shelf(), 1, Target("cycle"), WAITS)
    some = orders(demand, shelf(on_hand=4, on_order=3), 1, Target("cycle"), WAITS)
    assert (empty.units - some.units == 7).all()
    owed = orders(demand, shelf(on_hand=-4), 1, Target("cycle"), WAITS)
    assert (owed.units - empty.units == 4).all()
    assert (orders(demand, shelf(on_hand=500), 1, Target("cycle")).units == 0).all()


def test_what_is_lost_before_the_order_is_here_is_not_ordered(demand):
    # Nothing is there for two periods: only the third is ordered for, unless customers wait.
    lost, waits = (orders(demand, shelf(), 1, Target("cycle", 0.9), t) for t in (Terms(), WAITS))
    one = orders(demand, shelf(lead_time=0), 1, Target("cycle", 0.9))
    assert np.abs(lost.units - one.units).max() <= 1
    assert lost.before == pytest.approx(10, abs=0.3)
    assert (waits.units > lost.units + 8).all()
    assert lost.expected == pytest.approx(waits.expected)
    full = [orders(demand, shelf(on_hand=90), 1, Target("cycle"), t) for t in (Terms(), WAITS)]
    assert (full[0].level == full[1].level).all()


def test_what_will_have_sold_leaves_room_on_the_shelf(demand):
    given = shelf(on_hand=10, space=20)
    found = orders(demand, given, 1, Target("cycle", 0.95))
    (later,) = {LIMITS[i] for i in found.limit}
    assert later == ""
    assert (found.units > 5).all()
    assert (orders(demand, shelf(on_hand=10, space=12), 1, Target("cycle")).units <= 11).all()


def test_an_order_line_that_costs_makes_fewer_and_larger_orders(demand):
    small = orders(demand, shelf(on_hand=12), 1, Target("cycle"), Terms(0.1))
    large = orders(demand, shelf(on_hand=12), 1, Target("cycle"), Terms(0.1, line=8))
    quantity = economic_order_quantity(8, 0.1 * 2, 5).high
    assert large.units - small.units == pytest.approx(quantity, abs=2)
    assert (orders(demand, shelf(on_hand=40), 1, Target("cycle"), Terms(line=8)).units == 0).all()


def test_orders_are_whole_packs_and_not_below_the_minimum(demand):
    found = orders(demand, shelf(pack=12, minimum=36), 1, Target("cycle"))
    assert (found.units % 12 == 0).all()
    assert (found.units >= 36).all()


@pytest.mark.parametrize(
    ("changes", "most", "limit"),
    [
        ({"space": 6}, 6, "space"),
        ({"space": 6, "pack": 8}, 0, "space"),  # a pack that is larger than the shelf
        ({"space": 6, "minimum": 12}, 0, "minimum order"),
        ({"shelf_life": 0.5}, 13, "shelf life"),
    ],
)
def test_what_forbids_an_order_is_said(demand, changes, most, limit):
    found = orders(demand, shelf(**changes), 1, Target("cycle", 0.95))
    assert (found.units <= most).all()
    assert {LIMITS[i] for i in found.limit} == {limit}
    assert (found.held_back > 0).all()


def test_a_lead_time_of_nothing_needs_the_review_period_only(demand):
    found = orders(demand, shelf(lead_time=0), 1, Target("cycle"))
    assert found.expected == pytest.approx(5, abs=0.2)


def test_a_lead_time_beyond_the_forecast_is_refused(demand):
    with pytest.raises(PlanError, match="longer horizon"):
        orders(demand, shelf(lead_time=20), 1, Target("cycle"))


def test_a_budget_of_nothing_orders_nothing_and_says_why(demand):
    found = orders(demand, shelf(), 1, Target("cycle"), Terms(budget=0))
    assert (found.units == 0).all()
    assert {LIMITS[i] for i in found.limit} == {"budget"}


def test_a_budget_buys_the_best_of_all_choices():
    rng = np.random.default_rng(5)
    demand = Demand(rng.poisson([[[3]], [[6]], [[2]]], (3, 500, 3)).astype(float))
    given = shelf(3, lead_time=1, pack=[2, 4, 3], unit_cost=[1, 2, 4], missing=[2, 3, 9])
    free = orders(demand, given, 1, Target("cycle", 0.9))
    found = orders(demand, given, 1, Target("cycle", 0.9), Terms(budget=30))
    until = demand.until(constant(2, 3))

    def worth(units):
        short = np.maximum(until - units[:, None], 0).mean(axis=1) @ given.missing
        over = np.maximum(units[:, None] - until, 0).mean(axis=1) @ (0.005 * given.unit_cost)
        return -short - over

    choices = itertools.product(
        *(np.arange(0, u + 1, p) for u, p in zip(free.units, given.pack, strict=True))
    )
    best = max(worth(np.array(c)) for c in choices if np.array(c) @ given.unit_cost <= 30)
    assert found.units @ given.unit_cost <= 30
    assert worth(found.units) == pytest.approx(best, abs=1e-3)


def test_a_budget_that_is_enough_changes_nothing(demand):
    free, rich = (
        orders(demand, shelf(), 1, Target("cycle"), Terms(budget=b)) for b in (math.inf, 1e6)
    )
    assert (free.units == rich.units).all()


def test_products_that_never_sell_are_not_ordered():
    found = orders(Demand(np.zeros((2, 10, 4))), shelf(2), 1, Target("fill"))
    assert (found.units == 0).all()
    assert (found.enough == 1).all()


@pytest.mark.parametrize("wrong", [{"pack": 0}, {"lead_time": -1}, {"unit_cost": float("nan")}])
def test_a_supply_that_cannot_be_is_refused_by_name(wrong):
    with pytest.raises(PlanError, match=next(iter(wrong))):
        shelf(**wrong)


@pytest.mark.parametrize("wrong", [{"budget": -1}, {"line": math.nan}, {"holding": -0.1}])
def test_terms_that_cannot_be_are_refused_by_name(wrong):
    with pytest.raises(PlanError, match=next(iter(wrong))):
        Terms(**wrong)


@pytest.mark.parametrize("wrong", [("best", 0.9), ("cycle", 1.0), ("fill", 0)])
def test_a_target_that_cannot_be_is_refused(wrong):
    with pytest.raises(PlanError):
        Target(*wrong)


def test_the_limit_is_empty_where_nothing_was_held_back(demand):
    found = orders(demand, replace(shelf(), pack=constant(3)), 1, Target("cycle"))
    assert (found.limit == 0).all()
