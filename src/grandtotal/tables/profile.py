"""What a table holds, in numbers small enough to read: nulls, ranges, distributions, gaps.

Counts of rows only; nothing here is meant to leave the retailer.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Any

import polars as pl

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


def profile(name: str, frame: pl.DataFrame) -> Profile:
    """Returns the profile of a table, whose frame is in our names and types and not empty."""
    columns = tuple(_column(name, frame[column]) for column in frame.columns)
    equal = frame.height - frame.n_unique()
    if name != "transactions":
        return Profile(columns, equal_rows=equal)
    days = frame["time"].dt.date()
    per_day = days.value_counts(name="rows").sort("time")
    missing, gaps = _gaps(per_day["time"].to_list())
    return Profile(
        columns,
        tuple(_distributions(frame, per_day)),
        missing,
        gaps,
        tuple(_outliers(frame, per_day)),
        equal,
    )


def _column(table: str, values: pl.Series) -> ColumnProfile:
    kind = REGISTRY[table][values.name].kind
    least, most = (None, None) if kind in ("id", "text", "flag") else (values.min(), values.max())
    known = values.drop_nulls()
    return ColumnProfile(
        values.name, kind, values.null_count(), known.n_unique(), _plain(least), _plain(most)
    )


def _plain(value: Any) -> float | str | None:
    return value if value is None or isinstance(value, int | float) else str(value)


def _distributions(frame: pl.DataFrame, per_day: pl.DataFrame) -> Iterator[Distribution]:
    yield _sizes("By units", "lines", frame["quantity"], whole=True)
    yield _sizes("By price of a unit", "lines", frame["price"], whole=False)
    if "customer" in frame.columns and frame["customer"].count():
        lines = frame["customer"].drop_nulls().value_counts(name="lines")["lines"]
        yield _sizes("By number of lines", "customers", lines, whole=True)
    yield _over_time(per_day)
    weekday = frame["time"].dt.weekday() - 1
    yield Distribution("By day of the week", "lines", _WEEKDAYS, _counts(weekday, 7))
    if (frame["time"].dt.time() != time()).any():
        hours = tuple(str(hour) for hour in range(24))
        yield Distribution("By hour", "lines", hours, _counts(frame["time"].dt.hour(), 24))


def _counts(numbers: pl.Series, bins: int) -> tuple[int, ...]:
    found = dict(numbers.value_counts(name="n").iter_rows())
    return tuple(int(found.get(i, 0)) for i in range(bins))


def _sizes(name: str, counted: str, values: pl.Series, whole: bool) -> Distribution:
    """Returns counts between edges 1, 2, 5, 10, 20, 50 ..., and of values below 0 and of 0.

    An upper edge belongs to the next bin; whole numbers are shown as 1, 2–4, 5–9. The last bin
    holds all that is larger.
    """
    edges = _edges(values)
    masks = {
        "below 0": values < 0,
        "0": values == 0,
        f"under {edges[0]:g}": (values > 0) & (values < edges[0]),
    }
    optional = [*masks, f"{_short(edges[-1])} or more"]
    for low, high in itertools.pairwise(edges):
        masks[_label(low, high, whole)] = (values >= low) & (values < high)
    masks[optional[-1]] = values >= edges[-1]
    counts = {label: int(mask.sum()) for label, mask in masks.items()}
    kept = [label for label, count in counts.items() if count or label not in optional]
    return Distribution(name, counted, tuple(kept), tuple(counts[label] for label in kept))


def _edges(values: pl.Series) -> list[float]:
    """Returns edges around the positive values but 1 % at the low and 0.1 % at the high end."""
    positive = values.filter(values > 0)
    low, high = positive.quantile(0.01) or 1.0, positive.quantile(0.999) or 1.0
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


def _outliers(frame: pl.DataFrame, per_day: pl.DataFrame) -> Iterator[Outlier]:
    """Yields the largest quantities and prices, and days with far more lines than usual."""
    for name in ("quantity", "price"):
        largest = frame.with_columns(size=pl.col(name).abs()).top_k(_LARGEST, by="size")
        for row in largest.sort("size", "time", descending=True).iter_rows(named=True):
            yield Outlier(name, f"{row['product']} on {row['time']:%Y-%m-%d}", row[name])
    usual = float(per_day["rows"].median() or 0.0)  # type: ignore[arg-type]
    busy = per_day.filter(pl.col("rows") > _BUSY * usual).top_k(_LARGEST, by="rows")
    for day, rows in busy.select("time", "rows").iter_rows():
        yield Outlier("lines on one day", str(day), float(rows))
