"""What a retailer keeps of everybody's demand model and of what it would have alone."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from tests.tasks.made_shops import TODAY, by_day, shops

from grandtotal.consortium.totals import Local
from grandtotal.tasks.demand_home import (
    SHARES,
    at_best_factor,
    factor_of_width,
    first_not_beaten,
    missed,
)
from grandtotal.tasks.demand_model import cases_of, wape


def on_hot_days(times, seed):
    """Returns shops that sell so many times as much on every third day, which the weather tells."""
    tables = shops(days=200, seed=seed)
    days = [TODAY - timedelta(days=back) for back in range(-7, 201)]
    hot = pl.col("date").dt.ordinal_day() % 3 == 0
    weather = pl.DataFrame({"date": days}).with_columns(weather=hot.cast(pl.Float64))
    sold_hot = pl.col("time").dt.ordinal_day() % 3 == 0
    lines = tables["transactions"].with_columns(
        quantity=pl.col("quantity") * pl.when(sold_hot).then(times).otherwise(1.0)
    )
    calendar = pl.concat([tables["calendar"], weather], how="diagonal")
    return {**tables, "transactions": lines, "calendar": calendar}


@pytest.fixture(scope="module")
def task():
    """Returns the task."""
    return by_day(history=200, trees=30)


def kept_by(task, reactions):
    """Returns what all share; and of each retailer what it keeps, what it has alone, its rows."""
    parts = [task.rows(on_hot_days(times, seed)) for seed, times in enumerate(reactions)]
    shared = task.fit(Local(task.pooled(parts))).model
    alone = [task.adapt(task.fit(Local(rows)).model, rows) for rows in parts]
    kept = [task.adapt(shared, rows) for rows in parts]
    return shared, list(zip(kept, alone, parts, strict=True))


@pytest.fixture(scope="module")
def alike(task):
    """Returns two retailers whose customers do the same."""
    return kept_by(task, (2.0, 2.0))


def test_where_all_are_alike_nobody_leaves_and_nobody_loses(alike):
    _, retailers = alike
    assert all(kept.shared is None for kept, _, _ in retailers)
    own = sum(wape(alone, rows["test"]) for _, alone, rows in retailers)
    assert sum(wape(kept, rows["test"]) for kept, _, rows in retailers) <= 1.01 * own


def test_who_is_unlike_the_others_leaves_and_loses_nothing(task):
    shared, (*_, (kept, alone, rows)) = kept_by(task, (2.0, 2.0, 0.3))
    assert kept.shared is shared or kept.share <= 0.25
    assert wape(kept, rows["test"]) <= 0.8 * wape(shared, rows["test"])
    assert wape(kept, rows["test"]) <= 1.02 * wape(alone, rows["test"])


def test_a_mix_is_made_of_both_forecasts_in_their_shares(alike):
    shared, retailers = alike
    for kept, alone, rows in retailers:
        (cases,) = cases_of(kept, rows["test"])
        everybody = replace(shared, own=kept.own).forecast(cases)
        mixed = kept.share * everybody + (1 - kept.share) * alone.forecast(cases)
        assert kept.forecast(cases) == pytest.approx(mixed)
        assert kept.share in SHARES


@pytest.mark.parametrize("judged_by", ["wape", "rmspe"])
def test_what_is_missed_adds_up_to_the_error_of_the_task(alike, judged_by):
    task = by_day(history=200, trees=30, judged_by=judged_by)
    shared, ((_, _, rows), _) = alike
    (cases,) = cases_of(shared, rows["test"])
    of_periods = missed(task, shared, rows["test"], [shared.forecast(cases)])
    assert len(of_periods) == task.test
    weight = cases.sold.sum() if judged_by == "wape" else (cases.sold > 0).sum()
    share = of_periods.sum() / weight
    expected = task.score(shared, rows, "test").values()[judged_by]
    assert share ** (1.0 if judged_by == "wape" else 0.5) == pytest.approx(expected, rel=1e-3)


def test_a_few_periods_alone_decide_nothing():
    even = np.ones(40)
    one_day, every_day = even.copy(), even - 0.1
    one_day[7] -= 0.9
    assert first_not_beaten(np.stack([even, one_day])) == 0
    every_day[::2] -= 0.05
    assert first_not_beaten(np.stack([even, every_day])) == 1
    assert first_not_beaten(np.stack([even, even])) == 0
    assert first_not_beaten(np.array([[2.0], [1.0]])) == 1


def of_periods(ratio):
    """Returns the sums of forecast / sold (periods, cases), as they are totalled."""
    periods, cases = ratio.shape
    return [np.full(periods, float(cases)), ratio.sum(axis=1), (ratio**2).sum(axis=1)]


@pytest.mark.parametrize("width", [0.05, 0.1, 0.3])
def test_how_wide_errors_are_says_how_far_below_the_middle_a_forecast_should_be(width):
    ratio = np.random.default_rng(1).lognormal(0, width, (50, 4000))
    cases, ratios, squares = of_periods(ratio)
    factor = factor_of_width(cases, ratios, squares)
    assert factor == pytest.approx(np.exp(-1.5 * width**2), rel=0.003)
    assert factor == pytest.approx(ratios.sum() / squares.sum(), rel=0.003)  # which is the best one
    # Of other levels, and where a few periods were far off, it is the same.
    assert factor_of_width(cases, 1.3 * ratios, 1.3**2 * squares) == pytest.approx(factor)
    ratio[7] *= np.linspace(1, 9, ratio.shape[1])
    assert factor_of_width(*of_periods(ratio)) == pytest.approx(factor, rel=1e-3)


def test_another_factor_is_taken_where_it_is_clearly_better_over_the_periods():
    ratio = np.random.default_rng(2).lognormal(0.1, 0.1, (40, 30))
    sums = of_periods(ratio)
    found, factor = at_best_factor(*sums)
    assert factor == pytest.approx(ratio.sum() / (ratio**2).sum())
    assert found[1] == pytest.approx(factor * sums[1])
    # 1 where forecasts were too low before; one period that is far off asks for a factor, too.
    low = np.exp(-0.03375) * np.random.default_rng(3).lognormal(0, 0.15, (200, 200))
    assert at_best_factor(*of_periods(low))[1] == 1.0
    even = np.ones((40, 30))
    even[7] = 3.0
    odd = of_periods(even)
    assert odd[1].sum() / odd[2].sum() < 0.9
    assert at_best_factor(*odd)[1] == 1.0
    assert at_best_factor(np.zeros(3), np.zeros(3), np.zeros(3))[1] == 1.0
