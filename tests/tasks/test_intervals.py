from dataclasses import replace

import numpy as np
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.tasks.demand_model import adapted
from grandtotal.tasks.intervals import (
    BUCKETS,
    CLASSES,
    LEAST,
    M5,
    QUANTILES,
    RATIOS,
    REACHES,
    SHAPE,
    ForecastErrors,
    at,
    cells,
    classes,
    in_units,
    inside,
    pinball,
    placed,
    scaled,
    spread,
)


def histogram(forecast, counted, ahead):
    """Returns the cases of each class and bucket, (REACHES * CLASSES, BUCKETS)."""
    found = np.bincount(cells(forecast, counted, ahead), minlength=np.prod(SHAPE[1:]))
    return found.reshape(SHAPE[1:])


def drawn(seed, cases, most=300):
    """Returns forecasts up to `most` units, what was sold, and how far ahead it was.

    Counts whose errors are larger for small forecasts and for far ones.
    """
    rng = np.random.default_rng(seed)
    forecast = np.exp(rng.uniform(np.log(0.02), np.log(most), cases))
    ahead = rng.integers(1, 9, cases)
    shape = (1 + np.sqrt(forecast)) / np.sqrt(ahead)
    return forecast, rng.poisson(forecast * rng.gamma(shape) / shape), ahead


def counted(seed, forecast, sold, ahead):
    """Returns the same with every count somewhere in its unit."""
    return forecast, sold + np.random.default_rng([seed, 1]).random(len(sold)) - 0.5, ahead


def held(ratios, forecast, sold, ahead):
    """Returns which part of each case is inside the 80 % and the 95 % interval."""
    found, whole = scaled(forecast, ahead, ratios), np.ones(len(sold), bool)
    return [
        inside(sold, whole, found[:, at(low)], found[:, at(high)])
        for low, high in ((0.1, 0.9), (0.025, 0.975))
    ]


def test_intervals_hold_what_they_promise_for_every_size_and_distance():
    ratios = spread(histogram(*counted(1, *drawn(1, 400_000))))
    forecast, sold, ahead = drawn(2, 200_000)
    assert (sold == 0).mean() > 0.3  # a fixed interval with 0 in it would hold too much
    within_80, within_95 = held(ratios, forecast, sold, ahead)
    group = classes(forecast, ahead)
    large = np.flatnonzero(np.bincount(group) >= 1000)
    assert len(large) > 40
    for one in large:
        # Two points: the quantiles and the cases are of a thousand counts and more.
        assert within_80[group == one].mean() == pytest.approx(0.80, abs=0.03)
        assert within_95[group == one].mean() == pytest.approx(0.95, abs=0.02)
    for distance in range(1, 9):
        assert within_80[ahead == distance].mean() == pytest.approx(0.80, abs=0.02)
        assert within_95[ahead == distance].mean() == pytest.approx(0.95, abs=0.02)


def test_many_retailers_with_few_cases_have_the_intervals_of_all_of_them():
    parts = [counted(seed, *drawn(seed, 300)) for seed in range(40)]
    together = sum(histogram(*part) for part in parts)
    everybody = tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
    assert (together == histogram(*everybody)).all()
    for within, level in zip(held(spread(together), *drawn(99, 20_000)), (0.8, 0.95), strict=True):
        assert within.mean() == pytest.approx(level, abs=0.02)


def test_a_class_with_few_cases_takes_every_distance_then_the_sizes_around_it():
    counts = np.zeros(SHAPE[1:], np.int64)
    counts[2, 50], counts[2 + CLASSES, 90], counts[9, 100] = LEAST - 1, 1, LEAST
    found = spread(counts)
    assert (found[2] == found[2 + CLASSES]).all()
    assert not (found[9] == found[2]).all()
    assert (found[8] == found[9 + 2 * CLASSES]).all()  # the nearest that is enough
    assert (found[3] == found[2]).all()


def test_quantiles_of_one_bucket_lie_in_it_and_of_nothing_are_one():
    counts = np.zeros(SHAPE[1:], np.int64)
    assert (spread(counts) == 1.0).all()
    counts[0, 81] = 1000
    found = spread(counts)
    assert ((RATIOS[80] <= found) & (found <= RATIOS[81])).all()
    assert (np.diff(found, axis=1) > 0).all()


