"""List prices by period: from when on they hold, of stores and of all, past and planned."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.tasks.list_prices import read_list_prices
from grandtotal.tasks.periods import Periods
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)  # a Monday
WEEKS, HORIZON = Periods(TODAY, 7, 3), 2
TEA, JAM = 0, 1


def read(rows, *series, stores=True):
    """Returns the prices of rows (days after today, product, price, store)."""
    columns = {
        "start": [TODAY + timedelta(days=row[0]) for row in rows],
        "product": [row[1] for row in rows],
        "list_price": [float(row[2]) for row in rows],
        **({"store": [row[3] if len(row) > 3 else None for row in rows]} if stores else {}),
    }
    asked = series or [(TEA, None), (JAM, None)]
    frame = pl.DataFrame(
        {"i": [i for i, _ in asked], "store": [s for _, s in asked]},
        schema={"i": pl.UInt32, "store": pl.String},
    )
    schema = {"store": pl.String} if stores else {}
    tables = {"prices": pl.DataFrame(columns, schema_overrides=schema)}
    common = Common(TODAY, ("tea", "jam"))
    return read_list_prices(tables, common, WEEKS, HORIZON, frame)


def test_a_price_holds_from_its_day_until_the_next_past_and_planned():
    found = read([(-50, "tea", 2), (-14, "tea", 3), (7, "tea", 4)], stores=False)
    assert found[TEA].tolist() == [2, 3, 3, 3, 4]
    assert np.isnan(found[JAM]).all()


def test_a_price_that_changes_within_a_week_is_the_mean_of_its_days():
    found = read([(-21, "tea", 2), (-19, "tea", 9)])
    assert found[TEA] == pytest.approx([(2 * 2 + 5 * 9) / 7, 9, 9, 9, 9])


def test_before_the_first_price_nothing_is_known():
    found = read([(-10, "tea", 2)])
    assert np.isnan(found[TEA]).tolist() == [True, True, False, False, False]


def test_a_price_of_a_store_goes_before_one_for_all_and_all_stores_have_the_mean():
    rows = [(-21, "tea", 2), (-7, "tea", 6, "A"), (-21, "jam", 1, "A"), (-21, "jam", 3, "B")]
    found = read(rows, (TEA, "A"), (TEA, "B"), (JAM, None), (JAM, "C"), (None, "A"))
    assert found[0].tolist() == [2, 2, 6, 6, 6]
    assert found[1].tolist() == [2] * 5
    assert found[2].tolist() == [2] * 5
    assert np.isnan(found[3:]).all()


def test_of_two_prices_of_one_day_the_last_counts_and_without_any_there_is_no_array():
    assert read([(-30, "tea", 2), (-30, "tea", 5)])[TEA].tolist() == [5] * 5
    assert read([(-30, "rye", 2)]).shape == (0, 0)
