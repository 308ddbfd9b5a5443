"""The rows of a task do not depend on how many pieces the transactions are read in."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.tables import Tables, load_config
from grandtotal.tasks import customers as module
from grandtotal.tasks.sales_sums import PRICE_STEPS, SalesSums, by_day

TODAY = date(2024, 1, 8)


@pytest.mark.parametrize("whole_rows", [700, 3000])
def test_rows_of_recommend_are_the_same_in_pieces(example, tables, recommend, whole_rows):
    cut = Tables(load_config(example / "north"), whole_rows=whole_rows)
    whole, found = recommend.rows(tables["north"]), recommend.rows(cut)
    for split in ("validation", "test"):
        assert (whole[split].history != found[split].history).nnz == 0
        assert (whole[split].future != found[split].future).nnz == 0


def test_customers_grouped_in_blocks_have_the_same_purchases(tables, recommend, monkeypatch):
    whole = recommend.rows(tables["north"])
    monkeypatch.setattr(module, "_GROUPED", 100)
    found = recommend.rows(tables["north"])
    for split in ("validation", "test"):
        assert (whole[split].history != found[split].history).nnz == 0
        assert (whole[split].future != found[split].future).nnz == 0


@pytest.mark.parametrize("whole_rows", [700, 3000])
def test_the_panel_of_demand_is_the_same_to_the_bit_in_pieces(example, tables, demand, whole_rows):
    cut = Tables(load_config(example / "north"), whole_rows=whole_rows)
    (whole,), (found,) = (demand.rows(t)["test"].parts for t in (tables["north"], cut))
    for name in ("units", "price", "promoted"):
        assert getattr(whole, name).tobytes() == getattr(found, name).tobytes()


LINE = st.tuples(
    st.integers(0, 2),
    st.dates(date(2023, 12, 1), date(2024, 1, 20)),
    st.floats(-5, 5).filter(bool),
    st.floats(0, 9),
    st.sampled_from([None, "offer"]),
)


@given(lines=st.lists(LINE, max_size=30), cut=st.integers(0, 30))
def test_sums_are_those_of_a_plain_loop_for_any_cut(lines, cut):
    names = ["i", "time", "quantity", "price", "promotion"]
    types = [pl.UInt32, pl.Date, pl.Float64, pl.Float64, pl.String]
    frame = pl.DataFrame(lines, dict(zip(names, types, strict=True)), orient="row")
    frame = frame.with_columns(
        pl.col("time").cast(pl.Datetime("us")), product=pl.col("i").cast(pl.String)
    )
    sums = SalesSums.zero(3, 4)
    for parts in ([frame[:cut]], [frame[cut : cut + 3], frame[cut + 3 :]]):
        days = by_day(parts).with_columns(i=pl.col("product").cast(pl.UInt32))
        sums.add(days, TODAY, 7)
    units, price = np.zeros((3, 4), np.int64), np.zeros((3, 4), np.int64)
    for i, day, quantity, paid, _ in lines:
        t = 3 - ((TODAY - day).days - 1) // 7
        if day < TODAY and t >= 0:
            units[i, t] += round(quantity * UNIT_STEPS)
            price[i, t] += round(paid * PRICE_STEPS) if quantity > 0 else 0
    assert np.array_equal(sums.units, units)
    assert np.array_equal(sums.price, price)
