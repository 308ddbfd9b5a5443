"""Lines that stand, letter for letter, further up in their file.

A hash of the line proposes, and the lines themselves decide. Most files are in the order of time;
there a line can only be equal to one of the same time beside it, and few are hashed at all.
"""

from collections.abc import Sequence

import polars as pl

from grandtotal.tables.files import SourceFile
from grandtotal.tables.plain import SLICE
from grandtotal.tables.rules import Mark


def line_hashes(raw: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Returns one number for each line, equal for equal ones."""
    return raw.select(pl.struct(columns).hash()).to_series()


def repeats_within(file: SourceFile, raw: pl.DataFrame, time: str | None) -> list[Mark]:
    """Returns the mark of every repeated line of a whole file.

    raw: all its columns. time: the column in whose order the file may be.
    """
    near = _beside_an_equal(raw[time]) if time else None
    if near is None or 2 * near.sum() > raw.height:
        return repeated_lines(file, line_hashes(raw, file.columns))
    # Numbers are taken out of a frame at a fraction of what texts cost, and few lines share all.
    cheap = [name for name in file.columns if name == time or raw.schema[name].is_numeric()]
    rows = near.arg_true().gather(_shared(line_hashes(raw.select(cheap).filter(near), cheap)))
    rows = rows.gather(_shared(line_hashes(raw[rows], file.columns)))
    return _marks(file, rows, raw.height)


def repeated_lines(file: SourceFile, hashes: pl.Series) -> list[Mark]:
    """Returns the mark of every line of a file that stands further up in it.

    hashes: of all its lines.
    """
    return _marks(file, _shared(hashes), len(hashes))


def _beside_an_equal(values: pl.Series) -> pl.Series | None:
    """Returns all rows with the value of a neighbour, and some more; None without an order."""
    if values.dtype.is_nested():
        return None
    if not (values.is_sorted() or values.is_sorted(descending=True)):
        return None
    # A slice stays in the processor's cache.
    slices = values.to_frame().iter_slices(SLICE)
    return pl.concat([_beside_within(part.to_series()) for part in slices])


def _beside_within(values: pl.Series) -> pl.Series:
    """Returns the rows with the value of a neighbour; the first and last may have one outside."""
    as_above = values.eq_missing(values.shift(1))
    as_above[0] = True
    return as_above | as_above.shift(-1, fill_value=True)


def _shared(hashes: pl.Series) -> pl.Series:
    """Returns the rows, counted from 0, whose hash another row has as well."""
    ordered = hashes.sort()
    repeated = ordered.filter((ordered == ordered.shift(1)).fill_null(False)).unique()
    if repeated.is_empty():
        return pl.Series(dtype=pl.UInt32)
    return hashes.is_in(repeated.implode()).arg_true()


def _marks(file: SourceFile, candidates: pl.Series, height: int) -> list[Mark]:
    if candidates.is_empty():
        return []
    # A hash only proposes: two different lines may share one.
    again = file.rows(candidates).select(~pl.struct(pl.all()).is_first_distinct()).to_series()
    rows = pl.repeat(False, height, dtype=pl.Boolean, eager=True).scatter(
        candidates.filter(again), True
    )
    remedy = (
        "the first is kept; if a line can truly occur twice, "
        f'write into [tables.{file.table}]: duplicates = "keep"'
    )
    return [Mark("the line is an exact duplicate", rows, remedy, wrong_if_most=False)]
