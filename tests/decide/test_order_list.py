"""The order list of a retailer of the example: from its tables to a row a product."""

import math

import numpy as np
import polars as pl
import pytest

from grandtotal.decide.order_list import Ordering, order_list
from grandtotal.errors import DataError, PlanError
from grandtotal.tasks.demand_model import cases_of
from grandtotal.tasks.demand_paths import PastErrors

PLAIN = Ordering(draws=100)


@pytest.fixture
def made(demand, fitted, frames):
    """Returns a function: the list under some settings, with some tables changed or taken out."""

    def make(how=PLAIN, **changed):
        rows, model = fitted
        tables = {**frames["north"], **changed}
        given = {name: frame for name, frame in tables.items() if frame is not None}
        return order_list(demand, model, rows, given, how)

    return make


def test_paths_keep_the_errors_of_the_past_together(fitted):
    rows, model = fitted
    (now,) = cases_of(model, rows["now"])
    past, sales = PastErrors.of(model, [rows["validation"]]), rows["now"].parts[0]
    product, paths = past.sample(model, sales, now, 400, seed=1)
    assert len(product) == len(paths) == len(np.unique(now.series))
    assert paths.shape[1:] == (400, 4)
    assert (paths >= 0).all()
    again = past.sample(model, sales, now, 400, seed=1)[1]
    assert (paths == again).all()
    mean = model.forecast(now).reshape(4, -1).sum()  # of all products and periods
    assert paths.mean(axis=1).sum() == pytest.approx(mean, rel=0.35)


def test_a_row_for_each_product_with_whole_packs(made, frames):
    found = made()
    frame, supply = found.frame, frames["north"]["supply"]
    joined = frame.join(supply, on="product")
    assert joined.height == frame.height > 40
    assert (joined["units"] % joined["pack"] == 0).all()
    ordered = joined.filter(pl.col("units") > 0)
    assert (ordered["units"] >= ordered["minimum_order"]).all()
    assert frame.null_count().sum_horizontal().item() == 0
    assert (frame["cost"] - frame["cost"].sort(descending=True)).abs().max() == 0
    totals = found.totals()
    assert totals["units"] == frame["units"].sum()
    assert totals["orders"] == ordered.height > 0


def test_more_service_orders_more(made):
    few, many = (made(Ordering(draws=100, service=s)).frame["units"].sum() for s in (0.7, 0.98))
    assert few < many


def test_a_full_stock_orders_nothing(made, frames):
    full = frames["north"]["stock"].with_columns(on_hand=pl.lit(1000.0))
    frame = made(stock=full).frame
    assert (frame["units"] == 0).all()
    assert frame["why"].str.ends_with("enough").all()


def test_only_the_newest_count_of_each_store_matters(made, frames):
    stock = frames["north"]["stock"]
    older = stock.with_columns(pl.col("date").dt.offset_by("-9d"), on_hand=pl.lit(1000.0))
    assert made(stock=pl.concat([stock, older])).frame.equals(made().frame)
    half = stock.with_columns(on_hand=pl.col("on_hand") / 2, on_order=pl.col("on_order") / 2)
    stores = pl.concat([half.with_columns(store=pl.lit(name)) for name in ("S1", "S2")])
    assert made(stock=stores).frame.equals(made().frame)


def test_a_count_below_nothing_is_nothing_and_is_said(made, frames):
    stock = frames["north"]["stock"]
    below = made(stock=stock.with_columns(on_hand=pl.lit(-5.0)))
    none = made(stock=stock.with_columns(on_hand=pl.lit(0.0)))
    assert below.frame.equals(none.frame)
    assert any("below 0" in note for note in below.notes)
    assert not any("below 0" in note for note in none.notes)


def test_products_without_a_count_are_said(made, frames):
    some = made(stock=frames["north"]["stock"].head(5))
    assert any("no count of stock" in note for note in some.notes)


def test_a_budget_is_kept(made):
    free = made().totals()["cost"]
    found = made(Ordering(draws=100, budget=free / 3))
    assert 0.8 * free / 3 < found.totals()["cost"] <= free / 3
    assert "budget" in found.frame["limit"].to_list()
    assert made(Ordering(draws=100, budget=0)).totals()["units"] == 0


def test_without_stock_there_is_no_order(made):
    with pytest.raises(DataError, match=r"tables.stock"):
        made(stock=None)


def test_without_a_lead_time_one_must_be_given(made):
    with pytest.raises(DataError, match="--lead-time"):
        made(supply=None)
    assert made(Ordering(draws=100, lead_time=0), supply=None).totals()["orders"] > 0


def test_a_lead_time_of_months_is_refused_with_what_to_do(made):
    with pytest.raises(PlanError, match="longer horizon"):
        made(Ordering(draws=100, lead_time=90), supply=None)


def test_costs_are_needed_where_they_decide(made, frames):
    supply = frames["north"]["supply"].drop("unit_cost")
    with pytest.raises(DataError, match="unit_cost"):
        made(Ordering(draws=100, target="cost"), supply=supply)
    assert any("unit_cost" in note for note in made(supply=supply).notes)


@pytest.mark.parametrize(
    "wrong", [{"review": 0}, {"budget": -1}, {"service": 1}, {"holding": math.nan}]
)
def test_a_setting_that_cannot_be_is_refused(wrong):
    with pytest.raises(PlanError):
        Ordering(**wrong)
