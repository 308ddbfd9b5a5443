"""Rossmann daily sales as the tables of five retailers, by groups of German states.

One product, what a shop sells in all; a series is a shop. Of a shop are known its kind, its
assortment (marked if it is in the second promotion) and how far its competitor is. Closed days,
holidays, school holidays and promotions are known ahead, as they were to the competitors; they are
rows of a calendar and of a table of promotions.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.rows import need
from grandtotal.tasks.task import Common

_SOURCE = "kaggle.com/c/rossmann-store-sales"
PRODUCT = "sales"
RETAILERS = 5


@dataclass(frozen=True)
class Shops:
    """tables: of each retailer; common: what the plan agrees on; days: of the history."""

    tables: dict[str, dict[str, pl.DataFrame]]
    common: Common
    days: int


def shops(data: Path, few: int = 0) -> Shops:
    """Returns the tables; few: only so many shops, 0 for all."""
    folder = data / "rossmann"
    frame = pl.read_parquet(need(folder / "rossmann.parquet", _SOURCE))
    states = pl.read_csv(need(folder / "store_states.csv", _SOURCE))
    frame = frame.with_columns(pl.col("Date").cast(pl.Date)).join(states, on="Store")
    if few:
        frame = frame.filter(pl.col("Store") <= few)
    first, last = frame["Date"].min(), frame["Date"].max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    order = {state: i % RETAILERS for i, state in enumerate(sorted(states["State"].unique()))}
    frame = frame.with_columns(owner=pl.col("State").replace_strict(order))
    promotions = _promotions(frame)
    tables = {
        f"retailer {owner + 1}": {**_tables(part, first, last), "promotions": promotions}
        for (owner,), part in frame.partition_by("owner", as_dict=True).items()
    }
    today = last + timedelta(days=1)
    ordered = dict(sorted(tables.items()))
    return Shops(ordered, Common(today, (PRODUCT,)), (today - first).days)


def _tables(frame: pl.DataFrame, first: date, last: date) -> dict[str, pl.DataFrame]:
    shop = pl.col("Store").cast(pl.String)
    time = pl.col("Date").cast(pl.Datetime("us")) + pl.duration(hours=12)
    sold = frame.select(
        product=pl.lit(PRODUCT),
        store=shop,
        time=time,
        quantity=pl.col("Sales").cast(pl.Float64),
        price=pl.lit(1.0),
    )
    second = pl.when(pl.col("Promo2") == 1).then(pl.lit(" +")).otherwise(pl.lit(""))
    stores = frame.select(
        store=shop,
        region="State",
        format=pl.col("StoreType").cast(pl.String),
        assortment=pl.col("Assortment").cast(pl.String) + second,
        competitor_km=pl.col("CompetitionDistance").cast(pl.Float64) / 1000,
    ).unique()
    return {
        "transactions": sold,
        "stores": stores,
        "calendar": pl.concat([_closed(frame, first, last), *_holidays(frame)]),
    }


def _closed(frame: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """Returns the days without a row of each shop."""
    days = pl.DataFrame({"Date": pl.date_range(first, last, eager=True)})
    every = frame.select("Store").unique().join(days, how="cross")
    missing = every.join(frame, on=["Store", "Date"], how="anti")
    return missing.select(
        date="Date", region=pl.col("Store").cast(pl.String), holiday=pl.lit("closed")
    )


def _holidays(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """Returns school holidays and holidays by state, as the shops that were open know them."""
    marked: list[tuple[str, Any]] = [
        ("school holidays", pl.col("SchoolHoliday") == 1),
        ("holiday", pl.col("StateHoliday").cast(pl.String) != "0"),
    ]
    return [
        frame.filter(which)
        .select(date="Date", region="State", holiday=pl.lit(name))
        .unique(maintain_order=True)
        for name, which in marked
    ]


def _promotions(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns the promotions of the chain: runs of days."""
    days = frame.filter(pl.col("Promo") == 1).select("Date").unique().sort("Date")
    new = (pl.col("Date") - pl.col("Date").shift(1)).dt.total_days().fill_null(2) > 1
    runs = days.with_columns(run=new.cum_sum()).group_by("run")
    found = runs.agg(start=pl.col("Date").min(), end=pl.col("Date").max()).sort("start")
    return found.select(pl.lit(PRODUCT).alias("product"), "start", "end")
