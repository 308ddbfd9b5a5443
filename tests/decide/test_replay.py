"""Replayed demand: conservation of units, a known course, and the policy that knows everything."""

import numpy as np
import pytest

from grandtotal.decide.replay import clairvoyant, replay
from grandtotal.errors import PlanError


def up_to(level):
    return lambda t, position: np.maximum(level - position, 0)  # noqa: ARG005


@pytest.fixture
def demand():
    return np.random.default_rng(4).poisson(6, (5, 60)).astype(float)


def test_a_course_worked_out_by_hand():
    # Order up to 5 each evening, one period later there; 5 at first.
    demand = np.array([[3.0, 4.0, 1.0, 6.0]])
    found = replay(demand, up_to(5.0), 1, np.array([5.0]))
    # Evening 0: 2 left, orders 3. Period 1: 2 + 0 there, sells 2 of 4. Evening: orders 2 (3 come).
    # Period 2: 3 there, sells 1. Orders 1 (2 come). Period 3: 2 + 2 = 4 there, sells 4 of 6.
    assert found.sold.tolist() == [3 + 2 + 1 + 4]
    assert found.held.tolist() == [2 + 0 + 2 + 0]
    assert found.short.tolist() == [2]


@pytest.mark.parametrize("life", [np.inf, 2.0])
@pytest.mark.parametrize("lead", [0, 1, 3])
def test_units_are_sold_spoiled_or_there(demand, lead, life):
    start = np.full(5, 10.0)
    found = replay(demand, up_to(25.0), lead, start, life)
    assert (found.sold <= found.demand).all()
    assert (found.sold + found.spoiled <= start + found.ordered).all()
    assert found.spoiled.any() == np.isfinite(life)


def test_more_stock_serves_more_and_holds_more(demand):
    few, many = (replay(demand, up_to(level), 1, np.full(5, level)) for level in (10.0, 20.0))
    assert few.fill < many.fill
    assert few.held.sum() < many.held.sum()


@pytest.mark.parametrize("lead", [0, 2])
def test_whoever_knows_the_future_misses_and_holds_nothing(demand, lead):
    policy = clairvoyant(demand, lead, np.ones(5))
    start = demand[:, : lead + 1].sum(axis=1)
    found = replay(demand, policy, lead, start, first=lead + 1)
    assert found.fill == 1
    assert found.held.sum() == 0


def test_a_cost_is_the_sum_of_its_parts(demand):
    found = replay(demand, up_to(9.0), 1, np.full(5, 9.0), 2.0)
    one = np.ones(5)
    parts = found.held + 4 * (found.demand - found.sold) + 2 * found.spoiled + 3 * found.lines
    assert found.cost(one, 4 * one, 2 * one, 3.0) == pytest.approx(parts)


def test_a_demand_below_nothing_is_refused(demand):
    with pytest.raises(PlanError, match="below 0"):
        replay(-demand, up_to(9.0), 1, np.zeros(5))
