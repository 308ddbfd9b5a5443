"""Which columns of a file are plain: every cell is what the column is for, and is read by a cast.

A proof, not a judgement. A column that is not proved plain goes through `cells` and `rules` cell by
cell; one that is would come out of them unchanged, with no mark, and is spared the passes. Most
columns of most files are plain, and a proof costs a tenth.
"""

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from math import isfinite

import numpy as np
import polars as pl

from grandtotal.tables.schema import Column, Table

# Cells that mean "empty" as a text; `cells` makes them missing.
EMPTY_WORDS = ("", "NULL", "null", "\\N", "None", "NaT", "NaN", "nan")
_LONGEST_WORD = max(map(len, EMPTY_WORDS))
# "85123.0", a number that was an id, and "5.4E+12", an abbreviated one.
_NUMBER = r"^-?\d+\.0+$|^\d(?:\.\d+)?[eE]\+?\d+$"
_EXACT = 2**53  # a larger integer does not survive as a float
SLICE = 1 << 17  # cells at once, where what is made of them is to stay in the processor's cache


def plain_columns(raw: pl.DataFrame, table: Table, names: Mapping[str, str]) -> frozenset[str]:
    """Returns our names of the plain columns of these rows; `names` is our name -> the file's."""
    return frozenset(ours for ours, theirs in names.items() if _is_plain(raw[theirs], table[ours]))


def plain_value(name: str, column: Column, dtype: pl.DataType) -> pl.Expr:
    """Returns the values of a plain column of that name and type in the file, under ours."""
    value = pl.col(name)
    if column.none_words and dtype.is_integer():
        return pl.when(value == 1).then(pl.lit("1")).alias(column.name)
    if column.kind == "integer":
        value = value.cast(pl.Float64)
    return value.cast(column.dtype).alias(column.name)


def _is_plain(raw: pl.Series, column: Column) -> bool:
    if column.required and raw.null_count():
        return False
    if column.kind in ("id", "text"):
        return _is_plain_text(raw, column)
    if column.kind in ("integer", "number", "money"):
        return _is_plain_number(raw, column)
    if column.kind == "flag":
        return raw.dtype == pl.Boolean
    naive = raw.dtype == pl.Datetime and getattr(raw.dtype, "time_zone", None) is None
    days = raw.dtype == pl.Date
    return (days or (naive and column.kind == "time")) and _is_in_bounds(raw, column)


def _is_plain_text(raw: pl.Series, column: Column) -> bool:
    """True if no cell is empty, has outer spaces, or looks like a number that lost its form."""
    if raw.dtype.is_integer():
        return not column.none_words or _between(raw, 0, 1)
    if raw.dtype != pl.String or _any_empty(raw):
        return False
    if column.none_words and raw.str.to_lowercase().is_in(list(column.none_words)).any():
        return False
    return all(_is_visible(part.to_series()) for part in raw.to_frame().iter_slices(SLICE))


def _is_visible(raw: pl.Series) -> bool:
    """True if the cells have no sign but visible ones, and no number that lost its form."""
    signs = raw.str.join("").cast(pl.Binary).item()
    if not signs:
        return True
    codes = np.frombuffer(signs, np.uint8)
    if codes.min() <= ord(" ") or codes.max() >= 127:
        return False
    # A search cell by cell is spared where no cell has the sign that it needs.
    maybe = any(sign in signs for sign in (b".", b"e", b"E"))
    return not (maybe and raw.str.contains(_NUMBER).any())


def _any_empty(raw: pl.Series) -> bool:
    shortest = raw.str.len_bytes().min()
    if shortest is None or shortest > _LONGEST_WORD:  # type: ignore[operator]
        return False
    return raw.is_in(EMPTY_WORDS).any()


def _is_plain_number(raw: pl.Series, column: Column) -> bool:
    if not raw.dtype.is_numeric() or raw.dtype.is_decimal():
        return False
    if raw.dtype.is_float():
        # A sum is finite if all are; if it alone is not, a second look does no harm.
        if column.kind == "integer" or not isfinite(raw.sum()):
            return False
    elif not _between(raw, -_EXACT, _EXACT):
        return False
    return _between(raw, column.least, column.most)


def _between(values: pl.Series, least: object, most: object) -> bool:
    low, high = values.min(), values.max()
    if low is None:
        return True
    return not (
        (least is not None and low < least)  # type: ignore[operator]
        or (most is not None and high > most)  # type: ignore[operator]
    )


def _is_in_bounds(raw: pl.Series, column: Column) -> bool:
    low, high = raw.cast(pl.Datetime("us")).min(), raw.cast(pl.Datetime("us")).max()
    if low is None:
        return True
    assert isinstance(low, datetime)
    assert isinstance(high, datetime)
    return not (
        (column.least is not None and low.date() < column.least)  # type: ignore[operator]
        or (column.most is not None and high.date() > column.most)  # type: ignore[operator]
    )


def near_clock_changes(values: pl.Series, zone: str, first: datetime, last: datetime) -> pl.Series:
    """Returns the rows, counted from 0, of local times within a day and a half of a clock change.

    values: naive times; of those outside first..last nothing is said. Raises what polars raises
    for a zone that it does not know.
    """
    low, high = values.min(), values.max()
    if low is None:
        return pl.Series(dtype=pl.UInt32)
    assert isinstance(low, datetime)
    assert isinstance(high, datetime)
    start = datetime.combine(max(low, first).date(), time(12)) - timedelta(days=2)
    end = datetime.combine(min(high, last).date(), time(12)) + timedelta(days=2)
    noons = pl.datetime_range(start, end, "1d", time_zone="UTC", eager=True)
    local = noons.dt.convert_time_zone(zone).dt
    offsets = local.base_utc_offset() + local.dst_offset()
    changed = noons.dt.replace_time_zone(None).filter(
        (offsets != offsets.shift(-1)).fill_null(False)
    )
    day = timedelta(days=1)
    near = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
    if changed.is_empty():
        return near.arg_true()
    if values.null_count() == 0 and values.is_sorted():
        return _between_sorted(values, changed - day, changed + 2 * day)
    for noon in changed:
        near |= values.is_between(noon - day, noon + 2 * day).fill_null(False)
    return near.arg_true()


def _between_sorted(values: pl.Series, lows: pl.Series, highs: pl.Series) -> pl.Series:
    """Returns the rows of sorted values within any of these bounds, which rise and are included."""
    starts = values.search_sorted(lows.cast(values.dtype), "left")
    ends = values.search_sorted(highs.cast(values.dtype), "right")
    rows = [
        pl.int_range(start, end, dtype=pl.UInt32, eager=True)
        for start, end in zip(starts, ends, strict=True)
    ]
    return pl.concat(rows).unique(maintain_order=True)
