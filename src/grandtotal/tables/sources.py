"""From retailer.toml to the files of a table, wherever it is kept: files, folders or a database."""

import os
from collections.abc import Sequence

import polars as pl

from grandtotal.errors import DataError
from grandtotal.tables.cells import may_be
from grandtotal.tables.config import RetailerConfig
from grandtotal.tables.files import SourceFile, find_files, open_file
from grandtotal.tables.schema import Column, Table


def open_sources(config: RetailerConfig, table: Table) -> list[SourceFile]:
    """Returns the files of a table, each proved whole, or the copy of its query's result.

    Raises DataError for what cannot be opened, and for a column whose type changes from one file
    to another if one of the types can never be what the column is.
    """
    source = config.tables[table.name]
    if source.database:
        from grandtotal.tables.database import open_query

        return [open_query(config, table.name, source.database)]
    paths = find_files(config, table.name)
    files = [open_file(table.name, path, source) for path in paths]
    _refuse_changed_types(table, files)
    return files


def distinct_names(files: Sequence[SourceFile]) -> list[str]:
    """Returns what to call each of several files: its path below the folder they share; "" if one.

    part.parquet is not enough where every folder has one.
    """
    if len(files) < 2:
        return [""] * len(files)
    shared = os.path.commonpath([file.path.parent for file in files])
    return [str(file.path.relative_to(shared)) for file in files]


def refuse_other_columns(
    table: Table, first: tuple[SourceFile, Sequence[str]], other: tuple[SourceFile, Sequence[str]]
) -> None:
    """Raises DataError if two files of a table do not have the same of our columns."""
    differ = sorted(set(first[1]) ^ set(other[1]))
    if differ:
        has, lacks = (first, other) if differ[0] in first[1] else (other, first)
        named, _ = distinct_names([has[0], lacks[0]])
        raise DataError(
            f"{table.name}: {lacks[0].label}: no column '{differ[0]}', which "
            f"{named} has; add it (its cells may be empty) or take the file out"
        )


def _refuse_changed_types(table: Table, files: Sequence[SourceFile]) -> None:
    """Integers here and texts there are both read as an id; a date is never a quantity."""
    typed = [file.types() for file in files if not file.is_text]
    named = distinct_names([file for file in files if not file.is_text])
    for column in table.columns:
        name = files[0].source.name_in_file(column.name)
        found = [
            (types[name], file) for types, file in zip(typed, named, strict=True) if name in types
        ]
        if len({dtype for dtype, _ in found}) > 1:
            _refuse_changed_type(table, column, name, found)


def _refuse_changed_type(
    table: Table, column: Column, name: str, found: list[tuple[pl.DataType, str]]
) -> None:
    wrong = next((pair for pair in found if not may_be(pair[0], column.kind)), None)
    if wrong is None:
        return
    other = next(pair for pair in found if pair[0] != wrong[0])
    raise DataError(
        f"{table.name}: column '{name}' is {wrong[0]} in {wrong[1]} and {other[0]} in {other[1]}; "
        f"as '{column.name}' it has to be {column.kind} in all files: export {wrong[1]} again, "
        "or take it out"
    )
