"""Exports that say the same otherwise: order columns on one line only, prices of whole lines.

A web shop often writes the customer of an order on its first line and leaves the cell empty on the
others (`fill_down`), or what a line cost in all instead of a unit (`price_is`). One that sells
abroad writes prices in several currencies, and what they are worth in its own (`rates`).
"""

from collections.abc import Iterator, Mapping

import polars as pl

from grandtotal.errors import DataError
from grandtotal.tables.config import TableSource
from grandtotal.tables.files import SourceFile


def filled_down(raw: pl.DataFrame, names: dict[str, str], file: SourceFile) -> pl.DataFrame:
    """Returns the cells with the empty ones of `fill_down` as on another line of their basket.

    `names` is our name -> the file's. A line without a basket is left as it is.
    """
    wanted = [names[name] for name in file.source.fill_down if name in names]
    if not wanted:
        return raw
    if "basket" not in names:
        raise DataError(
            f"{file.table}: {file.label}: fill_down fills cells from the same basket, and no "
            f'column is one; write into [tables.{file.table}]: columns = {{ basket = "..." }}'
        )
    return raw.with_columns(_filled(raw, wanted, pl.col(names["basket"])))


def _filled(raw: pl.DataFrame, wanted: list[str], basket: pl.Expr) -> Iterator[pl.Expr]:
    for name in wanted:
        cell = pl.col(name)
        if raw[name].dtype == pl.String:
            cell = pl.when(cell.str.strip_chars() != "").then(cell)
        first = cell.drop_nulls().first().over(basket)
        yield (
            pl.when(basket.is_not_null()).then(pl.coalesce(cell, first)).otherwise(cell).alias(name)
        )


def with_unit_prices(frame: pl.DataFrame, source: TableSource) -> pl.DataFrame:
    """Returns a frame in our names whose price and discount are those of one unit.

    `line`: both are written for the whole line. `before-discount`: the price is that of a unit
    before the discount, which is the line's. Where nothing was sold they stay as they are.
    """
    if source.price_is == "unit" or "price" not in frame.columns:
        return frame
    units = pl.when(pl.col("quantity") != 0).then(pl.col("quantity")).otherwise(1.0)
    price = pl.col("price")
    discount = pl.col("discount") / units.abs() if "discount" in frame.columns else pl.lit(0.0)
    # Adding 0.0 makes -0.0, as of a return that cost nothing, a plain zero.
    off = price / units if source.price_is == "line" else price - discount.fill_null(0.0)
    changed = {"price": off + 0.0}
    changed |= {"discount": discount} if "discount" in frame.columns else {}
    return frame.with_columns(**changed)


def in_own_currency(frame: pl.DataFrame, rates: Mapping[str, float]) -> pl.DataFrame:
    """Returns a frame in our names whose price and discount are in the retailer's own currency.

    rates: what one unit of another currency is worth in it; lines of others stay as they are.
    """
    money = [name for name in ("price", "discount") if name in frame.columns]
    if not rates or "currency" not in frame.columns:
        return frame
    currency = pl.col("currency").str.to_uppercase()
    rate = currency.replace_strict(list(rates), list(rates.values()), default=1.0)
    return frame.with_columns((pl.col(name) * rate.fill_null(1.0)).alias(name) for name in money)
