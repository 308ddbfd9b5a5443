"""A retailer's tables as frames, and an account of every row.

    tables = Tables(load_config(folder), set_aside_folder)
    lines = tables["transactions"]          # our column names and types
    tables.accounts["transactions"]         # read = used + set aside + without consent

Consent is honoured here and nowhere else: no other module sees a row of a customer who did not
agree. Where retailer.toml names consent columns, that is every customer but those whose row in
the customers table has them all true; anonymous lines belong to nobody and stay.
"""

from collections.abc import Sequence
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
from grandtotal.tables.files import find_files, open_file
from grandtotal.tables.rows import CONSENT, Judged, judge
from grandtotal.tables.rules import Mark
from grandtotal.tables.schema import REGISTRY, Table

__all__ = ["Account", "Cause", "Tables"]

_REMEDY = "the first is kept; write one row for each"


class Tables:
    """The tables of one retailer, each read when it is first asked for.

    Rows that cannot be used are written to <set_aside_folder>/<table>.csv, unless that is None.
    """

    def __init__(self, config: RetailerConfig, set_aside_folder: Path | None = None) -> None:
        self.config = config
        self.accounts: dict[str, Account] = {}  # of the tables read so far
        self._set_aside_folder = set_aside_folder
        self._frames: dict[str, pl.DataFrame] = {}

    def __contains__(self, name: object) -> bool:
        """True if retailer.toml says where the table is."""
        return name in self.config.tables

    def __getitem__(self, name: str) -> pl.DataFrame:
        """Returns a table in our column names and types; columns the file lacks are not there.

        Raises PlanError if retailer.toml does not have the table, DataError if it cannot be used.
        """
        if name not in self._frames:
            self._frames[name] = self._read(self._declared(name))
        return self._frames[name]

    def _declared(self, name: str) -> Table:
        if name not in self:
            near = nearest(name, self.config.tables)
            hint = f"; did you mean '{near}'?" if near and name not in REGISTRY else ""
            raise PlanError(
                f"{self.config.path}: no table '{name}'{hint}; "
                f'add [tables.{name}] with path = "..." or leave out what needs it'
            )
        return REGISTRY[name]

    def _read(self, table: Table) -> pl.DataFrame:
        parts = _judge_files(self.config, table)
        if self._set_aside_folder:
            write_set_aside(self._set_aside_folder, table.name, parts)
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
        self.accounts[table.name] = account
        return frame

    def _with_consent(
        self, table: Table, usable: pl.DataFrame, parts: Sequence[Judged]
    ) -> pl.DataFrame:
        if not self.config.consent or "customer" not in usable.columns:
            return usable
        if table.name == "customers":
            return _agreed(usable, parts)
        agreed = self["customers"]["customer"].implode()
        return usable.filter(pl.col("customer").is_null() | pl.col("customer").is_in(agreed))


def _judge_files(config: RetailerConfig, table: Table) -> list[Judged]:
    source = config.tables[table.name]
    parts: list[Judged] = []
    for path in find_files(config, table.name):
        part = judge(open_file(table.name, path, source), table, config)
        _refuse_other_columns(table, (parts or [part])[0], part)
        parts.append(part)
    return _keep_first_of_key(table, parts) if table.key else parts


def _refuse_other_columns(table: Table, first: Judged, part: Judged) -> None:
    differ = sorted(set(first.frame.columns) ^ set(part.frame.columns))
    if differ:
        has, lacks = (first, part) if differ[0] in first.frame.columns else (part, first)
        raise DataError(
            f"{table.name}: {lacks.file.path}: no column '{differ[0]}', which "
            f"{has.file.path.name} has; add it (its cells may be empty) or take the file out"
        )


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
    path = config.folder / config.tables[table.name].path
    raise DataError(
        f"{table.name}: {path}: no row of {account.read:,} can be used ({'; '.join(why)}); "
        f"correct these, or the columns and consent named in {config.path}"
    )
