"""Changes in customers' behaviour: planted, found, told apart from gaps, and nobody's alone."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import DataError, PlanError, RefusedError
from grandtotal.tables import Tables, load_config
from grandtotal.tasks.behaviour_sums import BehaviourSums, shared_sums
from grandtotal.tasks.loyalty import LoyalSums
from grandtotal.tasks.shift import Shift
from grandtotal.tasks.task import Common, releases_of

TODAY = date(2024, 7, 15)  # a Monday
WEEKS = 40
DAYS = 7 * WEEKS
CHANGE = DAYS - 35  # the day from which on something is different
COMMON = Common(TODAY, ("tea", "jam"))
PRODUCTS = pl.DataFrame(
    {"product": ["tea", "jam", "pen"], "category": ["food > hot", "food > sweet", "office"]}
)


def task(**settings):
    given = {"models": ("cusum",), "history": WEEKS, "test": 8, "categories": ("food",)}
    return Shift(COMMON, **{**given, **settings})


def lines(seed=1, visits=30.0, factor=1.0, **columns):
    """Returns a year of lines, two a visit; from CHANGE on `factor` times as many visits."""
    rng = np.random.default_rng(seed)
    level = visits * np.where(np.arange(DAYS) >= CHANGE, factor, 1.0)
    day = np.repeat(np.arange(DAYS), rng.poisson(level))
    count = len(day)
    customer = rng.integers(0, 150, count)
    first = datetime(TODAY.year, TODAY.month, TODAY.day, 10) - timedelta(days=DAYS)
    visit = pl.DataFrame(
        {
            "time": [first + timedelta(days=int(d), hours=int(d) % 9) for d in day],
            "basket": [f"{seed}-{i}" for i in range(count)],
            "customer": [f"C{c}" for c in customer],
            "store": [f"S{c % 3}" for c in customer],
        }
    )
    parts = [
        visit.with_columns(
            product=pl.Series(rng.choice(["tea", "jam", "pen"], count)),
            quantity=pl.Series(rng.integers(1, 4, count).astype(float)),
            price=pl.Series(rng.integers(100, 900, count) / 100),
        )
        for _ in range(2)
    ]
    return pl.concat(parts).sort("time", "basket").with_columns(**columns)


def tables(transactions, **more):
    return {"transactions": transactions, "products": PRODUCTS, **more}


def told(shift, rows, home):
    model = shift.fit(Local(shift.pooled(rows))).model
    frame = shift.predict(model, rows[0], home, 5)
    return {(row["feature"], row["where"]): row for row in frame.iter_rows(named=True)}


@cache
def others():
    """Returns the rows of two retailers at which nothing changes."""
    return [task().rows(tables(lines(seed))) for seed in (2, 3)]


def found_at_home(transactions, **more):
    """Returns what one retailer is told, beside two others at which nothing changes."""
    home = tables(transactions, **more)
    return told(task(), [task().rows(home), *others()], home)


# --- what is told ---


def test_a_planted_change_is_told_with_its_date_size_and_that_it_is_only_here():
    found = found_at_home(lines(factor=1.4))
    visits = found["visits", "all"]
    began = TODAY - timedelta(days=DAYS - CHANGE)
    assert visits["verdict"] == "changed"
    assert abs((visits["since"] - began).days) <= 4
    assert visits["earliest"] <= began <= visits["latest"]
    assert visits["change"] == pytest.approx(0.4, abs=0.12)
    assert visits["also_in_consortium"] == "no"
    assert visits["consortium_change"] == pytest.approx(0.0, abs=0.1)
    assert visits["statistic"] > visits["threshold"]
    assert visits["p"] <= visits["q"] <= 0.1
    assert "Visits rose by" in visits["words"]
    assert "the other retailers did not" in visits["words"]
    assert found["units a visit", "all"]["verdict"] != "changed"
    assert found["share of units", "food"]["verdict"] != "changed"


def test_a_change_that_all_see_is_told_as_one():
    shift = task()
    homes = [tables(lines(seed, factor=0.7)) for seed in (1, 2, 3)]
    found = told(shift, [shift.rows(home) for home in homes], homes[0])
    visits = found["visits", "all"]
    assert visits["verdict"] == "changed"
    assert visits["also_in_consortium"] == "yes"
    assert visits["consortium_change"] == pytest.approx(-0.3, abs=0.1)
    assert "the other retailers saw the same" in visits["words"]


def test_what_is_chosen_has_changed_though_all_come_as_before():
    late = pl.col("time") >= datetime(2024, 6, 10)
    product = pl.when(late & (pl.int_range(pl.len()) % 2 == 0)).then(pl.lit("pen"))
    found = found_at_home(lines().with_columns(product=product.otherwise("product")))
    assert found["share of units", "food"]["verdict"] == "changed"
    assert found["share of units", "food"]["change"] < -0.3
    assert found["units", "office"]["change"] > 0.5
    assert found["units", "office"]["also_in_consortium"] == "not shared"
    assert found["visits", "all"]["verdict"] != "changed"


def test_a_distribution_that_changed_is_told_with_the_bin_that_changed_most():
    late = pl.col("time") >= datetime(2024, 6, 17)
    moved = pl.when(late).then(pl.col("time").dt.truncate("1d") + pl.duration(hours=20))
    found = found_at_home(lines().with_columns(time=moved.otherwise("time")))
    hours = found["distribution of hour", "20-23"]
    assert hours["verdict"] == "changed"
    assert hours["to"] > 0.9 > 0.1 > hours["from"]
    assert hours["also_in_consortium"] == "no"


def test_nothing_is_told_as_changed_where_nothing_changed():
    found = found_at_home(lines())
    assert [key for key, row in found.items() if row["verdict"] == "changed"] == []


# --- bad input ---


def test_a_week_without_a_line_is_missing_data_and_no_change():
    gap = [datetime(2024, 6, 10), datetime(2024, 6, 17)]
    kept = lines().filter((pl.col("time") < gap[0]) | (pl.col("time") >= gap[1]))
    found = found_at_home(kept)
    row = found["data", "all"]
    assert (row["since"], row["latest"]) == (date(2024, 6, 10), date(2024, 6, 16))
    assert row["verdict"] == "no data"
    assert "missing data" in row["words"]
    assert [key for key, row in found.items() if row["verdict"] == "changed"] == []


def test_regular_closing_days_are_neither_gaps_nor_changes():
    found = found_at_home(lines().filter(pl.col("time").dt.weekday() != 7))
    assert ("data", "all") not in found
    assert found["visits", "all"]["verdict"] != "changed"


def test_a_day_that_is_there_twice_is_no_change():
    whole = lines()
    again = whole.filter(pl.col("time").dt.date() == date(2024, 6, 20))
    again = again.with_columns(basket=pl.col("basket") + "b")
    found = found_at_home(pl.concat([whole, again]))
    assert found["visits", "all"]["verdict"] != "changed"


def test_a_category_that_began_last_week_is_too_little_to_say():
    late = pl.col("time") >= datetime(2024, 7, 8)
    product = pl.when(~late & (pl.col("product") == "pen")).then(pl.lit("jam"))
    found = found_at_home(lines().with_columns(product=product.otherwise("product")))
    row = found["units", "office"]
    assert row["verdict"] == "too little data"
    assert row["since"] >= date(2024, 7, 8)


@pytest.mark.parametrize(
    "without", [("customer",), ("basket",), ("store",), ("customer", "basket")]
)
def test_a_column_that_may_be_missing_may_be_missing(without):
    found = found_at_home(lines(factor=1.5).drop(without))
    assert found["units", "all"]["verdict"] == "changed"
    assert (("visits", "store S1") in found) == ("store" not in without)
    if "customer" in without:
        assert found["customers", "all"]["verdict"] == "too little data"


def test_one_store_is_not_told_apart_from_all():
    found = found_at_home(lines().with_columns(store=pl.lit("S0")))
    assert not [key for key in found if "store" in key[1]]


def test_no_sale_at_all_is_refused_with_the_dates():
    for frame in (lines().head(0), lines().with_columns(quantity=pl.lit(0.0))):
        with pytest.raises(DataError, match="no sale between 2023-10-09 and 2024-07-15"):
            task().rows(tables(frame))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"horizon": 50}, "test = 8, expected a whole number from 50"),
        ({"history": 20}, "history = 20, expected a whole number from 28"),
        ({"change": 0.0}, "change = 0.0, expected a number from 0.01 to 0.9"),
        ({"alarms": float("nan")}, "alarms = nan"),
        ({"categories": ("food", "food")}, "expected a list of different names"),
        ({"models": ("cusums",)}, "did you mean 'cusum'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(PlanError, match=said):
        task(**wrong)


# --- what leaves ---


def summand(shift, transactions, split="test", **more):
    rows = shift.rows(tables(transactions, **more))
    query = BehaviourSums(11, 29, shift.cuts[split][0], split)
    state = SimpleNamespace(memory={})
    return query.answer(rows, state, {})


def test_a_group_of_few_customers_is_left_out_before_anything_is_added():
    shift = task(least=5)
    few = lines().filter((pl.col("product") == "pen") | pl.col("customer").is_in(["C1", "C2"]))
    behaviour = shift.rows(tables(few))["test"].parts[0]
    happened, exposed = shared_sums(behaviour, shift.cuts["test"][0], 5)
    (units,) = (
        i for i, f in enumerate(behaviour.features) if (f.what, f.where) == ("units", "food")
    )
    assert behaviour.customers[1].max() == 2
    assert behaviour.daily["units food"].sum() > 0
    assert not happened[units].any()
    assert not exposed[units].any()
    assert happened[0].any()


def test_a_currency_is_in_no_total():
    shift = task()
    euros, yen = (summand(shift, lines().with_columns(pl.col("price") * k)) for k in (1.0, 128.0))
    for name, sums in euros.items():
        assert np.abs(sums - yen[name]).max() <= 1  # of 1,024 steps a visit


def test_what_comes_after_the_cut_changes_nothing_before_it():
    shift = task()
    for split in ("validation", "test"):
        first = TODAY - timedelta(days=DAYS - shift.cuts[split][0])
        late = pl.col("time") >= datetime(first.year, first.month, first.day)
        other = lines().with_columns(
            quantity=pl.when(late).then(9.0).otherwise("quantity"),
            price=pl.when(late).then(90.0).otherwise("price"),
        )
        kept = other.filter(~late | (pl.col("time").dt.day() % 2 == 0))
        known, found = (summand(shift, frame, split) for frame in (lines(), kept))
        assert arrays_digest(known) == arrays_digest(found)


def test_the_rows_after_the_test_cut_are_not_in_what_scores():
    shift = task()
    rows = [shift.rows(tables(lines(seed))) for seed in (1, 2, 3)]
    model = shift.fit(Local(shift.pooled(rows))).model
    moved = {k: v * 3 if k.startswith(("now_", "loyal_")) else v for k, v in model.arrays.items()}
    scores = [shift.score(m, rows[0], "test") for m in (model, replace(model, arrays=moved))]
    assert arrays_digest(scores[0].arrays) == arrays_digest(scores[1].arrays)


# --- trends among loyal customers ---


def test_a_planted_trend_of_a_tier_is_told_with_its_interval():
    growing = []
    for seed in (1, 2, 3):
        frame = lines(seed, visits=60.0)
        number = pl.col("customer").str.slice(1).cast(pl.Int64)
        week = (pl.col("time") - datetime(2023, 10, 9)).dt.total_days() // 7
        keep = pl.col("basket").hash(3) % 1000 < 1000 * 1.02**week / 1.02**WEEKS
        growing.append(frame.filter((number >= 50) | keep))
    customers = pl.DataFrame(
        {
            "customer": [f"C{i}" for i in range(150)],
            "tier": ["gold" if i < 50 else "basic" for i in range(150)],
        }
    )
    shift = task(tiers=("gold", "basic"))
    homes = [tables(frame, customers=customers) for frame in growing]
    found = told(shift, [shift.rows(home) for home in homes], homes[0])
    gold, basic = (found[f"trend of units, {tier}", "all"] for tier in ("gold", "basic"))
    assert gold["verdict"] == "trend"
    assert gold["a_week_low"] <= 0.02 <= gold["a_week_high"]
    assert gold["also_in_consortium"] == "yes"
    assert "this may be a season" in gold["words"]
    assert basic["verdict"] == "no trend"
    assert "no reason to change a plan" in basic["words"]
    assert ("trend of units, gold", "office") in found


def test_a_trend_index_counts_only_from_the_day_on_which_it_was_known():
    days = [TODAY - timedelta(days=d) for d in range(DAYS, 0, -1)]
    calendar = pl.DataFrame(
        {
            "date": days,
            "trend": np.linspace(50, 90, DAYS),
            "known_at": [datetime(d.year, d.month, d.day) + timedelta(days=10) for d in days],
        }
    )
    loyal = task().rows(tables(lines(), calendar=calendar))["loyal"].parts[0]
    assert loyal.lag == 3  # the last day of a week is known eleven days after it
    column = loyal.column()
    assert column.shape == (WEEKS, 1)
    assert (np.diff(column[3:, 0]) > 0).all()
    assert task().rows(tables(lines()))["loyal"].parts[0].column() is None


# --- beside the tables ---


def test_a_table_that_is_read_in_pieces_gives_the_same_sums(example):
    shift = Shift(COMMON, categories=("kitchen",), tiers=("gold",))
    config = load_config(example / "north" / "retailer.toml")
    whole, pieces = (shift.rows(Tables(config, whole_rows=n)) for n in (10**6, 700))
    for query in (BehaviourSums(11, 29, 308, "test"), LoyalSums(2, 52)):
        known, found = (Local(rows).total(query) for rows in (whole, pieces))
        assert arrays_digest(known) == arrays_digest(found)


@pytest.mark.parametrize(("weeks", "verdict"), [(40, "yes"), (26, "look"), (17, "no")])
def test_a_retailer_with_too_short_a_history_is_told_before_a_run(weeks, verdict):
    first = datetime(TODAY.year, TODAY.month, TODAY.day) - timedelta(weeks=weeks)
    home = tables(lines().filter(pl.col("time") >= first))
    (standing,) = task().standing(task().rows(home), home)
    assert standing.verdict == verdict
    assert bool(standing.remedy) == (verdict != "yes")


def test_under_epsilon_it_is_refused_by_name():
    with pytest.raises(RefusedError, match="'shift' does not say what it asks under epsilon"):
        releases_of("behaviour", task())
