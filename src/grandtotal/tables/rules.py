"""What a value may be beyond its kind: rows that cannot be used, and rows to look at.

`rules` yields marks for rows that are set aside, `warnings` and `cell_warnings` for rows that are
kept: they can be used, and a person should say whether they are meant.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time

import polars as pl

from grandtotal.errors import PlanError
from grandtotal.tables.cells import Writing
from grandtotal.tables.config import RetailerConfig
from grandtotal.tables.kinds import FIRST_DAY, LAST_DAY, Column, Table
from grandtotal.tables.plain import near_clock_changes
from grandtotal.tables.schema_more import EVENT_TYPES

HUGE = 100  # times the 99th percentile of the file's quantities
_HUGE_FROM = 1000.0  # units; below, nobody needs a warning
_FIRST_TIME = datetime.combine(FIRST_DAY, time())
_LAST_TIME = datetime.combine(LAST_DAY, time.max)
_GTIN_LENGTHS = (8, 12, 13, 14)
_ZONED = r":\d{2}.*(?:[zZ]|[+-]\d{2}:?\d{2})$"


@dataclass(frozen=True)
class Mark:
    """Rows of one file with one reason why they cannot be used, or should be looked at.

    `column` is the file's name of the column at fault, "" for a whole line. If `wrong_if_most`,
    more than half of the rows marked means that the file is not what it is taken for.
    """

    reason: str
    rows: pl.Series
    remedy: str
    column: str = ""
    wrong_if_most: bool = True


def rules(
    frame: pl.DataFrame,
    table: Table,
    names: dict[str, str],
    config: RetailerConfig,
    plain: frozenset[str] = frozenset(),
) -> Iterator[Mark]:
    """Yields the rows whose cells can be read and whose values cannot be used.

    plain: columns whose values are known to be within their bounds.
    """
    for column in table.columns:
        if column.name in names and (column.name not in plain or column.name == "price"):
            yield from _bounds(column, frame[column.name], names[column.name])
    if table.name == "transactions":
        yield from _sales(frame, names, config)
    if table.name == "promotions":
        remedy = "the last day of a promotion is not before its first; are the two swapped?"
        swapped = (frame["end"] < frame["start"]).fill_null(False)
        yield Mark("end is before start", swapped, remedy, names["end"])


def _bounds(column: Column, values: pl.Series, in_file: str) -> Iterator[Mark]:
    values = values.dt.date() if column.kind == "time" else values
    if column.least is not None:
        reason = f"{column.name} is {_before(column)} {_written(column.least)}"
        yield Mark(reason, (values < column.least).fill_null(False), _remedy(column), in_file)
    if column.most is not None:
        reason = f"{column.name} is {_after(column)} {_written(column.most)}"
        yield Mark(reason, (values > column.most).fill_null(False), _remedy(column), in_file)


def _before(column: Column) -> str:
    return "before" if column.kind in ("time", "date") else "below"


def _after(column: Column) -> str:
    return "after" if column.kind in ("time", "date") else "above"


def _written(bound: object) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _remedy(column: Column) -> str:
    if column.kind in ("time", "date"):
        return "correct it where it is exported; 1900-01-01 and 1970-01-01 often mean a missing day"
    unit = f", in {column.unit}" if column.unit else ""
    return f"{column.name} is expected {_range(column)}{unit}; convert or correct it"


def _range(column: Column) -> str:
    low = "" if column.least is None else f"from {_written(column.least)}"
    high = "" if column.most is None else f" to {_written(column.most)}"
    return f"{low}{high}".strip()


def _sales(frame: pl.DataFrame, names: dict[str, str], config: RetailerConfig) -> Iterator[Mark]:
    price, quantity = frame["price"], frame["quantity"]
    remedy = "write a return as a negative quantity with a positive price"
    yield Mark("price is negative", (price < 0).fill_null(False), remedy, names["price"])
    remedy = "leave out lines on which nothing was sold"
    zero = (quantity == 0).fill_null(False)
    yield Mark("quantity is zero", zero, remedy, names["quantity"], wrong_if_most=False)
    if "currency" in names:
        other = (frame["currency"] != config.currency).fill_null(False)
        if other.any():
            known = [config.currency, *config.rates]
            other = (~frame["currency"].str.to_uppercase().is_in(known)).fill_null(False)
        yield Mark(
            f"currency is not {config.currency}",
            other,
            _currencies(frame["currency"].filter(other), config.currency),
            names["currency"],
        )


def _currencies(others: pl.Series, own: str) -> str:
    """Returns the remedy, with how many lines each of the most frequent currencies has."""
    counts = others.str.to_uppercase().value_counts(sort=True).head(3)
    found = ", ".join(f"{count:,} in {name}" for name, count in counts.iter_rows())
    return (
        f"found {found}; convert these prices, say under [rates] in retailer.toml what one is "
        f'worth in {own}, or correct currency = "{own}"'
    )


def warnings(frame: pl.DataFrame, table: Table, names: dict[str, str]) -> Iterator[Mark]:
    """Yields rows of a frame in our names that are used and should be looked at."""
    if table.name == "transactions":
        yield _huge(frame["quantity"], names["quantity"])
    if table.name == "products" and "gtin" in names:
        yield from _gtins(frame["gtin"], names["gtin"])
    if table.name == "ratings":
        part = (frame["rating"] != frame["rating"].round()).fill_null(False)
        remedy = "kept, and taken as the nearest whole star, a half as the one above"
        yield Mark("rating is a part of a star", part, remedy, names["rating"])
    if table.name == "events":
        other = (~frame["type"].str.to_lowercase().is_in(EVENT_TYPES)).fill_null(False)
        remedy = f"tasks know {', '.join(EVENT_TYPES)}; rename it in the export if it is one"
        yield Mark("type is not one that a task knows", other, remedy, names["type"])


def _huge(quantity: pl.Series, in_file: str) -> Mark:
    remedy = "kept; if it is a slip, correct it: one such line can lead a forecast astray"
    reason = f"quantity is over {HUGE} times the 99th percentile"
    none = pl.repeat(False, len(quantity), dtype=pl.Boolean, eager=True)
    if not quantity.is_between(-_HUGE_FROM, _HUGE_FROM).not_().any():
        return Mark(reason, none, remedy, in_file)
    size = quantity.abs()
    usual = size.filter(size.is_finite()).quantile(0.99) or 0.0
    huge = (size > max(HUGE * usual, _HUGE_FROM)).fill_null(False)
    return Mark(reason, huge & size.is_finite().fill_null(False), remedy, in_file)


def _gtins(gtin: pl.Series, in_file: str) -> Iterator[Mark]:
    known = gtin.is_not_null()
    shaped = gtin.str.contains(r"^\d+$") & gtin.str.len_chars().is_in(_GTIN_LENGTHS)
    remedy = "kept; a bar code has 8, 12, 13 or 14 digits, and a spreadsheet drops leading zeros"
    yield Mark("gtin is no bar code", known & ~shaped.fill_null(False), remedy, in_file)
    remedy = "kept; such a code is found in no other retailer's list: scan the product again"
    wrong = (shaped & (_check_sum(gtin) % 10 != 0)).fill_null(False)
    yield Mark("gtin has a wrong check digit", wrong, remedy, in_file)


def _check_sum(gtin: pl.Series) -> pl.Series:
    """Returns sum(digit * weight), weights 1, 3, 1, 3 ... from the right; 10 divides a right one.

    GS1 General Specifications, 7.9.1. Missing where a text of 14 signs is not all digits.
    """
    padded = gtin.str.zfill(14)
    digits = [padded.str.slice(13 - i, 1).cast(pl.Int64, strict=False) for i in range(14)]
    total = digits[0]
    for place, digit in enumerate(digits[1:], start=1):
        total = total + digit * (3 if place % 2 else 1)
    return total


def cell_warnings(
    column: Column, values: pl.Series, raw: pl.Series, writing: Writing
) -> Iterator[Mark]:
    """Yields ids that lost digits, and times whose zone or hour cannot be known."""
    if column.kind == "id" and column.name != "gtin":  # whose own rule says more
        yield _abbreviated(column, values, raw.name)
    if column.kind != "time" or values.null_count() == len(values):
        return
    zoned = _zoned(raw)
    yield from _mixed_zones(column, values.is_not_null(), zoned, raw.name)
    yield from _clock_changes(column, values, zoned, raw.name, writing.time_zone)


def _abbreviated(column: Column, values: pl.Series, in_file: str) -> Mark:
    rows = values.str.contains(r"^\d(?:\.\d+)?[eE]\+?\d+$").fill_null(False)
    remedy = "kept, and equal for all that begin alike: export the column as text, not as a number"
    return Mark(f"{column.name} is abbreviated, as spreadsheets do", rows, remedy, in_file)


def _zoned(raw: pl.Series) -> pl.Series:
    """Returns where a time is written with its zone; it then has one place in the world's time."""
    if raw.dtype == pl.String:
        return raw.str.strip_chars().str.contains(_ZONED).fill_null(False)
    aware = getattr(raw.dtype, "time_zone", None) is not None
    return pl.repeat(aware, len(raw), dtype=pl.Boolean, eager=True)


