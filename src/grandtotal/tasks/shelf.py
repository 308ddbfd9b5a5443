"""Whether a product was there to be bought: sales without stock are no demand.

A day that ends without stock counts for nothing, and for half a day if it began with some: the last
unit went at a time that nobody wrote down. Days that nobody counted are taken for days with stock.
What was sold in the rest of a period is kept; for what is missing of it stands what sold before.

So levels, lags, seasons and the sums that leave are of demand, as far as it can be known. A period
that was not whole is scored by no metric, and one of which less than half is known trains no model.

On sales as the lower bound of demand: Nahmias, "Demand estimation in lost sales inventory systems",
1994, https://doi.org/10.1002/1520-6750(199410)41:6<739::AID-NAV3220410605>3.0.CO;2-A
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.lines import on_catalogue
from grandtotal.tasks.needs import Standing

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.sales import Periods
    from grandtotal.tasks.task import Common

Floats = NDArray[np.float64]
LEARNED = 0.5  # of a period on the shelf, from which on it trains a model


def read_shelf(tables: Tables, common: Common, periods: Periods, series: pl.DataFrame) -> Floats:
    """Returns which share of each period each series was on the shelf, (series, periods).

    An empty array where no table of stock tells. series: i, the place in the catalogue, null for
    all products; store, null for all; in the order of the series. One of several stores is on the
    shelf in the share of them that had it; where stock is of all stores together it holds for each.
    """
    import polars as pl

    if "stock" not in tables or tables["stock"].is_empty():
        return np.empty((0, 0))
    missing = _missing(_counts(tables, common), periods)
    series = series.with_row_index("row")
    by_product = missing.group_by("i", "t").agg(pl.col("missing").mean())
    both = by_product.join(series.filter(pl.col("store").is_null()), on="i")
    stores = series.filter(pl.col("store").is_not_null())
    own = missing.join(stores, on=["i", "store"])
    all_stores = missing.filter(pl.col("store").is_null()).drop("store").join(stores, on="i")
    shelf = np.ones((len(series), periods.count))
    for found in (all_stores, own, both):
        shelf[found["row"].to_numpy(), found["t"].to_numpy()] = 1 - found["missing"].to_numpy()
    return np.clip(shelf, 0.0, 1.0)


def _counts(tables: Tables, common: Common) -> pl.DataFrame:
    """Returns i, store, date, on_hand: the mean of what is counted twice."""
    import polars as pl

    counted = next(on_catalogue(tables, common, [tables["stock"]]))
    if "store" not in counted.columns:
        counted = counted.with_columns(store=pl.lit(None, pl.String))
    key = ["i", "store", "date"]
    return counted.group_by(key).agg(pl.col("on_hand").cast(pl.Float64).mean()).sort(key)


def _missing(counts: pl.DataFrame, periods: Periods) -> pl.DataFrame:
    """Returns i, store, t, missing: the share of a period's days without stock, by store."""
    import polars as pl

    empty = pl.col("on_hand") <= 0
    day_before = pl.col("date").shift(1).over("i", "store") == pl.col("date") - timedelta(days=1)
    began = day_before & (pl.col("on_hand").shift(1).over("i", "store") > 0)
    missing = pl.when(empty).then(pl.when(began).then(0.5).otherwise(1.0)).otherwise(0.0)
    back = (pl.lit(periods.today) - pl.col("date")).dt.total_days() - 1
    days = counts.with_columns(missing=missing, t=periods.count - 1 - back // periods.days)
    days = days.filter((back >= 0) & (pl.col("t") >= 0))
    return days.group_by("i", "store", "t").agg(pl.col("missing").sum() / periods.days)


def filled(sold: Floats, shelf: Floats, periods: Periods) -> Floats:
    """Returns the units (series, periods) that would have sold if they had been there.

    A missing share of a period sells what the periods of the level before it did; only those before
    it count. What was not on the shelf for as long as anybody looks back is no longer sold.
    """
    if not shelf.size or (shelf == 1.0).all():
        return sold
    wanted = sold.copy()
    longest = periods.windows[-1]
    for t in np.flatnonzero((shelf < 1.0).any(axis=0)):
        before = wanted[:, max(t - periods.level, 0) : t]
        usual = before.mean(axis=1) if t else np.zeros(len(sold))
        seen = shelf[:, max(t - longest, 0) : t + 1].max(axis=1) > 0
        wanted[:, t] = sold[:, t] + (1.0 - shelf[:, t]) * usual * seen
    return wanted


def stock_standing(shelf: Floats, every: str) -> Standing:
    """Returns what a table of stock, or that there is none, means for a forecast."""
    expected = "what was there at the end of each day"
    if not shelf.size:
        remedy = (
            f"without it a {every} in which a product was sold out counts as one without demand"
        )
        return Standing("stock", "look", "no table of stock", expected, remedy)
    short = float((shelf < 1.0).mean())
    found = f"stock was short in {100 * short:.1f} % of product-{every}s, which are not scored"
    return Standing("stock", "yes", found, expected)
