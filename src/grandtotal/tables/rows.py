"""Which rows of a file can be used, and for each other row the one reason why not.

A column in which most rows are unusable is a mistake of the whole file, and refused; a few such
rows are set aside. Reasons are tried in the order of the columns, duplicates last.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from grandtotal.errors import DataError
from grandtotal.tables.cells import Cells, Writing, guess_formats, is_iso, read_cells
from grandtotal.tables.config import RetailerConfig, TableSource, nearest
from grandtotal.tables.exports import filled_down, in_own_currency, with_unit_prices
from grandtotal.tables.files import SourceFile
from grandtotal.tables.plain import plain_columns, plain_value
from grandtotal.tables.repeats import line_hashes, repeats_within
from grandtotal.tables.rules import Mark, cell_warnings, rules, warnings
from grandtotal.tables.schema import REGISTRY, Column, Kind, Table

CONSENT = "#consent"  # in a customers frame: every consent column is true

_MUST_BE: dict[Kind, str] = {
    "id": "a text",
    "text": "a text",
    "integer": "a whole number",
    "number": "a number",
    "money": "a number",
    "time": "a time",
    "date": "a date",
    "flag": "yes or no",
}
_EXAMPLES = 3


@dataclass(frozen=True)
class Judged:
    """The rows of one file: `frame` in our names, `reason` per row, missing where it is usable.

    `warnings` are marks of rows that are kept. `plain` are our names of the plain columns.
    `hashes` is one number a row, equal for equal lines, where duplicates are to be found.
    """

    file: SourceFile
    frame: pl.DataFrame
    reason: pl.Series
    marks: Sequence[Mark]
    warnings: Sequence[Mark] = ()
    plain: frozenset[str] = frozenset()
    hashes: pl.Series | None = None

    @property
    def usable(self) -> pl.DataFrame:
        """The rows without a reason."""
        return self.frame.filter(self.reason.is_null()) if self.marks else self.frame

    def examples(self, reason: str) -> list[str]:
        """Returns up to three of the rows set aside for a reason, such as "line 7: 'abc'"."""
        rows = (self.reason == reason).arg_true().head(_EXAMPLES)
        column = next((mark.column for mark in self.marks if mark.reason == reason), "")
        return _examples(self.file, rows, column, self.frame.height)

    def kept(self, warning: Mark) -> pl.Series:
        """Returns which of a warning's rows are used; of the others their reason is said."""
        return warning.rows & self.reason.is_null()

    def warning_examples(self, warning: Mark) -> list[str]:
        """Returns up to three of a warning's rows, such as "line 7: '80995'"."""
        rows = self.kept(warning).arg_true().head(_EXAMPLES)
        return _examples(self.file, rows, warning.column, self.frame.height)

    def marked(self, mark: Mark) -> "Judged":
        """Returns the same rows with one more reason, for the rows that had none."""
        reason = _first_reason([mark], self.frame.height)
        both = pl.select(pl.coalesce(self.reason, reason)).to_series()
        return replace(self, reason=both, marks=[*self.marks, mark])


def judge(
    file: SourceFile, table: Table, config: RetailerConfig, repeated: Sequence[Mark] | None = None
) -> Judged:
    """Reads one file of a table, or a piece of one, and gives every row a reason, or none.

    repeated: the piece's part of what `repeats.repeated_lines` found in the whole file; without it
    a whole file is searched, and the lines of a piece are hashed for that search.
    Raises DataError for a file without rows, without a needed column, or with a column in which
    more than half of the rows are unusable; of a piece, the last is for the whole file to say.
    """
    names = _names_in_file(file, table)
    counted = file.source.duplicates == "set-aside" and repeated is None
    raw = _raw(file, file.columns if counted else [*names.values(), *file.source.consent])
    hashes = None
    if counted and file.count is None:
        repeated = repeats_within(file, raw, names.get("time"))
    elif counted:
        hashes = line_hashes(raw, file.columns)
    raw = filled_down(raw, names, file)
    plain = plain_columns(raw, table, names)
    columns, marks, looks = _columns(raw, names, file, config, plain)
    flags, flag_marks = _consent(raw, file, config)
    marks += flag_marks
    frame = with_unit_prices(pl.DataFrame(columns + flags), file.source)
    frame = in_own_currency(frame, config.rates)
    marks += [mark for mark in rules(frame, table, names, config, plain) if mark.rows.any()]
    marks += repeated or []
    for mark in marks if file.count is None else []:
        refuse_if_most(file, table, mark, mark.rows.arg_true(), raw.height)
    looks += [mark for mark in warnings(frame, table, names) if mark.rows.any()]
    reason = _first_reason(marks, raw.height)
    return Judged(file, frame, reason, marks, looks, plain, hashes)


