"""BG/NBD and Gamma-Gamma against lifetimes 0.11.3, scipy, derivatives, and customers made so.

The vectors are what lifetimes says of `customers()`: its likelihoods at P and G, Nelder-Mead over
them to 1e-10, and its forecasts of five customers. `pip install lifetimes==0.11.3`, then
    minimize(lambda t: 400 * BetaGeoFitter._negative_log_likelihood(t, x, last, age, w, 0.0), ...)
"""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1, polygamma, psi

from grandtotal.algorithms.bgnbd import (
    Repeats,
    bgnbd_terms,
    expected_purchases,
    nbd_terms,
    probability_alive,
)
from grandtotal.algorithms.gamma_functions import digamma, log_gamma, trigamma
from grandtotal.algorithms.gamma_gamma import Spending, expected_spend, gamma_gamma_terms
from grandtotal.algorithms.likelihood import FAMILIES, MaximumLikelihood
from grandtotal.algorithms.newton import Sums, maximise
from grandtotal.consortium.totals import Local

P, G = np.array([0.6, 60.0, 0.5, 2.0]), np.array([4.0, 3.5, 40.0])
FIVE = np.array([0, 1, 2, 7, 50])
LIKELIHOODS = (-7773.753334424944, -2163.8386519872083)
BEST = {
    "bg-nbd": ([0.9808673359, 37.7590713503, 0.5499045715, 1.2539194046], -7662.0504018373085),
    "gamma-gamma": ([1.2896067717, 2.4033307452, 49.9483925266], -1900.395705679641),
}
PURCHASES = [0.5971122564245, 0.0241556698723, 0.0308655954108, 0.0348787870579, 0.8712695697614]
ALIVE = [0.6257350146869, 0.0538186011374, 0.0576725843056, 0.1400427128251, 0.7934050163256]
SPEND = [37.2118032786885, 36.4662068965517, 55.7986206896552, 28.1904761904762, 25.0022641509434]


def customers(n=400):
    """Returns customers of three rates and three ways to leave; uniform draws are all it needs."""
    u = np.random.default_rng(5).random((n, 63))
    age = 60.0 + np.floor(600 * u[:, 0])
    rate = np.choose((3 * u[:, 1]).astype(int), [1 / 15, 1 / 60, 1 / 250])
    leaves = np.choose((3 * u[:, 2]).astype(int), [0.02, 0.15, 0.6])
    days = np.cumsum(np.ceil(-np.log(1 - u[:, 3:33]) / rate[:, None]), axis=1)
    stays = np.cumprod(u[:, 33:] > leaves[:, None], axis=1).astype(bool)
    bought = (days <= age[:, None]) & (np.roll(stays, 1, axis=1) | (np.arange(30) == 0))
    purchases = bought.sum(axis=1) + 1
    known = np.arange(30) < purchases[:, None]
    noise = np.where(known, -np.log(1 - u[:, 33:]), 0.0).sum(axis=1) / np.minimum(purchases, 30)
    mean = np.round(0.01 + noise * (5 + 40 * u[:, 1] + 60 * u[:, 2] ** 2), 2)
    repeats = Repeats(purchases - 1, np.where(bought, days, 0.0).max(axis=1), age)
    return SimpleNamespace(repeats=repeats, spending=Spending(purchases, mean))


def fit(family, rows):
    return MaximumLikelihood(family).fit(Local({"test": rows}), "test")


def test_the_likelihoods_are_those_of_the_reference():
    rows = customers()
    assert bgnbd_terms(rows.repeats, P)[0].sum() == pytest.approx(LIKELIHOODS[0], rel=1e-12)
    assert gamma_gamma_terms(rows.spending, G)[0].sum() == pytest.approx(LIKELIHOODS[1], rel=1e-12)


