"""What the rows of a table add up to by day, kept so that a later reading reads new rows only.

    for part in summed(tables, "transactions", columns, add):

A table of files: what each file adds up to is kept under what makes the file the same, so that new
and changed files are read and the others are not. The rows of a database that names
`final_after_days`: the sums of its final days are kept, and the query is asked for later days only.

`add` makes integers: they add up to the same in any order, so the sum of what is kept and what is
new is the sum of all rows, bit for bit.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from grandtotal.durable import canonical, digest
from grandtotal.tables.account import Cause
from grandtotal.tables.config import RetailerConfig
from grandtotal.tables.kept import Kept
from grandtotal.tables.read import Readable, Tables, pieces

Add = Callable[[Iterable[pl.DataFrame]], pl.DataFrame]
"""Adds rows up to a frame with a column `day`, whose rows are of the rows of that day alone."""


def summed(tables: Readable, name: str, columns: Sequence[str], add: Add) -> Iterator[pl.DataFrame]:
    """Yields what `add` makes of parts of the table, which together are all its rows.

    columns: with "time". Raises as `Tables.pieces` does.
    """
    if not isinstance(tables, Tables) or tables.kept is None:
        yield add(pieces(tables, name, columns))
        return
    code = digest(Path(inspect.getfile(add)).read_bytes())
    if tables.config.tables[name].final_after_days:
        yield from _of_days(tables, tables.kept, name, columns, add, code)
        return
    for key, rows in tables.parts(name, columns, code):
        found = tables.kept.load(key) if key else None
        if found is not None:
            yield found[1]["days"]
            continue
        days = add(rows)
        if key:
            tables.kept.save(key, None, {"days": days})
        yield days


def _of_days(
    tables: Tables, kept: Kept, name: str, columns: Sequence[str], add: Add, code: str
) -> Iterator[pl.DataFrame]:
    source = tables.config.tables[name]
    key = digest(canonical([tables.reading(name), code, list(columns)]))
    found = kept.load(key)
    if found is None:
        parts = [add(tables.pieces(name, columns))]
    else:
        first = date.fromisoformat(found[0]["final_before"])
        later = Tables(_from_day(tables, name, first), tables.set_aside_folder)
        rows = (part.filter(pl.col("time") >= first) for part in later.pieces(name, columns))
        parts = [found[1]["days"], add(rows)]
        tables.accounts[name] = replace(
            later.accounts[name], warnings=(*later.accounts[name].warnings, _not_read(first))
        )
    yield from parts
    days = pl.concat(parts)
    if len(days):
        last = days["day"].max()
        assert isinstance(last, date)
        final_before = last - timedelta(days=source.final_after_days - 1)
        final = days.filter(pl.col("day") < final_before)
        kept.save(key, {"final_before": str(final_before)}, {"days": final})


def _from_day(tables: Tables, name: str, first: date) -> RetailerConfig:
    """Returns the configuration whose query asks for the rows of about this day and later."""
    source = tables.config.tables[name]
    assert source.database is not None
    # A day earlier: the database's clock may show another zone than the retailer's.
    since = first - timedelta(days=1)
    query = (
        f"select * from (\n{source.database.query.rstrip().rstrip(';')}\n) as all_days "
        f"where {_quoted(source.name_in_file('time'))} >= '{since}'"
    )
    database = replace(source.database, query=query)
    found = {**tables.config.tables, name: replace(source, database=database)}
    return replace(tables.config, tables=found)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _not_read(first: date) -> Cause:
    return Cause(
        f"rows before {first} were not read: what they add up to was kept",
        0,
        (),
        "kept; if one of them was changed after all, remove the folder that `keep` names",
    )