def read_columns(
    file: SourceFile,
    table: Table,
    config: RetailerConfig,
    names: Sequence[str],
    used: pl.Series,
    plain: frozenset[str],
) -> pl.DataFrame:
    """Returns the used rows of a file that was judged, with only these of our columns.

    Raises DataError if the file has another number of rows now.
    """
    there = _names_in_file(file, table)
    # A price that is not a unit's is made one with the quantity and the discount.
    more = [] if file.source.price_is == "unit" else ["price", "quantity", "discount"]
    more += ["currency"] if config.rates else []
    in_file = {name: there[name] for name in dict.fromkeys((*names, *more)) if name in there}
    types = file.types()
    read = [
        plain_value(theirs, table[ours], types[theirs])
        if ours in plain
        else pl.col(theirs).alias(ours)
        for ours, theirs in in_file.items()
    ]
    raw = file.select(read)
    if raw.height != len(used):
        raise DataError(
            f"{table.name}: {file.label}: it had {len(used):,} rows at first and now has "
            f"{raw.height:,}; let no job write there while the table is read"
        )
    raw = raw if used.all() else raw.filter(used)
    cells = [
        read_cells(raw[ours], table[ours], _writing(file.source, ours, config)).values
        for ours in in_file
        if ours not in plain
    ]
    frame = with_unit_prices(raw.with_columns(cells), file.source)
    return in_own_currency(frame, config.rates).select(names)


def _names_in_file(file: SourceFile, table: Table) -> dict[str, str]:
    """Returns our name -> the file's for the columns that are there; refuses without a needed."""
    names = {}
    for column in table.columns:
        name = file.source.name_in_file(column.name)
        if name in file.columns:
            names[column.name] = name
        elif column.required or column.name in file.source.columns:
            _refuse_missing(file, column, name)
    _refuse_missing_consent(file)
    return names


def _refuse_missing_consent(file: SourceFile) -> None:
    for name in file.source.consent:
        if name not in file.columns:
            near = nearest(name, file.columns) or "..."
            raise DataError(
                f"{file.table}: {file.label}: no consent column '{name}'; found "
                f'{_listed(file)}; write consent = ["{near}"] into [tables.{file.table}]'
            )


def _raw(file: SourceFile, columns: list[str]) -> pl.DataFrame:
    """Returns these columns, each once, as they are in the file; refuses a file without rows."""
    raw = file.read(list(dict.fromkeys(columns)))
    if raw.is_empty():
        raise DataError(
            f"{file.table}: {file.label}: a header and no rows; export it again, "
            "or take the table out of retailer.toml"
        )
    return raw


def _refuse_missing(file: SourceFile, column: Column, name: str) -> None:
    line = ", ".join(f'{ours} = "{theirs}"' for ours, theirs in _mapping(file).items())
    raise DataError(
        f"{file.table}: {file.label}: no column '{name}' ({column.doc}); found {_listed(file)}; "
        + (_separator_hint(file) or f"write into [tables.{file.table}]: columns = {{ {line} }}")
    )


def _mapping(file: SourceFile) -> dict[str, str]:
    """Returns the mapping that would read this file: what is right in it, and the best guesses.

    "..." for a column that is needed and has none; one that may be left out is then left out.
    """
    mapping: dict[str, str] = {}
    for column in REGISTRY[file.table].columns:
        name = file.source.name_in_file(column.name)
        wanted = column.required or column.name in file.source.columns
        if name in file.columns:
            mapping |= {column.name: name} if column.name in file.source.columns else {}
        elif wanted and (near := suggestion(column, name, file.columns)):
            mapping[column.name] = near
        elif column.required:
            mapping[column.name] = "..."
    return mapping


def suggestion(column: Column, name: str, found: Sequence[str]) -> str | None:
    """Returns the column of a file that is most likely meant, or None."""
    near = (nearest(other, found) for other in (name, column.name, *column.often))
    return next((name for name in near if name), None)


def _listed(file: SourceFile) -> str:
    return ", ".join(f"'{name}'" for name in file.columns)


def _separator_hint(file: SourceFile) -> str:
    """Says which separator to set, if the header was read as one column."""
    only = file.columns[0] if len(file.columns) == 1 and file.is_text else ""
    sign = next((sign for sign in ";\t|," if sign in only), "")
    written = "\\t" if sign == "\t" else sign
    return f'write into [tables.{file.table}]: separator = "{written}"' if sign else ""


def _writing(source: TableSource, name: str, config: RetailerConfig) -> Writing:
    return Writing(source.time_formats.get(name, ""), source.decimal, config.time_zone)


def _columns(
    raw: pl.DataFrame,
    names: dict[str, str],
    file: SourceFile,
    config: RetailerConfig,
    plain: frozenset[str],
) -> tuple[list[pl.Series], list[Mark], list[Mark]]:
    """Returns the columns in our names, what is wrong with their cells, and what to look at."""
    columns, marks, looks = [], [], []
    for name, in_file in names.items():
        column, cells_raw = REGISTRY[file.table][name], raw[in_file]
        writing = _writing(file.source, name, config)
        if name in plain:
            value = plain_value(in_file, column, cells_raw.dtype)
            columns.append(raw.select(value).to_series())
        else:
            cells = read_cells(cells_raw, column, writing)
            columns.append(cells.values)
            marks += [m for m in _cell_marks(column, cells, cells_raw, file.table) if m.rows.any()]
        if name not in plain or column.kind == "time":
            found = cell_warnings(column, columns[-1], cells_raw, writing)
            looks += [mark for mark in found if mark.rows.any()]
    return columns, marks, looks


