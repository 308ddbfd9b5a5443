"""What a retailer keeps of everybody's demand model and of what it would have alone."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from tests.tasks.made_shops import TODAY, by_day, shops

from grandtotal.consortium.totals import Local
from grandtotal.tasks.demand_home import SHARES, at_best_factor, first_not_beaten, missed
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


def test_a_factor_is_taken_where_it_is_clearly_better_over_the_periods():
    ratio = np.random.default_rng(2).lognormal(0.1, 0.1, (40, 30))
    sums = [np.full(40, 30.0), ratio.sum(axis=1), (ratio**2).sum(axis=1)]
    found, factor = at_best_factor(*sums)
    assert factor == pytest.approx(ratio.sum() / (ratio**2).sum())
    assert found[1] == pytest.approx(factor * sums[1])
    # One period that is far off asks for a factor, too.
    even = np.ones((40, 30))
    even[7] = 3.0
    odd = [np.full(40, 30.0), even.sum(axis=1), (even**2).sum(axis=1)]
    assert odd[1].sum() / odd[2].sum() < 0.9
    assert at_best_factor(*odd)[1] == 1.0
    assert at_best_factor(np.zeros(3), np.zeros(3), np.zeros(3))[1] == 1.0
