from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.errors import PlanError
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_model import BASELINES, DemandModel, wape
from grandtotal.tasks.intervals import M5, QUANTILES, REACHES, SIZES
from grandtotal.tasks.sales import Panel, Periods
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)
NONE = np.empty(0)


SMALL = np.linspace(0.0, 3.0, len(QUANTILES))
LARGE = np.linspace(0.4, 2.2, len(QUANTILES))


def model(name="mean", small=None, large=None):
    """Returns a baseline, with quantiles of sold / forecast below 4 units and above."""
    if small is None:
        return DemandModel({"model": name}, {}, NONE)
    of_sizes = np.where(np.r_[SIZES, np.inf][:, None] <= 4.0, small, large)
    return DemandModel({"model": name}, {}, NONE, ratios=np.tile(of_sizes, (REACHES, 1)))


def quantiles(forecast):
    """Returns what `model` says of one forecast, on the scale that begins at -1/2."""
    return (forecast + 0.5) * (SMALL if forecast <= 4.0 else LARGE) - 0.5


def part_inside(sold, forecast, low, high):
    """Returns how much of the unit around a count lies in the interval of two levels."""
    ends = quantiles(forecast)[[QUANTILES.index(low), QUANTILES.index(high)]]
    return max(0.0, min(sold + 0.5, ends[1]) - max(sold - 0.5, ends[0]))


def pinball(sold, forecast):
    """Returns the mean loss of the nine quantiles of the M5, rounded to whole units."""
    found = [np.floor(max(q, 0.0) + 0.5) for q in quantiles(forecast)]
    missed = [(level, sold - q) for level, q in zip(QUANTILES, found, strict=True) if level in M5]
    return np.mean([max(level * miss, (level - 1) * miss) for level, miss in missed])


# --- scores, one by one ---


@pytest.fixture
def panel(build):
    """Returns four products of which one is new in the test and one never sells again."""
    sales = build.sales(np.random.default_rng(9), 4, Periods(TODAY, 7, 60), 3)
    sales.units[2, :58] = 0.0
    sales.units[3, 45:] = 0.0
    return Panel((sales,), (30, 40), (50, 52, 54, 57), 50, 60)


def looked_up(panel, name, t, product, target):
    """Returns the forecast of a baseline, by its definition."""
    units = panel.parts[0].units[product]
    if name == "mean":
        return units[t - 8 : t].mean()
    return units[target - 52] if target >= 52 else 0.0


def brute_force(panel, name):
    """Returns every metric by its textbook formula, in loops."""
    sales = panel.parts[0]
    errors = {}
    for product in range(4):
        for t in panel.scored:
            if not sales.units[product, t - 26 : t].any():
                continue
            for target in range(t, min(t + sales.horizon, panel.until)):
                forecast = looked_up(panel, name, t, product, target)
                errors.setdefault(product, []).append((sales.units[product, target], forecast))
    cases = [case for found in errors.values() for case in found]
    sold = np.array([s for s, _ in cases])
    error = np.array([f - s for s, f in cases])
    mase, rmsse, scaled, weights = [], [], [], []
    for product, found in errors.items():
        history = np.trim_zeros(sales.units[product, : panel.cut], "f")
        change = np.diff(history)
        if not len(change) or not np.abs(change).sum():
            continue
        own = np.array([f - s for s, f in found])
        mase.append(np.abs(own).mean() / np.abs(change).mean())
        rmsse.append(np.sqrt((own**2).mean() / (change**2).mean()))
        taken = sales.units[product] * np.nan_to_num(sales.price[product])
        weights.append(taken[panel.cut - 8 : panel.cut].sum())
        scaled.append(np.mean([pinball(*case) for case in found]) / np.abs(change).mean())
    return {
        "wape": np.abs(error).sum() / sold.sum(),
        "bias": error.sum() / sold.sum(),
        "rmsse": np.mean(rmsse),
        "mase": np.mean(mase),
        "mape": np.mean(np.abs(error[sold > 0]) / sold[sold > 0]),
        "rmspe": np.sqrt(np.mean((error[sold > 0] / sold[sold > 0]) ** 2)),
        "mae": np.abs(error).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "coverage_80": np.mean([part_inside(s, f, 0.1, 0.9) for s, f in cases]),
        "coverage_95": np.mean([part_inside(s, f, 0.025, 0.975) for s, f in cases]),
        "pinball": sum(pinball(s, f) for s, f in cases) / sold.sum(),
        "wspl": np.average(scaled, weights=weights),
    }


