"""Purchase intent: a visit is known by its events so far and by nothing that comes after."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.errors import DataError
from grandtotal.tasks.intent import PurchaseIntent
from grandtotal.tasks.intent_events import read_visits
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 15)
COMMON = Common(TODAY, ("milk",))


def events(*rows):
    names = ("session", "minute", "type", "customer", "product")
    made = pl.DataFrame(rows, dict.fromkeys(names, pl.String) | {"minute": pl.Int64}, orient="row")
    start = datetime(2024, 7, 1, 9)
    return made.with_columns(time=pl.lit(start) + pl.col("minute") * timedelta(minutes=1))


VISITS = events(
    ("s1", 0, "view", "amy", "milk"),
    ("s1", 2, "cart", "amy", "milk"),
    ("s1", 5, "purchase", "amy", "milk"),
    ("s1", 6, "view", "amy", "rice"),
    ("s2", 90, "search", "amy", None),
    ("s2", 91, "view", "amy", "rice"),
    ("s3", 95, "view", None, "rice"),
)


def test_what_is_known_after_each_event():
    found = read_visits(VISITS)
    assert found.nth.tolist() == [1, 2, 3, 4, 1, 2, 1]
    assert found.bought.tolist() == [False, False, True, True, False, False, False]
    assert found.buys.tolist() == [True, True, False, False, False, False, False]
    assert np.expm1(found.columns["cart"]).round().tolist() == [0, 1, 1, 1, 0, 0, 0]
    assert np.expm1(found.columns["products"]).round().tolist() == [1, 1, 1, 2, 0, 1, 1]
    assert np.expm1(found.columns["seconds"]).round().tolist() == [0, 120, 300, 360, 0, 60, 0]
    assert np.expm1(found.columns["visits before"]).round().tolist() == [0, 0, 0, 0, 1, 1, 0]
    assert np.expm1(found.columns["purchases before"]).round().tolist() == [0, 0, 0, 0, 1, 1, 0]
    assert found.columns["known"].tolist() == [1, 1, 1, 1, 1, 1, 0]


def test_later_events_and_the_order_of_the_rows_change_nothing_that_was_known():
    late = events(("s1", 9, "cart", "amy", "soap"), ("s3", 99, "purchase", None, "rice"))
    more = read_visits(pl.concat([VISITS, late]).sample(fraction=1.0, shuffle=True, seed=2))
    known = read_visits(VISITS)
    for session, nth in (("s1", 1), ("s1", 4), ("s2", 2), ("s3", 1)):
        rows = [
            np.flatnonzero((v.sessions[v.session] == session) & (v.nth == nth))[0]
            for v in (known, more)
        ]
        for name in known.columns:
            assert known.columns[name][rows[0]] == more.columns[name][rows[1]], name


@pytest.fixture(scope="module")
def intent(common):
    return PurchaseIntent(common)


def test_no_visit_is_a_question_once_something_was_bought(intent, frames):
    visits = intent.rows(frames["north"])["about"]
    table = frames["north"]["events"]
    bought = set(table.filter(pl.col("type") == "purchase")["session"])
    running = set(visits.sessions[visits.now.scored.unit])
    assert not running & bought
    ones = visits.scored.unit[visits.scored.y > 0]
    assert set(visits.sessions[ones]) <= bought


def test_training_visits_began_before_the_cut_and_test_visits_after_it(intent, frames):
    rows = intent.rows(frames["north"])
    visits = rows["about"]
    assert visits.day[rows["test"].train.unit].max() < -28
    assert visits.day[rows["test"].scored.unit].min() >= -28
    assert visits.day[rows["validation"].scored.unit].max() < -28


@pytest.mark.parametrize("wrong", [{}, {"events": VISITS.clear()}])
def test_no_events_are_refused_by_name(intent, wrong):
    with pytest.raises(DataError, match="events: purchase intent needs the table 'events'"):
        intent.rows(wrong)


# --- one row a visit ---


@pytest.fixture(scope="module")
def sessions():
    rng = np.random.default_rng(4)
    n = 600
    pages = rng.integers(1, 40, n)
    returning = rng.random(n) < 0.5
    buys = rng.random(n) < 1 / (1 + np.exp(3.0 - 0.08 * pages - returning))
    start = datetime(2024, 7, 14, 9)
    return pl.DataFrame(
        {
            "session": [f"v{i}" for i in range(n)],
            "time": [start - timedelta(days=int(d)) for d in rng.integers(0, 200, n)],
            "purchased": buys,
            "product_pages": pages.astype(float),
            "page_value": buys * 5.0,
            "visitor_type": np.where(returning, "returning", "new"),
            "region": np.where(rng.random(n) < 0.5, "north", "south"),
        }
    )


@pytest.mark.parametrize("split", ["time", "random"])
def test_planted_intent_is_found_in_rows_of_visits(sessions, split):
    task = PurchaseIntent(
        COMMON, table="sessions", split=split, leave_out=("page_value",), models=("logistic",)
    )
    rows = task.rows({"sessions": sessions})
    model = task.fit(Local(rows)).model
    assert task.score(model, rows, "test").values()["auc"] > 0.7
    assert task.detail(model, rows)["weights"][0]["column"] == "product_pages"
    assert set(task.detail(model, rows)["gaps"]) == {"region"}


def test_a_feature_that_is_left_out_changes_nothing(sessions):
    task = PurchaseIntent(COMMON, table="sessions", leave_out=("page_value",))
    other = sessions.with_columns(page_value=pl.lit(0.0))
    known, changed = (task.rows({"sessions": each})["test"] for each in (sessions, other))
    assert (known.train.x == changed.train.x).all()
    assert "page_value" not in task.names


def test_a_region_is_no_feature_unless_the_plan_says_so(sessions):
    task = PurchaseIntent(COMMON, table="sessions")
    other = sessions.with_columns(region=pl.lit("west"))
    known, changed = (task.rows({"sessions": each})["test"] for each in (sessions, other))
    assert (known.train.x == changed.train.x).all()
    allowed = replace(task, protected=("region",))
    assert (
        allowed.rows({"sessions": other})["test"].train.x
        != allowed.rows({"sessions": sessions})["test"].train.x
    ).any()


def test_visits_that_go_on_are_predicted_and_learned_from_by_nobody(sessions):
    running = pl.col("session").is_in(["v1", "v2"])
    table = sessions.with_columns(purchased=pl.when(~running).then("purchased"))
    task = PurchaseIntent(COMMON, table="sessions", models=("logistic",))
    rows = task.rows({"sessions": table})
    found = task.predict(task.fit(Local(rows)).model, rows, {"sessions": table}, 5)
    assert set(found["session"]) == {"v1", "v2"}
    assert not np.isnan(rows["test"].train.y).any()
    why = " ".join(" ".join(row) for row in found.select(pl.col("^why_.*$")).rows())
    assert "product pages" in why


def test_a_random_split_is_the_same_wherever_a_visit_is_held(sessions):
    task = PurchaseIntent(COMMON, table="sessions", split="random")
    whole = task.rows({"sessions": sessions})
    half = task.rows({"sessions": sessions.filter(pl.col("region") == "north")})
    tested = [set(rows["about"].sessions[rows["test"].scored.unit]) for rows in (whole, half)]
    assert tested[1] < tested[0]
    assert 0.14 < len(tested[0]) / len(sessions) < 0.26


def test_a_table_without_outcomes_is_refused_by_name(sessions):
    with pytest.raises(DataError, match="column 'purchased'"):
        PurchaseIntent(COMMON, table="sessions").rows({"sessions": sessions.drop("purchased")})
    with pytest.raises(DataError, match="visits to score for the"):
        PurchaseIntent(COMMON, table="sessions").rows({"sessions": sessions.head(0)})
