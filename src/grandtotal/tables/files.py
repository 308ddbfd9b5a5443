"""The files of a table: found, proved whole, and scanned; and which line a row stands on.

A .csv is scanned as texts, a .parquet with its own types. Every failure is one DataError that
names the file, what was found and what to do.
"""

import codecs
import contextlib
import csv
import glob
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, NoReturn
from urllib.parse import unquote

import polars as pl

from grandtotal.errors import DataError
from grandtotal.tables.config import RetailerConfig, TableSource, nearest
from grandtotal.tables.copies import Copy, is_full, no_room
from grandtotal.tables.encoding import UTF8, as_utf8, remedy

SUFFIXES = (".csv", ".csv.gz", ".parquet")

# What polars raises on a damaged file; a panic of its parquet reader is no Exception.
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)

_BLOCK = 1 << 20
_GROUP = 1 << 18  # rows of a copy that are decoded together
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_OTHER_KINDS = {
    b"\x1f\x8b": "it is compressed with gzip; name it .csv.gz",
    b"PK": "it is a spreadsheet or a zip file; export it as .csv",
    b"PAR1": "it is a parquet file; name it .parquet",
}


def find_files(config: RetailerConfig, table: str) -> list[Path]:
    """Returns the files of a table, sorted by path: one file, all below a folder, or of a glob.

    Hidden files and folders and those that begin with "_" are passed over, as job systems leave
    them; a folder that a glob matches is all the files below it.
    Raises DataError if there is none, or one of another type than .csv, .csv.gz and .parquet.
    """
    pattern = str(config.folder / config.tables[table].path)
    try:
        found = _found(pattern)
    except PermissionError as error:
        raise DataError(f"{table}: {pattern}: no permission; {_PERMISSION}") from error
    if not found:
        raise DataError(f"{table}: {pattern}: no such file; {_nearby(Path(pattern))}")
    for path in found:
        _refuse_other_type(table, path)
    return found


_PERMISSION = "let the user who runs grandtotal read it (chmod u+r)"


