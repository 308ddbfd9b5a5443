"""The order list of a retailer of the example: from its tables to a row a product."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.decide.order_list import Ordering, order_list
from grandtotal.errors import DataError, PlanError
from grandtotal.tasks.demand_model import cases_of
from grandtotal.tasks.demand_paths import PastErrors

PLAIN = Ordering(draws=100)


@pytest.fixture
def made(demand, fitted, frames):
    """Returns a function: the list under some settings, with some tables changed or taken out."""

    def make(how=PLAIN, made_of=None, **changed):
        rows, model = fitted
        if made_of is not None:
            rows = demand.rows({"transactions": made_of})
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


def test_a_path_takes_its_errors_from_forecasts_like_it(fitted):
    rows, model = fitted
    (now,) = cases_of(model, rows["now"])
    past = PastErrors.joined([PastErrors.of(model, [rows["validation"]])] * 40)
    # If every forecast was half of what came, in swings as in units, so is this one.
    doubled = replace(past, errors=np.repeat(past.size[:, None], past.errors.shape[1], axis=1))
    _, paths = doubled.sample(model, rows["now"].parts[0], now, 200, seed=1)
    order = np.lexsort([now.ahead, now.series])
    mean = model.forecast(now)[order].reshape(len(paths), -1).mean(axis=1)
    usual = mean > np.quantile(mean, 0.2)
    assert paths.mean(axis=(1, 2))[usual] == pytest.approx(2 * mean[usual], rel=0.3)


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
    together = Ordering(draws=100, together=True)
    assert made(together, stock=stores).frame.equals(made().frame)


@pytest.fixture
def by_store(frames):
    """Returns stock counted in four stores, a few of each product."""
    stock = frames["north"]["stock"].with_columns(on_hand=pl.lit(1.0), on_order=pl.lit(0.0))
    return pl.concat([stock.with_columns(store=pl.lit(f"S{n}")) for n in range(1, 5)])


def test_where_stock_is_counted_by_store_each_store_orders(made, by_store):
    found = made(stock=by_store).frame
    assert set(found["store"]) == {"S1", "S2", "S3", "S4"}
    assert found.select("product", "store").is_unique().all()
    assert (found["from"] == "supplier").all()
    whole = made(stock=by_store.drop("store")).frame  # of four equal counts the last one
    shared = found.group_by("product").agg(pl.col("expected").sum(), pl.len()).sort("product")
    assert (shared["len"] == 4).all()
    expected = whole.sort("product")["expected"]
    assert shared["expected"].to_numpy() == pytest.approx(expected.to_numpy(), abs=0.03)


def test_forecasts_of_products_in_stores_are_ordered_from_as_they_are(demand, frames, by_store):
    task = replace(demand, by="product-store")
    rows = {name: task.rows(found) for name, found in frames.items()}
    model = task.fit(Local(task.pooled(list(rows.values())))).model
    model = task.adapt(model, rows["north"])
    tables = {**frames["north"], "stock": by_store}
    found = order_list(task, model, rows["north"], tables, PLAIN).frame
    assert set(found["store"]) == {"S1", "S2", "S3", "S4"}
    assert found["units"].sum() > 0
    together = replace(PLAIN, together=True)
    whole = order_list(task, model, rows["north"], tables, together).frame
    assert set(whole["store"]) == {""}
    assert whole["expected"].sum() == pytest.approx(found["expected"].sum(), rel=0.01)
    with pytest.raises(PlanError, match="whole stores"):
        order_list(replace(demand, by="store"), model, rows["north"], tables, PLAIN)


def test_a_row_of_a_store_goes_before_the_row_for_all(made, by_store, frames):
    supply = frames["north"]["supply"].with_columns(
        lead_time=pl.lit(14.0), store=pl.lit(None, pl.String)
    )
    own = supply.with_columns(lead_time=pl.lit(7.0), store=pl.lit("S2"))
    found = made(stock=by_store, supply=pl.concat([supply, own])).frame
    arrives = found.select("store", "arrives").unique().sort("store")
    days = [(day - found["order_on"][0]).days for day in arrives["arrives"]]
    assert days == [14, 7, 14, 14]


@pytest.fixture
def with_warehouse(frames, by_store):
    """Returns tables in which DC supplies the stores in a day, and is supplied in two weeks."""
    supply = frames["north"]["supply"]
    held = by_store.filter(pl.col("store") == "S1")
    held = held.with_columns(store=pl.lit("DC"), on_hand=pl.lit(3.0))
    stores = supply.with_columns(lead_time=pl.lit(1.0), pack=pl.lit(1.0), minimum_order=pl.lit(0.0))
    bought = supply.with_columns(
        lead_time=pl.lit(14.0), pack=pl.lit(6.0), minimum_order=pl.lit(0.0), store=pl.lit("DC")
    )
    none = stores.with_columns(store=pl.lit(None, pl.String))
    return {"stock": pl.concat([by_store, held]), "supply": pl.concat([none, bought])}


def test_a_warehouse_is_divided_and_what_it_lacks_is_bought(made, with_warehouse):
    found = made(Ordering(draws=100, warehouse="DC"), **with_warehouse)
    sent = found.frame.filter(pl.col("from") == "DC")
    bought = found.frame.filter(pl.col("from") == "supplier")
    assert set(sent["store"]) == {"S1", "S2", "S3", "S4"}
    assert set(bought["store"]) == {"DC"}
    by_product = sent.group_by("product").agg(pl.col("units").sum())
    assert (by_product["units"] <= 3).all()
    assert (sent.filter(pl.col("limit") == "warehouse")["held_back"] > 0).all()
    assert (bought["units"] % 6 == 0).all()
    assert bought["units"].sum() > 0
    assert (sent["cost"] == 0).all()
    totals = found.totals()
    assert totals["units"] == bought["units"].sum()
    assert totals["expected"] == pytest.approx(sent["expected"].sum())


def test_a_full_warehouse_sends_what_is_wanted_and_buys_nothing(made, with_warehouse):
    stock = with_warehouse["stock"]
    on_hand = pl.when(pl.col("store") == "DC").then(5000.0).otherwise(pl.col("on_hand"))
    full = {**with_warehouse, "stock": stock.with_columns(on_hand=on_hand)}
    frame = made(Ordering(draws=100, warehouse="DC"), **full).frame
    assert (frame.filter(pl.col("from") == "supplier")["units"] == 0).all()
    assert "warehouse" not in frame["limit"].to_list()
    assert frame["units"].sum() > 0


def test_a_warehouse_that_nobody_counts_is_refused_and_one_not_named_is_said(
    made, by_store, with_warehouse
):
    with pytest.raises(DataError, match="no count of a store 'DC'"):
        made(Ordering(draws=100, warehouse="DC"), stock=by_store)
    notes = made(**with_warehouse).notes
    assert any("'DC'; if it is a warehouse" in note for note in notes)


def test_a_product_that_begins_tomorrow_is_said_and_not_ordered(made, frames):
    north = frames["north"]
    others = {name: north[name].filter(pl.col("product") != "P07") for name in ("stock", "supply")}
    without = north["transactions"].filter(pl.col("product") != "P07")
    new = made(transactions=without, **others, made_of=without)
    assert "P07" not in new.frame["product"].to_list()
    coming = made(transactions=without, made_of=without)
    assert new.frame.equals(coming.frame)
    count = [int(note.split()[0]) for note in coming.notes if "order them by hand" in note]
    before = [int(note.split()[0]) for note in new.notes if "order them by hand" in note]
    assert sum(count) == sum(before) + 1


def test_a_pack_that_is_larger_than_the_shelf_is_said(made, frames):
    supply = frames["north"]["supply"].with_columns(pack=pl.lit(50.0), space=pl.lit(20.0))
    frame = made(supply=supply).frame
    assert (frame["units"] == 0).all()
    wanted = frame.filter(pl.col("limit") == "space")
    assert wanted.height > 0
    assert wanted["why"].str.contains("a pack of 50 does not fit on a shelf for 20").all()


def test_the_reason_for_a_large_order_is_what_made_it_large(made, frames):
    supply = frames["north"]["supply"].with_columns(pl.lit(1e4).alias("pack"))
    ordered = made(supply=supply).frame.filter(pl.col("units") > 0)
    assert ordered["why"].str.contains("in whole packs of 10000").all()
    supply = supply.with_columns(pack=pl.lit(1.0), minimum_order=pl.lit(0.0))
    dear = made(Ordering(draws=100, line=1e6), supply=supply).frame.filter(pl.col("units") > 0)
    assert dear["why"].str.contains(r"to order it costs 1e\+06 each time").all()


def test_what_costs_more_than_it_sells_for_is_not_said_to_be_enough(made, frames):
    supply = frames["north"]["supply"].with_columns(unit_cost=pl.lit(1000.0))
    found = made(Ordering(draws=100, target="cost"), supply=supply).frame
    assert (found["units"] == 0).all()
    assert found["why"].str.contains("a unit costs no less than it sells for").all()


def test_stock_of_one_store_among_several_is_said_to_be_taken_for_all(made, by_store):
    one = by_store.filter(pl.col("store") == "S1")
    assert any("counted at 'S1' alone, and 4 stores" in note for note in made(stock=one).notes)
    together = made(Ordering(draws=100, together=True), stock=one)
    assert not any("alone" in note for note in together.notes)


def test_the_pictures_are_of_the_largest_orders(made):
    found = made()
    courses = found.courses
    assert courses.product[0] == found.frame["product"][0]
    assert (courses.low <= courses.high).all()
    assert (courses.stock >= courses.without - 1e-9).all()
    assert (courses.stock[:, -1] > courses.without[:, -1]).all()


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
    with pytest.raises(PlanError, match=r"such as P\d\d.*longer horizon"):
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


def test_orders_by_trees_know_errors_of_trees_that_had_not_seen_what_they_missed(demand, frames):
    task = replace(demand, models=("trees",), trees=30, leaves=16)
    rows = task.rows(frames["north"])
    model = task.adapt(task.fit(Local(rows)).model, rows)
    past = [rows["validation"]]
    seen, unseen = PastErrors.of(model, past), PastErrors.of(model.validated, past)
    assert np.abs(unseen.errors).mean() > 1.1 * np.abs(seen.errors).mean()
    found = order_list(task, model, rows, frames["north"], PLAIN)
    assert found.totals()["orders"] > 0
    test = PastErrors.of(model, [rows["test"]])
    joined = PastErrors.joined([unseen, test])
    assert len(joined.errors) == len(joined.origin) == len(unseen.errors) + len(test.errors)
