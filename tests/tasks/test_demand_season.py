"""The season of all series: what last year's sums say of the weeks ahead, and how sure they are."""

from datetime import date

import numpy as np
import pytest

from grandtotal.tasks.demand_season import Season
from grandtotal.tasks.sales import Periods

TODAY = date(2024, 7, 1)
WEEKS = Periods(TODAY, 7, 104)
RISE = 2.0


def totals(noise, years=2, seed=3):
    """Returns units of 40 products by week: twice as many in the last ten weeks of each year."""
    rng = np.random.default_rng(seed)
    season = np.tile(np.r_[np.ones(42), np.full(10, RISE)], years)
    chance = np.exp(noise * rng.standard_normal(len(season)))
    return np.round(50 * rng.uniform(0.5, 2, (40, 1)) * season * chance)


def factors(units, t, periods=WEEKS, horizon=4):
    return np.exp(Season(units, periods, horizon).ahead(t))


def test_a_season_that_came_last_year_is_expected_again():
    # Weeks 95 and 96 lie in the season with both their neighbours.
    assert factors(totals(0.02), 93, horizon=4)[2:] == pytest.approx(RISE, rel=0.1)


def test_weeks_without_a_season_get_no_factor():
    assert factors(totals(0.02), 80) == pytest.approx(1.0, abs=0.15)


def test_years_that_differ_by_chance_alone_are_hardly_believed():
    rng = np.random.default_rng(8)
    units = np.round(50 * np.exp(0.3 * rng.standard_normal((1, 104)))) * np.ones((40, 1))
    believed = [np.log(factors(units, t)) for t in range(76, 100)]
    last_year = [Season(units, WEEKS, 4)._rises[t - 52] for t in range(76, 100)]
    assert np.std(believed) < 0.5 * np.std(last_year)


def test_the_noisier_the_years_the_less_is_believed():
    found = [np.log(factors(totals(noise), 93)[2]) for noise in (0.0, 0.1, 0.3)]
    assert found == sorted(found, reverse=True)


def test_without_weeks_that_were_seen_twice_there_is_no_season():
    units = totals(0.02)
    assert factors(units, 51).tolist() == factors(units, 70).tolist() == [1.0] * 4
    assert factors(units[:, :60], 55, Periods(TODAY, 7, 60)).tolist() == [1.0] * 4


def test_products_that_were_not_sold_yet_are_no_season_of_the_others():
    units = totals(0.02)
    new = np.zeros_like(units)
    new[:, 44:] = 5000.0
    found, without = (factors(np.concatenate(u), 93) for u in ((units, new), (units,)))
    # A year ago they came after the origin: no forecast could have had them.
    assert found[2] == pytest.approx(without[2], rel=0.15)


@pytest.mark.parametrize("t", [60, 75, 93, 104])
def test_what_comes_from_the_origin_on_changes_nothing(t):
    units = totals(0.1)
    later = units.copy()
    later[:, t:] = 7000.0
    assert factors(later, t).tolist() == factors(units, t).tolist()
