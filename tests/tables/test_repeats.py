"""A line that stands further up is found in any order of the file, and no other line is."""

from datetime import date, datetime, time, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandtotal.tables import repeats
from grandtotal.tables.repeats import repeats_within
from grandtotal.tables.schema import REGISTRY
from grandtotal.tables.sources import open_sources

LINES = st.lists(
    st.tuples(
        st.sampled_from([None, *(datetime(2024, 3, 1, 9, minute) for minute in range(50))]),
        st.sampled_from(["tea", "jam", None]),
        st.sampled_from([1.5, 0.0, -0.0, float("nan"), None]),
        st.sampled_from(["x", "y"]),
    ),
    min_size=1,
    max_size=60,
)


@given(lines=LINES, order=st.sampled_from(["as it is", "rising", "falling"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_repeats_are_those_of_a_comparison_of_all_lines(shop, monkeypatch, lines, order):
    monkeypatch.setattr(repeats, "SLICE", 16)
    frame = pl.DataFrame(lines, schema=["time", "product", "price", "note"], orient="row")
    frame = frame.with_columns(pl.col("time").cast(pl.Datetime("us")), quantity=1)
    if order != "as it is":
        frame = frame.sort("time", descending=order == "falling")
    again = frame.select(~pl.struct(pl.all()).is_first_distinct()).to_series()
    assert _repeated(shop, frame) == again.to_list()


@pytest.mark.parametrize(
    "values",
    [
        [date(2024, 3, 1)] * 2 + [date(2024, 3, day) for day in range(2, 9)],
        [1, 1, *range(2, 9)],
        ["2024-03-01", "2024-03-01", *"3456789"],
        [b"a", b"a", *(bytes([sign]) for sign in range(98, 105))],
        [time(1)] * 2 + [time(hour) for hour in range(2, 9)],
        [timedelta(1)] * 2 + [timedelta(day) for day in range(2, 9)],
        [False] * 9,
        [None] * 9,
        [[1], [1], *([i] for i in range(2, 9))],
        [{"a": 1}, {"a": 1}, *({"a": i} for i in range(2, 9))],
    ],
)
def test_repeats_are_found_whatever_the_column_of_times_holds(shop, values):
    frame = pl.DataFrame({"time": values, "product": list("aabcdefgh")})
    again = ~frame.select(pl.struct(pl.all()).is_first_distinct()).to_series()
    frame = frame.with_columns(quantity=1, price=1.0)
    assert _repeated(shop, frame) == again.to_list()
    assert again.sum() == 1


def _repeated(shop, frame):
    frame.write_parquet(shop.folder / "lines.parquet", row_group_size=7)
    shop.toml = ""
    shop.declare("transactions", "lines.parquet")
    (file,) = open_sources(shop.config(), REGISTRY["transactions"])
    marks = repeats_within(file, file.read(file.columns), "time")
    assert len(marks) <= 1
    return marks[0].rows.to_list() if marks else [False] * frame.height
