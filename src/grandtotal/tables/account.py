"""What became of every row of a table: read = used + set aside + without consent."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from grandtotal.durable import partial_path, write
from grandtotal.errors import DataError
from grandtotal.tables.files import SourceFile
from grandtotal.tables.rows import Judged
from grandtotal.tables.rules import Mark
from grandtotal.tables.sources import distinct_names


@dataclass(frozen=True)
class Cause:
    """Rows with one reason; `examples` are up to three, such as "line 7: 'abc'"."""

    reason: str
    rows: int
    examples: tuple[str, ...]
    remedy: str


@dataclass(frozen=True)
class Account:
    """The rows of one table. `no_consent` are rows of customers who did not agree.

    `causes` are why rows were set aside; `warnings` name rows that were not, and should be looked
    at. `unused_columns` are those of the files that no column of ours is read from.
    """

    read: int
    used: int
    causes: tuple[Cause, ...]
    no_consent: int
    unused_columns: tuple[str, ...] = ()
    warnings: tuple[Cause, ...] = ()

    @staticmethod
    def of(values: Mapping[str, Any]) -> "Account":
        """Returns the account that `asdict` and JSON made these values of."""
        causes = {
            name: tuple(Cause(**{**c, "examples": tuple(c["examples"])}) for c in values[name])
            for name in ("causes", "warnings")
        }
        return Account(**{**values, **causes, "unused_columns": tuple(values["unused_columns"])})

    @property
    def set_aside(self) -> dict[str, int]:
        """Reason -> number of rows."""
        return {cause.reason: cause.rows for cause in self.causes}


def unused_columns(parts: Sequence[Judged]) -> tuple[str, ...]:
    """Returns the columns of the files that nothing is read from, in the order of the files."""
    found = dict.fromkeys(name for part in parts for name in part.file.columns)
    source = parts[0].file.source
    used = {source.name_in_file(name) for name in parts[0].frame.columns} | {*source.consent}
    return tuple(name for name in found if name not in used)


def causes(parts: Sequence[Judged]) -> tuple[Cause, ...]:
    """Returns why rows of a table's files were set aside, the most frequent reason first."""
    reasons = pl.concat([part.reason.drop_nulls() for part in parts])
    counts = reasons.value_counts(name="rows").sort(
        ["rows", reasons.name], descending=[True, False]
    )
    return tuple(_cause(reason, rows, parts) for reason, rows in counts.iter_rows())


def _cause(reason: str, rows: int, parts: Sequence[Judged]) -> Cause:
    remedy = next(mark.remedy for part in parts for mark in part.marks if mark.reason == reason)
    return Cause(reason, rows, _first([(part, part.examples(reason)) for part in parts]), remedy)


def _first(examples: Sequence[tuple[Judged, list[str]]]) -> tuple[str, ...]:
    """Returns the first three examples, with the name of the file where there are several."""
    files = distinct_names([part.file for part, _ in examples])
    named = [
        f"{name} {example}".lstrip()
        for name, (_, found) in zip(files, examples, strict=True)
        for example in found
    ]
    return tuple(named[:3])


def warnings(parts: Sequence[Judged]) -> tuple[Cause, ...]:
    """Returns what to look at in the rows that are used, and types that differ between files."""
    found: dict[str, list[tuple[Judged, Mark]]] = {}
    for part in parts:
        for mark in part.warnings:
            if part.kept(mark).any():
                found.setdefault(mark.reason, []).append((part, mark))
    files, heights = [part.file for part in parts], [part.frame.height for part in parts]
    types = other_types(files, parts[0].frame.columns, heights)
    return (*(_warning(reason, found[reason], parts) for reason in found), *types)


def _warning(reason: str, found: Sequence[tuple[Judged, Mark]], parts: Sequence[Judged]) -> Cause:
    marks = {id(part): mark for part, mark in found}
    rows = sum(int(part.kept(mark).sum()) for part, mark in found)
    examples = [
        (part, part.warning_examples(marks[id(part)]) if id(part) in marks else [])
        for part in parts
    ]
    return Cause(reason, rows, _first(examples), found[0][1].remedy)


