"""Price tests: as long as their power needs, and where the rules allow a price."""

import numpy as np
import pytest

from grandtotal.decide.rules import PriceRules, PriceTestRules
from grandtotal.decide.trial import power, price_test
from priced import responses


def test_the_power_that_is_said_is_that_of_simulated_tests():
    rng = np.random.default_rng(5)
    each, noise, effect = 40, 0.5, 0.3
    arms = rng.normal(0.0, noise, (2, 4000, each)).mean(axis=2)
    seen = np.abs(arms[0] - arms[1] + effect) > 1.959964 * noise * np.sqrt(2 / each)
    assert power(effect, noise, each) == pytest.approx(seen.mean(), abs=0.03)


def test_the_test_is_as_short_as_its_power_allows():
    test = price_test(PriceRules(), responses(), 0)
    effect = 2.0 * abs(np.log(0.9))
    assert test.enough
    assert test.power >= 0.8 > power(effect, 0.4, 5 * (test.periods - 1))


def test_one_store_alternates():
    test = price_test(PriceRules(), responses(stores=1, noise=0.2), 0)
    assert test.stores == 0
    assert test.periods % 2 == 0
    assert "every other week" in test.words(responses(stores=1))


def test_a_test_that_would_take_too_long_says_what_it_would_see():
    rules = PriceRules(test=PriceTestRules(change=0.02, most_periods=8))
    test = price_test(rules, responses(), 0)
    assert (test.periods, test.enough) == (8, False)
    assert test.power < 0.8
    assert "take a larger change" in test.words(responses())


def test_a_test_keeps_the_rules():
    assert price_test(PriceRules(floor={"P0": 2.0}), responses(), 0).price == pytest.approx(2.2)
    assert price_test(PriceRules(largest_change=0.05), responses(), 0).price == pytest.approx(1.9)
    both = PriceRules(floor={"P0": 2.0}, ceiling={"P0": 2.0})
    assert price_test(both, responses(), 0) is None
    near = price_test(PriceRules(endings=(0.99,)), responses(1, price=7.7, noise=0.0), 0)
    assert (near.price, near.power) == (6.99, 1.0)
