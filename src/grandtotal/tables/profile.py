"""What a table holds, in numbers small enough to read: nulls, ranges, distributions, gaps.

Counts of rows only; nothing here is meant to leave the retailer.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Any

import polars as pl

from grandtotal.tables.read import Readable, columns_of, pieces
from grandtotal.tables.schema import REGISTRY

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAYS_SHOWN = 92  # a longer history is drawn by the week
_BUSY = 5  # times the median day is a day to look at
_LARGEST = 3  # values named as the largest
_GAPS = 3


@dataclass(frozen=True)
class ColumnProfile:
    """One column of a frame; ranges are numbers or ISO 8601 texts, None where all is missing.

    `least` and `most` stay None for ids and texts, whose range says nothing.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    least: float | str | None = None
    most: float | str | None = None


@dataclass(frozen=True)
class Distribution:
    """How many of something fall into each bin, in the order of the bins."""

    name: str
    counted: str  # what is counted: "lines", "customers"
    bins: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Gap:
    """Days without any row, between two with rows; both ends are part of it."""

    first_day: str
    last_day: str
    days: int


@dataclass(frozen=True)
class Outlier:
    """A value to look at: where it stands and how large it is."""

    what: str
    where: str
    value: float


@dataclass(frozen=True)
class Profile:
    """What one table holds.

    `days_without` counts all days without a row inside the range, `gaps` are the longest.
    `equal_rows` are rows that another row of the table equals in every column that is read.
    """

    columns: tuple[ColumnProfile, ...]
    distributions: tuple[Distribution, ...] = ()
    days_without: int = 0
    gaps: tuple[Gap, ...] = ()
    outliers: tuple[Outlier, ...] = ()
    equal_rows: int = 0


@dataclass(frozen=True)
class Counts:
    """How often each value of a column occurs: value, n (values,), none of them missing."""

    frame: pl.DataFrame

    @staticmethod
    def of(parts: Iterable[pl.Series]) -> "Counts":
        """Returns the counts of the values of all these."""
        return Counts.added([_counted(part) for part in parts])

    @staticmethod
    def added(parts: Sequence["Counts"]) -> "Counts":
        """Returns the counts of all these together, in the order of the values."""
        both = pl.concat([part.frame for part in parts])
        if len(parts) > 1:
            both = both.group_by("value").agg(pl.col("n").sum())
        return Counts(both.sort("value"))

    @property
    def values(self) -> pl.Series:
        """The different values, the least first."""
        return self.frame["value"]

    def map(self, how: Callable[[pl.Series], pl.Series]) -> "Counts":
        """Returns the counts of what `how` makes of the values."""
        mapped = self.frame.with_columns(value=how(self.values))
        return Counts(mapped.group_by("value").agg(pl.col("n").sum()).sort("value"))

    def rows(self) -> int:
        """Returns how many there are in all."""
        return int(self.frame["n"].sum())

    def between(self, low: float, high: float) -> int:
        """Returns how many are at least `low` and below `high`."""
        inside = (self.values >= low) & (self.values < high)
        return int(self.frame["n"].filter(inside).sum())

    def below(self, high: float) -> int:
        """Returns how many are below `high`."""
        return int(self.frame["n"].filter(self.values < high).sum())

    def quantile(self, q: float) -> float:
        """Returns the positive value with a share q of the positive ones up to it; 1 if none is."""
        positive = self.frame.filter(self.values > 0)
        if positive.is_empty():
            return 1.0
        reached = positive["n"].cum_sum() >= q * int(positive["n"].sum())
        return float(positive["value"][int(reached.arg_max() or 0)])


def _counted(values: pl.Series) -> Counts:
    counts = values.drop_nulls().alias("value").value_counts(name="n")
    return Counts(counts.cast({"n": pl.Int64}))


