"""Histories: what a customer bought on which day, however the table is cut."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.errors import DataError
from grandtotal.tables import Tables, load_config
from grandtotal.tasks.histories import facts_of, read_histories

TODAY = date(2024, 7, 15)
LINES = """\
customer,product,back,quantity,price,promotion
bea,milk,30,2,1.10,
bea,rice,30,1,3.00,offer
bea,milk,20,-1,1.10,
bea,milk,10,0.5,1.30,
amy,rice,5,1,2.50,
amy,rice,0,1,2.50,
,rice,4,1,2.50,
"""


def table(text=LINES):
    back = pl.col("back").cast(pl.Int64) * timedelta(days=1)
    lines = pl.read_csv(text.encode(), schema_overrides={"quantity": pl.Float64})
    return lines.with_columns(time=pl.lit(datetime(2024, 7, 15, 9)) - back).drop("back")


def read(lines):
    return read_histories({"transactions": lines}, TODAY)


def rows_of(histories, name):
    mine = histories.customer == list(histories.customers).index(name)
    return {
        what: getattr(histories, what)[mine].tolist()
        for what in ("day", "spend", "returned", "units", "lines", "promoted", "new_products")
    }


def test_a_history_is_what_the_lines_say():
    found = read(table())
    assert found.customers.tolist() == ["amy", "bea"]
    assert found.starts.tolist() == [0, 1, 4]
    assert found.anonymous == 1
    assert rows_of(found, "bea") == {
        "day": [-30, -20, -10],
        "spend": [520, 0, 65],
        "returned": [0, 110, 0],
        "units": [3 * UNIT_STEPS, 0, UNIT_STEPS // 2],
        "lines": [2, 0, 1],
        "promoted": [1, 0, 0],
        "new_products": [2, 0, 0],
    }


def test_a_customer_with_one_purchase_has_one_row_and_lines_of_today_count_for_nothing():
    assert rows_of(read(table()), "amy")["day"] == [-5]


def test_a_day_of_returns_alone_is_no_purchase():
    bought = read(table()).purchases
    assert rows_of(bought, "bea")["day"] == [-30, -10]
    assert bought.customers.tolist() == ["amy", "bea"]


def test_what_comes_after_a_cut_changes_nothing_before_it():
    before = read(table()).until(-10)
    later = read(table(LINES + "bea,soap,10,9,99.00,\namy,soap,1,-3,7.00,\n")).until(-10)
    assert rows_of(before, "bea") == rows_of(later, "bea")
    assert rows_of(before, "bea")["day"] == [-30, -20]
    assert rows_of(later, "amy")["day"] == []


def test_rows_are_the_same_in_any_pieces_and_any_order(example):
    config = load_config(example / "north" / "retailer.toml")
    whole, cut = Tables(config), Tables(config, whole_rows=500)
    assert len(list(cut.pieces("transactions", ["product"]))) > 3
    shuffled = whole["transactions"].sample(fraction=1.0, shuffle=True, seed=3)
    known = read_histories(whole, TODAY)
    for other in (read_histories(cut, TODAY), read(shuffled)):
        assert (other.customers == known.customers).all()
        assert other.anonymous == known.anonymous
        for name in rows_of(known, known.customers[0]):
            assert np.array_equal(getattr(other, name), getattr(known, name))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (table().drop("customer"), "need the column 'customer'"),
        (table().with_columns(customer=pl.lit(None, pl.String)), "all 6 lines .* are anonymous"),
        (table().clear(), "no line lies before 2024-07-15"),
    ],
)
def test_a_table_without_histories_is_refused(lines, said):
    with pytest.raises(DataError, match=said):
        read(lines)


def test_facts_of_customers_are_empty_where_nothing_is_known():
    customers = pl.DataFrame({"customer": ["bea", "eve"], "tier": ["gold", "basic"]})
    found = facts_of({"customers": customers}, np.array(["amy", "bea"]), ("tier", "region"))
    assert found["tier"].tolist() == ["", "gold"]
    assert found["region"].tolist() == ["", ""]
    assert facts_of({}, np.array(["amy"]), ("tier",))["tier"].tolist() == [""]
