"""Where a retailer keeps its products: the newest count, how more comes, and what sold of late.

A place is a product in a store, or a product of all stores together where stock is not counted by
store. A supply row of a store holds for that store, one without a store for all that have none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.decide.orders import Numbers
from grandtotal.errors import DataError
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.lines import catalogue_lines, on_catalogue
from grandtotal.tasks.sales import Panel
from grandtotal.tasks.sales_sums import in_steps

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_SUPPLY = ("lead_time", "pack", "minimum_order", "shelf_life", "space", "unit_cost")
_OLD = timedelta(days=7)


@dataclass(frozen=True)
class Places:
    """product: (N,) its place in the catalogue. store: (N,) its name, "" for all together.

    on_hand, on_order: (N,) units. counted: (N,) whether there is a count of it. supply: by column
    of the table, (N,), nan where it is not said. recent: (N, periods) units that sold of late.
    """

    product: NDArray[np.intp]
    store: NDArray[np.str_]
    on_hand: Numbers
    on_order: Numbers
    counted: NDArray[np.bool_]
    supply: dict[str, Numbers]
    recent: Numbers

    def __len__(self) -> int:
        return len(self.product)


@dataclass(frozen=True)
class Stocked:
    """The places that sell; the warehouse's, one for each product, if there is one; and notes."""

    shops: Places
    warehouse: Places | None
    notes: tuple[str, ...]


def stocked(
    task: Demand,
    tables: Tables,
    panel: Panel,
    product: NDArray[np.intp],
    warehouse: str | None = None,
    together: bool = False,
) -> Stocked:
    """Returns where the products are, as of today; DataError where it is not known.

    warehouse: the name that stock and supply call it by. together: as if all stores were one.
    """
    counts, below = _counts(task, tables)
    sold = _sold(task, tables)
    by_store = not together and sold is not None and counts["store"].n_unique() > 1
    notes = _notes(counts, below, task.common.today)
    if warehouse is not None and warehouse not in counts["store"].unique():
        known = ", ".join(sorted(counts["store"].unique())[:5]) or "none"
        raise DataError(
            f"stock: no count of a store '{warehouse}', the warehouse; stores there: {known}"
        )
    if not by_store or sold is None:
        if warehouse is not None:
            raise DataError(
                "a warehouse is divided among stores: stock and transactions need a column 'store'"
            )
        shops = _together(task, tables, panel, product, counts)
        notes += () if together else _elsewhere(counts, sold)
        return Stocked(shops, None, (*notes, *_uncounted(shops)))
    shops = _by_store(task, tables, product, counts, sold, warehouse)
    notes += _silent(counts, sold, warehouse)
    if warehouse is None:
        return Stocked(shops, None, (*notes, *_uncounted(shops)))
    names = np.full(len(product), warehouse)
    recent = np.zeros((len(product), shops.recent.shape[1]))
    np.add.at(recent, np.searchsorted(product, shops.product), shops.recent)
    there = _places(task, tables, product, names, counts, recent, own=True)
    return Stocked(shops, there, (*notes, *_uncounted(shops)))


def of_products(panel: Panel, values: Numbers, product: NDArray[np.intp]) -> Numbers:
    """Returns the rows of products, where rows are series of products or of products in stores."""
    names = panel.parts[0].names
    if names is None:
        return values[product]
    sums = np.zeros((int(names.product.max(initial=0)) + 1, *values.shape[1:]))
    np.add.at(sums, names.product, values)
    return sums[product]


def _counts(task: Demand, tables: Tables) -> tuple[pl.DataFrame, int]:
    """Returns i, store, date, on_hand, on_order of the newest counts, and how many are below 0."""
    import polars as pl

    if "stock" not in tables:
        raise DataError(
            "no table of stock: orders need what is there; add [tables.stock] to retailer.toml "
            "with the columns product, date and on_hand"
        )
    known = next(on_catalogue(tables, task.common, [tables["stock"]]))
    known = _with_store(known).filter(pl.col("date") < task.common.today)
    if "on_order" not in known.columns:
        known = known.with_columns(on_order=pl.lit(0.0))
    newest = known.sort("date").group_by("i", "store", maintain_order=True).last()
    below = int((newest["on_hand"] < 0).sum())
    amounts = ("on_hand", "on_order")
    none = (pl.col(name).cast(pl.Float64).fill_null(0).clip(lower_bound=0) for name in amounts)
    return newest.select("i", "store", "date", *none), below