def profile(tables: Readable, name: str) -> tuple[Profile, dict[str, Counts]]:
    """Returns the profile of a table that has rows, and the counts of its times and numbers.

    A column is read at a time: what has to fit into memory are its different values.
    """
    names = columns_of(tables, name)
    counts: dict[str, Counts] = {}
    columns = []
    for column in names:
        parts = (piece[column] for piece in pieces(tables, name, [column]))
        found, counted = _column(name, column, parts)
        columns.append(found)
        counts |= {column: counted} if counted else {}
    equal = _equal_rows(pieces(tables, name, names))
    if name != "transactions":
        return Profile(tuple(columns), equal_rows=equal), counts
    per_day = counts["time"].map(lambda times: times.dt.date()).frame
    per_day = per_day.select(time="value", rows="n")
    missing, gaps = _gaps(per_day["time"].to_list())
    lines = _lines_each(tables) if "customer" in names else None
    found_all = Profile(
        tuple(columns),
        tuple(_distributions(counts, lines, per_day, _has_clock(tables))),
        missing,
        gaps,
        tuple(_outliers(tables, per_day)),
        equal,
    )
    return found_all, counts


def _column(
    table: str, name: str, parts: Iterable[pl.Series]
) -> tuple[ColumnProfile, Counts | None]:
    kind = REGISTRY[table][name].kind
    if kind in ("id", "text", "flag"):
        missing, hashes = 0, []
        for part in parts:
            missing += part.null_count()
            hashes.append(part.drop_nulls().hash().unique())
        return ColumnProfile(name, kind, missing, _different(hashes)), None
    missing, counted, seen = 0, [], []
    for part in parts:
        missing += part.null_count()
        # By the hour: the seconds of a till are nearly as many as its lines.
        counted.append(Counts.of([part.dt.truncate("1h") if kind == "time" else part]))
        seen.append(part.drop_nulls().to_physical().unique())
    counts = Counts.added(counted)
    ends = [end for values in seen if len(values) for end in (values.min(), values.max())]
    dtype = REGISTRY[table][name].dtype
    range_ = pl.Series([min(ends), max(ends)]).cast(dtype) if ends else pl.Series([None, None])  # type: ignore[type-var]
    low, high = _plain(range_[0]), _plain(range_[1])
    return ColumnProfile(name, kind, missing, _different(seen), low, high), counts


def _different(parts: Sequence[pl.Series]) -> int:
    """Returns how many different values, or numbers that stand for texts, there are in all.

    Of 20 million texts, two share their number of 64 bits in one table of 90,000.
    """
    return (parts[0] if len(parts) == 1 else pl.concat(parts)).n_unique()


def _equal_rows(parts: Iterable[pl.DataFrame]) -> int:
    """Returns how many rows equal one further up, by a number of 64 bits for each."""
    hashes = pl.concat([part.select(pl.struct(pl.all()).hash()).to_series() for part in parts])
    return len(hashes) - hashes.n_unique()


def _lines_each(tables: Readable) -> Counts | None:
    """Returns how many customers have how many lines."""
    parts = pieces(tables, "transactions", ["customer"])
    hashes = pl.concat([part["customer"].drop_nulls().hash() for part in parts])
    lines = hashes.sort().rle().struct.field("len")
    return Counts.of([lines]) if len(lines) else None


def _plain(value: Any) -> float | str | None:
    return value if value is None or isinstance(value, int | float) else str(value)


def _has_clock(tables: Readable) -> bool:
    return any(
        (part["time"].dt.time() != time()).any()
        for part in pieces(tables, "transactions", ["time"])
    )


def _distributions(
    counts: Mapping[str, Counts], lines: Counts | None, per_day: pl.DataFrame, clock: bool
) -> Iterator[Distribution]:
    yield _sizes("By units", "lines", counts["quantity"], whole=True)
    yield _sizes("By price of a unit", "lines", counts["price"], whole=False)
    if lines:
        yield _sizes("By number of lines", "customers", lines, whole=True)
    yield _over_time(per_day)
    times = counts["time"]
    weekdays = times.map(lambda values: values.dt.weekday() - 1)
    yield Distribution("By day of the week", "lines", _WEEKDAYS, _counts(weekdays, 7))
    if clock:
        hours = tuple(str(hour) for hour in range(24))
        by_hour = times.map(lambda values: values.dt.hour())
        yield Distribution("By hour", "lines", hours, _counts(by_hour, 24))


def _counts(numbers: Counts, bins: int) -> tuple[int, ...]:
    found = dict(numbers.frame.iter_rows())
    return tuple(int(found.get(i, 0)) for i in range(bins))