def test_what_did_not_sell_is_zero_in_whole_units():
    forecast, ahead = np.full(4000, 3.0), np.ones(4000, int)
    sold = np.where(np.arange(4000) < 1200, 0.0, 4.0)
    ratios = spread(histogram(*counted(0, forecast, sold, ahead)))
    found = in_units(scaled(forecast[:1], ahead[:1], ratios), np.array([True]))[0]
    assert found[at(0.025)] == found[at(0.25)] == 0.0
    assert found[at(0.5)] == found[at(0.75)] == found[at(0.835)] == 4.0


def test_an_interval_holds_the_part_of_a_count_that_lies_in_it():
    sold, whole = np.array([0.0, 0.0, 3.0, 3.0]), np.array([True, True, True, False])
    low, high = np.array([-0.5, -0.25, 0.0, 0.0]), np.array([0.5, 0.25, 3.1, 3.1])
    assert inside(sold, whole, low, high) == pytest.approx([1.0, 0.5, 0.6, 1.0])


def test_weight_is_not_rounded_to_pieces():
    found = in_units(np.array([[-0.4, 0.3, 1.6]] * 2), np.array([True, False]))
    assert found.tolist() == [[0.0, 0.0, 2.0], [0.0, 0.3, 1.6]]


def test_a_count_lies_anywhere_in_its_unit_and_always_in_the_same_place(build):
    panel = build.panel([build.sales(np.random.default_rng(4))])
    sales = panel.parts[0]
    (cases,) = panel.cases(sales.capped())
    within = placed(sales, cases) - cases.sold
    assert (np.abs(within) <= 0.5).all()
    # Means of so many evenly spread numbers: four standard deviations.
    assert within.mean() == pytest.approx(0.0, abs=4 * (12 * len(within)) ** -0.5)
    assert (placed(sales, cases) == cases.sold + within).all()
    weighed = replace(sales, units=sales.units + 0.25)
    assert (placed(weighed, cases) == cases.sold).all()


def test_the_median_has_the_least_pinball_loss_of_its_level():
    sold = np.random.default_rng(0).gamma(2.0, 5.0, 4000)
    best = np.quantile(sold, QUANTILES)
    least = pinball(sold, np.tile(best, (len(sold), 1))).sum()
    for level in M5:
        for moved in (0.8, 1.25):
            other = best.copy()
            other[at(level)] *= moved
            assert pinball(sold, np.tile(other, (len(sold), 1))).sum() > least


def test_counts_are_of_every_scored_case_once(build):
    panel = build.panel([build.sales(np.random.default_rng(4))])
    given = {"series": panel.parts[0].capped(), "coefficients": np.linspace(-0.2, 0.2, 22).round(3)}
    counts = Local({"test": panel}).total(ForecastErrors("poisson", "test"), given)["counts"]
    (cases,) = panel.cases(given["series"])
    assert counts.sum() == len(cases.sold)
    assert counts[1].sum() == (cases.origin > panel.scored[(len(panel.scored) - 1) // 2]).sum() > 0
    by_reach = counts.reshape(2, REACHES, CLASSES, BUCKETS).sum(axis=(0, 2, 3))
    assert by_reach.tolist() == [(cases.ahead == a).sum() for a in (1, 2, 3)] + [0, 0, 0]


@pytest.fixture
def fitted(demand, frames):
    """Returns the task, every retailer's rows, and the model of their totals."""
    parts = {name: demand.rows(tables) for name, tables in frames.items()}
    return demand, parts, demand.fit(Local(demand.pooled(list(parts.values())))).model


def test_a_retailer_takes_the_intervals_that_were_better_at_home(fitted):
    _, parts, model = fitted
    validation, test = parts["north"]["validation"], parts["north"]["test"]
    absurd = np.full_like(model.spread, 90.0)
    own = adapted(replace(model, spread=absurd), validation, test)
    assert own.ratios.max() < 90
    few = replace(validation, scored=validation.scored[:1], kept={})
    shared = adapted(model, few, test)
    assert (shared.ratios == model.spread[1]).all()


def test_the_wider_interval_holds_more(fitted):
    demand, parts, model = fitted
    for rows in parts.values():
        found = demand.score(demand.adapt(model, rows), rows, "test").values()
        assert found["coverage_80"] <= found["coverage_95"]
        assert found["coverage_95"] > 0.8
