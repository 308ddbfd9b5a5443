"""What a series costs before any reduction, past and coming: from the retailer's list prices.

A list price says from when on it holds, and whether anything sold at it does not matter: what was
paid is known only where something sold, so that a missing price would tell that nothing did. Like
promotions, prices are plans, known as far ahead as the forecast reaches. Only in a retailer's
process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.along_periods import mean_of_columns
from grandtotal.tasks.lines import positions

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.periods import Periods
    from grandtotal.tasks.task import Common

Floats = NDArray[np.float64]


def read_list_prices(
    tables: Tables, common: Common, periods: Periods, horizon: int, series: pl.DataFrame
) -> Floats:
    """Returns the mean list price of each period, (series, periods + horizon), nan where unknown.

    An empty array where no list price of any product is known.
    series: i, the place in the catalogue; store, null for all; in the order of the series. A price
    of a store goes before one for all stores; a product of all stores has the mean of the prices
    that it has. A series of all products of a store has none.
    """
    length = periods.count + horizon
    by_place = _by_place(tables, common, periods, length)
    if not by_place:
        return np.empty((0, 0))
    of_product: dict[int, list[Floats]] = {}
    for (i, _), prices in by_place.items():
        of_product.setdefault(i, []).append(prices)
    none = np.full(length, np.nan)
    found = []
    for i, store in series.select("i", "store").iter_rows():
        if store is None:
            found.append(mean_of_columns(np.stack(of_product.get(i, [none]))))
            continue
        own, everywhere = by_place.get((i, store), none), by_place.get((i, None), none)
        found.append(np.where(np.isnan(own), everywhere, own))
    return np.stack(found)


def _by_place(
    tables: Tables, common: Common, periods: Periods, length: int
) -> dict[tuple[int, str | None], Floats]:
    """Returns the mean price of each period, by place in the catalogue and store."""
    import polars as pl

    if "prices" not in tables:
        return {}
    rows = tables["prices"].join(positions(tables, common), on="product")
    if "store" not in rows.columns:
        rows = rows.with_columns(store=pl.lit(None, pl.String))
    day = (pl.col("start") - pl.lit(periods.start(0))).dt.total_days()
    rows = rows.select("i", "store", "list_price", day=day).drop_nulls("list_price")
    rows = rows.unique(["i", "store", "day"], keep="last", maintain_order=True).sort("day")
    parts: Any = rows.partition_by("i", "store", as_dict=True, maintain_order=True)
    edges = np.arange(length + 1) * periods.days
    return {
        key: _means(part["day"].to_numpy(), part["list_price"].to_numpy(), edges)
        for key, part in parts.items()
    }


def _means(days: NDArray[np.int64], prices: Floats, edges: NDArray[np.int64]) -> Floats:
    """Returns the means between edges of a price that holds until the next; nan before the first.

    days: (prices,) rising, from when on each holds.
    """
    prices = prices.astype(np.float64)
    before = np.concatenate([[0.0], np.cumsum(prices[:-1] * np.diff(days))])
    last = np.searchsorted(days, edges, side="right") - 1
    held = np.maximum(last, 0)
    whole = before[held] + prices[held] * (edges - days[held])
    means: Floats = np.where(last[:-1] >= 0, np.diff(whole) / np.diff(edges), np.nan)
    return means