@pytest.mark.parametrize("family", sorted(BEST))
def test_the_parameters_are_those_of_the_reference(family):
    parameters, found = fit(family, customers())
    assert found["converged"]
    assert found["rounds"] <= 12
    np.testing.assert_allclose(parameters, BEST[family][0], rtol=1e-6)
    assert found["likelihood"] == pytest.approx(BEST[family][1], rel=1e-9)


def test_the_forecasts_are_those_of_the_reference():
    rows = customers()
    five = rows.repeats.taken(np.isin(np.arange(400), FIVE))
    np.testing.assert_allclose(expected_purchases(five, P, 90), PURCHASES, rtol=1e-10)
    np.testing.assert_allclose(probability_alive(five, P), ALIVE, rtol=1e-10)
    known = rows.spending.taken(np.isin(np.arange(400), FIVE))
    np.testing.assert_allclose(expected_spend(known, G), SPEND, rtol=1e-10)


def test_no_optimiser_finds_a_larger_likelihood_as_the_paper_writes_it():
    rows = customers().repeats
    x, t, age = rows.repeats, rows.last, rows.age

    def lost(logs):
        r, alpha, a, b = np.exp(logs)
        stayed = betaln(a, b + x) - betaln(a, b)
        left = np.where(x > 0, betaln(a + 1, b + np.maximum(x, 1) - 1) - betaln(a, b), -np.inf)
        rate = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        active = stayed - (r + x) * np.log(alpha + age)
        return -(rate + np.logaddexp(active, left - (r + x) * np.log(alpha + t))).sum()

    best = minimize(lost, np.log(P), method="BFGS", options={"gtol": 1e-3})
    parameters, found = fit("bg-nbd", customers())
    assert -best.fun <= found["likelihood"] + 1e-6
    np.testing.assert_allclose(np.exp(best.x), parameters, rtol=1e-4)
    assert -lost(np.log(parameters)) == pytest.approx(found["likelihood"], rel=1e-12)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_gradients_and_curvatures_are_derivatives(family):
    made = FAMILIES[family]
    rows, at = made.of(customers(60), {}), 1.3 * np.array(made.start)
    value, gradient, curvature = made.terms(rows, at)
    assert np.isfinite(value).all()
    for i, parameter in enumerate(at):
        step = np.zeros(len(at))
        step[i] = 1e-5 * parameter
        above, below = made.terms(rows, at + step), made.terms(rows, at - step)
        slope, bend = ((a - b) / (2 * step[i]) for a, b in zip(above[:2], below[:2], strict=True))
        np.testing.assert_allclose(slope, gradient[:, i], atol=1e-7)
        np.testing.assert_allclose(bend, curvature[:, i], atol=1e-7)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_any_split_of_the_customers_has_the_same_parameters(family, federate):
    rows = customers(120)
    parts = [slice(0, 1), slice(1, 50), slice(50, 120)]
    held = [
        {"test": SimpleNamespace(repeats=rows.repeats.taken(p), spending=rows.spending.taken(p))}
        for p in parts
    ]
    federated = MaximumLikelihood(family).fit(federate(held).totals, "test")
    pooled = fit(family, rows)
    assert federated[0].tolist() == pooled[0].tolist()
    assert federated[1] == pooled[1]


@pytest.mark.parametrize(
    "at", [(0.8, 60.0, 0.8, 2.5), (3.0, 50.0, 0.2, 0.9), (50.0, 2e3, 50.0, 5e3), (1, 9, 1e-4, 5e3)]
)
def test_forecasts_are_equation_10_where_it_can_be_computed(at):
    draw = np.random.default_rng(3)
    x, age = draw.integers(1, 12, 50), draw.uniform(50, 500, 50)
    rows, days = Repeats(x, age * draw.uniform(0.8, 1, 50), age), 60.0
    r, alpha, a, b = at
    z, c = days / (alpha + age + days), a + b + x - 1
    stay = (1 - z) ** (r + x) * hyp2f1(r + x, b + x, c, z)
    expected = c / (a - 1) * (1 - stay) * probability_alive(rows, np.array(at))
    np.testing.assert_allclose(expected_purchases(rows, np.array(at), days), expected, rtol=1e-6)