def other_types(
    files: Sequence[SourceFile], columns: Sequence[str], heights: Sequence[int]
) -> Iterator[Cause]:
    """Yields columns whose type in a .parquet is not that of the first; a .csv holds texts.

    columns: our names of what the files have; heights: the rows of each file.
    """
    names = distinct_names(files)
    typed = [
        (name, height, file.types())
        for name, height, file in zip(names, heights, files, strict=True)
        if not file.is_text
    ]
    for column in columns:
        in_file = files[0].source.name_in_file(column)
        types = [(name, rows, schema[in_file]) for name, rows, schema in typed if in_file in schema]
        others = [found for found in types if found[2] != types[0][2]]
        if others:
            reason = f"column '{in_file}' has another type than in {types[0][0]}"
            examples = tuple(f"{name}: {dtype}" for name, _, dtype in others[:3])
            remedy = f"kept, each read as {column}; write all files with {types[0][2]}"
            yield Cause(reason, sum(rows for _, rows, _ in others), examples, remedy)


def added(accounts: Sequence[Account]) -> Account:
    """Returns the account of a table from those of its pieces."""
    causes = _joined(cause for account in accounts for cause in account.causes)
    return Account(
        read=sum(account.read for account in accounts),
        used=sum(account.used for account in accounts),
        causes=tuple(sorted(causes, key=lambda cause: (-cause.rows, cause.reason))),
        no_consent=sum(account.no_consent for account in accounts),
        unused_columns=tuple(
            dict.fromkeys(name for account in accounts for name in account.unused_columns)
        ),
        warnings=tuple(_joined(cause for account in accounts for cause in account.warnings)),
    )


def _joined(causes: Iterable[Cause]) -> list[Cause]:
    """Returns one cause for each reason, with the rows of all of them and the first examples."""
    found: dict[str, list[Cause]] = {}
    for cause in causes:
        found.setdefault(cause.reason, []).append(cause)
    return [
        Cause(
            reason,
            sum(cause.rows for cause in same),
            tuple(example for cause in same for example in cause.examples)[:3],
            same[0].remedy,
        )
        for reason, same in found.items()
    ]


def in_file(account: Account, name: str) -> Account:
    """Returns the account of a piece with the name of its file before every example."""

    def named(causes: tuple[Cause, ...]) -> tuple[Cause, ...]:
        return tuple(
            replace(cause, examples=tuple(f"{name} {text}".lstrip() for text in cause.examples))
            for cause in causes
        )

    return replace(account, causes=named(account.causes), warnings=named(account.warnings))


def write_set_aside(folder: Path, table: str, parts: Sequence[Judged]) -> None:
    """Writes <folder>/<table>.csv: file, line, reason and the row as it stood in the file.

    A file of an earlier reading is replaced, or removed if nothing is set aside now.
    """
    write_rows(folder, table, [as_it_stood(part) for part in parts if part.reason.count()])


def write_rows(folder: Path, table: str, frames: Sequence[pl.DataFrame]) -> None:
    """Writes <folder>/<table>.csv from the rows of `as_it_stood`; removes it if there are none."""
    path = folder / f"{table}.csv"
    try:
        if not frames:
            path.unlink(missing_ok=True)
            return
        write(path, pl.concat(frames, how="diagonal").write_csv().encode())
    except OSError as error:
        _remove_partial(path)
        raise DataError(
            f"{table}: {path}: the rows set aside cannot be written there ({error.strerror}); "
            "free space or choose a folder that can be written"
        ) from error


def _remove_partial(path: Path) -> None:
    # A half-written file would keep the disk full; where it cannot be removed, none was made.
    with contextlib.suppress(OSError):
        partial_path(path).unlink(missing_ok=True)


def as_it_stood(part: Judged) -> pl.DataFrame:
    """Returns file, line, reason and the cells of every row that is set aside."""
    rows = part.reason.is_not_null().arg_true()
    names = {name: f"{name} (in the file)" for name in ("file", "line", "reason")}
    stood = part.file.rows(rows).rename(names, strict=False)
    return stood.select(
        pl.lit(part.file.label).alias("file"),
        part.file.lines(rows, part.frame.height).alias("line"),
        part.reason.gather(rows).alias("reason"),
        *(_written(stood[name]) for name in stood.columns),
    )


def _written(values: pl.Series) -> pl.Series:
    """Returns values as texts; a nested one, which no .csv can hold, as polars shows it."""
    if values.dtype.is_nested() or values.dtype == pl.Binary:
        return pl.Series(values.name, [None if v is None else str(v) for v in values], pl.String)
    return values.cast(pl.String)