def _sizes(name: str, counted: str, values: Counts, whole: bool) -> Distribution:
    """Returns counts between edges 1, 2, 5, 10, 20, 50 ..., and of values below 0 and of 0.

    An upper edge belongs to the next bin; whole numbers are shown as 1, 2–4, 5–9. The last bin
    holds all that is larger.
    """
    edges = _edges(values)
    below, zero = values.below(0), values.between(0, math.ulp(0.0))
    counts = {
        "below 0": below,
        "0": zero,
        f"under {edges[0]:g}": values.below(edges[0]) - below - zero,
    }
    optional = [*counts, f"{_short(edges[-1])} or more"]
    for low, high in itertools.pairwise(edges):
        counts[_label(low, high, whole)] = values.between(low, high)
    counts[optional[-1]] = values.rows() - values.below(edges[-1])
    kept = [label for label, count in counts.items() if count or label not in optional]
    return Distribution(name, counted, tuple(kept), tuple(counts[label] for label in kept))


def _edges(values: Counts) -> list[float]:
    """Returns edges around the positive values but 1 % at the low and 0.1 % at the high end."""
    low, high = values.quantile(0.01), values.quantile(0.999)
    edges = [_step_below(low)]
    while edges[-1] <= high:
        edges.append(_next(edges[-1]))
    return edges


def _step_below(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    below = [step * power for step in (1, 2, 5) if step * power <= value]
    return float(f"{max(below, default=power):.6g}")


def _next(edge: float) -> float:
    power = 10.0 ** math.floor(math.log10(edge) + 1e-9)
    first = round(edge / power)
    return float(f"{power * {1: 2, 2: 5, 5: 10}[first]:.6g}")


def _label(low: float, high: float, whole: bool) -> str:
    if not whole:
        return f"{_short(low)}–{_short(high)}"
    return f"{low:g}" if high == low + 1 else f"{_short(low)}–{_short(high - 1)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _over_time(per_day: pl.DataFrame) -> Distribution:
    first, last = per_day["time"][0], per_day["time"][-1]
    step = 1 if (last - first).days < _DAYS_SHOWN else 7
    place = (per_day["time"] - first).dt.total_days() // step
    rows = per_day.with_columns(place=place).group_by("place").agg(pl.col("rows").sum())
    found = dict(rows.iter_rows())
    bins = range((last - first).days // step + 1)
    starts = tuple(str(first + timedelta(days=step * i)) for i in bins)
    name = "By day" if step == 1 else "By week"
    return Distribution(name, "lines", starts, tuple(int(found.get(i, 0)) for i in bins))


def _gaps(days: Sequence[date]) -> tuple[int, tuple[Gap, ...]]:
    """Returns how many days have no row, and the longest runs of them, the earlier first."""
    one = timedelta(days=1)
    runs = [
        Gap(str(a + one), str(b - one), (b - a).days - 1)
        for a, b in itertools.pairwise(days)
        if b - a > one
    ]
    longest = sorted(runs, key=lambda gap: -gap.days)[:_GAPS]
    return sum(gap.days for gap in runs), tuple(sorted(longest, key=lambda gap: gap.first_day))


def _outliers(tables: Readable, per_day: pl.DataFrame) -> Iterator[Outlier]:
    """Yields the largest quantities and prices, and days with far more lines than usual."""
    for name in ("quantity", "price"):
        parts = pieces(tables, "transactions", ["product", "time", name])
        largest = pl.concat(
            piece.with_columns(size=pl.col(name).abs()).top_k(_LARGEST, by="size")
            for piece in parts
        ).top_k(_LARGEST, by="size")
        for row in largest.sort("size", "time", descending=True).iter_rows(named=True):
            yield Outlier(name, f"{row['product']} on {row['time']:%Y-%m-%d}", row[name])
    usual = float(per_day["rows"].median() or 0.0)  # type: ignore[arg-type]
    busy = per_day.filter(pl.col("rows") > _BUSY * usual).top_k(_LARGEST, by="rows")
    for day, rows in busy.select("time", "rows").iter_rows():
        yield Outlier("lines on one day", str(day), float(rows))
