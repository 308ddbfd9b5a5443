"""Every kind reads what it should, from texts and from the types of a parquet file."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.tables.cells import Writing, guess_formats, read_cells
from grandtotal.tables.schema import NONE_WORDS, REGISTRY, Column

ISO = Writing("", ".", "Europe/London")
NINE = datetime(2024, 7, 1, 9)


def read(raw: pl.Series, kind: str, writing: Writing = ISO, required: bool = False):
    cells = read_cells(raw, Column("c", kind, required, "doc"), writing)
    return cells.values.to_list(), cells.unreadable.to_list()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pl.Series([13085.0, None, float("nan")]), ["13085", None, None]),
        (pl.Series(["13085.0", " 13085 ", "13085.00"]), ["13085", "13085", "13085"]),
        (pl.Series([7, None]), ["7", None]),
        (pl.Series(["007", "", " ", "NULL", "nan", "\\N"]), ["007", None, None, None, None, None]),
        (pl.Series(["v1.0", "2.5", "a.0"]), ["v1.0", "2.5", "a.0"]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series([b"a", None]), ["a", None]),
        (pl.Series([Decimal("13085.00")]), ["13085"]),
        (pl.Series([date(2024, 1, 2)]), ["2024-01-02"]),
    ],
)
def test_ids_are_stripped_texts(raw, expected):
    values, unreadable = read(raw, "id")
    assert values == expected
    assert not any(unreadable)


@pytest.mark.parametrize("raw", [pl.Series([[1], None]), pl.Series([{"a": 1}, None])])
@pytest.mark.parametrize("kind", ["id", "number", "time", "date", "flag", "integer"])
def test_nested_cells_are_unreadable_as_any_kind(raw, kind):
    values, unreadable = read(raw, kind)
    assert values == [None, None]
    assert unreadable[0]


def test_bytes_that_are_no_text_are_unreadable():
    assert read(pl.Series([b"\xff"]), "id") == ([None], [True])


@pytest.mark.parametrize(
    ("text", "value"), [("1.5", 1.5), (" -2 ", -2.0), ("+3", 3.0), ("1e3", 1000.0), ("", None)]
)
def test_numbers_are_read_from_texts(text, value):
    assert read(pl.Series([text]), "number") == ([value], [False])


@pytest.mark.parametrize("text", ["abc", "1,5", "1 000", "£3", "inf"])
def test_what_is_no_number_is_unreadable(text):
    assert read(pl.Series([text]), "number") == ([None], [True])


def test_a_decimal_comma_is_read_where_it_is_set():
    comma = Writing("", ",", "Europe/London")
    assert read(pl.Series(["1,5", "-2"]), "money", comma) == ([1.5, -2.0], [False, False])
    assert read(pl.Series([1.5]), "money", comma) == ([1.5], [False])


def test_an_optional_number_that_is_nan_is_missing():
    assert read(pl.Series([float("nan"), 1.0]), "number") == ([None, 1.0], [False, False])
    assert read(pl.Series(["NaN", "1"]), "number") == ([None, 1.0], [False, False])


def test_a_required_number_keeps_what_is_not_finite():
    values, unreadable = read(pl.Series(["inf", "2"]), "number", required=True)
    assert values == [float("inf"), 2.0]
    assert not any(unreadable)


def test_integers_must_be_whole():
    assert read(pl.Series(["3", "3.0", "3.5"]), "integer") == ([3, 3, None], [False, False, True])


def test_booleans_and_dates_are_no_numbers():
    assert read(pl.Series([True]), "number")[1] == [True]
    assert read(pl.Series([date(2024, 1, 1)]), "number")[1] == [True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-07-01 09:00:00", NINE),
        ("2024-07-01T09:00:00", NINE),
        ("2024-07-01 09:00:00.000", NINE),
        ("2024-07-01 09:00", NINE),
        ("2024-07-01", datetime(2024, 7, 1)),
        ("20240701", datetime(2024, 7, 1)),
        ("2024-07-01T08:00:00Z", NINE),
        ("2024-07-01 10:00:00+02:00", NINE),
    ],
)
def test_iso_times_are_read_as_the_clock_at_the_retailer(text, expected):
    assert read(pl.Series([text]), "time") == ([expected], [False])


def test_different_iso_times_may_stand_in_one_column():
    texts = pl.Series(["2024-07-01", "2024-07-01 09:00", None, "x", "2024-07-01T08:00:00Z"])
    values, unreadable = read(texts, "time")
    assert values == [datetime(2024, 7, 1), NINE, None, None, NINE]
    assert unreadable == [False, False, False, True, False]


def test_times_with_a_zone_become_local():
    aware = pl.Series([datetime(2024, 7, 1, 8, tzinfo=UTC)])
    assert read(aware, "time") == ([NINE], [False])
    late = pl.Series([datetime(2024, 7, 1, 23, 30, tzinfo=timezone(timedelta()))])
    assert read(late, "date") == ([date(2024, 7, 2)], [False])


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_of_any_unit_are_read(unit):
    assert read(pl.Series([NINE], dtype=pl.Datetime(unit)), "time") == ([NINE], [False])


def test_a_given_time_format_is_the_only_one():
    writing = Writing("%Y-%d-%m", ".", "Europe/London")
    texts = pl.Series(["2024-01-05", "2024-05-13"])
    # Read as ISO 8601 the second would be the 13th of May and the first the wrong day.
    assert read(texts, "date", writing) == ([date(2024, 5, 1), None], [False, True])


def test_a_time_format_may_be_written_as_in_python():
    writing = Writing("%d/%m/%Y %H:%M:%S.%f", ".", "Europe/London")
    assert read(pl.Series(["01/07/2024 09:00:00.000000"]), "time", writing)[0] == [NINE]


def test_integers_can_be_days():
    assert read(pl.Series([20240701]), "date") == ([date(2024, 7, 1)], [False])


def test_flags_are_read_from_words_and_numbers():
    words = pl.Series(["Yes", "no", "TRUE", "f", "1", "0", "", "maybe"])
    values, unreadable = read(words, "flag")
    assert values == [True, False, True, False, True, False, None, None]
    assert unreadable == [False] * 7 + [True]
    assert read(pl.Series([1, 0, 2]), "flag")[0] == [True, False, None]
    assert read(pl.Series([True, None]), "flag")[0] == [True, None]


def test_a_promotion_of_false_or_zero_is_none():
    column = REGISTRY["transactions"]["promotion"]
    texts = pl.Series(["0", "False", "no", "", "summer", "1"])
    assert read_cells(texts, column, ISO).values.to_list() == [None] * 4 + ["summer", "1"]
    flags = read_cells(pl.Series([True, False]), column, ISO).values.to_list()
    assert flags == ["true", None]
    assert "false" in NONE_WORDS


def test_the_time_format_of_texts_is_found():
    assert guess_formats(pl.Series(["31/12/2010 08:26"])) == ["%d/%m/%Y %H:%M"]
    both = guess_formats(pl.Series(["01/12/2010 08:26"]))
    assert both == ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"]
    assert guess_formats(pl.Series(["soon"])) == []
    assert guess_formats(pl.Series([], dtype=pl.String)) == []


@given(st.lists(st.one_of(st.none(), st.text(max_size=12)), max_size=20))
def test_any_text_is_a_value_or_missing_or_unreadable(texts):
    for kind in ("id", "text", "integer", "number", "money", "time", "date", "flag"):
        cells = read_cells(pl.Series(texts, dtype=pl.String), Column("c", kind, False, ""), ISO)
        assert len(cells.values) == len(cells.unreadable) == len(texts)
        assert not (cells.unreadable & cells.values.is_not_null()).any()
        assert cells.unreadable.null_count() == 0
