"""From the cells of a file to values of a kind: one pass over a column, never a Python row.

A cell that holds something that is not of the kind becomes missing and is marked unreadable, so
that the caller can say where it is and what it says.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import polars as pl

from grandtotal.tables.schema import Column, Kind

ISO_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y%m%d",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
)
_DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d %b %Y")
_CLOCKS = (" %H:%M", " %H:%M:%S", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p", "")

_MISSING = ["", "NULL", "null", "\\N", "None", "NaT"]
_NAN = ["NaN", "nan"]
_TRUE = ["true", "t", "yes", "y", "1", "1.0"]
_FALSE = ["false", "f", "no", "n", "0", "0.0"]


class Cells(NamedTuple):
    """Values of a column's own type, and a Boolean series that marks what could not be read."""

    values: pl.Series
    unreadable: pl.Series


class Writing(NamedTuple):
    """How the file writes its cells: a strptime format ("" for ISO 8601), decimal mark, zone."""

    time_format: str
    decimal: str
    time_zone: str


def read_cells(raw: pl.Series, column: Column, writing: Writing) -> Cells:
    """Returns the cells of `raw` as values of the column's kind.

    A required number keeps NaN, so that the caller can name it; elsewhere NaN is missing.
    """
    try:
        values, present = _READERS[column.kind](raw, column, writing)
    except pl.exceptions.PolarsError:  # a nested or binary type has no reading at all
        values, present = pl.repeat(None, len(raw), dtype=pl.Null, eager=True), raw.is_not_null()
    values = values.cast(column.dtype).alias(column.name)
    return Cells(values, present & values.is_null())


def may_be(dtype: pl.DataType, kind: Kind) -> bool:
    """False if no value of this type can be read as the kind: a date is no number, a list nothing.

    A column without any value may be anything.
    """
    if dtype.is_nested() or dtype == pl.Binary:
        return False
    if kind in ("integer", "number", "money"):
        return not (dtype.is_temporal() or dtype == pl.Boolean)
    if kind in ("time", "date"):
        return not (dtype.is_float() or dtype in (pl.Boolean, pl.Time, pl.Duration))
    return True


def guess_formats(texts: pl.Series) -> list[str]:
    """Returns the usual time formats, one a way to write the day, that read all of `texts`."""
    texts = texts.cast(pl.String).str.strip_chars()
    if texts.is_empty():
        return []
    ways = ((day + clock for clock in _CLOCKS if _fits(texts, day + clock)) for day in _DAYS)
    return [name for way in ways for name in list(way)[:1]]


def is_iso(texts: pl.Series) -> bool:
    """Returns whether all texts are times that are read without a time_format."""
    return not _parse(texts.str.strip_chars(), ISO_FORMATS, Writing("", ".", "UTC")).has_nulls()


def _fits(texts: pl.Series, name: str) -> bool:
    return not _strptime(texts, name, "UTC").has_nulls()


_Read = tuple[pl.Series, pl.Series]  # values, and where the cell holds anything


def _texts(raw: pl.Series, missing: list[str]) -> pl.Series:
    if raw.dtype.is_nested():
        raise pl.exceptions.InvalidOperationError(f"{raw.dtype} is not one value a cell")
    texts = raw.cast(pl.String).str.strip_chars()
    gone = texts.is_in(missing)
    return pl.select(pl.when(gone).then(None).otherwise(texts)).to_series() if gone.any() else texts


def _read_text(raw: pl.Series, column: Column, _: Writing) -> _Read:
    texts = _texts(raw, _MISSING + _NAN)
    if texts.str.contains(".0", literal=True).any():
        texts = texts.str.replace(r"^(-?\d+)\.0+$", "${1}")
    if column.none_words:
        none = texts.str.to_lowercase().is_in(list(column.none_words))
        texts = pl.select(pl.when(~none).then(texts)).to_series()
    return texts, texts.is_not_null()


def _read_number(raw: pl.Series, column: Column, writing: Writing) -> _Read:
    values, present = _numbers(raw, writing)
    if not column.required:
        nan = values.is_nan().fill_null(False)
        values, present = values.fill_nan(None), present & ~nan
        values = pl.select(pl.when(values.is_finite()).then(values)).to_series()
    return values, present


def _read_integer(raw: pl.Series, column: Column, writing: Writing) -> _Read:
    values, present = _read_number(raw, column, writing)
    whole = pl.select(pl.when(values == values.floor()).then(values)).to_series()
    return whole.cast(pl.Int64, strict=False), present


def _numbers(raw: pl.Series, writing: Writing) -> _Read:
    if raw.dtype.is_numeric():
        return raw.cast(pl.Float64), raw.is_not_null()
    texts = _texts(raw, _MISSING)
    if raw.dtype == pl.String and writing.decimal == ",":
        texts = texts.str.replace(",", ".", literal=True)
    return texts.cast(pl.Float64, strict=False), texts.is_not_null()


def _read_time(raw: pl.Series, _: Column, writing: Writing) -> _Read:
    if raw.dtype in (pl.Datetime, pl.Date):
        return _local(
            raw.cast(pl.Datetime("us", getattr(raw.dtype, "time_zone", None))), writing
        ), (raw.is_not_null())
    texts = _texts(raw, _MISSING + _NAN)
    formats = (writing.time_format,) if writing.time_format else ISO_FORMATS
    return _parse(texts, formats, writing), texts.is_not_null()


def _read_date(raw: pl.Series, column: Column, writing: Writing) -> _Read:
    values, present = _read_time(raw, column, writing)
    return values.dt.date(), present


def _read_flag(raw: pl.Series, _: Column, __: Writing) -> _Read:
    texts = _texts(raw, _MISSING + _NAN).str.to_lowercase()
    true, false = texts.is_in(_TRUE), texts.is_in(_FALSE)
    return pl.select(pl.when(true | false).then(true)).to_series(), texts.is_not_null()


def _parse(texts: pl.Series, formats: Iterable[str], writing: Writing) -> pl.Series:
    """Reads each text by the first of the formats that fits it; the rest is missing."""
    values = pl.repeat(None, len(texts), dtype=pl.Datetime("us"), eager=True)
    for name in formats:
        left = (values.is_null() & texts.is_not_null()).arg_true()
        if left.is_empty():
            break
        parsed = _strptime(texts.gather(left), name, writing.time_zone)
        values = parsed if len(left) == len(texts) else values.scatter(left, parsed)
    return values


def _strptime(texts: pl.Series, name: str, time_zone: str) -> pl.Series:
    """Returns the local times, missing where the format does not fit or cannot be used."""
    name = name.replace("%S.%f", "%S%.f")  # as Python writes it
    try:
        parsed = texts.str.to_datetime(name, time_unit="us", strict=False, exact=True)
    except pl.exceptions.PolarsError:
        parsed = pl.repeat(None, len(texts), dtype=pl.Datetime("us"), eager=True)
    return _local(parsed, Writing(name, ".", time_zone))


def _local(times: pl.Series, writing: Writing) -> pl.Series:
    """Returns times without a zone as they are, and others as the clock at the retailer showed."""
    if getattr(times.dtype, "time_zone", None) is None:
        return times
    return times.dt.convert_time_zone(writing.time_zone).dt.replace_time_zone(None)


_READERS: dict[Kind, Callable[[pl.Series, Column, Writing], _Read]] = {
    "id": _read_text,
    "text": _read_text,
    "integer": _read_integer,
    "number": _read_number,
    "money": _read_number,
    "time": _read_time,
    "date": _read_date,
    "flag": _read_flag,
}
