"""A retailer's transaction lines as visits, by customer, category and store.

Only in a retailer's process. A visit is a basket; where lines have no basket it is what a customer
bought on one day, and of an anonymous line the line itself. Every line is a whole number of steps
before it is added, so that the sums are the same in any pieces.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

STEPS = 2**10  # of units, spend and visits
RETURNING = 28  # days within which a customer who comes again is one who returns
OWN = 12  # categories, and stores, of the retailer's own that are looked at
_MOST = 2.0**30
_SPREAD = 7  # basket sizes and spends are counted in this many bins of a factor two
_HOURS = 6
_COLUMNS = ("time", "customer", "basket", "store", "product", "quantity", "price")
_PROMOTED = ("promotion", "discount")


class Lines:
    """The lines of a retailer, added up by visit, and by category and day.

    visits: t, visit, customer, store, hour and sums of those in which something was sold. groups:
    t, category, visit, customer, sold, spend. known: the visits of known customers, those of the
    `lead` days before the first too, with a t below 0. Raises DataError where nothing was sold.
    """

    def __init__(self, tables: Tables, today: date, days: int, lead: int = RETURNING) -> None:
        import polars as pl

        from grandtotal.tables.read import pieces

        self.days, self.first = days, today - timedelta(days=days)
        self.weekday = self.first.weekday()
        visits, groups, row = [], [], 0
        for piece in pieces(tables, "transactions", (*_COLUMNS, *_PROMOTED)):
            lines = _with_category(_of_lines(piece, today, (days, lead), row), tables)
            row += piece.height
            visits.append(_summed(lines, "t", "visit"))
            groups.append(_summed(lines.filter(pl.col("t") >= 0), "t", "category", "visit"))
        # The lines of a visit may be in several pieces.
        whole = _summed(pl.concat(visits), "t", "visit")
        self.groups = _summed(pl.concat(groups), "t", "category", "visit")
        self.all = whole.filter(pl.col("t") >= 0).sort("t", "visit")
        self.visits = self.all.filter(pl.col("sold") > 0)
        self.known = whole.filter(pl.col("sold") > 0, pl.col("customer").is_not_null())
        if self.visits.is_empty():
            raise DataError(
                f"transactions: no sale between {self.first} and {today}; check `today` and "
                f"`history` in the plan against the table's dates"
            )

    def by_day(self) -> dict[str, NDArray[np.int64]]:
        """Returns what is counted of all visits by day, in STEPS."""
        import polars as pl

        known = self.known.filter(pl.col("t") >= 0)
        people = known.select("t", "customer").unique()
        # In the first days of a table nobody can be seen to come again.
        late = known.filter(pl.col("t") >= self._returning_from)["t"]
        return {
            "visits": self._sum(self.visits["t"]) * STEPS,
            "customers": self._sum(people["t"]) * STEPS,
            "known": self._sum(late) * STEPS,
            "returning": self._sum(self._returning()) * STEPS,
            "units": self._sum(self.all["t"], self.all["sold"]),
            "returned": self._sum(self.all["t"], self.all["returned"]),
            "promoted": self._sum(self.all["t"], self.all["promoted"]),
            "spend": self._sum(self.all["t"], self.all["spend"]),
        }

    def _returning(self) -> pl.Series:
        """Returns the days of visits by customers who also came in the RETURNING days before."""
        import polars as pl

        days = self.known.select("customer", "t").unique().sort("customer", "t")
        before = pl.col("t").shift(1).over("customer")
        since = max(self._returning_from, 0)
        again = days.filter(pl.col("t") - before <= RETURNING, pl.col("t") >= since)
        return self.known.join(again, on=["customer", "t"], how="semi")["t"]

    @property
    def _returning_from(self) -> int:
        days = self.known["t"].to_numpy()
        return int(days.min()) + RETURNING if len(days) else 0

    def units_of(self, category: str) -> NDArray[np.int64]:
        import polars as pl

        found = self.groups.filter(pl.col("category") == category)
        return self._sum(found["t"], found["sold"])

    def categories(self, before: int) -> list[str]:
        """Returns the OWN categories that sold most before a day, and as many that began later."""
        import polars as pl

        named = self.groups.filter(pl.col("category").is_not_null())
        early = named.filter(pl.col("t") < before).group_by("category").agg(pl.col("sold").sum())
        most = early.sort("sold", "category")["category"].tail(OWN).to_list()
        later = set(named["category"].unique()) - set(early["category"])
        return sorted({*most, *sorted(later)[:OWN]})

    def by_store(self, before: int) -> dict[str, NDArray[np.int64]]:
        """Returns the visits by day of the OWN stores with most before a day, where several are."""
        import polars as pl

        named = self.visits.filter(pl.col("store").is_not_null())
        early = named.filter(pl.col("t") < before)["store"]
        stores = early.value_counts().sort(["count", "store"])["store"].tail(OWN).to_list()
        if len(stores) < 2:
            return {}
        return {
            store: self._sum(named.filter(pl.col("store") == store)["t"]) * STEPS
            for store in sorted(stores)
        }

    def customers(self, categories: tuple[str, ...]) -> NDArray[np.int64]:
        """Returns (1 + categories, weeks): different customers who bought."""
        import polars as pl

        who = pl.coalesce(pl.col("customer"), pl.col("visit").cast(pl.String))
        bought = self.groups.filter(pl.col("sold") > 0).select(
            "category", who=who, week=pl.col("t") // 7
        )
        every = bought.select("who", "week").unique()
        counts = [np.bincount(every["week"].to_numpy(), minlength=self.days // 7)]
        for name in categories:
            one = bought.filter(pl.col("category") == name).unique(["who", "week"])
            counts.append(np.bincount(one["week"].to_numpy(), minlength=self.days // 7))
        return np.stack(counts)

    def profiles(self, categories: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
        """Returns (bins, weeks) visits of every distribution but that of spend."""
        import polars as pl

        t = self.visits["t"].to_numpy()
        # A visit of 3 or 4 units is in the third bin: of n units in 1 + the bits of n - 1.
        units = np.ceil(self.visits["sold"].to_numpy() / STEPS).astype(np.int64)
        size = np.minimum(np.frexp(np.maximum(units - 1, 0).astype(float))[1], _SPREAD - 1)
        hours = self.visits["hour"].to_numpy()
        found = {
            "basket size": self._table(t, size, _SPREAD),
            "weekday": self._table(t, (self.weekday + t) % 7, 7),
            # A table of dates has every visit at midnight: that is no hour.
            "hour": self._table(t, hours // 4, _HOURS) * int(hours.any()),
        }
        if categories:
            sold = self.groups.filter(pl.col("sold") > 0)
            place = {name: i for i, name in enumerate(categories)}
            group = [place.get(name, len(categories)) for name in sold["category"].to_list()]
            found["category"] = self._table(
                sold["t"].to_numpy(), np.array(group, np.int64), len(categories) + 1
            )
        return found

    def spends(self) -> NDArray[np.int64]:
        """Returns (128, weeks): visits by log2 of their spend in money, counted from 2^-64."""
        spend = np.maximum(self.visits["spend"].to_numpy(), 1) / STEPS
        return self._table(self.visits["t"].to_numpy(), np.frexp(spend)[1] + 64, 128)

    def _sum(self, t: pl.Series, values: pl.Series | None = None) -> NDArray[np.int64]:
        found = np.zeros(self.days, np.int64)
        np.add.at(found, t.to_numpy(), 1 if values is None else values.to_numpy())
        return found

    def _table(self, t: NDArray[Any], place: NDArray[Any], bins: int) -> NDArray[np.int64]:
        found = np.zeros((bins, self.days // 7), np.int64)
        np.add.at(found, (np.clip(place, 0, bins - 1), t // 7), 1)
        return found


def _of_lines(piece: pl.DataFrame, today: date, span: tuple[int, int], row: int) -> pl.DataFrame:
    """Returns t, hour, visit, customer, store, product and steps of the lines that count."""
    import polars as pl

    has, (days, lead) = set(piece.columns), span
    nothing = pl.lit(None, pl.String)
    t = days - (pl.lit(today) - pl.col("time").dt.date()).dt.total_days()
    piece = piece.with_row_index("row", row).with_columns(t=t)
    piece = piece.filter(pl.col("t") >= -lead, pl.col("t") < days)
    customer = pl.col("customer").cast(pl.String) if "customer" in has else nothing
    basket = pl.col("basket").cast(pl.String) if "basket" in has else nothing
    visit = (
        pl.when(basket.is_not_null())
        .then(basket.hash(1))
        .when(customer.is_not_null())
        .then(customer.hash(2))
        .otherwise(pl.col("row").hash(3))
    )
    quantity = pl.col("quantity").clip(-_MOST, _MOST)
    sold = (quantity.clip(0) * STEPS).round().cast(pl.Int64)
    return piece.select(
        "t",
        "product",
        hour=pl.col("time").dt.hour().cast(pl.Int64),
        visit=visit,
        customer=customer,
        store=pl.col("store").cast(pl.String) if "store" in has else nothing,
        sold=sold,
        returned=((-quantity).clip(0) * STEPS).round().cast(pl.Int64),
        spend=((quantity * pl.col("price")).clip(-_MOST, _MOST) * STEPS).round().cast(pl.Int64),
        promoted=pl.when(_promoted(has)).then(sold).otherwise(0),
    )


def _promoted(has: set[str]) -> pl.Expr:
    import polars as pl

    if "promotion" in has:
        return pl.col("promotion").is_not_null()
    return pl.col("discount").fill_null(0.0) > 0 if "discount" in has else pl.lit(False)


def _with_category(lines: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    """Returns the lines with the widest part of their category's path, where it is known."""
    import polars as pl

    if "products" not in tables or "category" not in tables["products"].columns:
        return lines.with_columns(category=pl.lit(None, pl.String))
    widest = pl.col("category").cast(pl.String).str.split(">").list.first().str.strip_chars()
    known = tables["products"].select("product", category=widest)
    return lines.join(known, on="product", how="left", maintain_order="left")


def _summed(lines: pl.DataFrame, *by: str) -> pl.DataFrame:
    import polars as pl

    return lines.group_by(*by).agg(
        pl.col("customer", "store").drop_nulls().first(),
        pl.col("hour").min(),
        pl.col("sold", "returned", "spend", "promoted").sum(),
    )
