"""The statistics of canaries, against definitions, an independent accountant, known mechanisms."""

import math

import numpy as np
import pytest
from dp_accounting.gaussian_mechanism import get_epsilon_gaussian
from scipy.optimize import brentq
from scipy.stats import binom

from grandtotal.privacy.canaries import (
    RARE,
    chance,
    gaussian_epsilon,
    gaussian_fit,
    lower_bound,
    noise_spread,
)

DELTA = 1e-5


def scores_of(mu, canaries, seed):
    random = np.random.default_rng(seed)
    included = random.random(canaries) < 0.5
    return random.normal(size=canaries) + mu * included, included


def mu_of(epsilon):
    return brentq(lambda mu: gaussian_epsilon(mu, DELTA) - epsilon, 0.01, 4)


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 4.0, 15.0])
def test_epsilon_of_a_gaussian_mechanism_is_the_accountants(mu):
    expected = get_epsilon_gaussian(1 / mu, DELTA)
    assert gaussian_epsilon(mu, DELTA) == pytest.approx(expected, abs=1e-4)


def test_a_total_that_does_not_move_costs_nothing():
    assert gaussian_epsilon(0.0, DELTA) == 0.0
    assert gaussian_epsilon(-1.0, DELTA) == 0.0


def test_without_delta_the_chance_is_a_binomial_tail():
    accuracy = math.e / (1 + math.e)
    assert chance(1000, 100, 90, 1.0, 0.0) == pytest.approx(binom.sf(89, 100, accuracy))


def test_the_term_of_delta_is_the_papers():
    canaries, guesses, correct, epsilon, delta = 300, 40, 33, 0.7, 1e-3
    accuracy = 1 / (1 + math.exp(-epsilon))
    pmf = binom.pmf(np.arange(guesses + 1), guesses, accuracy)
    largest = max(
        sum(pmf[w] for w in range(guesses + 1) if correct > w >= correct - i) / i
        for i in range(1, canaries + 1)
    )
    beta = sum(pmf[correct:])
    expected = beta + 2 * canaries * delta * largest
    assert chance(canaries, guesses, correct, epsilon, delta) == pytest.approx(expected)


@pytest.mark.parametrize("guesses", [1, 5, 30])
def test_a_mechanism_that_tells_all_with_probability_delta_stays_below_its_chance(guesses):
    delta = 0.02
    true = delta + (1 - delta) * 0.5**guesses
    assert chance(100, guesses, guesses, 0.0, delta) >= true


def test_randomised_response_is_bounded_by_its_own_epsilon_and_nearly_reaches_it():
    epsilon, random = 1.5, np.random.default_rng(1)
    found = []
    for _ in range(40):
        included = random.random(4000) < 0.5
        told = included == (random.random(4000) < 1 / (1 + math.exp(-epsilon)))
        found.append(lower_bound(told + 1e-3 * random.random(4000), included, 0.0))
    # Each may pass epsilon with probability 5 %: 11 of 40 would be one in a million.
    assert sum(bound > epsilon for bound in found) < 11
    assert np.median(found) > 1.2


def test_guesses_that_are_all_right_bound_epsilon_by_their_number_only():
    included = np.arange(2000) % 2 == 0
    bound = lower_bound(included.astype(float), included, 0.0)
    # e^-epsilon is then about the share of wrong guesses that 2,000 right ones still allow.
    assert 5.5 < bound < 6.5
    assert lower_bound(included.astype(float), included, DELTA) < bound


def test_scores_that_know_nothing_bound_nothing():
    scores, included = scores_of(0.0, 20_000, 3)
    assert lower_bound(scores, included, DELTA) < 0.2
    assert not gaussian_fit(scores, included).above(0.05)


@pytest.mark.parametrize("epsilon", [1.0, 2.0, 8.0])
def test_the_fit_finds_the_epsilon_and_the_bound_stays_below(epsilon):
    mu = mu_of(epsilon)
    scores, included = scores_of(mu, 20_000, 4)
    fit = gaussian_fit(scores, included)
    assert fit.epsilon(DELTA) == pytest.approx(epsilon, rel=0.08)
    assert not fit.above(mu)
    assert 0.3 * epsilon < lower_bound(scores, included, DELTA) < epsilon


def test_noise_that_is_too_small_is_seen_by_the_fit_and_a_quarter_of_it_by_the_bound_too():
    mu = mu_of(2.0)
    scores, included = scores_of(1.5 * mu, 20_000, 5)
    assert gaussian_fit(scores, included).above(mu)
    scores, included = scores_of(4 * mu, 20_000, 5)
    assert lower_bound(scores, included, DELTA) > 2.0


def test_a_fit_needs_canaries_in_and_out():
    with pytest.raises(ValueError, match="3 canaries in and 0 out"):
        gaussian_fit(np.ones(3), np.ones(3, bool))


def test_scores_without_any_noise_are_infinitely_far_apart():
    included = np.array([True, False, True, False])
    assert gaussian_fit(included * 5.0, included).epsilon(DELTA) == math.inf
    assert gaussian_fit(np.zeros(4), included).apart == 0.0


@pytest.mark.parametrize(
    ("factor", "narrow"), [(1.0, False), (1 / 1.5, True), (0.5, True), (0.9, True), (1.5, False)]
)
def test_noise_is_as_wide_as_stated_or_it_is_seen(factor, narrow):
    noise = np.random.default_rng(6).normal(scale=40 * factor, size=2000)
    spread = noise_spread(noise, 40.0)
    assert spread.narrow is narrow
    assert spread.ratio == pytest.approx(factor, rel=0.06)


def test_the_chance_of_a_false_alarm_is_what_is_stated():
    # The p-value of noise as stated is uniform: a tenth is below a tenth.
    random = np.random.default_rng(7)
    rare = [noise_spread(random.normal(size=300), 1.0).rare for _ in range(2000)]
    assert np.mean(np.array(rare) < 0.1) == pytest.approx(0.1, abs=0.03)
    assert RARE <= 1e-6
