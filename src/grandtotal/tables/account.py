"""What became of every row of a table: read = used + set aside + without consent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from grandtotal.errors import DataError
from grandtotal.tables.rows import Judged
from grandtotal.tables.sources import distinct_names


@dataclass(frozen=True)
class Cause:
    """Rows set aside for one reason; `examples` are up to three, such as "line 7: 'abc'"."""

    reason: str
    rows: int
    examples: tuple[str, ...]
    remedy: str


@dataclass(frozen=True)
class Account:
    """The rows of one table. `no_consent` are rows of customers who did not agree.

    `unused_columns` are those of the files that no column of ours is read from.
    """

    read: int
    used: int
    causes: tuple[Cause, ...]
    no_consent: int
    unused_columns: tuple[str, ...] = ()

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
    files = distinct_names([part.file for part in parts])
    examples = [
        f"{name} {example}".lstrip()
        for name, part in zip(files, parts, strict=True)
        for example in part.examples(reason)
    ]
    return Cause(reason, rows, tuple(examples[:3]), remedy)


def added(accounts: Sequence[Account]) -> Account:
    """Returns the account of a table from those of its pieces."""
    found: dict[str, list[Cause]] = {}
    for cause in (cause for account in accounts for cause in account.causes):
        found.setdefault(cause.reason, []).append(cause)
    causes = [
        Cause(reason, sum(c.rows for c in same), _first_of(same), same[0].remedy)
        for reason, same in found.items()
    ]
    return Account(
        read=sum(account.read for account in accounts),
        used=sum(account.used for account in accounts),
        causes=tuple(sorted(causes, key=lambda cause: (-cause.rows, cause.reason))),
        no_consent=sum(account.no_consent for account in accounts),
        unused_columns=tuple(
            dict.fromkeys(name for account in accounts for name in account.unused_columns)
        ),
    )


def _first_of(causes: Sequence[Cause]) -> tuple[str, ...]:
    return tuple(example for cause in causes for example in cause.examples)[:3]


def in_file(account: Account, name: str) -> Account:
    """Returns the account of a piece with the name of its file before every example."""
    causes = (
        replace(cause, examples=tuple(f"{name} {example}".lstrip() for example in cause.examples))
        for cause in account.causes
    )
    return replace(account, causes=tuple(causes))


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
        folder.mkdir(parents=True, exist_ok=True)
        pl.concat(frames, how="diagonal").write_csv(path)
    except OSError as error:
        raise DataError(
            f"{table}: {path}: the rows set aside cannot be written there ({error.strerror}); "
            "free space or choose a folder that can be written"
        ) from error


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
