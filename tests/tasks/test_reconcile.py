from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.tasks.reconcile import LEAST, disagreement, past_ratios, with_sums

STARTS = (date(2024, 7, 1), date(2024, 7, 8))


@pytest.fixture
def rows():
    """Returns forecasts of five products in three stores for two weeks, one not sold in one."""
    rng = np.random.default_rng(0)
    found = [
        {
            "product": f"P{p}",
            "store": f"S{s}",
            "category": None if p == 4 else ("tea", "jam")[p % 2],
            "start": start,
            "ahead": a + 1,
            "units": round(float(rng.gamma(2.0, 3.0)), 3),
            "p10": 1.0,
            "p50": 3.0,
            "p90": 9.0,
            "recent_mean": round(float(rng.gamma(2.0, 3.0)), 3),
            "last_season": float(rng.poisson(3)),
        }
        for p in range(5)
        for s in range(3)
        for a, start in enumerate(STARTS)
        if (p, s) != (1, 2)
    ]
    return pl.DataFrame(found)


def printed(frame):
    """Returns units as they are printed, in thousandths."""
    return [round(1000 * float(f"{value:.3f}")) for value in frame["units"]]


def test_every_level_adds_up_to_the_next_to_the_digit_that_is_printed(rows):
    found = with_sums(rows)
    assert disagreement(found) == 0
    for start in STARTS:
        now = found.filter(pl.col("start") == start)
        of = {level: now.filter(pl.col("level") == level) for level in now["level"].unique()}
        (total,) = printed(of["total"])
        for level in ("product-store", "product", "store"):
            assert sum(printed(of[level])) == total
        for store, units in zip(of["store"]["store"], printed(of["store"]), strict=True):
            parts = of["product-store"].filter(pl.col("store") == store)
            assert sum(printed(parts)) == units
        for category, units in zip(
            of["category"]["category"], printed(of["category"]), strict=True
        ):
            parts = of["product-store"].filter(pl.col("category") == category)
            assert sum(printed(parts)) == units


def test_the_forecasts_themselves_are_left_as_they_are(rows):
    bottom = with_sums(rows).filter(pl.col("level") == "product-store").drop("level")
    assert bottom.equals(rows)


def test_keys_that_a_sum_is_over_are_empty_in_it(rows):
    found = with_sums(rows)
    stores = found.filter(pl.col("level") == "store")
    assert stores["product"].null_count() == stores.height == 6
    assert stores["store"].null_count() == 0
    assert found.filter(pl.col("level") == "total").height == 2


def test_a_sum_that_was_changed_is_found(rows):
    found = with_sums(rows)
    moved = pl.when(pl.col("level") == "store").then(pl.col("units") + 0.001).otherwise("units")
    assert disagreement(found.with_columns(units=moved)) > 0


def test_without_a_category_there_is_no_such_level(rows):
    levels = set(with_sums(rows.drop("category"))["level"])
    assert levels == {"product-store", "product", "store", "total"}


def test_quantiles_of_sums_are_those_of_past_sums_and_not_sums_of_quantiles():
    rng = np.random.default_rng(1)
    products, stores, origins = 20, 30, 40
    product, store, origin = (a.ravel() for a in np.indices((products, stores, origins)))
    forecast = np.full(product.size, 4.0)
    sold = rng.poisson(4.0, product.size) + 0.0
    ratios = past_ratios(
        {"product": product, "store": store}, (origin, np.ones_like(origin)), forecast, sold
    )
    assert set(ratios) == {"product", "store", "total"}
    # Of 600 independent counts of mean 4, the sum is within 1.28 / sqrt(2400) of its mean.
    assert ratios["total"] == pytest.approx([1 - 0.026, 1.0, 1 + 0.026], abs=0.02)
    assert ratios["store"][2] > ratios["total"][2]
    few = slice(0, LEAST - 1)
    given = {"product": product[few], "store": store[few]}
    when = (origin[few], np.ones_like(origin[few]))
    assert past_ratios(given, when, forecast[few], sold[few]) == {}


def test_the_ratios_make_the_quantiles_of_a_level(rows):
    found = with_sums(rows, {"total": np.array([0.5, 1.0, 2.0])})
    total = found.filter(pl.col("level") == "total")
    assert total["p90"].to_list() == pytest.approx((2 * total["units"]).to_list(), abs=1e-3)
    assert found.filter(pl.col("level") == "store")["p90"].null_count() == 6


def test_a_retailers_forecasts_by_store_add_up(demand, frames):
    task = replace(demand, by="product-store", models=("poisson",))
    rows = task.rows(frames["north"])
    model = task.adapt(task.fit(Local(rows)).model, rows)
    found = task.predict(model, rows, frames["north"], 10)
    assert disagreement(found) == 0
    assert found.filter(pl.col("level") == "total").height == task.horizon
    # In-sample sums of products, stores and categories are missed by something.
    for level in ("product", "store", "category"):
        sums = found.filter(pl.col("level") == level)
        assert sums.height > task.horizon
        assert (sums["p10"] < sums["p90"]).all()
