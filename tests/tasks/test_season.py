"""The clock of the season: what was planted is found, and nothing where there is none."""

from datetime import date

import numpy as np
import pytest

from grandtotal.algorithms.bgnbd import Repeats
from grandtotal.algorithms.likelihood import MaximumLikelihood
from grandtotal.consortium.totals import Local
from grandtotal.tasks.season import clock, months, season_of
from grandtotal.tasks.value_rows import DAYS, Known

TODAY = date(2024, 7, 1)
PLANTED = np.array([0.7, 0.7, 0.8, 0.9, 1.0, 1.0, 0.9, 0.9, 1.1, 1.2, 1.6, 1.2])
NOBODY = np.empty(0)


def known(season, customers=1500, seed=1, years=3):
    """Returns customers whose purchases are spread evenly on the season's clock.

    Ever more come as the years pass, and each stays a year or so.
    """
    draw = np.random.default_rng(seed)
    days, speed = 365 * years, season[months(TODAY, 0)]
    first = (days * np.sqrt(draw.random(customers))).astype(int) - days
    bought = []
    for start in first:
        end = min(0, start + int(draw.exponential(400)) + 2)
        day = np.arange(start, end)
        chance = np.minimum(speed[day + DAYS] / 20, 1.0)
        bought.append(np.unique(np.append(day[draw.random(len(day)) < chance], start)))
    count = np.array([len(day) for day in bought])
    last = np.array([day[-1] for day in bought])
    between = np.concatenate([day[1:-1] for day in bought])
    return Known(
        0,
        np.arange(customers),
        Repeats(count - 1, (last - first) * 1.0, -first * 1.0),
        *[np.zeros(customers)] * 5,
        by_week=NOBODY,
        between=np.bincount(between + DAYS, minlength=DAYS),
    )


def test_the_season_that_was_planted_is_found():
    planted = PLANTED / PLANTED.mean()
    found = season_of(Local({"test": known(planted, 4000)}), "test", TODAY)
    # Some 3,000 purchases a month: a standard error of 0.03 in the largest.
    np.testing.assert_allclose(found, planted, atol=0.1)
    assert found.mean() == pytest.approx(1, abs=1e-5)


def test_growth_and_loss_of_customers_are_no_season():
    found = season_of(Local({"test": known(np.ones(12))}), "test", TODAY)
    assert found.tolist() == [1.0] * 12


def test_few_customers_have_the_calendar(build):
    rows = {"test": known(PLANTED, 20)}
    assert season_of(Local(rows), "test", TODAY).tolist() == [1.0] * 12
    nobody = build.known(np.random.default_rng(1), 0)
    assert season_of(Local({"test": nobody}), "test", TODAY).tolist() == [1.0] * 12


def test_on_the_clock_the_customers_are_likelier():
    customers = known(PLANTED / PLANTED.mean())
    rows = {"test": customers}
    found = season_of(Local(rows), "test", TODAY)
    shown = clock(found, TODAY, 0)
    rates = np.log(found[months(TODAY, 0)]) @ customers.between
    fits = [
        MaximumLikelihood("bg-nbd").fit(Local(rows), "test", given)[1]["likelihood"]
        for given in ({}, {"clock": shown})
    ]
    # The density of a day is that of its hour on the clock times the clock's speed.
    assert fits[1] + rates > fits[0] + 100


def test_a_clock_at_one_speed_is_the_calendar(build):
    customers = build.known(np.random.default_rng(2), 30)
    found = customers.on(clock(np.ones(12), TODAY, 10))
    np.testing.assert_allclose(found.last, customers.repeats.last)
    np.testing.assert_allclose(found.age, customers.repeats.age)


def test_a_clock_runs_as_fast_as_its_months():
    shown = clock(PLANTED, TODAY, 31)
    assert len(shown) == DAYS + 32
    assert shown[DAYS + 31] - shown[DAYS] == pytest.approx(31 * PLANTED[6])
    assert shown[DAYS] - shown[DAYS - 30] == pytest.approx(30 * PLANTED[5])


def test_a_purchase_before_the_clock_begins_counts_as_at_its_beginning():
    old = known(np.ones(12), 5)
    early = Known(
        **{
            **vars(old),
            "repeats": Repeats(old.repeats.repeats, old.repeats.last, np.full(5, DAYS + 900.0)),
        }
    )
    found = early.on(clock(np.ones(12), TODAY, 0))
    assert (found.age == DAYS).all()
    assert (found.last >= 0).all()
