"""A retailer's panel from its tables. Only in a retailer's process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.errors import DataError
from grandtotal.tasks.covariates import holidays, read_covariates
from grandtotal.tasks.demand_facts import read_facts
from grandtotal.tasks.lines import lines_of_few, on_catalogue
from grandtotal.tasks.sales import Periods, Sales, SeriesNames
from grandtotal.tasks.sales_stores import categories, product_series, store_sums
from grandtotal.tasks.sales_sums import PRICE_STEPS, SalesSums, by_day, daily_sales, ratio
from grandtotal.tasks.shelf import filled, read_shelf

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.task import Common


def read_sales(
    tables: Tables,
    common: Common,
    periods: Periods,
    horizon: int,
    cap: float,
    per_customer: int = 0,
    by: str = "product",
) -> Sales:
    """Returns the panel of a retailer's transactions; DataError where there is none.

    per_customer: how many products a customer's lines count for; 0 is all.
    by: what a series is, see `sales_stores`.
    """
    if by == "product":
        cells = _product_sums(tables, common, periods, per_customer)
        series = product_series(common)
    else:
        cells, series = store_sums(tables, common, periods, by)
    if not cells.lines.any():
        raise DataError(
            f"transactions: no line of a catalogue product between {periods.start(0)} and "
            f"{periods.today}; check `today` and `history` in the plan against the table's dates"
        )
    product = series["i"].cast(int).fill_null(-1).to_numpy().astype(np.intp)
    stores = () if by == "product" else tuple(series["store"].to_list())
    shelf = read_shelf(tables, common, periods, series)
    return Sales(
        periods=periods,
        horizon=horizon,
        units=filled(np.maximum(cells.units, 0) / UNIT_STEPS, shelf, periods),
        price=ratio(cells.price / PRICE_STEPS, cells.sold, np.nan),
        promoted=ratio(cells.promoted, cells.lines, 0.0),
        holidays=holidays(tables, periods, horizon),
        cap=cap,
        names=SeriesNames(product, stores, categories(tables, common, product)),
        shelf=shelf,
        known=read_covariates(tables, common, periods, horizon, series),
        told=read_facts(tables, common, series),
    )


def _product_sums(tables: Tables, common: Common, periods: Periods, per_customer: int) -> SalesSums:
    cells = SalesSums.zero(len(common.catalogue), periods.count)
    parts: Iterator[pl.DataFrame]
    if per_customer:
        columns = ("time", "quantity", "price", "promotion", "discount")
        few = lines_of_few(tables, common, columns, per_customer)
        parts = (by_day([lines.rename({"i": "product"})]).rename({"product": "i"}) for lines in few)
    else:
        parts = on_catalogue(tables, common, daily_sales(tables))
    for days in parts:
        cells.add(days, periods.today, periods.days)
    return cells