@pytest.mark.parametrize("name", BASELINES)
def test_every_metric_is_its_formula(panel, common, name):
    held = model(name, SMALL, LARGE)
    expected = brute_force(panel, name)
    found = Demand(common).score(held, {"test": panel}, "test")
    assert found.values().keys() == expected.keys()
    for metric, value in expected.items():
        # Each product's sums are rounded to 2^-20, squared errors coarser.
        assert found.values()[metric] == pytest.approx(
            value, rel=1e-3 if metric in ("rmse", "rmspe") else 1e-5
        )
    assert found.units == 3  # the new product has no case until the last origin


def test_a_perfect_forecast_has_no_error(build, common):
    sales = build.sales(np.random.default_rng(1))
    steady = replace(sales, units=np.full_like(sales.units, 5.0))
    held = model("mean", *[np.linspace(0.8, 1.2, len(QUANTILES))] * 2)
    found = Demand(common).score(held, {"test": build.panel([steady])}, "test").values()
    assert {found[name] for name in ("wape", "bias", "mape", "mae", "rmse")} == {0.0}
    assert found["coverage_80"] == 1.0
    assert np.isnan(found["mase"])  # nothing ever changed, so there is nothing to compare with
    assert np.isnan(found["rmsse"])


def test_coverage_without_quantiles_is_unknown(panel, common):
    assert np.isnan(Demand(common).score(model(), {"test": panel}, "test").values()["coverage_80"])


def test_the_scores_of_a_pooled_panel_are_those_of_its_parts(build, common):
    rng = np.random.default_rng(5)
    panels = [build.panel([build.sales(rng)]) for _ in range(3)]
    task = Demand(common)
    whole = task.score(model(), {"test": Panel.pooled(panels)}, "test")
    parts = [task.score(model(), {"test": part}, "test") for part in panels]
    assert whole.numerators.tolist() == [row for p in parts for row in p.numerators.tolist()]


# --- known answers ---


def transactions(units, days):
    """Returns one line a product and period from a panel (products, periods) that ends today."""
    products, periods = units.shape
    rows = [
        (
            datetime(2024, 7, 1) - timedelta(days=(periods - t) * days, hours=-9),
            f"P{p}",
            units[p, t],
        )
        for p in range(products)
        for t in range(periods)
        if units[p, t]
    ]
    schema = {"time": pl.Datetime("us"), "product": pl.String, "quantity": pl.Float64}
    lines = pl.DataFrame(rows, schema=schema, orient="row")
    return {"transactions": lines.with_columns(price=1.0)}


def task_of(products, **settings):
    return Demand(Common(TODAY, tuple(f"P{p}" for p in range(products))), **settings)


@pytest.mark.parametrize("name", ["ridge", "poisson"])
def test_what_always_sold_is_forecast_to_sell_on(name):
    task = task_of(5, models=(name,), horizon=4, test=6, history=80)
    tables = transactions(np.outer([3.0, 8.0, 20.0, 55.0, 200.0], np.ones(80)), 7)
    rows = task.rows(tables)
    found = task.predict(task.adapt(task.fit(Local(rows)).model, rows), rows, tables, 10)
    for product, level in enumerate((3.0, 8.0, 20.0, 55.0, 200.0)):
        units = found.filter(pl.col("product") == f"P{product}")["units"]
        # Features are steps of 1/256 of a log, and the penalty pulls a little.
        assert units.to_numpy() == pytest.approx(level, rel=0.05)


