import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from grandtotal.errors import AnswerError, PlanError, RefusedError
from grandtotal.privacy.accounting import (
    Budget,
    correction,
    delta_of,
    epsilon_of,
    rho_of,
    rho_within,
    share_for,
)
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound, Release

EPSILONS = st.floats(0.05, 20)
DELTAS = st.floats(-12, -3).map(lambda power: 10.0**power)
RELEASES = {
    "recommend": (Release("co-purchases", 1, 8.0), Release("ranking-scores", 4)),
    "demand": (Release("glm-moments", 6),),
}


def agreement(**changed):
    return Agreement(**{"epsilon": 4.0, "delta": 1e-6, **changed})


@given(st.floats(1e-6, 20), EPSILONS)
def test_delta_is_the_minimum_over_all_orders(rho, epsilon):
    def log_delta(log_a):
        a = 1 + math.exp(log_a)
        return (a - 1) * (a * rho - epsilon) - math.log(a - 1) + a * math.log1p(-1 / a)

    found = minimize_scalar(log_delta, bounds=(-20, 25), method="bounded")
    least = min(found.fun, *(log_delta(a) for a in np.linspace(-20, 25, 400)))
    assert math.log(max(delta_of(rho, epsilon), 1e-300)) <= max(least, -690) + 1e-6


@given(EPSILONS, DELTAS)
def test_what_a_plan_may_spend_is_all_of_its_epsilon_and_no_more(epsilon, delta):
    rho = rho_within(epsilon, delta)
    assert delta_of(rho, epsilon) <= delta
    assert delta_of(rho * 1.0001, epsilon) > delta
    assert epsilon_of(rho, delta) == pytest.approx(epsilon, rel=1e-6)


@given(EPSILONS, DELTAS)
def test_the_conversion_lies_between_the_gaussian_and_the_classic_bound(epsilon, delta):
    rho = rho_within(epsilon, delta)
    # Bun and Steinke 2016: epsilon = rho + 2 sqrt(rho log(1 / delta)).
    classic = (math.sqrt(math.log(1 / delta) + epsilon) - math.sqrt(math.log(1 / delta))) ** 2
    assert rho >= classic * (1 - 1e-9)
    # Balle and Wang 2018: what one continuous Gaussian of this rho really is.
    mu = math.sqrt(2 * rho)

    def normal(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    exact = normal(mu / 2 - epsilon / mu) - math.exp(epsilon) * normal(-mu / 2 - epsilon / mu)
    assert exact <= delta


def test_no_release_costs_nothing():
    assert epsilon_of(0.0, 1e-6) == 0.0
    assert delta_of(0.0, 1.0) == 0.0


@given(st.floats(1e-6, 5), st.floats(0.5, 1e6), st.integers(1, 50), st.integers(1, 10**8))
def test_a_share_is_the_least_whose_sum_is_within_rho(rho, norm, shares, entries):
    share = share_for(rho, norm, shares, entries)
    assert rho_of(norm, share, shares, entries) <= rho
    assert rho_of(norm, share * (1 - 1e-6), shares, entries) > rho


def test_a_sum_of_wide_shares_costs_what_one_discrete_gaussian_costs():
    assert correction(3.0, 50, 10**9) < 1e-25
    assert correction(1.0, 4, 100) > 0.01
    assert share_for(0.02, 30.0, 4, 10**8) == pytest.approx(30 / math.sqrt(2 * 0.02 * 4))


def test_the_releases_of_a_plan_spend_its_rho_exactly():
    budget = Budget.of(agreement(), RELEASES, 5)
    spent = sum(item.rho * item.times for item in budget.scheduled.values())
    assert spent == pytest.approx(budget.rho, rel=1e-12)
    assert budget.rho == rho_within(4.0, 1e-6)
    co_purchases = budget.asked("recommend", "co-purchases")
    scores = budget.asked("recommend", "ranking-scores")
    assert co_purchases.rho == pytest.approx(8 * scores.rho)
    assert (co_purchases.times, scores.times) == (1, 4)
    assert budget.asked("demand", "glm-moments").rho * 6 == pytest.approx(budget.rho / 2)


@pytest.mark.parametrize(
    ("changed", "members", "shares", "known"),
    [
        ({}, 5, 4, 1),
        ({"colluders": 2, "dropouts": 1}, 10, 7, 1),
        ({"retailers_per_customer": "all"}, 5, 4, 5),
        ({"retailers_per_customer": 3}, 5, 4, 3),
        ({"retailers_per_customer": 9}, 5, 4, 5),
    ],
)
def test_noise_is_made_for_colluders_dropouts_and_customers_of_several_retailers(
    changed, members, shares, known
):
    budget = Budget.of(agreement(**changed), RELEASES, members)
    rho = budget.asked("demand", "glm-moments").rho
    sigma = budget.sigma("demand", "glm-moments", Bound(100.0), 50)
    assert sigma == pytest.approx(100 * known / math.sqrt(2 * rho))
    share = budget.share("demand", "glm-moments", Bound(100.0), 50)
    assert share == pytest.approx(sigma / math.sqrt(shares))
    of_one = budget.sigma("demand", "glm-moments", Bound(100.0, "product"), 50)
    assert of_one == pytest.approx(sigma / known)


def test_what_was_not_scheduled_may_not_be_asked():
    budget = Budget.of(agreement(), RELEASES, 5)
    with pytest.raises(AnswerError, match="'glm-moments' of 'recommend' is not among"):
        budget.asked("recommend", "glm-moments")


@pytest.mark.parametrize(
    ("changed", "members", "error"),
    [
        ({"epsilon": None, "delta": None}, 5, "no epsilon"),
        ({"epsilon": 20.1}, 5, "promises nothing"),
        ({"colluders": 3}, 3, "nobody is left"),
        ({"colluders": 1, "dropouts": 2}, 3, "nobody is left"),
        ({"delta": 1e-20}, 5, "expected more than"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(changed, members, error):
    with pytest.raises((PlanError, RefusedError), match=error):
        Budget.of(agreement(**changed), RELEASES, members)


@pytest.mark.parametrize(
    "asked",
    [
        (Release("a", 0),),
        (Release("a", 1, 0.0),),
        (Release("a", 1, -1.0),),
        (Release("a", 1, math.inf),),
        (Release("a", 1), Release("a", 2)),
    ],
)
def test_a_schedule_that_is_none_is_refused(asked):
    with pytest.raises(PlanError, match="'task' states"):
        Budget.of(agreement(), {"task": asked}, 5)