def _mixed_zones(
    column: Column, known: pl.Series, zoned: pl.Series, in_file: str
) -> Iterator[Mark]:
    with_zone, without = known & zoned, known & ~zoned
    if not (with_zone.any() and without.any()):
        return
    fewer = with_zone if int(with_zone.sum()) <= int(without.sum()) else without
    words = ("with", "without") if fewer is with_zone else ("without", "with")
    reason = f"{column.name} is written {words[0]} a time zone, and elsewhere {words[1]} one"
    remedy = "kept; times without one are taken as the retailer's local time: export all alike"
    yield Mark(reason, fewer, remedy, in_file)


def _clock_changes(
    column: Column, values: pl.Series, zoned: pl.Series, in_file: str, zone: str
) -> Iterator[Mark]:
    try:
        rows = near_clock_changes(values, zone, _FIRST_TIME, _LAST_TIME)
        if rows.is_empty():
            return
        few = values.gather(rows)
        known = few.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        once = few.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    except pl.exceptions.ComputeError as error:
        raise PlanError(
            f'time_zone = "{zone}" in retailer.toml is not known to the reader of the tables; '
            'write it as a region and a city, such as "Europe/London"'
        ) from error
    # Midnight is how a day without a clock is written, and some countries change theirs then.
    local = ~zoned.gather(rows) & (few.dt.time() != time())
    none = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
    gap = none.clone().scatter(rows.filter(local & known.is_null()), True)
    twice = none.clone().scatter(rows.filter(local & known.is_not_null() & once.is_null()), True)
    remedy = "kept as written; does the till's clock follow summer time, or is time_zone wrong?"
    yield Mark(f"{column.name} does not exist: the clock was put forward", gap, remedy, in_file)
    remedy = "kept as written, in the order of the file; export times with their zone to tell them"
    yield Mark(f"{column.name} exists twice: the clock was put back", twice, remedy, in_file)
