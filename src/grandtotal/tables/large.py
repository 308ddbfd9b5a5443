"""A table that is larger than memory: judged piece by piece once, then read as often as needed.

What is kept of a row between the two is one bit: whether it is used. Reasons, examples and row
numbers are those of the whole file, and so is what is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from grandtotal.tables.account import (
    Account,
    added,
    as_it_stood,
    causes,
    in_file,
    other_types,
    unused_columns,
    warnings,
    write_rows,
)
from grandtotal.tables.config import RetailerConfig
from grandtotal.tables.files import SourceFile
from grandtotal.tables.rows import (
    Judged,
    judge,
    read_columns,
    refuse_if_most,
    repeated_lines,
)
from grandtotal.tables.rules import Mark
from grandtotal.tables.schema import Table
from grandtotal.tables.sources import distinct_names, refuse_other_columns


@dataclass(frozen=True)
class Piece:
    """Some rows of a file, and which of them are used."""

    file: SourceFile
    used: pl.Series


@dataclass(frozen=True)
class LargeTable:
    """A judged table on the disk; `columns` are our names of what its files have."""

    table: Table
    config: RetailerConfig
    columns: tuple[str, ...]
    pieces: tuple[Piece, ...]
    account: Account

    def read(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yields the used rows, in order, with those of these columns that the files have."""
        names = [name for name in columns if name in self.columns]
        for piece in self.pieces:
            yield read_columns(piece.file, self.table, self.config, names, piece.used)


def judge_large(
    config: RetailerConfig,
    table: Table,
    files: Sequence[SourceFile],
    rows: int,
    agreed: pl.Series | None,
    folder: Path | None,
) -> LargeTable:
    """Judges the files in pieces of at most `rows` rows, and writes those that are set aside.

    agreed: the customers who agreed; None where nobody has to. Raises DataError as `judge` does.
    """
    pieces: list[Piece] = []
    accounts: list[Account] = []
    stood: list[pl.DataFrame] = []
    first: tuple[SourceFile, list[str]] | None = None
    heights = [file.height() for file in files]
    for file, name in zip(files, distinct_names(files), strict=True):
        for part in _judged(file, table, config, rows):
            used, account = _use(part, agreed)
            pieces.append(Piece(part.file, used))
            accounts.append(in_file(account, name))
            stood += [as_it_stood(part)] if folder and part.reason.count() else []
            found = (part.file, part.frame.columns)
            first = first or found
            refuse_other_columns(table, first, found)
    if folder:
        write_rows(folder, table.name, stood)
    columns = tuple(first[1]) if first else ()
    account = added(accounts)
    types = other_types(files, columns, heights)
    account = replace(account, warnings=(*account.warnings, *types))
    return LargeTable(table, config, columns, tuple(pieces), account)


def _judged(file: SourceFile, table: Table, config: RetailerConfig, rows: int) -> Iterator[Judged]:
    marks = repeated_lines(file) if file.source.duplicates == "set-aside" else []
    found: dict[str, tuple[Mark, list[pl.Series]]] = {}
    height = 0
    for piece in file.pieces(rows):
        here = [replace(mark, rows=mark.rows.slice(piece.start, piece.count)) for mark in marks]
        part = judge(piece, table, config, [mark for mark in here if mark.rows.any()])
        for mark in part.marks:
            found.setdefault(mark.reason, (mark, []))[1].append(mark.rows.arg_true() + height)
        height += part.frame.height
        yield part
    for mark, numbers in found.values():
        refuse_if_most(file, table, mark, pl.concat(numbers), height)


def _use(part: Judged, agreed: pl.Series | None) -> tuple[pl.Series, Account]:
    """Returns which rows are used, and the account of the piece."""
    usable = part.reason.is_null()
    used = usable
    if agreed is not None and "customer" in part.frame.columns:
        customer = part.frame["customer"]
        used = usable & (customer.is_null() | customer.is_in(agreed.implode()))
    account = Account(
        read=part.frame.height,
        used=int(used.sum()),
        causes=causes([part]),
        no_consent=int(usable.sum()) - int(used.sum()),
        unused_columns=unused_columns([part]),
        warnings=warnings([part]),
    )
    return used, account
