"""Each customer's purchases over time: one row for a customer and a day. At a retailer only.

The table is read piece by piece, and a piece is added up before the next one is read, so that what
is kept grows with days of customers and not with lines. Every line is whole steps before it is
added: the same table in other pieces gives the same rows.

A line of a negative quantity is a return. It belongs to the day on which the goods came back and
undoes no purchase: on that day nothing was known of it. A day with returns alone is no purchase.
Whoever bought on one day only has one purchase: neither a gap nor a rhythm can be told of them.
Customers who did not consent are in no table; anonymous lines belong to nobody and are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.errors import DataError
from grandtotal.tasks.sales_sums import in_promotion

if TYPE_CHECKING:
    from datetime import date

    import polars as pl

    from grandtotal.tables.read import Readable

MONEY_STEPS = 100  # of one unit of currency: minor units, such as pence
_MOST = 2.0**40  # steps of one line: sums of millions of lines stay inside 64 bits
_COLUMNS = ("customer", "product", "time", "quantity", "price", "promotion", "discount")
_SUMS = ("spend", "returned", "units", "lines", "promoted")


@dataclass(frozen=True, eq=False)
class Histories:
    """The rows of one retailer, sorted by customer and day.

    customers: (customers,) texts, sorted: their ids, which stay at home.
    customer: (rows,) whose row it is. day: (rows,) counted from today: -1 is yesterday.
    spend, returned: (rows,) what was bought and what was sent back, in 1 / MONEY_STEPS of the
        retailer's currency; both are 0 or more.
    units: (rows,) bought, in steps of 1 / UNIT_STEPS. lines: (rows,) bought lines; 0 on a day of
        returns alone. promoted: (rows,) how many of these lines were in a promotion.
    new_products: (rows,) products that this customer bought for the first time: their sum up to a
        day is how many different ones it was.
    anonymous: lines that belong to no known customer and are in no row.
    """

    customers: NDArray[Any]
    customer: NDArray[np.int64]
    day: NDArray[np.int64]
    spend: NDArray[np.int64]
    returned: NDArray[np.int64]
    units: NDArray[np.int64]
    lines: NDArray[np.int64]
    promoted: NDArray[np.int64]
    new_products: NDArray[np.int64]
    anonymous: int = 0

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each customer's rows begin, (customers + 1,)."""
        return np.searchsorted(self.customer, np.arange(len(self.customers) + 1))

    def where(self, rows: NDArray[np.bool_]) -> Histories:
        """Returns these rows alone; the customers keep their places."""
        chosen = {name: getattr(self, name)[rows] for name in _ROWS}
        return replace(self, **chosen)

    def until(self, cut: int) -> Histories:
        """Returns what was known when day `cut` began: rows of earlier days, and nothing else."""
        return self.where(self.day < cut)

    @property
    def purchases(self) -> Histories:
        """The rows on which something was bought."""
        return self.where(self.lines > 0)

    @property
    def first_day(self) -> int:
        """The day of the earliest row; 0 where there is none."""
        return int(self.day.min(initial=0))


_ROWS = ("customer", "day", *_SUMS, "new_products")


def read_histories(tables: Readable, today: date) -> Histories:
    """Returns every known customer's history before today; DataError where there is none."""
    import polars as pl

    from grandtotal.tables.read import pieces

    code = pl.Categorical(pl.Categories.random())
    days, firsts, anonymous = [], [], 0
    for piece in pieces(tables, "transactions", _COLUMNS):
        _refuse_without_customers(piece)
        lines = _in_steps(piece, today, code)
        anonymous += lines["customer"].null_count()
        lines = lines.filter(pl.col("customer").is_not_null())
        days.append(_by_day([lines.drop("product")]))
        firsts.append(_first_days([lines.filter(pl.col("lines") > 0)]))
    rows = _with_new_products(_by_day(days), _first_days(firsts))
    if rows.is_empty():
        _refuse_nobody(anonymous, today)
    names = rows["customer"].unique().cast(pl.String).sort()
    places = pl.DataFrame({"customer": names.cast(code)}).with_row_index("u")
    rows = rows.join(places, on="customer").sort("u", "day").with_columns(customer="u")
    found = {name: rows[name].to_numpy().astype(np.int64) for name in _ROWS}
    return Histories(names.to_numpy(), **found, anonymous=anonymous)


def _in_steps(piece: pl.DataFrame, today: date, code: pl.DataType) -> pl.DataFrame:
    """Returns customer, product, day and the sums of `Histories` for each line before today."""
    import polars as pl

    quantity = pl.col("quantity")
    money = _steps(quantity * pl.col("price"), MONEY_STEPS)
    bought, back = quantity > 0, quantity < 0
    before = pl.col("time").dt.date() < pl.lit(today)
    return piece.filter(before, quantity != 0).select(
        pl.col("customer").cast(code),
        "product",
        day=(pl.col("time").dt.date() - pl.lit(today)).dt.total_days().cast(pl.Int32),
        spend=pl.when(bought).then(money.clip(0)).otherwise(0),
        returned=pl.when(back).then((-money).clip(0)).otherwise(0),
        units=pl.when(bought).then(_steps(quantity, UNIT_STEPS)).otherwise(0),
        lines=bought.cast(pl.Int64),
        promoted=(in_promotion(piece) & bought).cast(pl.Int64),
    )


def _steps(value: pl.Expr, steps: int) -> pl.Expr:
    import polars as pl

    return (value.cast(pl.Float64) * steps).clip(-_MOST, _MOST).round().cast(pl.Int64)


def _by_day(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    import polars as pl

    return pl.concat(parts).group_by("customer", "day").agg(pl.col(_SUMS).sum())


def _first_days(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Returns the first day of each product of each customer."""
    import polars as pl

    return pl.concat(parts).group_by("customer", "product").agg(pl.col("day").min())


def _with_new_products(days: pl.DataFrame, firsts: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    new = firsts.group_by("customer", "day").agg(new_products=pl.len().cast(pl.Int64))
    joined = days.join(new, on=["customer", "day"], how="left")
    return joined.with_columns(pl.col("new_products").fill_null(0))


def _refuse_without_customers(piece: pl.DataFrame) -> None:
    if "customer" not in piece.columns:
        raise DataError(
            "transactions: customers' histories need the column 'customer'; map it in "
            'retailer.toml: columns = { customer = "..." }'
        )


def _refuse_nobody(anonymous: int, today: date) -> None:
    why = (
        f"all {anonymous:,} lines before {today} are anonymous"
        if anonymous
        else (f"no line lies before {today}")
    )
    raise DataError(
        f"transactions: {why}, so there is no customer's history; check the mapping of 'customer' "
        f"in retailer.toml, and `today` in the plan"
    )


def facts_of(
    tables: Readable, customers: NDArray[Any], columns: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Returns texts (customers,) of the customers table by column: "" where nothing is known.

    A column that the table lacks, or a table that is not there, says nothing of anybody.
    """
    import polars as pl

    unknown = np.full(len(customers), "", dtype=object)
    if "customers" not in tables:
        return dict.fromkeys(columns, unknown)
    table = tables["customers"]
    named = pl.DataFrame({"customer": pl.Series(customers, dtype=pl.String)})
    found = named.join(table, on="customer", how="left", maintain_order="left")
    return {
        name: found[name].cast(pl.String).fill_null("").to_numpy()
        if name in table.columns
        else unknown
        for name in columns
    }
