"""A table that is larger than memory: judged piece by piece once, then read as often as needed.

What is kept of a row between the two is one bit: whether it is used. Reasons, examples and row
numbers are those of the whole file, and so is what is refused.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from grandtotal.durable import Json
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
from grandtotal.tables.kept import Kept, file_key
from grandtotal.tables.repeats import repeated_lines
from grandtotal.tables.rows import (
    Judged,
    judge,
    read_columns,
    refuse_if_most,
)
from grandtotal.tables.rules import Mark
from grandtotal.tables.schema import Table
from grandtotal.tables.sources import distinct_names, refuse_other_columns

AT_ONCE = 2  # pieces, or files, judged side by side: bounds the memory


@dataclass(frozen=True)
class Piece:
    """Some rows of a file, which of them are used, and which of our columns are plain."""

    file: SourceFile
    used: pl.Series
    plain: frozenset[str]


@dataclass(frozen=True)
class _Verdict:
    """What was found about a piece; marks with the numbers of their rows in the file."""

    piece: Piece
    columns: list[str]
    account: Account
    stood: pl.DataFrame | None
    marks: list[tuple[Mark, pl.Series]]
    hashes: pl.Series | None


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
        for _, rows in self.by_file(columns):
            yield from rows

    def by_file(
        self, columns: Sequence[str]
    ) -> Iterator[tuple[SourceFile, Iterator[pl.DataFrame]]]:
        """Yields each file and its used rows, which are read when they are asked for."""
        for _, same in itertools.groupby(self.pieces, key=lambda piece: piece.file.path):
            parts = list(same)
            yield parts[0].file, (self._read(part, columns) for part in parts)

    def _read(self, piece: Piece, columns: Sequence[str]) -> pl.DataFrame:
        names = [name for name in columns if name in self.columns]
        return read_columns(piece.file, self.table, self.config, names, piece.used, piece.plain)


def judge_large(
    config: RetailerConfig,
    table: Table,
    files: Sequence[SourceFile],
    rows: int,
    agreed: pl.Series | None,
    folder: Path | None,
    known: tuple[Kept, str] | None = None,
) -> LargeTable:
    """Judges the files in pieces of at most `rows` rows, and writes those that are set aside.

    agreed: the customers who agreed; None where nobody has to. known: where what was found about
    a file is kept for the next reading, and `reading_digest`. Raises DataError as `judge` does.
    """
    verdicts: list[_Verdict] = []
    accounts: list[Account] = []
    heights = []
    for file, name in zip(files, distinct_names(files), strict=True):
        found = _known(file, table, config, rows, agreed, known)
        first = (verdicts or found)[0]
        for other in found:
            refuse_other_columns(
                table, (first.piece.file, first.columns), (other.piece.file, other.columns)
            )
        verdicts += found
        accounts += [in_file(verdict.account, name) for verdict in found]
        heights.append(sum(len(verdict.piece.used) for verdict in found))
    if folder:
        stood = [verdict.stood for verdict in verdicts if verdict.stood is not None]
        write_rows(folder, table.name, stood)
    columns = tuple(verdicts[0].columns)
    account = added(accounts)
    types = other_types(files, columns, heights)
    account = replace(account, warnings=(*account.warnings, *types))
    return LargeTable(table, config, columns, tuple(v.piece for v in verdicts), account)


def _known(
    file: SourceFile,
    table: Table,
    config: RetailerConfig,
    rows: int,
    agreed: pl.Series | None,
    known: tuple[Kept, str] | None,
) -> list[_Verdict]:
    """Returns what is kept about a file, or judges it and keeps what was found."""
    kept, reading = known or (None, "")
    key = file_key(file, reading, "verdict", rows)
    if kept is None or key is None:
        return _judged(file.copied(), table, config, rows, agreed)
    found = kept.load(key)
    if found is not None:
        return _loaded(file.copied(), *found)
    verdicts = _judged(file.copied(), table, config, rows, agreed)
    kept.save(key, *_saved(verdicts))
    return verdicts


def _saved(verdicts: list[_Verdict]) -> tuple[list[Json], dict[str, pl.DataFrame]]:
    values = [
        {
            "start": verdict.piece.file.start,
            "count": verdict.piece.file.count,
            "plain": sorted(verdict.piece.plain),
            "columns": verdict.columns,
            "account": asdict(verdict.account),
        }
        for verdict in verdicts
    ]
    frames = {}
    for i, verdict in enumerate(verdicts):
        frames[f"{i}.used"] = verdict.piece.used.alias("used").to_frame()
        if verdict.stood is not None:
            frames[f"{i}.stood"] = verdict.stood
    return values, frames


def _loaded(
    file: SourceFile, values: list[Json], frames: dict[str, pl.DataFrame]
) -> list[_Verdict]:
    found = []
    for i, value in enumerate(values):
        part = replace(file, start=value["start"], count=value["count"])
        piece = Piece(part, frames[f"{i}.used"]["used"], frozenset(value["plain"]))
        stood = frames.get(f"{i}.stood")
        account = Account.of(value["account"])
        found.append(_Verdict(piece, value["columns"], account, stood, [], None))
    return found


def _judged(
    file: SourceFile, table: Table, config: RetailerConfig, rows: int, agreed: pl.Series | None
) -> list[_Verdict]:
    """Judges a file in one pass; the pieces in which a line of the file repeats, once more."""
    pieces = list(file.pieces(rows))
    once: list[Mark] | None = None if file.source.duplicates == "set-aside" else []

    def verdict(piece: SourceFile) -> _Verdict:
        return _verdict(judge(piece, table, config, once), agreed, piece.start)

    # Most of what is asked of a column keeps one core busy and lets the others go on.
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = list(threads.map(verdict, pieces))
    height = sum(len(verdict.piece.used) for verdict in found)
    hashes = [verdict.hashes for verdict in found if verdict.hashes is not None]
    for mark in repeated_lines(file, pl.concat(hashes)) if hashes and len(pieces) > 1 else []:
        for i, piece in enumerate(pieces):
            here = mark.rows.slice(piece.start, len(found[i].piece.used))
            if here.any():
                part = judge(piece, table, config, [replace(mark, rows=here)])
                found[i] = _verdict(part, agreed, piece.start)
    marks: dict[str, list[tuple[Mark, pl.Series]]] = {}
    for mark, numbers in (pair for verdict in found for pair in verdict.marks):
        marks.setdefault(mark.reason, []).append((mark, numbers))
    for same in marks.values():
        rows_ = pl.concat([numbers for _, numbers in same])
        refuse_if_most(file, table, same[0][0], rows_, height)
    return [replace(verdict, hashes=None) for verdict in found]


def _verdict(part: Judged, agreed: pl.Series | None, start: int) -> _Verdict:
    used, account = _use(part, agreed)
    return _Verdict(
        Piece(part.file, used, part.plain),
        part.frame.columns,
        account,
        as_it_stood(part) if part.reason.count() else None,
        [(mark, mark.rows.arg_true() + start) for mark in part.marks],
        part.hashes if part.file.count is not None else None,
    )


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
