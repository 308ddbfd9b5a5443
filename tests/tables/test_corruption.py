"""Whatever happens to a file, it reads or one of our errors says why; no row is lost unsaid."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandtotal.errors import DataError, PlanError
from grandtotal.tables import REGISTRY, Tables, load_config
from grandtotal.tables.check import check

CELLS = {"time": "2024-01-{:02} 10:00", "date": "2024-01-{:02}"}
TEXTS = {"currency": "GBP", "gtin": "96385074", "type": "view", "end": "2024-03-{:02}"}
NASTY = ["", "NaN", "inf", "-1e308", "1e999", "0", "2099-01-01", "1900-01-01 00:00", "\\N", "a,b"]
NASTY += ['"', "x\ny", "\x00", "é", "2024-03-31 01:30", "2024-01-01T00:00:00+25:00", "9" * 400]
ROWS = 12


def valid(table: str) -> list[list[str]]:
    """Returns a header and twelve usable rows of a table, no two with the same key."""
    columns = REGISTRY[table].columns
    made = [
        [
            TEXTS.get(c.name, CELLS.get(c.kind, f"{c.name}{{}}" if c.kind == "id" else "1")).format(
                row + 1
            )
            for c in columns
        ]
        for row in range(ROWS)
    ]
    return [[c.name for c in columns], *made]


def as_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def read(folder: Path, table: str, name: str, content: bytes) -> tuple[Tables, pl.DataFrame | None]:
    """Returns the table, or None if one of our errors refused it; any other error is a failure."""
    (folder / name).write_bytes(content)
    (folder / "retailer.toml").write_text(
        'retailer = "n"\ncurrency = "GBP"\ntime_zone = "Europe/London"\n'
        f'[tables.{table}]\npath = "{name}"\n'
    )
    tables = Tables(load_config(folder), folder / "aside")
    try:
        return tables, tables[table]
    except (DataError, PlanError):
        return tables, None


def assert_accounted(folder: Path, table: str, tables: Tables, frame: pl.DataFrame) -> None:
    account = tables.accounts[table]
    aside = sum(account.set_aside.values())
    assert account.read == account.used + aside + account.no_consent
    assert account.used == frame.height
    written = folder / "aside" / f"{table}.csv"
    found = pl.read_csv(written, infer_schema=False).height if written.exists() else 0
    assert found == aside
    for warning in account.warnings:
        assert 0 < warning.rows <= account.used


BOUNDED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
tables_of = st.sampled_from(sorted(REGISTRY))


@pytest.mark.parametrize("table", sorted(REGISTRY))
def test_the_valid_table_is_used_whole_without_a_warning(tmp_path, table):
    tables, frame = read(tmp_path, table, "t.csv", as_csv(valid(table)))
    assert frame is not None
    assert tables.accounts[table].used == ROWS
    assert tables.accounts[table].warnings == ()


@BOUNDED
@given(
    table=tables_of,
    changes=st.lists(
        st.tuples(
            st.integers(1, ROWS), st.integers(0, 20), st.sampled_from(NASTY) | st.text(max_size=4)
        ),
        max_size=8,
    ),
)
def test_any_cell(tmp_path, table, changes):
    rows = valid(table)
    for row, column, text in changes:
        rows[row][column % len(rows[row])] = text
    tables, frame = read(tmp_path, table, "t.csv", as_csv(rows))
    if frame is not None:
        assert_accounted(tmp_path, table, tables, frame)
        # A blank or unreadable cell is never a row less.
        assert tables.accounts[table].read == ROWS
    check(tables.config)


@BOUNDED
@given(
    table=tables_of,
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 10_000) | st.none(),
)
def test_any_bytes_and_any_cut(tmp_path, table, changes, cut):
    content = bytearray(as_csv(valid(table)))
    for place, value in changes:
        content[place % len(content)] = value
    kept = bytes(content if cut is None else content[: cut % len(content)])
    tables, frame = read(tmp_path, table, "t.csv", kept)
    if frame is not None:
        assert_accounted(tmp_path, table, tables, frame)


@BOUNDED
@given(
    table=tables_of,
    drop=st.sets(st.integers(0, 20), max_size=3),
    order=st.randoms(use_true_random=False),
    rename=st.none() | st.tuples(st.integers(0, 20), st.text(max_size=5)),
)
def test_any_columns(tmp_path, table, drop, order, rename):
    rows = valid(table)
    width = len(rows[0])
    if rename is not None:
        rows[0][rename[0] % width] = rename[1]
    kept = [i for i in range(width) if i not in drop]
    order.shuffle(kept)
    tables, frame = read(tmp_path, table, "t.csv", as_csv([[r[i] for i in kept] for r in rows]))
    there = {rows[0][i] for i in kept}
    if frame is not None:
        assert set(REGISTRY[table].required) <= there
        assert_accounted(tmp_path, table, tables, frame)


@BOUNDED
@given(
    table=tables_of,
    changes=st.lists(
        st.tuples(st.integers(0, 100_000), st.integers(0, 255)), min_size=1, max_size=4
    ),
)
def test_any_bytes_of_a_parquet(tmp_path, table, changes):
    head, *rows = valid(table)
    buffer = io.BytesIO()
    pl.DataFrame(rows, head, orient="row").write_parquet(buffer)
    content = bytearray(buffer.getvalue())
    for place, value in changes:
        content[place % len(content)] = value
    tables, frame = read(tmp_path, table, "t.parquet", bytes(content))
    if frame is not None:
        assert_accounted(tmp_path, table, tables, frame)