def _cell_marks(column: Column, cells: Cells, raw: pl.Series, table: str) -> Iterator[Mark]:
    """Yields what can be wrong with a cell: not of its kind, missing, not finite."""
    name, values = column.name, cells.values
    if cells.unreadable.any():
        remedy = _reading_remedy(column, raw.filter(cells.unreadable), table)
        reason = f"{name} is not {_MUST_BE[column.kind]}"
        yield Mark(reason, cells.unreadable, remedy, raw.name)
    if column.required:
        remedy = f'fill it, or map another column: columns = {{ {name} = "..." }}'
        missing = values.is_null() & ~cells.unreadable
        yield Mark(f"{name} is missing", missing, remedy, raw.name)
    if column.required and values.dtype == pl.Float64:
        remedy = "correct it where it is exported; often a missing value or a division by zero"
        infinite = ~values.is_finite().fill_null(True)
        yield Mark(f"{name} is not a finite number", infinite, remedy, raw.name)


def _reading_remedy(column: Column, unreadable: pl.Series, table: str) -> str:
    if column.kind in ("time", "date"):
        return _time_remedy(unreadable, table)
    if column.kind == "flag":
        return "write true or false, yes or no, or 1 or 0"
    return (
        'write plain numbers such as 1234.50 (for a decimal comma set decimal = ","), '
        f'or map another column: columns = {{ {column.name} = "..." }}'
    )


def _time_remedy(unreadable: pl.Series, table: str) -> str:
    texts = unreadable.head(1000) if unreadable.dtype == pl.String else pl.Series(dtype=pl.String)
    if not texts.is_empty() and is_iso(texts):
        return f"take time_format out of [tables.{table}]: times like these are read without one"
    formats = guess_formats(texts)
    if not formats:
        return (
            "write it as 2024-01-31 or 2024-01-31 15:04:00, or say how it is written: "
            f'time_format = "%d/%m/%Y %H:%M" in [tables.{table}]'
        )
    other = f' (or "{formats[1]}", which fits them too)' if len(formats) > 1 else ""
    return f'write into [tables.{table}]: time_format = "{formats[0]}"{other}'


def _consent(
    raw: pl.DataFrame, file: SourceFile, config: RetailerConfig
) -> tuple[list[pl.Series], list[Mark]]:
    """Returns the column CONSENT, if the retailer has consent columns, and unreadable cells."""
    given, marks = [], []
    for name in file.source.consent:
        column = Column(name, "flag", required=False, doc="consent")
        cells = read_cells(raw[name], column, _writing(file.source, name, config))
        given.append(cells.values.fill_null(False))
        marks += [m for m in _cell_marks(column, cells, raw[name], file.table) if m.rows.any()]
    if not given:
        return [], []
    return [pl.select(pl.all_horizontal(given)).to_series().alias(CONSENT)], marks


def refuse_if_most(
    file: SourceFile, table: Table, mark: Mark, rows: pl.Series, height: int
) -> None:
    """Raises DataError if a mark's rows, counted from 0, are most of the file's and must not be."""
    if not mark.wrong_if_most or 2 * len(rows) <= height:
        return
    ours = {in_file: name for name, in_file in _names_in_file(file, table).items()}
    examples = _examples(file, rows.head(_EXAMPLES), mark.column, height)
    raise DataError(
        f"{file.table}: {file.label}: column '{mark.column}' as "
        f"{ours.get(mark.column, 'consent')}: in {len(rows):,} of {height:,} rows "
        f"{mark.reason}; {', '.join(examples)}; {mark.remedy}"
    )


def _first_reason(marks: Sequence[Mark], height: int) -> pl.Series:
    """Returns the first mark's reason per row, missing for a row that no mark touches."""
    if not marks:
        return pl.repeat(None, height, dtype=pl.String, eager=True)
    whens = [pl.when(mark.rows).then(pl.lit(mark.reason)) for mark in marks]
    return pl.select(pl.coalesce(whens)).to_series()


def _examples(file: SourceFile, rows: pl.Series, column: str, height: int) -> list[str]:
    """Returns "line 7: 'abc'" for rows counted from 0; without a value for a whole line."""
    places = [f"{file.unit} {line}" for line in file.lines(rows, height)]
    if not column:
        return places
    values = file.rows(rows)[column]
    return [f"{place}: {_shown(value)}" for place, value in zip(places, values, strict=True)]


def _shown(value: object) -> str:
    return "empty" if value is None or value == "" else repr(value)[:60]
