"""What became of every row of a table: read = used + set aside + without consent."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from grandtotal.durable import partial_path, write
from grandtotal.errors import DataError
from grandtotal.tables.rows import Judged
from grandtotal.tables.rules import Mark


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
    several = len(examples) > 1
    named = [
        f"{part.file.path.name} {example}" if several else example
        for part, found in examples
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
    return (*(_warning(reason, found[reason], parts) for reason in found), *_other_types(parts))


def _warning(reason: str, found: Sequence[tuple[Judged, Mark]], parts: Sequence[Judged]) -> Cause:
    marks = {id(part): mark for part, mark in found}
    rows = sum(int(part.kept(mark).sum()) for part, mark in found)
    examples = [
        (part, part.warning_examples(marks[id(part)]) if id(part) in marks else [])
        for part in parts
    ]
    return Cause(reason, rows, _first(examples), found[0][1].remedy)


def _other_types(parts: Sequence[Judged]) -> Iterator[Cause]:
    """Yields columns whose type in a .parquet is not that of the first; a .csv holds texts."""
    typed = [(part, part.file.scan().collect_schema()) for part in parts if not part.file.is_text]
    source = parts[0].file.source
    for name in parts[0].frame.columns:
        in_file = source.name_in_file(name)
        types = [(part, schema[in_file]) for part, schema in typed if in_file in schema]
        others = [(part, dtype) for part, dtype in types if dtype != types[0][1]]
        if others:
            reason = f"column '{in_file}' has another type than in {types[0][0].file.path.name}"
            examples = [f"{part.file.path.name}: {dtype}" for part, dtype in others[:3]]
            remedy = f"kept, each read as {name}; write all files with {types[0][1]}"
            yield Cause(
                reason, sum(part.frame.height for part, _ in others), tuple(examples), remedy
            )


def write_set_aside(folder: Path, table: str, parts: Sequence[Judged]) -> None:
    """Writes <folder>/<table>.csv: file, line, reason and the row as it stood in the file.

    A file of an earlier reading is replaced, or removed if nothing is set aside now.
    """
    path = folder / f"{table}.csv"
    frames = [_as_it_stood(part) for part in parts if part.reason.count()]
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


def _as_it_stood(part: Judged) -> pl.DataFrame:
    rows = part.reason.is_not_null().arg_true()
    names = {name: f"{name} (in the file)" for name in ("file", "line", "reason")}
    stood = part.file.rows(rows).rename(names, strict=False)
    return stood.select(
        pl.lit(str(part.file.path)).alias("file"),
        part.file.lines(rows, part.frame.height).alias("line"),
        part.reason.gather(rows).alias("reason"),
        *(_written(stood[name]) for name in stood.columns),
    )


def _written(values: pl.Series) -> pl.Series:
    """Returns values as texts; a nested one, which no .csv can hold, as polars shows it."""
    if values.dtype.is_nested() or values.dtype == pl.Binary:
        return pl.Series(values.name, [None if v is None else str(v) for v in values], pl.String)
    return values.cast(pl.String)
