"""A column that is proved plain is what the reader of single cells would have made of it."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandtotal.errors import DataError
from grandtotal.tables import rows as module
from grandtotal.tables.plain import SLICE, near_clock_changes, plain_columns
from grandtotal.tables.schema import REGISTRY

TABLE = REGISTRY["transactions"]
TEXTS = ["tea", "85123.0", "1.5E+12", " tea", "tea\t", "", "NULL", "nan", "caf\xe9", "a b", None]
TIMES = [
    datetime(2024, 3, 1, 9),
    datetime(2024, 3, 31, 1, 30),  # London's clocks went from 1 to 2 o'clock
    datetime(2023, 10, 29, 1, 30),  # and were put back from 2 to 1
    datetime(2023, 10, 29),
    datetime(1900, 1, 1),
    datetime(2150, 1, 1),
    None,
]
NUMBERS = [1.0, 0.0, -2.0, 1e300, float("nan"), float("inf"), None]
CELLS = {
    "product": st.sampled_from(TEXTS),
    "customer": st.sampled_from(TEXTS),
    "time": st.sampled_from(TIMES),
    "quantity": st.sampled_from(NUMBERS),
    "price": st.sampled_from(NUMBERS),
}


@given(
    bad=st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=4),
    chosen=st.sets(st.sampled_from(list(CELLS))),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_the_proof_changes_nothing(shop, monkeypatch, bad, chosen):
    good = {"product": "tea", "customer": "c", "price": 1.5}
    good |= {"time": datetime(2024, 3, 1, 9), "quantity": 2.0}
    # Most rows are good, so that the file is not refused whole.
    lines = [{**good, **{name: row[name] for name in chosen}} for row in bad]
    lines += [{**good, "price": float(i)} for i in range(9)]
    types = [pl.String, pl.String, pl.Float64, pl.Datetime("us"), pl.Float64]
    frame = pl.DataFrame(lines, schema=dict(zip(good, types, strict=True)))
    frame.write_parquet(shop.folder / "lines.parquet")
    shop.toml = ""
    shop.declare("transactions", "lines.parquet")
    found = []
    for proof in (plain_columns, lambda *_: frozenset()):
        monkeypatch.setattr(module, "plain_columns", proof)
        tables = shop.tables()
        try:
            found.append((tables["transactions"].rows(), tables.accounts["transactions"]))
        except DataError as error:
            found.append(str(error))
    assert repr(found[0]) == repr(found[1])


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("product", ["tea", "A-1", "85123", "1.x"]),
        ("customer", ["c1", None]),
        ("product", [1, 2**60]),
        ("quantity", [1, -2]),
        ("quantity", [0.5, 3.0]),
        ("time", [datetime(2024, 3, 31, 1, 30)]),
        ("time", [date(2024, 3, 31)]),
        ("promotion", [0, 1, None]),
    ],
)
def test_usual_columns_are_plain(column, cells):
    raw = pl.DataFrame({"x": cells})
    assert plain_columns(raw, TABLE, {column: "x"}) == {column}


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        *(("product", ["oat", text]) for text in TEXTS[1:]),
        ("product", [1.0]),
        ("quantity", [1.0, float("nan")]),
        ("quantity", [1, None]),
        ("quantity", [2**54]),
        ("promotion", [1, 2]),
        ("promotion", [-1, 0]),
        ("quantity", ["1"]),
        ("time", ["2024-03-01"]),
        ("time", [datetime(1900, 1, 1)]),
    ],
)
def test_what_needs_a_second_look_is_not_plain(column, cells):
    assert not plain_columns(pl.DataFrame({"x": cells}, strict=False), TABLE, {column: "x"})


@pytest.mark.parametrize("cells", [[0, 1, None, 1], [3, 0, None, 1]])
def test_a_promotion_as_a_number_is_none_where_it_is_zero(shop, cells):
    frame = pl.DataFrame({"product": list("abcd"), "promotion": cells})
    frame = frame.with_columns(time=datetime(2024, 3, 1), quantity=1, price=1.0)
    frame.write_parquet(shop.folder / "lines.parquet")
    found = shop.declare("transactions", "lines.parquet").tables()["transactions"]
    assert found["promotion"].to_list() == [str(cell) if cell else None for cell in cells]


def test_a_text_far_down_is_looked_at_as_well():
    cells = ["tea"] * SLICE
    assert plain_columns(pl.DataFrame({"x": [*cells, "jam"]}), TABLE, {"product": "x"})
    assert not plain_columns(pl.DataFrame({"x": [*cells, "jam "]}), TABLE, {"product": "x"})


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("zone", ["Europe/London", "America/Santiago", "Asia/Beirut", "UTC"])
def test_every_hour_that_a_clock_skips_or_repeats_is_near_a_change(zone, order):
    first = datetime(2023, 1, 1)
    hours = pl.Series([first + timedelta(minutes=30 * i) for i in range(2 * 24 * 730)][::order])
    near = near_clock_changes(hours, zone, first, datetime(2030, 1, 1))
    known = hours.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    odd = known.is_null().arg_true()
    assert odd.is_in(near.implode()).all()
    assert len(near) < len(hours) / 50
    assert zone == "UTC" or len(odd) >= 4
