"""The table of forecasts of one retailer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.demand_launches import launches
from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.demand_reasons import reasons
from grandtotal.tasks.demand_what_if import WhatIf
from grandtotal.tasks.intervals import at, in_units
from grandtotal.tasks.reconcile import past_ratios, with_sums
from grandtotal.tasks.sales import Cases, Panel, Sales

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
    closed. Where products begin, they have rows by products like them, and `like` says which.
    """
    import polars as pl

    (cases,) = cases_of(model, panel)
    (sales,) = panel.parts
    forecast = model.forecast(cases)
    quantiles = in_units(model.quantiles(forecast, cases.ahead), sales.whole[cases.series])
    named = _named(task, sales, tables)
    asked = {} if what_if is None else {"units_what_if": _asked(model, what_if, panel)}
    why = reasons(model, cases, forecast)
    starts = [task.periods.start(int(t)) for t in cases.origin + cases.ahead - 1]
    found = pl.DataFrame(
        {
            **{name: values[cases.series] for name, values in named.items()},
            "start": starts,
            "ahead": cases.ahead.astype(np.int32),
            "units": forecast.round(3),
            **{name: values.round(3) for name, values in asked.items()},
            **{
                name: quantiles[:, at(level)].round(3)
                for name, level in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))
            },
            "recent_mean": cases.mean.round(3),
            "last_season": cases.seasonal.round(3),
            **({} if why is None else {"reasons": why}),
        }
    )
    found = found.filter(~np.isin(products(sales)[cases.series], task.common.absent))
    if task.by != "store":
        found = _with_launches(found, task, model, cases, {"units": forecast, **asked}, tables)
    return found.sort(*(name for name in named if name != "title"), "start")


def _with_launches(
    found: pl.DataFrame,
    task: Demand,
    model: DemandModel,
    cases: Cases,
    made: dict[str, NDArray[np.float64]],
    tables: Tables,
) -> pl.DataFrame:
    """Returns the forecasts with those of products that have not sold yet, if there are any.

    made: the forecasts of the cases, by the name of their column.
    """
    import polars as pl

    from grandtotal.tasks.lines import titles

    new = launches(task, model, cases, made["units"], tables)
    if new is None:
        return found
    again = (launches(task, model, cases, each, tables) or new for each in made.values())
    columns = {
        "product": np.array(task.common.catalogue)[new.product],
        "title": titles(tables, task.common)[new.product].astype(str),
        "start": [task.periods.start(task.periods.count + int(a) - 1) for a in new.ahead],
        "ahead": new.ahead.astype(np.int32),
        **{name: one.units for name, one in zip(made, again, strict=True)},
        **{name: new.quantiles[:, j] for j, name in enumerate(("p10", "p50", "p90"))},
        "recent_mean": np.zeros(len(new.ahead)),
        "last_season": np.zeros(len(new.ahead)),
        "like": new.like,
    }
    rows = pl.DataFrame(columns)
    if task.by == "product-store":
        rows = _in_stores(rows, cases.of, list(made))
    rows = rows.with_columns(pl.col(pl.Float64).round(3))
    return pl.concat([found.with_columns(like=pl.lit("")), rows], how="diagonal")


def _in_stores(rows: pl.DataFrame, sales: Sales, made: list[str]) -> pl.DataFrame:
    """Returns the rows of each store, by its share of all that sold of late; without a range."""
    import polars as pl

    assert sales.names is not None
    recent = sales.units[:, -sales.periods.windows[-1] :].sum(axis=1)
    stores = pl.DataFrame({"store": sales.names.store, "share": recent}).group_by("store").sum()
    stores = (
        stores.with_columns(pl.col("share") / pl.col("share").sum())
        .filter(pl.col("share") > 0)
        .sort("store")
    )
    whole = rows.drop("p10", "p50", "p90").join(stores, how="cross", maintain_order="left_right")
    return whole.with_columns(pl.col(name) * pl.col("share") for name in made).drop("share")


def _asked(model: DemandModel, what_if: WhatIf, panel: Panel) -> NDArray[np.float64]:
    (cases,) = cases_of(model, what_if.applied(model, panel))
    return model.forecast(cases)


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