@pytest.mark.parametrize("name", ["ridge", "poisson"])
def test_a_planted_week_is_found(name):
    rng = np.random.default_rng(2)
    pattern = np.array([2.0, 2.0, 2.0, 2.0, 4.0, 12.0, 0.5])  # from a Monday, as today is one
    mean = np.outer(rng.uniform(2.0, 6.0, 8), np.tile(pattern, 20))
    task = task_of(8, models=(name,), every="day", horizon=7, test=14, history=140)
    tables = transactions(rng.poisson(mean).astype(float), 1)
    rows = task.rows(tables)
    adapted = task.adapt(task.fit(Local(rows)).model, rows)
    found = task.predict(adapted, rows, tables, 10)
    by_day = found.group_by("start", maintain_order=True).agg(pl.col("units").sum()).sort("start")
    assert by_day["start"].to_list() == [TODAY + timedelta(days=d) for d in range(7)]
    units = by_day["units"].to_numpy()
    assert units.argmax() == 5
    assert units.argmin() == 6
    assert units[5] > 3 * units[:4].max()


def season(weeks):
    return 1 + 0.9 * np.sin(2 * np.pi * np.arange(weeks) / 52)


def test_the_baseline_is_the_season_where_there_is_one_and_the_recent_mean_elsewhere():
    rng = np.random.default_rng(4)
    level = rng.uniform(20.0, 60.0, (6, 1))
    task = task_of(6, horizon=8, test=12, history=104)
    for curve, label in (
        (season(104), "same week of the last season"),
        (np.ones(104), "mean of the last 8 weeks"),
    ):
        units = rng.poisson(level * curve).astype(float)
        assert task.baseline(task.rows(transactions(units, 7)))[1] == label


def test_a_planted_season_is_forecast_better_than_by_either_baseline():
    rng = np.random.default_rng(6)
    units = rng.poisson(rng.uniform(10.0, 60.0, (12, 1)) * season(156)).astype(float)
    task = task_of(12, horizon=8, test=12, history=156)
    rows = task.rows(transactions(units, 7))
    fitted = task.fit(Local(rows)).model
    found = task.score(task.adapt(fitted, rows), rows, "test").values()["wape"]
    for name in BASELINES:
        assert found < task.score(model(name), rows, "test").values()["wape"]


def test_a_model_that_is_wrong_everywhere_is_put_right_at_home(demand, frames):
    rows = demand.rows(frames["north"])
    shared = demand.fit(Local(rows)).model

    def doubled(parts):
        given = parts["coefficients"]
        if shared.meta["model"] != "poisson":
            return {"coefficients": 2 * given}
        return {"coefficients": given + np.log(2.0) * (np.arange(len(given)) == 0)}

    wrong = replace(shared, parts=doubled(shared.parts), before=doubled(shared.before))
    adapted = demand.adapt(wrong, rows)
    assert adapted.level.size == 3
    assert wape(wrong, rows["test"]) > 1.3 * wape(shared, rows["test"])
    assert wape(adapted, rows["test"]) < 1.1 * wape(shared, rows["test"])


def test_quantiles_are_ordered_and_hold_four_fifths_of_what_they_learned_from(demand, frames):
    for tables in frames.values():
        rows = demand.rows(tables)
        adapted = demand.adapt(demand.fit(Local(rows)).model, rows)
        inside = demand.score(adapted, rows, "validation").values()["coverage_80"]
        # The quantiles are of what was forecast before the validation, with fewer rows.
        assert 0.75 <= inside <= 0.88
        found = demand.predict(adapted, rows, tables, 10)
        assert (found["p10"] <= found["p50"]).all()
        assert (found["p50"] <= found["p90"]).all()
        assert (found["p10"] >= 0).all()


# --- predictions ---


def test_a_prediction_is_a_row_for_every_selling_product_and_period_ahead(demand, frames):
    tables = frames["west"]
    rows = demand.rows(tables)
    found = demand.predict(demand.adapt(demand.fit(Local(rows)).model, rows), rows, tables, 10)
    today = demand.common.today
    lately = pl.col("time").is_between(today - timedelta(weeks=26), today, closed="left")
    week = (pl.lit(today) - pl.col("time").dt.date()).dt.total_days().sub(1) // 7
    cells = tables["transactions"].filter(lately).group_by("product", week=week)
    selling = cells.agg(pl.col("quantity").sum()).filter(pl.col("quantity") > 0)["product"]
    assert set(found["product"]) == {*selling} & {*demand.common.catalogue}
    weeks = [today + timedelta(weeks=w) for w in range(demand.horizon)]
    for _, one in found.group_by("product"):
        assert one["start"].to_list() == weeks
        assert one["ahead"].to_list() == [1, 2, 3, 4]


