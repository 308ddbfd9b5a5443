"""Growth of weekly totals."""

import numpy as np
import pytest

from grandtotal.algorithms.growth import NOTHING, Growth, growth, shrunk

WEEKS = np.arange(78)


def test_planted_growth_is_inside_its_interval_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(200):
        found = growth(rng.poisson(80 * 1.01**WEEKS).astype(float), np.ones(78))
        low, high = found.interval()
        inside.append(low <= 0.01 <= high)
    assert 0.9 <= np.mean(inside) <= 0.99


def test_a_week_without_data_counts_for_nothing():
    happened = 50 * 1.02**WEEKS
    exposed = np.ones(78)
    gone = np.where(WEEKS % 9 == 4, 0.0, happened)
    exposed[WEEKS % 9 == 4] = 0
    assert growth(gone, exposed).rate == pytest.approx(np.log(1.02), rel=1e-6)


def test_a_season_of_two_years_is_no_growth_and_half_of_one_may_be():
    year = 100 * np.exp(0.4 * np.sin(2 * np.pi * np.arange(104) / 52))
    assert abs(growth(year, np.ones(104)).rate) < 1e-4
    assert growth(year[26:52], np.ones(26)).p > 1e-9  # one half: nobody can tell


def test_what_a_known_column_explains_is_no_growth():
    rng = np.random.default_rng(2)
    column = np.linspace(-1, 1, 78)[:, None] + rng.normal(0, 0.3, (78, 1))
    happened = 200 * np.exp(0.5 * column[:, 0])
    found = growth(happened, np.ones(78), column)
    assert found.other[0] == pytest.approx(0.5, abs=1e-3)
    assert abs(found.rate) < 1e-4


@pytest.mark.parametrize("happened", [np.zeros(78), np.r_[np.ones(5), np.zeros(73)]])
def test_zeros_and_nearly_zeros_are_no_trend(happened):
    exposed = np.ones(78) if happened.any() else np.zeros(78)
    found = growth(happened, exposed)
    assert found == NOTHING or np.isfinite(found.rate)


def test_a_rate_that_is_sure_stays_and_one_that_is_not_becomes_that_of_the_others():
    others = Growth(0.02, 0.001)
    assert shrunk(Growth(0.01, 1e-6), others, 0.01) == pytest.approx(0.01, rel=1e-3)
    assert shrunk(Growth(0.01, 10.0), others, 0.01) == pytest.approx(0.02, rel=1e-3)
    assert shrunk(NOTHING, others, 0.01) == 0.02
    assert shrunk(NOTHING, NOTHING, 0.01) == 0.0
