"""A retailer's tables as frames, and an account of every row.

    tables = Tables(load_config(folder), set_aside_folder)
    lines = tables["transactions"]          # our column names and types
    tables.accounts["transactions"]         # read = used + set aside + without consent
    tables.pieces("transactions", ["product", "quantity"])      # the same rows, however many

Consent is honoured here and nowhere else: no other module sees a row of a customer who did not
agree. Where retailer.toml names consent columns, that is every customer but those whose row in
the customers table has them all true; anonymous lines belong to nobody and stay.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from grandtotal.errors import DataError, PlanError
from grandtotal.tables.account import (
    Account,
    Cause,
    causes,
    unused_columns,
    warnings,
    write_set_aside,
)
from grandtotal.tables.config import RetailerConfig, nearest
from grandtotal.tables.files import SourceFile
from grandtotal.tables.kept import Kept, file_key, reading_digest
from grandtotal.tables.large import AT_ONCE, LargeTable, judge_large
from grandtotal.tables.rows import CONSENT, Judged, judge
from grandtotal.tables.rules import Mark
from grandtotal.tables.schema import REGISTRY, Table
from grandtotal.tables.sources import open_sources, refuse_other_columns

__all__ = ["Account", "Cause", "Tables"]

# About 1.5 GB while it is read, at 50 bytes a row and what the checks need beside them.
_WHOLE_ROWS = 4_000_000
_REMEDY = "the first is kept; write one row for each"


class Tables:
    """The tables of one retailer, each read when it is first asked for.

    Rows that cannot be used are written to <set_aside_folder>/<table>.csv, unless that is None.
    whole_rows: a table with more rows, without a key and `fill_down`, stays on the disk and is
    read in pieces of half as many. kept: a folder where what was found about such a table is kept
    for the next reading; `keep` in retailer.toml goes before it.
    """

    def __init__(
        self,
        config: RetailerConfig,
        set_aside_folder: Path | None = None,
        whole_rows: int = _WHOLE_ROWS,
        kept: Path | None = None,
    ) -> None:
        self.config = config
        self.accounts: dict[str, Account] = {}  # of the tables read so far
        self.set_aside_folder = set_aside_folder
        self._whole_rows = whole_rows
        folder = config.folder / config.keep if config.keep else kept
        self.kept = Kept(folder) if folder else None
        self._frames: dict[str, pl.DataFrame] = {}
        self._large: dict[str, LargeTable] = {}
        self._readings: dict[str, str] = {}

    def __contains__(self, name: object) -> bool:
        """True if retailer.toml says where the table is."""
        return name in self.config.tables

    def __getitem__(self, name: str) -> pl.DataFrame:
        """Returns a table in our column names and types; columns the file lacks are not there.

        Raises PlanError if retailer.toml does not have the table, DataError if it cannot be used.
        """
        self._open(name)
        if name not in self._frames:
            large = self._large[name]
            self._frames[name] = pl.concat(large.read(large.columns))
        return self._frames[name]

    def columns(self, name: str) -> list[str]:
        """Returns our names of the columns that a table has; raises as `tables[name]` does."""
        self._open(name)
        return list(self._large[name].columns if name in self._large else self[name].columns)

    def pieces(self, name: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yields the rows of `tables[name]` in their order, with those of the columns it has.

        A table in memory is one piece. Raises as `tables[name]` does.
        """
        self._open(name)
        if name in self._large:
            yield from self._large[name].read(columns)
        else:
            yield _chosen(self[name], columns)

    def parts(
        self, name: str, columns: Sequence[str], *more: str
    ) -> Iterator[tuple[str | None, Iterator[pl.DataFrame]]]:
        """Yields for each file what makes it and its reading the same, or None, and its rows.

        more: what else a key is to depend on. A table in memory is one part, without a key. Rows
        are read when they are asked for. Raises as `tables[name]` does.
        """
        self._open(name)
        if name not in self._large:
            yield None, self.pieces(name, columns)
            return
        reading = self.reading(name)
        for file, rows in self._large[name].by_file(columns):
            yield file_key(file, reading, list(columns), *more), rows

    def reading(self, name: str) -> str:
        """Returns a digest of how a table is read: the mapping, the code, and who agreed."""
        if name not in self._readings:
            self._readings[name] = reading_digest(self.config, name, self._agreed(name))
        return self._readings[name]

    def _agreed(self, name: str) -> pl.Series | None:
        """Returns the customers who agreed, where a table's rows depend on them, else None."""
        if not self.config.consent or name == "customers":
            return None
        return self["customers"]["customer"]

    def _open(self, name: str) -> None:
        """Reads a table, or judges it where it stays on the disk, the first time."""
        if name in self._frames or name in self._large:
            return
        table = self._declared(name)
        files = open_sources(self.config, table)
        # A key, and a cell that is filled from another line, are looked for in all rows.
        whole = table.key or self.config.tables[name].fill_down
        if whole or sum(file.at_most() for file in files) <= self._whole_rows:
            self._frames[name], account = self._read(table, files)
        else:
            self._large[name] = self._judge_large(table, files)
            account = self._large[name].account
        self.accounts[name] = account

    def _judge_large(self, table: Table, files: Sequence[SourceFile]) -> LargeTable:
        agreed = self._agreed(table.name)
        rows, folder = max(self._whole_rows // 2, 1), self.set_aside_folder
        known = (self.kept, self.reading(table.name)) if self.kept else None
        large = judge_large(self.config, table, files, rows, agreed, folder, known)
        _refuse_nothing_left(self.config, table, large.account)
        return large

    def _declared(self, name: str) -> Table:
        if name not in self:
            near = nearest(name, self.config.tables)
            hint = f"; did you mean '{near}'?" if near and name not in REGISTRY else ""
            raise PlanError(
                f"{self.config.path}: no table '{name}'{hint}; "
                f'add [tables.{name}] with path = "..." or leave out what needs it'
            )
        return REGISTRY[name]

    def _read(self, table: Table, files: Sequence[SourceFile]) -> tuple[pl.DataFrame, Account]:
        parts = _judge_files(self.config, table, files)
        if self.set_aside_folder:
            write_set_aside(self.set_aside_folder, table.name, parts)
        usable = pl.concat([part.usable for part in parts])
        frame = self._with_consent(table, usable, parts)
        account = Account(
            read=sum(part.frame.height for part in parts),
            used=frame.height,
            causes=causes(parts),
            no_consent=usable.height - frame.height,
            unused_columns=unused_columns(parts),
            warnings=warnings(parts),
        )
        _refuse_nothing_left(self.config, table, account)
        return frame, account

    def _with_consent(
        self, table: Table, usable: pl.DataFrame, parts: Sequence[Judged]
    ) -> pl.DataFrame:
        if not self.config.consent or "customer" not in usable.columns:
            return usable
        if table.name == "customers":
            return _agreed(usable, parts)
        agreed = self["customers"]["customer"].implode()
        return usable.filter(pl.col("customer").is_null() | pl.col("customer").is_in(agreed))


Readable = Tables | Mapping[str, pl.DataFrame]
"""A retailer's tables, or plain frames by name."""


def columns_of(tables: Readable, name: str) -> list[str]:
    """Returns our names of the columns of a table, as `Tables.columns` does."""
    return tables.columns(name) if isinstance(tables, Tables) else tables[name].columns


def pieces(tables: Readable, name: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yields a table as `Tables.pieces` does; plain frames by name are tables as well."""
    if isinstance(tables, Tables):
        yield from tables.pieces(name, columns)
    else:
        yield _chosen(tables[name], columns)


def _chosen(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    return frame.select([name for name in columns if name in frame.columns])


def _judge_files(config: RetailerConfig, table: Table, files: Sequence[SourceFile]) -> list[Judged]:
    parts: list[Judged] = []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for part in threads.map(lambda file: judge(file, table, config), files):
            first = (parts or [part])[0]
            refuse_other_columns(
                table, (first.file, first.frame.columns), (part.file, part.frame.columns)
            )
            parts.append(part)
    return _keep_first_of_key(table, parts) if table.key else parts


def _keep_first_of_key(table: Table, parts: list[Judged]) -> list[Judged]:
    """Sets aside every row whose key a usable row of these files already has."""
    names = [name for name in table.key if name in parts[0].frame.columns]
    usable = pl.concat([part.reason for part in parts]).is_null()
    rows = pl.concat([part.frame.select(names) for part in parts]).with_columns(usable=usable)
    # An unusable row keeps nobody out: it is told apart from a usable one by the column added.
    again = ~rows.select(pl.struct(pl.all()).is_first_distinct()).to_series() & usable
    if not again.any():
        return parts
    kept, start = [], 0
    for part in parts:
        mark = _repeats(names, again.slice(start, part.frame.height), part)
        start += part.frame.height
        kept.append(part.marked(mark))
    return kept


def _repeats(names: list[str], again: pl.Series, part: Judged) -> Mark:
    column = part.file.source.name_in_file(names[0])
    what = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return Mark(f"{what} occurs before", again, _REMEDY, column)


def _agreed(customers: pl.DataFrame, parts: Sequence[Judged]) -> pl.DataFrame:
    """Returns the customers who agreed, in every row that they have.

    A customer may stand in two rows, with consent withdrawn in the one that is set aside.
    """
    rows = pl.concat([part.frame.select("customer", CONSENT) for part in parts])
    withdrawn = rows.filter(~pl.col(CONSENT))["customer"].drop_nulls().implode()
    return customers.filter(pl.col(CONSENT), ~pl.col("customer").is_in(withdrawn)).drop(CONSENT)


def _refuse_nothing_left(config: RetailerConfig, table: Table, account: Account) -> None:
    if account.used:
        return
    why = [f"{cause.rows:,} rows: {cause.reason}" for cause in account.causes]
    why += [f"{account.no_consent:,} rows: no consent"] if account.no_consent else []
    raise DataError(
        f"{table.name}: {config.place(table.name)}: no row of {account.read:,} can be used "
        f"({'; '.join(why)}); correct these, or the columns and consent named in {config.path}"
    )