def test_the_two_baselines_stand_beside_the_forecast(demand, frames):
    tables = frames["west"]
    rows = demand.rows(tables)
    found = demand.predict(demand.adapt(demand.fit(Local(rows)).model, rows), rows, tables, 10)
    units = rows["now"].parts[0].units
    for row in found.head(40).iter_rows(named=True):
        product = demand.common.catalogue.index(row["product"])
        assert row["recent_mean"] == pytest.approx(units[product, -8:].mean(), abs=1e-3)
        assert row["last_season"] == units[product, 80 + row["ahead"] - 1 - 52]


def test_the_curve_of_the_report_is_the_largest_product(demand, frames):
    rows = demand.rows(frames["south"])
    adapted = demand.adapt(demand.fit(Local(rows)).model, rows)
    detail = demand.detail(adapted, rows)
    curve, panel = detail["curve"], rows["test"]
    units = panel.parts[0].units
    largest = int(units[:, : panel.cut].sum(axis=1).argmax())
    assert curve["product"] == demand.common.catalogue[largest]
    assert curve["sold"] == units[largest, panel.cut - 26 : panel.cut + 4].tolist()
    assert len(curve["starts"]) == len(curve["sold"])
    assert len(curve["forecast"]) == len(curve["low"]) == len(curve["high"]) == demand.horizon
    assert len(detail["wape_by_period_ahead"]) == demand.horizon


def test_the_examples_are_the_best_the_middle_and_the_worst_of_what_sells(demand, frames):
    rows = demand.rows(frames["south"])
    model = demand.adapt(demand.fit(Local(rows)).model, rows)
    found = demand.detail(model, rows)
    best, median, worst = found["examples"]
    assert [one["which"] for one in found["examples"]] == ["best", "median", "worst"]
    assert best["wape"] < median["wape"] < worst["wape"]
    (cases,) = rows["test"].cases(model.series)
    mine = cases.series == demand.common.catalogue.index(worst["product"])
    error = np.abs(model.forecast(cases)[mine] - cases.sold[mine]).sum()
    assert worst["wape"] == pytest.approx(error / cases.sold[mine].sum(), abs=1e-6)
    assert sum(row["series"] for row in found["by_volume"]) >= len(np.unique(cases.series))
    assert all(0 <= row["inside"] <= 1 for row in found["by_volume"])


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"horizon": 0}, "horizon = 0, expected a whole number from 1 on"),
        ({"horizon": "8"}, "horizon = '8'"),
        ({"horizon": True}, "horizon = True"),
        ({"test": 7}, "test = 7, expected a whole number from 8 on"),
        ({"test": "12"}, "test = '12'"),
        ({"history": 39}, "history = 39, expected a whole number from 40 on"),
        ({"history": "104"}, "history = '104'"),
        ({"every": "month"}, 'every = \'month\', expected "week" or "day"'),
        ({"every": {}}, "every = {}"),
        ({"every": ("week",)}, "every = ('week',)"),
        ({"grow": "depth"}, "grow = 'depth', expected level or leaf"),
        ({"learned_from": 9}, "learned_from = 9, expected a whole number from 1 on, up to 8"),
        ({"learned_from": 0}, "learned_from = 0"),
        ({"outlier": "4"}, "outlier = '4'"),
        ({"outlier": 0.5}, "outlier = 0.5"),
        ({"outlier": float("nan")}, "outlier = nan"),
        ({"outlier": float("inf")}, "outlier = inf"),
        ({"models": ("poison",)}, "did you mean 'poisson'?"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_its_name_and_value(common, settings, words):
    with pytest.raises(PlanError) as refused:
        Demand(common, **settings)
    assert words in str(refused.value)


def test_the_shortest_history_that_is_allowed_runs(common, frames):
    task = Demand(common, horizon=2, test=3, history=16)
    rows = task.rows(frames["north"])
    adapted = task.adapt(task.fit(Local(rows)).model, rows)
    assert task.score(adapted, rows, "test").units > 0
    assert not task.predict(adapted, rows, frames["north"], 10).is_empty()
