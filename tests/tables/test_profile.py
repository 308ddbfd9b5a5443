"""What a table holds, on tables whose counts are known."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.tables.profile import Gap, profile

MONDAY = datetime(2024, 1, 1, 9, 30)


def lines(quantity, price=None, days=None, customer=None) -> pl.DataFrame:
    days = days or [0] * len(quantity)
    return pl.DataFrame(
        {
            "product": [f"p{n}" for n in range(len(quantity))],
            "time": [MONDAY + timedelta(days=day) for day in days],
            "quantity": [float(q) for q in quantity],
            "price": [float(p) for p in price or [1] * len(quantity)],
            "customer": pl.Series(customer or [None] * len(quantity), dtype=pl.String),
        }
    )


def all_bins(frame: pl.DataFrame) -> dict[str, dict[str, int]]:
    return {
        found.name: dict(zip(found.bins, found.counts, strict=True))
        for found in profile({"transactions": frame}, "transactions")[0].distributions
    }


def bins(frame: pl.DataFrame, name: str) -> dict[str, int]:
    return all_bins(frame)[name]


def test_quantities_fall_into_known_bins():
    found = bins(lines([-2, 1, 1, 2, 4, 5, 9, 10, 25]), "By units")
    assert found == {"below 0": 1, "1": 2, "2–4": 2, "5–9": 2, "10–19": 1, "20–49": 1}


def test_prices_fall_into_known_bins():
    found = bins(lines([1] * 5, [0, 0.25, 0.5, 0.99, 3]), "By price of a unit")
    assert found == {"0": 1, "0.2–0.5": 1, "0.5–1": 2, "1–2": 0, "2–5": 1}


def test_customers_are_counted_by_their_lines():
    frame = lines([1] * 6, customer=["a", "a", "a", "b", None, None])
    assert bins(frame, "By number of lines") == {"1": 1, "2–4": 1}


def test_days_of_the_week_and_hours_are_local():
    frame = lines([1] * 4, days=[0, 0, 5, 7])
    assert bins(frame, "By day of the week")["Mon"] == 3
    assert bins(frame, "By day of the week")["Sat"] == 1
    assert bins(frame, "By hour")["9"] == 4


def test_a_long_history_is_counted_by_the_week():
    found = bins(lines([1, 1, 1], days=[0, 6, 200]), "By week")
    assert (found["2024-01-01"], len(found), sum(found.values())) == (2, 29, 3)


def test_gaps_are_counted_and_the_longest_named():
    found = profile({"transactions": lines([1] * 4, days=[0, 1, 5, 7])}, "transactions")[0]
    assert found.days_without == 4
    assert found.gaps == (Gap("2024-01-03", "2024-01-05", 3), Gap("2024-01-07", "2024-01-07", 1))


def test_the_largest_values_and_the_busiest_day_are_named():
    frame = lines([1, 2, -80, 3, *[1] * 10], days=[0, 1, 2, 3, *[4] * 10])
    found = {
        (o.what, o.value): o.where
        for o in profile({"transactions": frame}, "transactions")[0].outliers
    }
    assert found[("quantity", -80.0)] == "p2 on 2024-01-03"
    assert found[("lines on one day", 10.0)] == "2024-01-05"


def test_columns_say_what_is_missing_and_their_range():
    frame = lines([1, 2, 2], customer=["a", None, "a"])
    found = {
        column.name: column
        for column in profile({"transactions": frame}, "transactions")[0].columns
    }
    assert (found["customer"].missing, found["customer"].distinct) == (1, 1)
    assert (found["quantity"].least, found["quantity"].most) == (1.0, 2.0)
    assert found["time"].least == "2024-01-01 09:30:00"
    assert found["product"].least is None


def test_equal_rows_are_counted():
    frame = lines([1, 1, 1]).with_columns(product=pl.Series(["a", "a", "b"]))
    assert profile({"transactions": frame}, "transactions")[0].equal_rows == 1


@given(
    st.lists(
        st.floats(min_value=-1e300, max_value=1e300, allow_nan=False).filter(
            lambda x: x == 0 or abs(x) > 1e-300
        ),
        min_size=1,
        max_size=30,
    )
)
def test_every_line_is_in_exactly_one_bin(values):
    found = all_bins(lines(values, [abs(value) for value in values]))
    assert sum(found["By units"].values()) == len(values)
    assert sum(found["By price of a unit"].values()) == len(values)


@pytest.mark.parametrize("value", [1, 2, 5, 10, 1000, 0.1, 0.02])
def test_an_edge_belongs_to_the_bin_above(value):
    found = bins(lines([1], [value]), "By price of a unit")
    (label,) = (label for label, count in found.items() if count)
    assert label.startswith(f"{value:,}–")