def test_forecasts_hold_where_the_formula_does_not():
    often = Repeats(np.array([0, 3, 400]), np.array([0.0, 90.0, 700.0]), np.array([1.0, 100, 701]))
    for at in ([0.5, 40.0, 1.0, 2.0], [100.0, 1e6, 1e-4, 1e-4], [1e-4, 1e-4, 50.0, 5e3]):
        for days in (1.0, 90.0, 10_000.0):
            found = expected_purchases(often, np.array(at), days)
            assert np.isfinite(found).all()
            assert (found >= 0).all()
    near = [expected_purchases(often, np.array([0.5, 40.0, a, 2.0]), 90.0) for a in (0.999, 1.0)]
    np.testing.assert_allclose(*near, rtol=1e-2)


def test_without_leaving_it_is_the_nbd():
    rows = customers().repeats
    never = np.array([0.9, 50.0, 1e-12, 1.0])
    silent = rows.taken((rows.age - rows.last < 200) & (rows.repeats < 5))
    np.testing.assert_allclose(
        expected_purchases(silent, never, 90), expected_purchases(silent, never[:2], 90), rtol=1e-6
    )
    values = bgnbd_terms(silent, never)[0], nbd_terms(silent, never[:2])[0]
    np.testing.assert_allclose(*values, rtol=1e-6)


def test_one_purchase_is_expected_to_be_followed_by_a_spend_between_its_own_and_that_of_all():
    p, q, v = G
    mean = p * v / (q - 1)
    found = expected_spend(Spending(np.array([0, 1, 1000]), np.array([0.0, 10.0, 10.0])), G)
    assert found[0] == pytest.approx(mean)
    assert 10 < found[1] < mean
    assert found[2] == pytest.approx(10.0, rel=0.02)


# --- customers of whom little can be said ---


def one_kind(repeats, last, age):
    return SimpleNamespace(repeats=Repeats(*(np.array(v) for v in (repeats, last, age))))


@pytest.mark.parametrize(
    "rows",
    [
        one_kind([0] * 30, [0.0] * 30, [100.0] * 30),  # nobody came back
        one_kind([5] * 30, [100.0] * 30, [100.0] * 30),  # all are alike
        one_kind([2], [40.0], [90.0]),
        one_kind([0], [0.0], [1.0]),
        one_kind(np.zeros(0, np.int64), [], []),
    ],
)
def test_a_fit_ends_whoever_the_customers_are(rows):
    for family in ("bg-nbd", "nbd"):
        parameters, found = fit(family, rows)
        assert found["rounds"] <= 60
        assert np.isfinite(parameters).all()
        assert (parameters > 0).all()
        assert np.isfinite(expected_purchases(rows.repeats, parameters, 90.0)).all()


def test_newton_comes_back_from_a_step_that_went_too_far():
    def peak(point):
        x = float(point[0])
        value = -np.log1p((x - 3) ** 2)  # convex away from its top
        slope = -2 * (x - 3) / (1 + (x - 3) ** 2)
        bend = -2 * (1 - (x - 3) ** 2) / (1 + (x - 3) ** 2) ** 2
        return Sums(1e6 * value, 1e6 * np.array([slope]), 1e6 * np.array([[bend]]), 1e-6)

    for box, top in (([[-20.0], [20.0]], 3.0), ([[-20.0], [1.0]], 1.0)):
        found, report = maximise(peak, np.array([-9.0]), np.array(box), 60, 1e-15)
        assert report["converged"]
        assert found[0] == pytest.approx(top, abs=1e-6)


def test_the_gamma_functions_are_those_of_scipy():
    x = 10.0 ** np.linspace(-6, 6, 500)
    np.testing.assert_allclose(log_gamma(x), gammaln(x), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(digamma(x), psi(x), rtol=1e-12)
    np.testing.assert_allclose(trigamma(x), polygamma(1, x), rtol=1e-13)
