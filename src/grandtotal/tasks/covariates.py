"""What is known of a series' coming days: holidays, closed days, promotions, weather, a trend.

Everything is told as of an origin: a fact of the calendar with a `known_at` counts from then on,
and one that was revised in its latest version of that time. Promotions are plans, known as far
ahead as the forecast reaches. Only in a retailer's process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.lines import positions
from grandtotal.tasks.list_prices import read_list_prices
from grandtotal.tasks.needs import Standing

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.sales import Periods, Sales
    from grandtotal.tasks.task import Common

Floats = NDArray[np.float64]
KINDS = ("holiday", "school", "closed")
NUMBERS = ("weather", "trend")
ALWAYS = -(2**30)  # the period from which on something is known that always was


@dataclass(frozen=True, eq=False)
class Revisions:
    """Numbers by day that may be revised: rows in the order in which they became known.

    group, day: (rows,) of whom and which day; since: the period from which on it was known.
    """

    group: NDArray[np.int64]
    day: NDArray[np.int64]
    since: NDArray[np.int64]
    value: Floats

    def as_of(self, t: int, groups: int, periods: int, days: int) -> Floats:
        """Returns (groups, periods) means over the days of a period; nan where nothing is known."""
        known = self.since <= t
        values = np.full((groups, periods * days), np.nan)
        values[self.group[known], self.day[known]] = self.value[known]
        parts = values.reshape(groups, periods, days)
        there = ~np.isnan(parts)
        count = there.sum(axis=2)
        total = np.where(there, parts, 0.0).sum(axis=2)
        mean: Floats = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
        return mean


@dataclass(frozen=True, eq=False)
class Covariates:
    """What is known of each series by period, past and coming: (.., periods + horizon).

    group: (series,) which calendar a series follows, of the first axis of `shares` and `since`.
    shares: by kind of KINDS, (groups, ..) the share of a period's days; since: from which period on
    they were known. numbers: by name of NUMBERS. promotion: (series, ..) share of days in a planned
    promotion, depth: its reduction, 0 where none; planned: whether there is a table of promotions.
    price: (series, ..) the mean list price, nan where unknown; empty where no price is.
    """

    group: NDArray[np.intp]
    shares: dict[str, Floats]
    since: dict[str, NDArray[np.int64]]
    numbers: dict[str, Revisions]
    promotion: Floats
    depth: Floats
    planned: bool
    price: Floats = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def priced(self) -> bool:
        """Whether a list price of any series is known."""
        return bool(np.isfinite(self.price).any())

    @property
    def closed(self) -> NDArray[np.bool_]:
        """Which periods of each series are closed on all days, as was always known."""
        whole = (self.shares["closed"] >= 1.0) & (self.since["closed"] == ALWAYS)
        closed: NDArray[np.bool_] = whole[self.group]
        return closed


def read_covariates(
    tables: Tables, common: Common, periods: Periods, horizon: int, series: pl.DataFrame
) -> Covariates:
    """Returns what the calendar, the promotions and the stores' regions tell of each series.

    series: i, the place in the catalogue, null for all products; store, null for all; in the order
    of the series.
    """
    grid = _Grid(periods, horizon)
    stores = series["store"].drop_nulls().unique().sort().to_list()
    place = {store: i for i, store in enumerate(stores)}
    group = np.array([place.get(store, 0) for store in series["store"]], np.intp)
    groups = max(len(stores), 1)
    facts = _calendar(tables, grid, stores)
    shares, since = _shares(facts, grid, groups)
    promotion, depth, planned = _promotions(tables, common, grid, series)
    numbers = {name: _revisions(facts, name) for name in NUMBERS}
    price = read_list_prices(tables, common, periods, horizon, series)
    return Covariates(group, shares, since, numbers, promotion, depth, planned, price)


def ahead_standing(sales: Sales, every: str) -> list[Standing]:
    """Returns which numbers of the calendar are not known for which of the coming periods."""
    if sales.known is None:
        return []
    periods, found = sales.periods, []
    for name in NUMBERS:
        if not len(sales.known.numbers[name].value):
            continue
        coming = sales.past.origin(periods.count).number(name)[:, periods.count :]
        missing = np.flatnonzero(np.isnan(coming).any(axis=0))
        expected = f"all of the {sales.horizon} {every}s that are forecast"
        if not len(missing):
            found.append(Standing(name, "yes", f"known for {expected}", expected, ""))
            continue
        first = periods.start(periods.count + int(missing[0]))
        said = f"unknown for {len(missing)} of the coming {every}s, the first from {first}"
        remedy = "a forecast of it in the calendar; where it is missing, trees do without"
        found.append(Standing(name, "look", said, expected, remedy))
    return [*found, *_planned_ahead(sales, every)]


def _planned_ahead(sales: Sales, every: str) -> list[Standing]:
    """Returns until when promotions are planned, where there were some in the past."""
    assert sales.known is not None
    periods = sales.periods
    running = np.flatnonzero((sales.known.promotion > 0).any(axis=0))
    if not (running < periods.count).any():
        return []
    expected = f"a plan for the {sales.horizon} {every}s that are forecast"
    last = int(running[-1])
    if last >= periods.count:
        said = f"planned until {periods.start(last + 1) - timedelta(days=1)}"
        return [Standing("promotions", "yes", said, expected, "")]
    said = f"none planned from {periods.start(periods.count)} on"
    remedy = "the coming promotions in the table; without them a forecast is one of no promotion"
    return [Standing("promotions", "look", said, expected, remedy)]


@dataclass(frozen=True)
class _Grid:
    """Days counted from the first day of the first period, until the end of the horizon."""

    periods: Periods
    horizon: int

    @property
    def length(self) -> int:
        return self.periods.count + self.horizon

    @property
    def days(self) -> int:
        return self.length * self.periods.days

    def day(self, column: str) -> pl.Expr:
        import polars as pl

        return (pl.col(column) - pl.lit(self.periods.start(0))).dt.total_days()

    def shares(self, daily: NDArray[Any]) -> Floats:
        """Returns (rows, periods) means of (rows, days)."""
        parts = daily.reshape(len(daily), self.length, self.periods.days)
        means: Floats = parts.mean(axis=2, dtype=np.float64)
        return means


def _calendar(tables: Tables, grid: _Grid, stores: Sequence[str]) -> pl.DataFrame:
    """Returns group, day, kind, since, weather, trend: the calendar's rows, for whom they hold.

    A row of a region holds for the stores of the region, or for the store of that name; where a
    series is of all stores, every row holds.
    """
    import polars as pl

    if "calendar" not in tables:
        return _nothing()
    rows = tables["calendar"].with_columns(day=grid.day("date"))
    rows = rows.filter(pl.col("day").is_between(0, grid.days - 1))
    rows = with_columns_of(
        rows, {"holiday": pl.String, "region": pl.String, "known_at": pl.Datetime}
    )
    rows = with_columns_of(rows, dict.fromkeys(NUMBERS, pl.Float64))
    said = pl.col("holiday").str.to_lowercase()
    kind = (
        pl.when(said.str.starts_with("closed"))
        .then(pl.lit("closed"))
        .when(said.str.contains("school"))
        .then(pl.lit("school"))
        .when(said.is_not_null())
        .then(pl.lit("holiday"))
    )
    rows = rows.with_columns(kind=kind, since=_since(grid))
    return _held(rows, tables, stores).select("group", "day", "kind", "since", *NUMBERS)


def with_columns_of(rows: pl.DataFrame, columns: dict[str, Any]) -> pl.DataFrame:
    """Returns the rows with these columns, empty where there are none."""
    import polars as pl

    missing = {name: kind for name, kind in columns.items() if name not in rows.columns}
    return rows.with_columns(pl.lit(None, kind).alias(name) for name, kind in missing.items())


def _nothing() -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(
        schema={
            "group": pl.Int64,
            "day": pl.Int64,
            "kind": pl.String,
            "since": pl.Int64,
            **dict.fromkeys(NUMBERS, pl.Float64),
        }
    )


def _since(grid: _Grid) -> pl.Expr:
    """Returns the first origin at which a row was known."""
    import polars as pl

    today = datetime.combine(grid.periods.today, time.min)
    length = timedelta(days=grid.periods.days) // timedelta(microseconds=1)
    back = (pl.lit(today) - pl.col("known_at").cast(pl.Datetime("us"))).dt.total_microseconds()
    return (grid.periods.count - back // length).fill_null(ALWAYS)


def _held(rows: pl.DataFrame, tables: Tables, stores: Sequence[str]) -> pl.DataFrame:
    """Returns the rows with the group that each holds for, once for every group."""
    import polars as pl

    if not stores:
        return rows.with_columns(group=pl.lit(0, pl.Int64))
    groups = pl.DataFrame({"store": list(stores)}, schema={"store": pl.String})
    groups = groups.with_row_index("group").with_columns(pl.col("group").cast(pl.Int64))
    named = groups.select("group", region="store")
    if "stores" in tables and "region" in tables["stores"].columns:
        regions = tables["stores"].select("store", "region").drop_nulls()
        named = pl.concat([named, groups.join(regions, on="store").select("group", "region")])
    everywhere = rows.filter(pl.col("region").is_null()).join(groups.select("group"), how="cross")
    somewhere = rows.join(named.unique(), on="region")
    columns = everywhere.columns
    return pl.concat([everywhere, somewhere.select(columns)])


def _shares(
    facts: pl.DataFrame, grid: _Grid, groups: int
) -> tuple[dict[str, Floats], dict[str, NDArray[np.int64]]]:
    import polars as pl

    shares: dict[str, Floats] = {}
    since: dict[str, NDArray[np.int64]] = {}
    for kind in KINDS:
        # A day that several rows name counts once, from the first of them on.
        days = (
            facts.filter(pl.col("kind") == kind)
            .group_by("group", "day")
            .agg(pl.col("since").min())
            .select("group", "day", "since")
        )
        group, day, first = (days[name].to_numpy().astype(np.int64) for name in days.columns)
        daily = np.zeros((groups, grid.days), np.float32)
        daily[group, day] = 1.0
        shares[kind] = grid.shares(daily)
        since[kind] = np.full((groups, grid.length), np.iinfo(np.int64).max)
        np.minimum.at(since[kind], (group, day // grid.periods.days), first)
    return shares, since


def _revisions(facts: pl.DataFrame, name: str) -> Revisions:
    import polars as pl

    rows = facts.filter(pl.col(name).is_not_null()).sort("since", maintain_order=True)
    group, day, since = (rows[n].to_numpy().astype(np.int64) for n in ("group", "day", "since"))
    return Revisions(group, day, since, rows[name].to_numpy().astype(np.float64))


def _promotions(
    tables: Tables, common: Common, grid: _Grid, series: pl.DataFrame
) -> tuple[Floats, Floats, bool]:
    """Returns the share of days in a promotion, its depth, and whether there is such a table."""
    import polars as pl

    none = np.zeros((len(series), grid.length))
    if "promotions" not in tables:
        return none, none, False
    rows = tables["promotions"].join(positions(tables, common), on="product")
    rows = rows.with_columns(first=grid.day("start"), last=grid.day("end"))
    rows = rows.filter((pl.col("last") >= 0) & (pl.col("first") < grid.days))
    rows = with_columns_of(rows, {"store": pl.String, "depth": pl.Float64})
    places = series.with_row_index("s")
    parts = []
    for where in ("store", None):
        here = rows.filter(pl.col("store").is_not_null() == (where is not None))
        keys = [key for key in ("i", where) if key and places[key].null_count() == 0]
        held = (
            here.join(places.select("s", *keys), on=keys)
            if keys
            else here.join(places.select("s"), how="cross")
        )
        parts.append(held.select("s", "first", "last", "depth"))
    found = pl.concat(parts).unique()
    daily, depth = (np.zeros((len(series), grid.days), np.float32) for _ in range(2))
    for s, first, last, reduction in found.iter_rows():
        days = slice(max(first, 0), min(last, grid.days - 1) + 1)
        daily[s, days] = 1.0
        depth[s, days] = np.maximum(depth[s, days], reduction or 0.0)
    return grid.shares(daily), grid.shares(depth), True


def holidays(tables: Tables, periods: Periods, horizon: int) -> tuple[tuple[int, ...], ...]:
    """Returns for each period, and the horizon after, from which period on each was known."""
    import polars as pl

    known: list[list[int]] = [[] for _ in range(periods.count + horizon)]
    if "calendar" not in tables or "holiday" not in tables["calendar"].columns:
        return tuple(() for _ in known)
    days = tables["calendar"].filter(pl.col("holiday").is_not_null())
    # A chain with several regions has a day once for each; it counts once, from the first row on.
    when = pl.col("known_at") if "known_at" in days.columns else pl.lit(None, pl.Datetime)
    first = pl.when(when.is_not_null().all()).then(when.min())
    today = datetime.combine(periods.today, time.min)
    for day, known_at in days.group_by("date").agg(first=first).iter_rows():
        t = periods.count - -(-(periods.today - day).days // periods.days)
        if 0 <= t < len(known):
            back = (today - known_at) // timedelta(days=periods.days) if known_at else periods.count
            known[t].append(periods.count - back)
    return tuple(tuple(sorted(found)) for found in known)
