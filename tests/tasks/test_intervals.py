from dataclasses import replace

import numpy as np
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.tasks.demand_model import adapted
from grandtotal.tasks.intervals import (
    BUCKETS,
    CLASSES,
    LEAST,
    QUANTILES,
    RATIOS,
    SIZES,
    ForecastErrors,
    cells,
    pinball,
    spread,
)


def histogram(forecast, sold, far):
    """Returns the cases of each class and bucket, (2 * CLASSES, BUCKETS)."""
    shape = (2 * CLASSES, BUCKETS)
    return np.bincount(cells(forecast, sold, far), minlength=np.prod(shape)).reshape(shape)


def drawn(seed, cases):
    """Returns forecasts from 1 to 300 units, what was sold, and which are far ahead.

    Errors are larger for small forecasts and for far ones.
    """
    rng = np.random.default_rng(seed)
    forecast = np.exp(rng.uniform(0.0, np.log(300), cases))
    far = rng.random(cases) < 0.5
    shape = np.where(far, 0.5, 1.0) * (1 + np.sqrt(forecast))
    return forecast, forecast * rng.gamma(shape) / shape, far


def inside(ratios, forecast, sold, far):
    """Returns which cases are inside the 80 % and the 95 % interval."""
    found = forecast[:, None] * ratios[np.searchsorted(SIZES, forecast) + CLASSES * far]
    return (
        (sold >= found[:, 1]) & (sold <= found[:, 3]),
        (sold >= found[:, 0]) & (sold <= found[:, 4]),
    )


def test_intervals_hold_what_they_promise_for_every_size_near_and_far():
    ratios = spread(histogram(*drawn(1, 200_000)))
    forecast, sold, far = drawn(2, 200_000)
    within_80, within_95 = inside(ratios, forecast, sold, far)
    group = np.searchsorted(SIZES, forecast) + CLASSES * far
    large = np.flatnonzero(np.bincount(group) >= 1000)
    assert len(large) == 2 * (CLASSES - 2)
    for one in large:
        # Two points: more than three standard deviations of 11,000 cases, and of the quantiles.
        assert within_80[group == one].mean() == pytest.approx(0.80, abs=0.02)
        assert within_95[group == one].mean() == pytest.approx(0.95, abs=0.02)
    assert within_80.mean() == pytest.approx(0.80, abs=0.02)
    assert within_95.mean() == pytest.approx(0.95, abs=0.02)


def test_many_retailers_with_few_cases_have_the_intervals_of_all_of_them():
    parts = [drawn(seed, 300) for seed in range(40)]
    together = sum(histogram(*part) for part in parts)
    everybody = tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
    assert (together == histogram(*everybody)).all()
    for within, level in zip(
        inside(spread(together), *drawn(99, 20_000)), (0.8, 0.95), strict=True
    ):
        assert within.mean() == pytest.approx(level, abs=0.02)


def test_a_class_with_few_cases_takes_near_and_far_together_then_everything():
    counts = np.zeros((2 * CLASSES, BUCKETS), np.int64)
    counts[2, 50], counts[2 + CLASSES, 90], counts[5, 100] = LEAST - 1, 1, 7
    found = spread(counts)
    assert (found[2] == found[2 + CLASSES]).all()
    assert (found[5] == found[0]).all()
    assert not (found[5] == found[2]).all()


def test_quantiles_of_one_bucket_lie_in_it_and_of_nothing_are_one():
    counts = np.zeros((2 * CLASSES, BUCKETS), np.int64)
    assert (spread(counts) == 1.0).all()
    counts[0, 81] = 1000
    found = spread(counts)
    assert ((RATIOS[80] <= found) & (found <= RATIOS[81])).all()
    assert (np.diff(found, axis=1) > 0).all()


def test_what_did_not_sell_is_zero():
    forecast, far = np.full(1000, 3.0), np.zeros(1000, bool)
    sold = np.where(np.arange(1000) < 300, 0.0, 4.0)
    found = spread(histogram(forecast, sold, far))[np.searchsorted(SIZES, 3.0)]
    assert found[:2].tolist() == [0.0, 0.0]
    assert found[2:] == pytest.approx(4 / 3, rel=0.05)


def test_the_median_has_the_least_pinball_loss_of_its_level():
    sold = np.random.default_rng(0).gamma(2.0, 5.0, 4000)
    best = np.quantile(sold, QUANTILES)
    least = pinball(sold, np.tile(best, (len(sold), 1)))
    for i in range(len(QUANTILES)):
        for moved in (0.8, 1.25):
            other = best.copy()
            other[i] *= moved
            assert pinball(sold, np.tile(other, (len(sold), 1))) > least


def test_counts_are_of_every_scored_case_once(build):
    panel = build.panel([build.sales(np.random.default_rng(4))])
    given = {"series": panel.parts[0].capped(), "coefficients": np.linspace(-0.2, 0.2, 22).round(3)}
    counts = Local({"test": panel}).total(ForecastErrors("poisson", "test", 2), given)["counts"]
    (cases,) = panel.cases(given["series"])
    assert counts.sum() == len(cases.sold)
    assert counts[1].sum() == (cases.origin > panel.scored[(len(panel.scored) - 1) // 2]).sum() > 0
    assert counts[:, CLASSES:].sum() == (cases.ahead > 2).sum() > 0


@pytest.fixture
def fitted(demand, frames):
    """Returns the task, every retailer's rows, and the model of their totals."""
    parts = {name: demand.rows(tables) for name, tables in frames.items()}
    return demand, parts, demand.fit(Local(demand.pooled(list(parts.values())))).model


def test_a_retailer_takes_the_intervals_that_were_better_at_home(fitted):
    _, parts, model = fitted
    validation, test = parts["north"]["validation"], parts["north"]["test"]
    absurd = np.tile([90.0, 91.0, 92.0, 93.0, 94.0], (2, 2 * CLASSES, 1))
    own = adapted(replace(model, spread=absurd), validation, test)
    assert len(own.ratios) == len(own.edges) + 1
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
