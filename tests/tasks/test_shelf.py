"""Sales without stock are no demand: what is read of the stock table, and what it mends."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_model import cases_of
from grandtotal.tasks.demand_paths import PastErrors
from grandtotal.tasks.sales import Periods
from grandtotal.tasks.shelf import filled, read_shelf
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)  # a Monday
WEEKS = Periods(TODAY, 7, 4)
TEA, JAM = 0, 1


def stock(*counts, store=None):
    """Returns a table of (days before today, product, on_hand)."""
    days = [TODAY - timedelta(days=back) for back, *_ in counts]
    columns = {"date": days, "product": [c[1] for c in counts], "on_hand": [c[2] for c in counts]}
    if store is not None:
        columns["store"] = [store] * len(counts)
    return pl.DataFrame(columns, schema_overrides={"on_hand": pl.Float64})


def read(table, *series):
    asked = series or [(TEA, None), (JAM, None)]
    rows = {"i": [i for i, _ in asked], "store": [s for _, s in asked]}
    frame = pl.DataFrame(rows, schema={"i": pl.UInt32, "store": pl.String})
    tables = {"stock": table} if table is not None else {}
    return read_shelf(tables, Common(TODAY, ("tea", "jam")), WEEKS, frame)


def test_without_a_table_of_stock_nothing_is_known():
    assert read(None).shape == (0, 0)


def test_a_day_without_stock_is_missing_and_the_day_it_went_out_is_half_a_day():
    # Three weeks ago it had stock on Monday, none on Tuesday, Wednesday and Sunday.
    found = read(stock((21, "tea", 5), (20, "tea", 0), (19, "tea", 0), (15, "tea", -1)))
    assert found[TEA].tolist() == pytest.approx([1, 1 - (0.5 + 1 + 1) / 7, 1, 1])
    assert (found[JAM] == 1).all()


def test_days_that_nobody_counted_are_with_stock_and_days_outside_are_nothing():
    found = read(stock((40, "tea", 0), (0, "tea", 0), (1, "jam", 0)))
    assert found[TEA].tolist() == [1, 1, 1, 1]
    assert found[JAM].tolist() == pytest.approx([1, 1, 1, 6 / 7])


def test_a_product_is_there_in_the_share_of_its_stores_that_have_it():
    empty = [(back, "tea", 0) for back in range(1, 9)]
    full = [(back, "tea", 3) for back in range(1, 9)]
    table = pl.concat([stock(*empty, store="A"), stock(*full, store="B")])
    assert read(table)[TEA].tolist() == pytest.approx([1, 1, 1 - 1 / 14, 0.5])
    by_store = read(table, (TEA, "A"), (TEA, "B"), (TEA, "C"), (JAM, "A"))
    assert by_store.tolist() == pytest.approx(
        np.array([[1, 1, 6 / 7, 0], [1] * 4, [1] * 4, [1] * 4])
    )


def test_stock_of_all_stores_together_holds_for_each():
    found = read(stock(*((back, "tea", 0) for back in range(1, 8))), (TEA, "A"), (JAM, "A"))
    assert found.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_what_was_missing_sells_like_the_weeks_before_it():
    sold = np.array([[4.0, 6.0, 2.0, 0.0, 5.0]])
    shelf = np.array([[1.0, 1.0, 0.5, 0.0, 1.0]])
    found = filled(sold, shelf, Periods(TODAY, 7, 5))
    assert found.tolist() == [[4, 6, 2 + 0.5 * 5, (4 + 6 + 4.5) / 3, 5]]
    assert sold[0, 3] == 0.0


def test_later_stock_and_sales_fill_nothing_earlier():
    rng = np.random.default_rng(3)
    periods = Periods(TODAY, 7, 40)
    sold, shelf = rng.poisson(5, (6, 40)) + 0.0, (rng.random((6, 40)) < 0.8) + 0.0
    before = filled(sold, shelf, periods)
    sold[:, 25:], shelf[:, 25:] = 99.0, 0.3
    assert (filled(sold, shelf, periods)[:, :25] == before[:, :25]).all()


def test_what_is_never_there_again_is_no_longer_sold():
    periods = Periods(TODAY, 7, 60)
    sold, shelf = np.full((1, 60), 7.0), np.ones((1, 60))
    sold[:, 20:], shelf[:, 20:] = 0.0, 0.0
    found = filled(sold, shelf, periods)[0]
    assert found[20:46] == pytest.approx(7.0)
    assert (found[46:] == 0).all()


# --- a planted stock-out ---

PRODUCTS, HISTORY = 30, 64
ALWAYS = Common(TODAY, tuple(f"P{i:02}" for i in range(PRODUCTS)))
TASK = Demand(ALWAYS, ("poisson",), horizon=2, test=4, history=HISTORY)


@pytest.fixture(scope="module")
def planted():
    """Returns transactions as they would be, as they are, and the stock that was short.

    Every Monday the shelf is filled up to what sells in so many days, so that a product is out at
    the end of most weeks: one that sells well sooner.
    """
    rng = np.random.default_rng(8)
    days = 7 * HISTORY
    rate = rng.uniform(0.8, 5.0, (PRODUCTS, 1))
    wanted = rng.poisson(rate, (PRODUCTS, days))
    filled_up = np.rint(rate[:, 0] * 5)
    sold, left = np.zeros_like(wanted), np.zeros_like(wanted)
    there = np.zeros(PRODUCTS)
    for day in range(days):
        there = filled_up if day % 7 == 0 else there
        sold[:, day] = np.minimum(wanted[:, day], there)
        there = there - sold[:, day]
        left[:, day] = there
    first = TODAY - timedelta(days=days)
    return lines(wanted, first), lines(sold, first), counts(left, first)


def lines(units, first):
    product, day = np.nonzero(units)
    midnight = datetime.combine(first, datetime.min.time())
    return pl.DataFrame(
        {
            "product": [f"P{i:02}" for i in product],
            "time": [midnight + timedelta(days=int(d), hours=12) for d in day],
            "quantity": units[product, day].astype(float),
            "price": np.ones(len(product)),
        }
    )


def counts(left, first):
    product, day = np.indices(left.shape).reshape(2, -1)
    return pl.DataFrame(
        {
            "product": [f"P{i:02}" for i in product],
            "date": [first + timedelta(days=int(d)) for d in day],
            "on_hand": left.ravel().astype(float),
        }
    )


def forecast(**tables):
    """Returns the units that are forecast of all products, and the rows."""
    rows = TASK.rows(tables)
    model = TASK.fit(Local(rows)).model
    return float(model.forecast(cases_of(model, rows["now"])[0]).sum()), rows


def test_a_planted_stock_out_is_not_read_as_less_demand(planted):
    wanted, sold, left = planted
    assert sold["quantity"].sum() < 0.85 * wanted["quantity"].sum()
    truth, _ = forecast(transactions=wanted)
    blind, _ = forecast(transactions=sold)
    seeing, rows = forecast(transactions=sold, stock=left)
    assert blind < 0.85 * truth
    # A mean of eight weeks of thirty products is known to about one part in a hundred.
    assert seeing == pytest.approx(truth, rel=0.04)
    assert rows["test"].parts[0].shelf.min() < 1.0


def test_periods_without_stock_are_in_no_score_and_in_no_training(planted):
    _, sold, left = planted
    rows = TASK.rows({"transactions": sold, "stock": left})
    panel = rows["test"]
    (scored,) = panel.cases(panel.parts[0].capped())
    (every,) = panel.whole(panel.parts[0].capped())
    assert (scored.shelf == 1.0).all()
    assert 0 < len(scored.sold) < len(every.sold)
    (learned,) = panel.learned(panel.parts[0].capped())
    assert learned.shelf.min() >= 0.5


def test_products_out_of_stock_for_a_while_keep_their_lags(planted):
    wanted, sold, left = planted
    gone = pl.col("product").is_in(["P00", "P01"])
    since = TODAY - timedelta(days=28)
    late = sold.filter(~(gone & (pl.col("time").dt.date() >= since)))
    empty = left.with_columns(
        on_hand=pl.when(gone & (pl.col("date") >= since)).then(0.0).otherwise("on_hand")
    )
    model = TASK.fit(Local(TASK.rows({"transactions": wanted}))).model
    rows = TASK.rows({"transactions": late, "stock": empty})
    (cases,) = cases_of(model, rows["now"])
    (truth,) = cases_of(model, TASK.rows({"transactions": wanted})["now"])
    two, as_if = np.isin(cases.series, [0, 1]), np.isin(truth.series, [0, 1])
    assert model.forecast(cases)[two].sum() == pytest.approx(
        model.forecast(truth)[as_if].sum(), rel=0.1
    )


def test_it_is_said_whether_stock_is_known(planted):
    wanted, sold, left = planted
    for tables, verdict, words in (
        ({"transactions": wanted}, "look", "no table of stock"),
        ({"transactions": sold, "stock": left}, "yes", "stock was short in"),
    ):
        history, stocked = TASK.standing(TASK.rows(tables), tables)
        assert (history.point, stocked.point) == ("history", "stock")
        assert stocked.verdict == verdict
        assert stocked.found.startswith(words)


def test_sample_paths_run_through_periods_without_stock(planted):
    _, sold, left = planted
    rows = TASK.rows({"transactions": sold, "stock": left})
    model = TASK.adapt(TASK.fit(Local(rows)).model, rows)
    past = PastErrors.of(model, [rows["validation"], rows["test"]])
    (now,) = cases_of(model, rows["now"])
    _, paths = past.sample(model, rows["now"].parts[0], now, 50, seed=1)
    assert paths.shape == (PRODUCTS, 50, TASK.horizon)
    # Sold out or not, what is ordered for is near what is forecast.
    assert paths.mean() == pytest.approx(model.forecast(now).mean(), rel=0.1)
