"""The table of forecasts of one retailer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.demand_reasons import reasons
from grandtotal.tasks.demand_what_if import WhatIf
from grandtotal.tasks.intervals import at, in_units
from grandtotal.tasks.reconcile import past_ratios, with_sums
from grandtotal.tasks.sales import Panel, Sales

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.demand import Demand


def forecasts(
    task: Demand,
    model: DemandModel,
    panel: Panel,
    tables: Tables,
    what_if: WhatIf | None = None,
) -> pl.DataFrame:
    """Returns what a series is, start, ahead, units, quantiles and the two baselines.

    what_if: then also `units_what_if`, the units if it were so.
    Where trees forecast also `reasons`, see `demand_reasons`.

    Products that the retailer is known not to sell have no row, nor have days that are known to be
    closed.
    """
    import polars as pl

    (cases,) = cases_of(model, panel)
    (sales,) = panel.parts
    forecast = model.forecast(cases)
    quantiles = in_units(model.quantiles(forecast, cases.ahead), sales.whole[cases.series])
    named = _named(task, sales, tables)
    asked = {} if what_if is None else _asked(model, what_if, panel)
    why = reasons(model, cases, forecast)
    starts = [task.periods.start(int(t)) for t in cases.origin + cases.ahead - 1]
    return (
        pl.DataFrame(
            {
                **{name: values[cases.series] for name, values in named.items()},
                "start": starts,
                "ahead": cases.ahead.astype(np.int32),
                "units": forecast.round(3),
                **asked,
                **{
                    name: quantiles[:, at(level)].round(3)
                    for name, level in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))
                },
                "recent_mean": cases.mean.round(3),
                "last_season": cases.seasonal.round(3),
                **({} if why is None else {"reasons": why}),
            }
        )
        .filter(~np.isin(products(sales)[cases.series], task.common.absent))
        .sort(*(name for name in named if name != "title"), "start")
    )


def _asked(model: DemandModel, what_if: WhatIf, panel: Panel) -> dict[str, NDArray[np.float64]]:
    (cases,) = cases_of(model, what_if.applied(model, panel))
    return {"units_what_if": model.forecast(cases).round(3)}


def with_totals(
    task: Demand, model: DemandModel, past: Panel, tables: Tables, rows: pl.DataFrame
) -> pl.DataFrame:
    """Returns the forecasts by product and store, and their sums: see `reconcile`.

    past: the validation, whose sums tell how far those of the forecast may be off.
    """
    import polars as pl

    if "products" in tables and "category" in tables["products"].columns:
        known = tables["products"].select(pl.col(task.common.key).alias("product"), "category")
        rows = rows.join(known.unique("product", keep="first"), on="product", how="left")
        rows = rows.sort("product", "store", "start")
    before = model.validated
    (cases,) = cases_of(before, past)
    (sales,) = past.parts
    assert sales.names is not None
    keys = {"product": products(sales), "store": np.array(sales.names.store)}
    keys |= {"category": sales.names.category} if "category" in rows.columns else {}
    of_cases = {name: values[cases.series] for name, values in keys.items()}
    when = (cases.origin, cases.ahead)
    ratios = past_ratios(of_cases, when, before.forecast(cases), cases.sold)
    return with_sums(rows, ratios)


def products(sales: Sales) -> NDArray[np.intp]:
    """Returns the place in the catalogue of each series; -1 for all products."""
    return np.arange(len(sales.units)) if sales.names is None else sales.names.product


def _named(task: Demand, sales: Sales, tables: Tables) -> dict[str, NDArray[Any]]:
    """Returns product, title and store of each series, those that it has."""
    from grandtotal.tasks.lines import titles

    named: dict[str, NDArray[Any]] = {}
    if task.by != "store":
        named["product"] = np.array(task.common.catalogue)[products(sales)]
        named["title"] = titles(tables, task.common)[products(sales)].astype(str)
    if task.by != "product":
        assert sales.names is not None
        named["store"] = np.array(sales.names.store)
    return named


def name_of(task: Demand, sales: Sales, series: int) -> str:
    """Returns what a reader calls a series."""
    product = int(products(sales)[series])
    words = [] if product < 0 else [task.common.catalogue[product]]
    if task.by != "product" and sales.names is not None:
        words.append(f"store {sales.names.store[series]}")
    return ", ".join(words)