def _with_store(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    if "store" not in frame.columns:
        return frame.with_columns(store=pl.lit(""))
    return frame.with_columns(pl.col("store").cast(pl.String).fill_null(""))


def _sold(task: Demand, tables: Tables) -> pl.DataFrame | None:
    """Returns i, store, t, units of the level's periods; None where no line names a store."""
    import polars as pl

    periods = task.periods
    parts, named = [], False
    for lines in catalogue_lines(tables, task.common, ("time", "quantity", "store")):
        named = named or ("store" in lines.columns and lines["store"].is_not_null().any())
        back = (pl.lit(periods.today) - pl.col("time").dt.date()).dt.total_days() - 1
        recent = _with_store(lines).with_columns(t=periods.level - 1 - back // periods.days)
        recent = recent.filter((back >= 0) & (pl.col("t") >= 0))
        units = in_steps(pl.col("quantity"), UNIT_STEPS).sum()
        parts.append(recent.group_by("i", "store", "t").agg(units=units))
    if not named:
        return None
    return pl.concat(parts).group_by("i", "store", "t").agg(pl.col("units").sum())


def _together(
    task: Demand, tables: Tables, panel: Panel, product: NDArray[np.intp], counts: pl.DataFrame
) -> Places:
    import polars as pl

    whole = counts.group_by("i").agg(
        pl.col("on_hand", "on_order").sum(), pl.col("date").min(), store=pl.lit("")
    )
    recent = of_products(panel, panel.parts[0].units[:, -task.periods.level :], product)
    return _places(task, tables, product, np.full(len(product), ""), whole, recent)


def _by_store(
    task: Demand,
    tables: Tables,
    product: NDArray[np.intp],
    counts: pl.DataFrame,
    sold: pl.DataFrame,
    warehouse: str | None,
) -> Places:
    """Returns a place for each store that sold a product of late or has a count of it."""
    import polars as pl

    pairs = pl.concat([counts.select("i", "store"), sold.select("i", "store")]).unique()
    forecast = pl.col("i").is_in(product.astype(np.uint32))
    pairs = pairs.filter(forecast & (pl.col("store") != (warehouse or "\0"))).sort("i", "store")
    index = pairs.with_row_index("row")
    at = sold.join(index, on=["i", "store"])
    recent = np.zeros((pairs.height, task.periods.level))
    recent[at["row"].to_numpy(), at["t"].to_numpy()] = at["units"].to_numpy() / UNIT_STEPS
    places, names = pairs["i"].to_numpy().astype(np.intp), pairs["store"].to_numpy().astype(str)
    found = _places(task, tables, places, names, counts, np.maximum(recent, 0.0))
    # A product without a place: it sold long ago, and no store counts it.
    if len(missing := np.setdiff1d(product, places)):
        rest = _places(
            task, tables, missing, np.full(len(missing), ""), counts, np.zeros((len(missing), 1))
        )
        return _joined(found, replace(rest, recent=np.zeros((len(rest), recent.shape[1]))))
    return found


def _joined(first: Places, second: Places) -> Places:
    parts = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("product", "store", "on_hand", "on_order", "counted", "recent")
    }
    supply = {
        name: np.concatenate([values, second.supply[name]]) for name, values in first.supply.items()
    }
    return Places(supply=supply, **parts)


def _places(
    task: Demand,
    tables: Tables,
    product: NDArray[np.intp],
    store: NDArray[np.str_],
    counts: pl.DataFrame,
    recent: Numbers,
    own: bool = False,
) -> Places:
    """Returns the places with what is known of each; own: supply of that store's rows alone."""
    import polars as pl

    keys = pl.DataFrame({"i": product.astype(np.uint32), "store": store.astype(str)})
    found = keys.join(counts, on=["i", "store"], how="left", maintain_order="left")
    amounts = {
        name: found[name].fill_null(0).to_numpy().astype(np.float64)
        for name in ("on_hand", "on_order")
    }
    supply = _supply(task, tables, keys, own)
    counted = found["date"].is_not_null().to_numpy()
    return Places(product, store, counted=counted, supply=supply, recent=recent, **amounts)


def _supply(task: Demand, tables: Tables, keys: pl.DataFrame, own: bool) -> dict[str, Numbers]:
    """Returns the columns of supply, and the cost of products, nan where it is not said.

    A row of the store goes before rows without one; of several the largest, so the slowest. Where
    all stores are together every row counts.
    """
    import polars as pl

    exact = _columns(task, tables, "supply", _SUPPLY, keys, ["i", "store"])
    apart = keys["store"].n_unique() > 1
    every = pl.col("store") == "" if apart else pl.lit(True)
    for_all = _columns(task, tables, "supply", _SUPPLY, keys, ["i"], every)
    cost = _columns(task, tables, "products", ("cost",), keys, ["i"])
    if own:
        return exact | cost
    known = {
        name: np.where(np.isnan(values), for_all[name], values) for name, values in exact.items()
    }
    return known | cost


def _columns(
    task: Demand,
    tables: Tables,
    table: str,
    columns: tuple[str, ...],
    keys: pl.DataFrame,
    on: list[str],
    where: pl.Expr | None = None,
) -> dict[str, Numbers]:
    import polars as pl

    if table not in tables:
        return {name: np.full(keys.height, np.nan) for name in columns}
    rows = _with_store(next(on_catalogue(tables, task.common, [tables[table]])))
    rows = rows if where is None else rows.filter(where)
    there = [name for name in columns if name in rows.columns]
    per = rows.group_by(on).agg(pl.col(there).cast(pl.Float64).max())
    found = keys.join(per, on=on, how="left", maintain_order="left")
    return {
        name: found[name].fill_null(np.nan).to_numpy()
        if name in there
        else np.full(keys.height, np.nan)
        for name in columns
    }


def _notes(counts: pl.DataFrame, below: int, today: date) -> tuple[str, ...]:
    notes = []
    if below:
        notes.append(
            f"{below:,} counts are below 0, which no shelf can be: taken as sold out; count them."
        )
    oldest = counts["date"].min()
    if isinstance(oldest, date) and oldest < today - _OLD:
        notes.append(f"The oldest count of stock is of {oldest}.")
    return tuple(notes)


def _uncounted(shops: Places) -> tuple[str, ...]:
    missing = int((~shops.counted).sum())
    what = "products" if (shops.store == "").all() else "products of a store"
    said = f"{missing:,} {what} have no count of stock and are taken as sold out."
    return (said,) if missing else ()


def _elsewhere(counts: pl.DataFrame, sold: pl.DataFrame | None) -> tuple[str, ...]:
    """Returns where stock is counted, if that is one place and several stores sell."""
    places = [place for place in counts["store"].unique() if place]
    stores = 0 if sold is None else sold["store"].n_unique()
    if not places or stores < 2:
        return ()
    return (
        f"Stock is counted at '{places[0]}' alone, and {stores:,} stores sell: this is one order "
        f"for all of them, as if what is there were all that there is.",
    )


def _silent(counts: pl.DataFrame, sold: pl.DataFrame, warehouse: str | None) -> tuple[str, ...]:
    """Returns which places hold stock and sold nothing, as a warehouse does."""
    silent = sorted(set(counts["store"].unique()) - set(sold["store"].unique()) - {warehouse})
    if not silent:
        return ()
    names = ", ".join(f"'{name}'" for name in silent[:3])
    return (f"Nothing was sold of late at {names}; if it is a warehouse, give --warehouse.",)
