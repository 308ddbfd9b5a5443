"""Churn: features as of the cut alone, horizons, consent, reasons, and bad input."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.errors import DataError
from grandtotal.tables import Tables, load_config
from grandtotal.tasks.churn import Churn, own_horizon
from grandtotal.tasks.churn_features import columns_of, seen
from grandtotal.tasks.histories import read_histories

TODAY = date(2024, 7, 15)
SETTINGS = {"horizon_days": 56, "history_days": 560, "models": ("logistic",)}


@pytest.fixture(scope="module")
def churn(common):
    return Churn(common, **SETTINGS)


@pytest.fixture(scope="module")
def fitted(churn, frames):
    rows = churn.rows(frames["north"])
    return rows, churn.adapt(churn.fit(Local(rows)).model, rows)


def lines(days, customers=None):
    """Returns one line of one unit for each number of days before today."""
    customers = customers or ["amy"] * len(days)
    start = datetime(2024, 7, 15, 9)
    return pl.DataFrame(
        {
            "customer": customers,
            "product": ["milk"] * len(days),
            "time": [start - timedelta(days=d) for d in days],
            "quantity": [1.0] * len(days),
            "price": [2.0] * len(days),
        }
    )


def every(days, customers, until=730):
    """Returns purchases every so many days of each customer, not all on the same days."""
    firsts = [1 + i % days for i in range(customers)]
    pairs = [(d, f"c{i}") for i, first in enumerate(firsts) for d in range(first, until, days)]
    return lines([d for d, _ in pairs], [who for _, who in pairs])


# --- features as of the cut ---


def test_known_numbers_of_one_customer():
    histories = read_histories({"transactions": lines([100, 80, 70, 10])}, TODAY)
    known = seen(histories, -60, 30)
    assert known.recency.tolist() == [10]
    assert known.tenure.tolist() == [40]
    assert known.visits.tolist() == [3]
    assert known.gap.tolist() == [15]
    assert known.longest.tolist() == [20]
    assert known.windows[:, 0].tolist() == [1, 1, 1, 0]
    assert known.spend.tolist() == [400]


def test_a_customer_with_one_purchase_has_no_rhythm_and_can_be_scored(fitted):
    histories = read_histories({"transactions": lines([100])}, TODAY)
    columns = columns_of(seen(histories, 0, 56), 56)
    unknown = {name for name, values in columns.items() if np.isnan(values).any()}
    assert unknown == {"usual gap", "gap spread", "longest gap", "overdue"}
    rows, model = fitted
    once = rows["now"].scored.numbers("once") > 0
    assert once.any()
    assert np.isfinite(model.probabilities(rows["now"].scored)[once]).all()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_what_comes_after_the_cut_changes_no_training_row_and_no_feature(churn, frames, split):
    cut = TODAY - timedelta(days=56 * (2 if split == "validation" else 1))
    before = churn.rows(frames["north"])[split]
    table = frames["north"]["transactions"]
    later = table.filter(pl.col("time") >= cut).with_columns(
        quantity=pl.col("quantity") * 7,
        price=pl.col("price") + 3,
        time=pl.col("time") + timedelta(1),
    )
    changed = pl.concat([table.filter(pl.col("time") < cut), later])
    after = churn.rows({**frames["north"], "transactions": changed})[split]
    # A customer whose first purchase comes later has a place, and no row before it.
    names = [
        churn.rows(f)["about"].histories.customers
        for f in (frames["north"], {**frames["north"], "transactions": changed})
    ]
    assert (names[0] == names[1]).all()
    assert (before.train.x == after.train.x).all()
    assert (before.train.y == after.train.y).all()
    assert (before.scored.x == after.scored.x).all()


def test_moving_the_cut_by_moving_today_sees_the_same_past(common, churn, frames):
    earlier = replace(churn, common=replace(common, today=TODAY - timedelta(days=56)))
    then, now = (task.rows(frames["north"]) for task in (earlier, churn))
    at_test, at_now = now["test"].scored, then["now"].scored
    assert (at_test.x == at_now.x).all()
    assert np.isnan(at_now.y).all()


def test_labels_are_of_the_horizon_alone():
    task = Churn(_common(), horizon_days=28, history_days=365, origins=2)
    rows = task.rows({"transactions": pl.concat([every(20, 5, 300), lines([300, 29], ["x"] * 2)])})
    who = list(rows["about"].histories.customers).index("x")
    scored = rows["test"].scored
    assert scored.y[scored.unit == who].tolist() == [1.0]  # 29 days ago is before the cut
    assert scored.y[scored.unit != who].sum() == 0


def _common():
    from grandtotal.tasks.task import Common

    return Common(TODAY, ("milk",))


# --- the horizon ---


def test_the_horizon_is_where_nine_in_ten_purchases_had_a_next_one():
    for days, expected in ((7, 28), (30, 56), (60, 84), (160, 168)):
        histories = read_histories({"transactions": every(days, 20)}, TODAY)
        assert own_horizon(histories) == expected
    assert own_horizon(read_histories({"transactions": every(7, 2, 60)}, TODAY)) == 84


def test_a_horizon_longer_than_the_history_is_refused():
    with pytest.raises(DataError, match="a horizon of 84 days needs a history"):
        Churn(_common(), horizon_days=84).rows({"transactions": every(7, 5, 100)})


def test_few_origins_for_each_customer_are_fewer_rows_of_the_same_customers(churn, frames):
    few = replace(churn, per_customer=4).rows(frames["north"])["test"].train
    every_ = churn.rows(frames["north"])["test"].train
    assert 0.2 < len(few) / len(every_) < 0.4
    assert np.bincount(few.unit).max() <= 4


# --- bad input ---


@pytest.mark.parametrize("everybody", ["stays", "leaves"])
def test_a_retailer_where_everybody_stays_or_leaves_has_a_model_and_no_auc(everybody):
    table = every(7, 60, 500)
    if everybody == "leaves":
        table = table.filter(pl.col("time") < datetime(2024, 4, 1))
    task = Churn(_common(), horizon_days=28, history_days=500, origins=3, trees=1)
    rows = task.rows({"transactions": table})
    model = task.adapt(task.fit(Local(rows)).model, rows)
    found = task.score(model, rows, "test").values()
    assert np.isnan(found["auc"])
    assert np.isfinite(found["log-loss"])
    assert task.standing(rows, {})[0].verdict == "look"
    assert len(task.predict(model, rows, {}, 5)) == 60
    assert task.detail(model, rows)["share"] in (0.0, 1.0)


def test_a_retailer_whose_customers_are_all_anonymous_is_refused_by_name():
    anonymous = every(7, 5).with_columns(customer=pl.lit(None, pl.String))
    with pytest.raises(DataError, match="lines before 2024-07-15 are anonymous"):
        Churn(_common()).rows({"transactions": anonymous})


def test_an_empty_customers_table_says_nothing_of_anybody(churn, frames):
    empty = {**frames["north"], "customers": frames["north"]["customers"].clear()}
    rows = churn.rows(empty)
    assert set(rows["test"].facts["tier"]) == {""}
    model = churn.fit(Local(rows)).model
    assert churn.detail(model, rows)["gaps"] == {}
    assert set(churn.predict(model, rows, empty, 5)["tier"]) == {""}


# --- consent and protected attributes ---


def test_who_did_not_consent_is_in_no_row_and_no_file_and_is_counted(example, churn):
    tables = Tables(load_config(example / "north"))
    rows = churn.rows(tables)
    asked = pl.read_csv(example / "north/data/customers.csv")
    refused = set(asked.filter(pl.col("consent") == "no")["customer"])
    assert refused
    assert not refused & set(rows["about"].histories.customers)
    model = churn.fit(Local(rows)).model
    assert not refused & set(churn.predict(model, rows, tables, 5)["customer"])
    assert tables.accounts["transactions"].no_consent > 0
    assert churn.standing(rows, tables)[1].verdict == "yes"


def test_without_a_consent_column_it_is_said_that_all_customers_count(example, churn, tmp_path):
    import shutil

    shutil.copytree(example / "north", tmp_path / "north")
    path = tmp_path / "north/retailer.toml"
    path.write_text(path.read_text().replace('consent = ["consent"]', ""))
    tables = Tables(load_config(tmp_path / "north"))
    said = churn.standing(churn.rows(tables), tables)[1]
    assert said.verdict == "look"
    assert "no consent column is named" in said.found


def test_a_consent_column_that_is_not_there_is_refused(example, churn, tmp_path):
    import shutil

    shutil.copytree(example / "north", tmp_path / "north")
    customers = tmp_path / "north/data/customers.csv"
    pl.read_csv(customers).drop("consent").write_csv(customers)
    with pytest.raises(DataError, match="no consent column 'consent'"):
        churn.rows(Tables(load_config(tmp_path / "north")))


def test_protected_attributes_are_no_features_unless_the_plan_says_so(churn, frames):
    table = frames["north"]["customers"]
    shuffled = table.with_columns(pl.col("age_band", "region").reverse())
    plain, other = (
        churn.rows({**frames["north"], "customers": each})["test"] for each in (table, shuffled)
    )
    assert (plain.train.x == other.train.x).all()
    assert (plain.facts["region"] != other.facts["region"]).any()
    allowed = replace(churn, protected=("region",))
    assert "region #3" in allowed.names
    used = [allowed.rows({**frames["north"], "customers": each}) for each in (table, shuffled)]
    assert (used[0]["test"].train.x != used[1]["test"].train.x).any()
    model = allowed.fit(Local(used[0])).model
    assert allowed.detail(model, used[0])["protected"] == ["region"]


# --- what a person reads ---


def test_reasons_are_the_customers_own_numbers(fitted, churn, frames):
    rows, model = fitted
    found = churn.predict(model, rows, frames["north"], 5)
    assert found["probability"].is_sorted(descending=True)
    assert (found["low"] <= found["high"]).all()
    first = found.row(0, named=True)
    said = " ".join(found.select("why_1", "why_2", "why_3").row(0))
    days = (TODAY - first["last_purchase"]).days
    if "no purchase for" in said:
        assert f"no purchase for {days} days" in said
    assert found.select(pl.col("why_1").str.len_chars().min()).item() > 0


def test_the_riskiest_leave_more_often_than_the_safest(fitted, churn):
    rows, model = fitted
    detail = churn.detail(model, rows)
    assert np.mean(detail["lift"][:3]) > np.mean(detail["lift"][-3:])
    assert sum(b["units"] for b in detail["calibration"]) == len(rows["test"].scored)
    assert {"age_band", "region", "tier"} == set(detail["gaps"])