def _found(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.exists():
        return _files_below(path)
    # "**" matches a file and every folder above it: each file is read once.
    matched = {
        file for name in glob.glob(pattern, recursive=True) for file in _files_below(Path(name))
    }
    return sorted(matched)


def _files_below(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    inside = (child for child in path.iterdir() if child.name[0] not in "._")
    return sorted(file for child in inside for file in _files_below(child))


def _nearby(path: Path) -> str:
    """Says what there is instead: the files of the folder, or the nearest folder that exists."""
    if path.is_dir():
        return "the folder is empty; put the table's files there or correct `path`"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; correct `path` in retailer.toml"
    names = sorted(file.name for file in path.parent.iterdir() if file.name[0] != ".")
    near = nearest(path.name, names)
    hint = f"did you mean '{near}'?" if near else "correct `path` in retailer.toml."
    return f"{hint} The folder holds: {', '.join(names[:10]) or 'nothing'}"


def _refuse_other_type(table: str, path: Path) -> None:
    if not path.name.endswith(SUFFIXES):
        raise DataError(
            f"{table}: {path}: neither {', '.join(SUFFIXES[:-1])} nor {SUFFIXES[-1]}; "
            "convert it, move it out of the folder, or name the files with a glob"
        )


@dataclass(frozen=True)
class SourceFile:
    """One file of a table that was proved whole, or the copy of a query's result.

    `label` is what messages call it. `line_count` is that of a .csv, uncompressed; `header` is the
    line that the column names end on. Both are 0 for a .parquet. `keys` are the columns that the
    names of its folders give, with their one value. `kept` is held as long as the file is needed.
    `start` and `count` are for a piece of a file: its first row, counted from 0, and how many.
    `content` is the text in UTF-8 where the file is not, else None. `copy` holds the cells of a
    .csv that was copied for its pieces.
    """

    table: str
    path: Path
    source: TableSource
    columns: list[str]
    line_count: int = 0
    header: int = 0
    label: str = ""
    keys: Mapping[str, str | None] = field(default_factory=dict)
    kept: object = None
    start: int = 0
    count: int | None = None
    content: bytes | None = field(default=None, repr=False)
    copy: Copy | None = None

    @property
    def is_text(self) -> bool:
        """True for a .csv, whose cells are all texts."""
        return self.path.suffix != ".parquet"

    @property
    def unit(self) -> str:
        """What a row is called: a "line" of a text, as an editor counts, or a "row"."""
        return "line" if self.is_text else "row"

    def scan(self) -> pl.LazyFrame:
        """Returns the file's rows as they are written, with the columns of its folders."""
        keys = [pl.lit(value, pl.String).alias(name) for name, value in self.keys.items()]
        if self.copy:
            scan = pl.scan_parquet(self.copy.made(), glob=False, hive_partitioning=False)
        else:
            scan = _scan(self.path, self.source, self.content)
        return scan.slice(self.start, self.count).with_columns(keys)

    def copied(self) -> "SourceFile":
        """Returns a .csv with a copy of its cells as Parquet; any other file as it is.

        A piece of a .csv can only be found from its first line on, one of a copy at once.
        """
        if not self.is_text:
            return self
        return replace(self, copy=Copy(self._sink), content=None)

    def _sink(self, path: Path) -> None:
        scan = _scan(self.path, self.source, self.content)
        try:
            scan.sink_parquet(path, compression="lz4", row_group_size=_GROUP)
        except UNREADABLE as error:
            if is_full(error):
                raise DataError(f"{self.table}: {self.label}: {no_room(path)}") from None
            _refuse_damaged(self.table, self.path, self.source, error, self.content)

    def pieces(self, size: int) -> Iterator["SourceFile"]:
        """Yields the file as pieces of at most `size` rows, in order; a small one as it is."""
        height = self.height()
        for start in range(0, max(height, 1), size):
            yield self if height <= size else replace(self, start=start, count=size)

    def at_most(self) -> int:
        """Returns a number that the rows do not exceed, without reading them."""
        return self.line_count if self.is_text else self.height()

    def height(self) -> int:
        """Returns the number of rows."""
        return int(self._collect(self.scan().select(pl.len())).item())

    def types(self) -> pl.Schema:
        """Returns the type of every column."""
        return self.scan().collect_schema()

    def read(self, columns: list[str]) -> pl.DataFrame:
        """Returns these columns, as texts or with the types of the file."""
        return self._collect(self.scan().select(columns))

    def select(self, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
        """Returns what these expressions make of the rows."""
        return self._collect(self.scan().select(expressions))

    def rows(self, numbers: pl.Series) -> pl.DataFrame:
        """Returns the rows with these numbers, counted from 0, over all columns of the file."""
        name = "#" * (1 + max(len(column) for column in self.columns))
        wanted = pl.col(name).is_in(numbers.cast(pl.UInt32).implode())
        return self._collect(self.scan().with_row_index(name).filter(wanted)).drop(name)

    def lines(self, numbers: pl.Series, height: int) -> pl.Series:
        """Returns where rows, counted from 0, stand: the line of a .csv, the row of a .parquet.

        `height` is the number of rows; where the lines are more, cells hold line ends.
        """
        if self.count is not None:
            whole = replace(self, start=0, count=None)
            return whole.lines(numbers.cast(pl.Int64) + self.start, whole.height())
        lines = numbers.cast(pl.Int64) + self.header + 1
        if self.line_count <= height + self.header:
            return lines
        ends = pl.sum_horizontal(pl.all().str.count_matches("\n").fill_null(0))
        above = self._collect(self.scan().select(ends.cum_sum().shift(1, fill_value=0)))
        return lines + above.to_series().gather(numbers).cast(pl.Int64)

    def _collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        try:
            return frame.collect()
        except UNREADABLE as error:
            _refuse_damaged(self.table, self.path, self.source, error, self.content)


def open_file(table: str, path: Path, source: TableSource) -> SourceFile:
    """Proves that the file is there, whole and a text, and finds its columns.

    Raises DataError with the file, the line where there is one, and the remedy.
    """
    content = None
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{table}: {path}: empty (0 bytes); export it again")
        is_text = path.suffix != ".parquet"
        content = _other_encoding(table, path, source) if is_text else None
        line_count, header = _prove_text(table, path, content) if is_text else (0, 0)
        columns = _scan(path, source, content).collect_schema().names()
    except PermissionError as error:
        raise DataError(f"{table}: {path}: no permission; {_PERMISSION}") from error
    except UNREADABLE as error:
        _refuse_damaged(table, path, source, error, content)
    _refuse_repeated(table, path, columns)
    header += sum(name.count("\n") for name in columns)
    keys = {name: value for name, value in _folder_keys(path) if name not in columns}
    named = [*columns, *keys]
    return SourceFile(
        table, path, source, named, line_count, header, str(path), keys, content=content
    )


def _folder_keys(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yields year, "2024" for a folder that is called year=2024, as Hive and Spark write it."""
    for part in path.parent.parts:
        name, equals, value = part.partition("=")
        if name and equals:
            yield unquote(name), None if value == _NO_VALUE else unquote(value)


def _scan(path: Path, source: TableSource, content: bytes | None) -> pl.LazyFrame:
    if path.suffix == ".parquet":
        return pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return pl.scan_csv(
        path if content is None else content,
        glob=False,
        infer_schema=False,
        separator=source.separator,
    )


def _other_encoding(table: str, path: Path, source: TableSource) -> bytes | None:
    """Returns the text in UTF-8 if retailer.toml names another encoding; held in memory whole."""
    if source.encoding == UTF8:
        return None
    with _damage_refused(table, path):
        return as_utf8(table, path, b"".join(_blocks(path)), source.encoding)


def _prove_text(table: str, path: Path, content: bytes | None) -> tuple[int, int]:
    """Returns the number of lines, and the line of the header, below any blank lines."""
    decoder, newlines, header, block = codecs.getincrementaldecoder("utf-8")(), 0, 0, b""
    try:
        with _damage_refused(table, path):
            for block in _blocks(path) if content is None else (content,):
                decoder.decode(block)
                header = header or _first_line(block)
                newlines += block.count(b"\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line = newlines + 1 + error.object[: error.start].count(b"\n")
        raise DataError(
            f"{table}: {path}: not UTF-8 at line {line}; {_other_kind(table, path, error)}"
        ) from None
    return newlines + (not block.endswith(b"\n")), header


@contextlib.contextmanager
def _damage_refused(table: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{table}: {path}: cut off or damaged ({error}); copy or export it again"
        ) from None


def _blocks(path: Path) -> Iterator[bytes]:
    with _opened(path) as file:
        while block := file.read(_BLOCK):
            yield block


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _first_line(block: bytes) -> int:
    """Returns the 1-based line of the first that is not blank; 1 if there is none."""
    return block[: len(block) - len(block.lstrip(b"\r\n"))].count(b"\n") + 1


def _other_kind(table: str, path: Path, error: UnicodeDecodeError) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    kinds = (kind for magic, kind in _OTHER_KINDS.items() if start.startswith(magic))
    return next(kinds, None) or remedy(bytes(error.object), table)


def _refuse_repeated(table: str, path: Path, columns: list[str]) -> None:
    names = {column.rsplit("_duplicated_", 1)[0] for column in columns if "_duplicated_" in column}
    if twice := sorted(name for name in names if name in columns):
        raise DataError(
            f"{table}: {path}: column '{twice[0]}' occurs twice in the header; "
            "rename or remove one of them"
        )


def _refuse_damaged(
    table: str, path: Path, source: TableSource, error: BaseException, content: bytes | None
) -> NoReturn:
    """Raises the DataError for a file that could be opened and not be read."""
    if path.suffix != ".parquet":
        _refuse_ragged(table, path, source.separator, content)
    reason = str(error).strip().partition("\n")[0]
    raise DataError(
        f"{table}: {path}: cut off, damaged, or not what its name says ({reason}); "
        "copy or export it again"
    ) from error


def _refuse_ragged(table: str, path: Path, separator: str, content: bytes | None) -> None:
    """Raises DataError with the first lines that have more cells than the header, or a stray quote.

    Reads line by line, which is slow and only done for a file that is about to be refused.
    """
    with _opened(path) if content is None else io.BytesIO(content) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        for line, problem in _odd_lines(file, separator):
            raise DataError(
                f"{table}: {path}: line {line}: {problem}; put cells that hold a '{separator}', "
                'a line end or a " into double quotes, with " written twice'
            )


def _odd_lines(file: IO[str], separator: str) -> Iterator[tuple[int, str]]:
    rows = csv.reader(file, delimiter=separator, strict=True)
    width, line, quoted = 0, 1, ""
    try:
        for cells in rows:
            width = width or len(cells)
            if len(cells) > width:
                yield line, f"{len(cells)} cells where the header has {width}"
            if not quoted and any('"' in cell for cell in cells):
                quoted = f"a stray quote in {cells}"
                at = line
            line = rows.line_num + 1
    except csv.Error as error:
        yield line, f"a stray or missing quote ({error})"
    if quoted:
        yield at, quoted
