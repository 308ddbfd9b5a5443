"""Networks as models of the demand task."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from grandtotal.algorithms.networks import stays
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import PlanError
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_families import FAMILIES
from grandtotal.tasks.demand_model import baseline_model, cases_of, wape
from grandtotal.tasks.demand_neural import NETWORKS, NetworkOfDemand, WindowRows, windows_of
from grandtotal.tasks.sales import Panel, Periods, Sales

FEW = NetworkOfDemand("mlp", rounds=4, rate=1e-2, batch=16)


@pytest.fixture
def sales(build, common) -> Sales:
    """Returns ten products that sell thrice as much on Saturdays and nothing on Sundays."""
    periods = Periods(common.today, 1, 140)
    found = build.sales(np.random.default_rng(3), 10, periods, 7)
    week = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 0.0])
    units = np.random.default_rng(5).poisson(np.linspace(5, 40, 10)[:, None] * np.tile(week, 20))
    return replace(found, units=units.astype(float))


@pytest.fixture
def panels(sales) -> dict[str, Panel]:
    return {
        "validation": Panel((sales,), (), (112, 119), 112, 126),
        "test": Panel((sales,), (), (126, 133), 126, 140),
    }


def rows_of(panels):
    return {f"{split} windows": WindowRows(panel) for split, panel in panels.items()}


def fitted(common, panels):
    task = Demand(common, models=("mlp",), every="day", horizon=7, test=14, history=140)
    totals = Local(rows_of(panels))
    before, report = FEW.fit(totals, task, "validation", {})
    return task, totals, before, report


def test_a_planted_week_is_found_by_a_network(common, panels):
    task, totals, before, report = fitted(common, panels)
    parts, again = FEW.fit(totals, task, "test", before)
    assert (again["rounds"], again["losses"]) == (max(report["best"], 1), [])
    (cases,) = cases_of(baseline_model("mean"), panels["test"])
    found = FEW.forecast(parts, cases)
    error = np.abs(found - cases.sold).sum() / cases.sold.sum()
    assert error < 0.6 * wape(baseline_model("mean"), panels["test"])


def test_a_network_learns_nothing_from_after_the_cut(common, panels, sales):
    later = np.where(np.arange(140) >= 126, 9e3, sales.units)
    other = {
        split: replace(panel, parts=(replace(sales, units=later),), kept={})
        for split, panel in panels.items()
    }
    digests = set()
    for each in (panels, other):
        task, _, before, _ = fitted(common, panels)
        parts, _ = FEW.fit(Local(rows_of(each)), task, "test", before)
        digests.add(arrays_digest(parts))
    assert len(digests) == 1


def test_a_forecast_does_not_change_with_what_comes_after_its_origin(common, panels, sales):
    _, _, parts, _ = fitted(common, panels)
    (cases,) = cases_of(baseline_model("mean"), panels["test"])
    first = cases.origin == 126
    later = np.where(np.arange(140) >= 126, 9e3, sales.units)
    moved = replace(cases, of=replace(sales, units=later))
    assert np.array_equal(FEW.forecast(parts, cases)[first], FEW.forecast(parts, moved)[first])


def test_a_series_that_begins_tomorrow_is_forecast_all_the_same(common, panels, sales):
    _, _, parts, _ = fitted(common, panels)
    new = np.where(np.arange(10)[:, None] == 0, 0.0, sales.units)
    new[0, 125] = 4.0
    panel = replace(panels["test"], parts=(replace(sales, units=new),), kept={})
    (cases,) = cases_of(baseline_model("mean"), panel)
    assert np.isfinite(FEW.forecast(parts, cases)).all()


def test_days_that_were_closed_and_those_before_the_first_sale_are_gaps(sales):
    new = sales.units.copy()
    new[0, :30] = 0.0
    none = np.zeros((0, 2), np.int64)
    windows = windows_of(replace(sales, units=new), none, none)
    assert np.isnan(windows.units[0, : 56 + 30]).all()
    assert not np.isnan(windows.units[1, 56 : 56 + 140]).any()


def test_nothing_of_the_tasks_networks_stays_at_a_retailer_but_its_rows():
    for family in NETWORKS.values():
        module = family.network(7, 8).build({})
        network = family.network(7, 8)
        assert not [n for n, _ in module.named_parameters() if stays(network, n)]


def test_the_whole_task_runs_with_a_network(common, frames, monkeypatch):
    monkeypatch.setitem(FAMILIES, "mlp", FEW)
    task = Demand(common, models=("mlp", "mean"), horizon=4, test=8, history=80)
    rows = task.rows(frames["north"])
    found = task.fit(Local(rows))
    assert [tried["model"] for tried in found.choice["tried"]] == ["mlp", "mean"]
    adapted = task.adapt(task.build(found.model.arrays, found.model.meta), rows)
    table = task.predict(adapted, rows, frames["north"], 10)
    assert (table["units"] >= 0).all()
    assert table.filter(pl.col("p10") > pl.col("p90")).is_empty()


def test_an_unknown_network_is_refused_with_the_nearest_name(common):
    with pytest.raises(PlanError, match="did you mean 'lstm'"):
        Demand(common, models=("ltsm",))
