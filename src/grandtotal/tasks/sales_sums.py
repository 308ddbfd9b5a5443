"""Transaction lines added up by product and day, and from there by product and period.

Every line's contribution is a whole number of steps before it is added: the sums are the same for
any order of the lines and any cut into pieces, files or days.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.glm import UNIT_STEPS

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Readable

PRICE_STEPS = 2**20
_MOST = 2.0**30  # units and price of one line: sums of more could overflow
_COLUMNS = ("product", "time", "quantity", "price", "promotion", "discount")


def daily_sales(tables: Readable) -> Iterator[pl.DataFrame]:
    """Yields product, day, units, price, sold, promoted, lines: the sums of `SalesSums` by day.

    In parts, of which a product and a day may be in several; what earlier readings added up is not
    read again.
    """
    from grandtotal.tables.days import summed

    yield from summed(tables, "transactions", _COLUMNS, by_day)


def by_day(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Returns the lines of all parts, added up by product and day, in their order."""
    import polars as pl

    sums = ("units", "price", "sold", "promoted", "lines")
    whole = pl.concat([_of_days(lines) for lines in parts])
    return whole.group_by("product", "day").agg(pl.col(sums).sum()).sort("product", "day")


def _of_days(lines: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    sold = pl.col("quantity") > 0
    steps = lines.select(
        "product",
        day=pl.col("time").dt.date(),
        units=in_steps(pl.col("quantity"), UNIT_STEPS),
        price=pl.when(sold).then(in_steps(pl.col("price"), PRICE_STEPS)).otherwise(0),
        sold=sold.cast(pl.Int64),
        promoted=in_promotion(lines).cast(pl.Int64),
        lines=pl.lit(1, pl.Int64),
    )
    return steps.group_by("product", "day").sum()


def in_steps(value: pl.Expr, steps: int) -> pl.Expr:
    import polars as pl

    return (value.cast(pl.Float64).clip(-_MOST, _MOST) * steps).round().cast(pl.Int64)


@dataclass(frozen=True, eq=False)
class SalesSums:
    """Sums by product and period, each (products, periods) int64.

    units: sold less returned, in steps of 1 / UNIT_STEPS. price: of the lines that are no return,
    in steps of 1 / PRICE_STEPS; sold: how many these are. promoted: how many lines are in a
    promotion; lines: how many there are.
    """

    units: NDArray[np.int64]
    price: NDArray[np.int64]
    sold: NDArray[np.int64]
    promoted: NDArray[np.int64]
    lines: NDArray[np.int64]

    @staticmethod
    def zero(products: int, periods: int) -> SalesSums:
        """Returns the sums of no line."""
        return SalesSums(*(np.zeros((products, periods), np.int64) for _ in range(5)))

    def add(self, days: pl.DataFrame, today: date, length: int) -> None:
        """Adds rows of `daily_sales` with i for their product; those outside the periods are not.

        length: days of a period; the last one ends with the day before today.
        """
        import polars as pl

        periods = self.units.shape[1]
        back = (pl.lit(today) - pl.col("day")).dt.total_days() - 1
        t = periods - 1 - back // length
        days = days.with_columns(t=t).filter((back >= 0) & (t >= 0))
        cell = np.ravel_multi_index((days["i"].to_numpy(), days["t"].to_numpy()), self.units.shape)
        for name in ("units", "price", "sold", "promoted", "lines"):
            np.add.at(getattr(self, name).reshape(-1), cell, days[name].to_numpy())


def in_promotion(lines: pl.DataFrame) -> pl.Expr:
    """Returns whether a line is in a promotion, by its own column or by its discount."""
    import polars as pl

    if "promotion" in lines.columns:
        return pl.col("promotion").is_not_null()
    if "discount" in lines.columns:
        return pl.col("discount").fill_null(0.0) > 0
    return pl.lit(False)


def ratio(total: NDArray[Any], count: NDArray[np.int64], empty: float) -> NDArray[np.float64]:
    """Returns total / count, and `empty` where nothing was counted."""
    found = np.full(total.shape, empty)
    np.divide(total, count, out=found, where=count > 0)
    return found
