"""Prices that learn: totals over retailers are those of pooled rows, and exploring pays."""

import numpy as np
import pytest

from grandtotal.algorithms.bandit import PriceBandit, PriceTrials, Trials
from grandtotal.consortium.totals import Local
from grandtotal.decide.prices import decide_prices
from grandtotal.decide.response import Responses
from grandtotal.decide.rules import PriceRules
from grandtotal.errors import AnswerError

PRODUCTS = 3


def trials(rng, rows=60, store=0):
    product = rng.integers(0, PRODUCTS, rows)
    moved = rng.normal(0, 0.2, rows)
    sold = 0.1 - 2.0 * moved + rng.normal(0, 0.3, rows)
    return Trials(product, moved, sold, np.arange(rows) // 5 + 1000 * store)


def test_the_posterior_of_a_line_is_the_textbooks():
    rng = np.random.default_rng(2)
    given = trials(rng)
    found = PriceBandit(noise=0.3).learn(Local({"w1": given}), PRODUCTS, ["w1"])
    here = given.product == 1
    x = np.stack([np.ones(here.sum()), given.moved[here]], axis=1)
    precision = np.diag([4.0, 1.0]) + x.T @ x / 0.09
    mean = np.linalg.solve(precision, [0.0, -2.0] + x.T @ given.sold[here] / 0.09)
    assert found.mean[1] == pytest.approx(mean, abs=2e-3)
    assert found.covariance[1] == pytest.approx(np.linalg.inv(precision), rel=2e-3)
    assert np.allclose(found.draw(rng), found.mean, atol=6 * found.covariance.max() ** 0.5)


def test_totals_of_retailers_and_periods_are_those_of_pooled_rows():
    rng = np.random.default_rng(4)
    parts = [trials(rng, rows, store) for store, rows in enumerate((50, 3, 20))]
    bandit = PriceBandit()
    apart = sum(bandit.ask(Local({"w": part}), PRODUCTS, "w") for part in parts)
    pooled = bandit.ask(Local({"w": Trials.pooled(parts)}), PRODUCTS, "w")
    assert (apart == pooled).all()
    late = Local({"a": Trials.pooled(parts[:2]), "b": parts[2]})
    assert (bandit.learn(late, PRODUCTS, ["a", "b"]).mean == bandit.posterior(pooled).mean).all()


def test_under_epsilon_a_week_of_a_store_is_cut_and_noise_makes_less_sure():
    rng = np.random.default_rng(4)
    wild = trials(rng)
    wild.sold[:] = np.nan
    query = PriceTrials(PRODUCTS, "w", largest=2.0)
    assert query.bound.unit == "store-week"
    assert np.isfinite(Local({"w": wild}).total(query)["sums"]).all()
    sums = PriceBandit().ask(Local({"w": trials(rng)}), PRODUCTS, "w")
    noisy = PriceBandit().posterior(sums - 80.0, extra=10.0)
    assert (np.linalg.eigvalsh(noisy.covariance) > 0).all()
    assert (noisy.own_sd > PriceBandit().posterior(sums).own_sd).all()


def test_rows_beyond_the_catalogue_are_no_answer():
    with pytest.raises((AnswerError, IndexError)):
        Local({"w": trials(np.random.default_rng(1))}).total(PriceTrials(1, "w"))


# --- a market in which only who tries other prices learns ---

ELASTICITY = np.array([-1.4, -2.2, -4.0])
COST, USUAL, STORES, WEEKS = 1.0, 2.0, 3, 15
RULES = {"largest_change": 0.4, "outside_range": True, "risk": 0.0, "step": 0.05}


def regret(explore, seed):
    """Returns margin lost against the best price, summed over weeks, as a share of the best."""
    rng, bandit = np.random.default_rng(seed), PriceBandit(sd=(0.5, 1.0), noise=0.4)
    sums, lost, most = np.zeros((PRODUCTS, 5)), 0.0, 0.0
    for week in range(WEEKS):
        known = bandit.posterior(sums)
        asked = [PriceRules(explore=explore, seed=100 * week + s, **RULES) for s in range(STORES)]
        prices = np.stack([decide_prices(products(known), rules).price for rules in asked])
        moved = np.log(prices / USUAL)
        sold = ELASTICITY * moved + rng.normal(0, 0.4, prices.shape)
        best = margin(np.linspace(0.6 * USUAL, 1.4 * USUAL, 200)[:, None]).max(axis=0)
        lost += (best - margin(prices)).sum()
        most += best.sum() * STORES
        product = np.tile(np.arange(PRODUCTS), STORES)
        tried = Trials(product, moved.ravel(), sold.ravel(), np.repeat(np.arange(STORES), PRODUCTS))
        sums += bandit.ask(Local({"week": tried}), PRODUCTS, "week")
    return lost / most


def margin(price):
    return (price - COST) * (price / USUAL) ** ELASTICITY


def products(known):
    same = np.ones(PRODUCTS)
    names = tuple("abc")
    return Responses(
        names, names, names, USUAL * same, same, COST * same, np.minimum(known.own, -0.05),
        known.own_sd, 0 * same, 0.1 * same, 9 * same, ("",) * PRODUCTS, 0.4 * same,
    )  # fmt: skip


def test_thompson_loses_less_than_passive_learning():
    thompson, greedy = (np.mean([regret(e, seed) for seed in range(3)]) for e in (True, False))
    assert thompson < 0.8 * greedy
