"""Products that have not sold yet: the level of products like them."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_launches import Described, levels_like
from grandtotal.tasks.demand_model import DemandModel
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)
WEEKS, BRANDS = 40, ("Own", "Famous", "Fine")
CATEGORIES = ("food > dairy", "food > bread", "toys > games", "toys > cards")
OF_CATEGORY, OF_BRAND = (2.0, 12.0, 30.0, 60.0), (0.7, 1.0, 1.6)
COUNT, HELD_OUT = 96, 24
KEYS = tuple(f"P{i:02}" for i in range(COUNT))
TASK = Demand(Common(TODAY, KEYS), ("poisson",), horizon=2, test=4, history=WEEKS)


@pytest.fixture(scope="module")
def planted():
    """Returns tables without a line of the last products, their true levels, and all true levels.

    A level is what category, brand and price say, and something that is the product's own.
    """
    rng = np.random.default_rng(4)
    kind = np.arange(COUNT)
    price = rng.uniform(1.0, 9.0, COUNT).round(2)
    level = np.take(OF_CATEGORY, kind % 4) * np.take(OF_BRAND, kind % 3)
    level = level * (price / 4) ** -0.8 * rng.lognormal(0.0, 0.3, COUNT)
    units = rng.poisson(level[:, None], (COUNT, WEEKS))
    product, week = np.nonzero(units[:-HELD_OUT])
    midnight = datetime.combine(TODAY, datetime.min.time())
    lines = pl.DataFrame(
        {
            "product": [KEYS[i] for i in product],
            "time": [midnight - timedelta(weeks=int(WEEKS - w)) for w in week],
            "quantity": units[product, week].astype(float),
            "price": price[product],
        }
    )
    products = pl.DataFrame(
        {
            "product": KEYS,
            "category": [CATEGORIES[i % 4] for i in kind],
            "brand": [BRANDS[i % 3] for i in kind],
            "list_price": price,
        }
    )
    return {"transactions": lines, "products": products}, level


def forecast(tables, task=TASK):
    """Returns the predictions, and those of products that begin, the mean by product."""
    rows = task.rows(tables)
    model = task.adapt(task.fit(Local(rows)).model, rows)
    found = task.predict(model, rows, tables, 5)
    if "like" not in found.columns:
        return found, None
    new = found.filter(pl.col("like") != "")
    return found, new.group_by("product").agg(pl.col("units").mean()).sort("product")


def test_held_out_launches_are_forecast_like_their_like_and_not_like_the_mean(planted):
    tables, level = planted
    found, new = forecast(tables)
    assert new["product"].to_list() == [*KEYS[-HELD_OUT:]]
    truth = level[-HELD_OUT:]
    error = np.abs(new["units"].to_numpy() - truth).sum() / truth.sum()
    by_the_mean = np.abs(level[:-HELD_OUT].mean() - truth).sum() / truth.sum()
    assert error < 0.35 < 0.7 < by_the_mean
    # Their sum is neither made larger nor smaller by the logarithm.
    assert new["units"].sum() == pytest.approx(truth.sum(), rel=0.15)
    rows = found.filter(pl.col("like") != "")
    twice = truth.repeat(2)
    inside = (rows["p10"].to_numpy() <= twice) & (twice <= rows["p90"].to_numpy())
    assert inside.mean() >= 0.7
    told = rows.filter(pl.col("product") == KEYS[-1])["like"].unique().to_list()
    assert told == ["like 18 products of toys > cards, 24 products by Fine"]


def test_without_anything_alike_there_is_no_forecast(planted):
    tables, _ = planted
    for bare in (
        tables["products"].select("product", "list_price"),
        tables["products"][:-HELD_OUT],
    ):
        assert forecast({**tables, "products": bare})[1] is None
    strange = tables["products"].with_columns(
        category=pl.when(pl.col("product") == KEYS[-1]).then(pl.lit("cars")).otherwise("category"),
        brand=pl.when(pl.col("product") == KEYS[-1]).then(None).otherwise("brand"),
    )
    assert KEYS[-1] not in forecast({**tables, "products": strange})[1]["product"].to_list()


def test_only_what_can_be_stocked_or_ordered_begins_where_a_table_tells(planted):
    tables, _ = planted
    supply = pl.DataFrame({"product": [*KEYS[:3], KEYS[-2]], "lead_time": [7.0] * 4})
    _, new = forecast({**tables, "supply": supply})
    assert new["product"].to_list() == [KEYS[-2]]


def test_what_others_sell_of_a_product_tells_of_it():
    rng = np.random.default_rng(1)
    others = rng.lognormal(2.0, 1.0, 60)
    level = others * rng.lognormal(0.0, 0.2, 60)
    numbers = np.log(others)[:, None]
    known = np.arange(50)
    found = levels_like(Described((("of food",),) * 60, numbers), level, known).level[50:]
    plain = levels_like(Described((("of food",),) * 60, numbers * np.nan), level, known).level[50:]
    assert np.abs(found - level[50:]).sum() < 0.4 * np.abs(plain - level[50:]).sum()


def test_what_others_began_to_sell_just_before_counts_from_then_on(planted):
    tables, level = planted
    rows = TASK.rows(tables)
    model = TASK.adapt(TASK.fit(Local(rows)).model, rows)
    others = np.tile(2 * level[:, None], WEEKS)
    late = others.copy()
    late[-HELD_OUT:, :-2] = 0.0

    def new(of_others):
        known = replace(model, series=model.series + of_others)
        found = TASK.predict(known, rows, tables, 5)
        return found.filter(pl.col("like") != "")["units"].to_numpy()

    assert new(late) == pytest.approx(new(others))
    assert new(late).mean() == pytest.approx(level[-HELD_OUT:].mean(), rel=0.2)


def test_the_level_of_a_lone_product_of_a_category_is_drawn_to_the_others():
    level = np.array([10.0] * 30 + [80.0] * 2 + [1.0])
    words = (("of food",),) * 30 + (("of toys",),) * 3
    found = levels_like(Described(words, np.full((33, 1), np.nan)), level, np.arange(32)).level
    assert 10.0 < found[32] < 80.0


def test_a_product_that_begins_in_stores_adds_up_with_all_others(planted):
    tables, _ = planted
    store = pl.when(pl.int_range(pl.len()) % 4 == 0).then(pl.lit("B")).otherwise(pl.lit("A"))
    lines = tables["transactions"].with_columns(store=store)
    found, _ = forecast({**tables, "transactions": lines}, replace(TASK, by="product-store"))
    new = found.filter(pl.col("product") == KEYS[-1])
    by_level = new.group_by("level").agg(pl.col("units").sum()).sort("level")
    assert by_level["level"].to_list() == ["product", "product-store"]
    assert by_level["units"][0] == pytest.approx(by_level["units"][1], abs=1e-9)
    whole = found.group_by("level").agg(pl.col("units").sum())
    levels = ["total", "product", "store", "category", "product-store"]
    sums = whole.filter(pl.col("level").is_in(levels))["units"].to_numpy()
    assert sums == pytest.approx(sums[0], abs=1e-6)


def test_a_baseline_that_knows_no_series_of_others_forecasts_launches_too(planted):
    tables, _ = planted
    rows = TASK.rows(tables)
    mean = DemandModel({"model": "mean"}, {}, np.empty(0))
    found = TASK.predict(TASK.adapt(mean, rows), rows, tables, 5)
    assert found.filter(pl.col("like") != "")["product"].n_unique() == HELD_OUT
