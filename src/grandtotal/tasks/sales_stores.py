"""Sales by store, or by product and store, and what each series is. Only in a retailer's process.

A retailer's stores are its own: their names leave it in nothing, and no other retailer's series are
compared with them. A product's series over all stores is what the consortium adds up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.errors import DataError
from grandtotal.tasks.lines import numbers, on_catalogue
from grandtotal.tasks.sales_sums import PRICE_STEPS, SalesSums, in_promotion, in_steps

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.sales import Periods
    from grandtotal.tasks.task import Common

BY = ("product", "store", "product-store")
_COLUMNS = ("product", "store", "time", "quantity", "price", "promotion", "discount")


def store_sums(
    tables: Tables, common: Common, periods: Periods, by: str
) -> tuple[SalesSums, pl.DataFrame]:
    """Returns the sums of each series by period, and i and store of each series, in their order.

    by: "store" or "product-store"; of a store, i is null. Lines without a store are not counted.
    """
    import polars as pl

    days = pl.concat(list(_by_day(tables, common)))
    keys = ["store"] if by == "store" else ["i", "store"]
    series = days.select(keys).unique().sort(keys).with_row_index("series")
    days = days.join(series, on=keys).drop("i").rename({"series": "i"})
    cells = SalesSums.zero(len(series), periods.count)
    cells.add(days, periods.today, periods.days)
    if by == "store":
        series = series.with_columns(i=pl.lit(None, pl.UInt32))
    return cells, series.select("i", "store")


def _by_day(tables: Tables, common: Common) -> Iterator[pl.DataFrame]:
    """Yields i, store, day and the sums of `SalesSums`, of pieces of the transactions."""
    import polars as pl

    from grandtotal.tables.read import pieces

    for lines in on_catalogue(tables, common, pieces(tables, "transactions", _COLUMNS)):
        if "store" not in lines.columns:
            raise DataError(
                "transactions: the plan forecasts by store, and no column says where a line was "
                "sold; map 'store' in retailer.toml, or leave this task to the retailers that can"
            )
        sold = pl.col("quantity") > 0
        yield (
            lines.filter(pl.col("store").is_not_null())
            .select(
                "i",
                "store",
                day=pl.col("time").dt.date(),
                units=in_steps(pl.col("quantity"), UNIT_STEPS),
                price=pl.when(sold).then(in_steps(pl.col("price"), PRICE_STEPS)).otherwise(0),
                sold=sold.cast(pl.Int64),
                promoted=in_promotion(lines).cast(pl.Int64),
                lines=pl.lit(1, pl.Int64),
            )
            .group_by("i", "store", "day")
            .sum()
        )


def product_series(common: Common) -> pl.DataFrame:
    """Returns i and store of the series of the catalogue's products over all stores."""
    import polars as pl

    columns = {"i": range(len(common.catalogue)), "store": [None] * len(common.catalogue)}
    return pl.DataFrame(columns, schema={"i": pl.UInt32, "store": pl.String})


def categories(tables: Tables, common: Common, product: NDArray[np.intp]) -> NDArray[np.intp]:
    """Returns a number for the category of each series' product; -1 where it is not known."""
    known = numbers(tables, common, "category")
    if known is None:
        return np.full(len(product), -1, np.intp)
    found: NDArray[np.intp] = np.append(known, -1).astype(np.intp)[product]
    return found
