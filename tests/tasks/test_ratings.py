"""Stars: what counts of a table, what a score says, and a run of retailers that have ratings."""

import json
import subprocess
import sys
from datetime import date, datetime, timedelta
from itertools import permutations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import grandtotal as gt
from builders.ratings import PRODUCTS, make_cut, rating_table
from grandtotal.algorithms.rating_network import NetworkModel, NeuralRatings
from grandtotal.algorithms.ratings import ItemMeans, Ratings
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import DataError, PlanError, RefusedError
from grandtotal.plan import Plan
from grandtotal.tables import Tables, load_config
from grandtotal.tables.example import make_example
from grandtotal.tasks.ratings import Stars
from grandtotal.tasks.ratings_models import choose, kinds_of
from grandtotal.tasks.ratings_scores import METRICS, ndcg, star_scores
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)
COMMON = Common(TODAY, ("tea", "jam", "rye", "salt"))
TASK = Stars(COMMON, horizon_days=10)


def table(*rows):
    """Returns ratings: customer, product, stars, and how many days before today."""
    names = {"customer": pl.String, "product": pl.String, "rating": pl.Float64, "days": pl.Int64}
    made = pl.DataFrame(rows, names, orient="row")
    start = datetime.combine(TODAY, datetime.min.time())
    return made.with_columns(time=start - pl.col("days") * timedelta(days=1)).drop("days")


FEW = (
    ("amy", "tea", 5.0, 40),
    ("amy", "jam", 2.0, 15),
    ("amy", "rye", 4.0, 5),
    ("bob", "tea", 1.0, 30),
    ("bob", "salt", 3.0, 12),
    ("bob", "jam", 4.0, 3),
)


def rows_of(*more, task=TASK):
    return task.rows({"ratings": table(*FEW, *more)})


def told(ratings):
    columns = np.stack([ratings.customers, ratings.products, ratings.stars], axis=1)
    return [tuple(row) for row in columns.tolist()]


# --- the rows ---


def test_each_cut_knows_what_came_before_it_and_asks_for_what_came_after():
    rows = rows_of()
    assert told(rows["validation"].known) == [(0, 0, 5), (1, 0, 1)]
    assert told(rows["validation"].asked) == [(0, 1, 2), (1, 3, 3)]
    assert told(rows["test"].known) == [(0, 0, 5), (0, 1, 2), (1, 0, 1), (1, 3, 3)]
    assert told(rows["test"].asked) == [(0, 2, 4), (1, 1, 4)]
    assert not len(rows["now"].asked.stars)
    assert len(rows["now"].known.stars) == 6


def test_what_comes_after_a_cut_changes_nothing_that_was_known_at_it():
    later = [("amy", "salt", 1.0, 2), ("amy", "tea", 1.0, 1), ("bob", "rye", 5.0, 9)]
    before, after = rows_of(), rows_of(*later)
    for split in ("validation", "test"):
        for name in ("customers", "products", "stars", "later"):
            known = getattr(before[split].known, name), getattr(after[split].known, name)
            assert np.array_equal(*known)


def test_of_one_product_the_latest_rating_counts_and_a_known_one_is_not_asked():
    rows = rows_of(("amy", "tea", 2.0, 35), ("amy", "tea", 3.0, 4), ("bob", "jam", 1.0, 2))
    assert told(rows["test"].known)[0] == (0, 0, 2)
    assert told(rows["test"].asked) == [(0, 2, 4), (1, 1, 1)]
    assert (0, 0, 3) in told(rows["now"].known)
    assert rows["about"].again == 3


def test_the_order_of_the_lines_changes_nothing():
    lines = table(*FEW)
    ordered, other = (TASK.rows({"ratings": each}) for each in (lines, lines.reverse()))
    for split in ("validation", "test", "now"):
        assert told(ordered[split].known) == told(other[split].known)


def test_a_part_of_a_star_is_the_nearest_whole_one_and_is_counted():
    rows = rows_of(("cat", "tea", 4.5, 30), ("cat", "jam", 4.4, 29), ("cat", "rye", 1.2, 5))
    assert [stars for who, _, stars in told(rows["now"].known) if who == 2] == [5, 4, 1]
    assert rows["about"].parts == 3


def test_anonymous_ratings_and_other_products_and_days_are_left_out():
    more = [(None, "tea", 5.0, 20), ("amy", "soap", 5.0, 20), ("amy", "salt", 5.0, 0)]
    rows = rows_of(*more)
    assert told(rows["now"].known) == told(rows_of()["now"].known)
    assert (rows["about"].read, rows["about"].anonymous) == (7, 1)
    used = TASK.standing(rows, {})[1]
    assert "of 7 ratings 1 without a customer" in used.found


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({}, "needs the table 'ratings'"),
        ({"ratings": table(*FEW).drop("customer")}, "with the column 'customer'"),
        ({"ratings": table((None, "tea", 5.0, 20))}, "none of 1 ratings"),
        ({"ratings": table(("amy", "soap", 5.0, 20))}, "ratings: none of its products"),
        ({"ratings": table(("amy", "tea", 5.0, 5))}, "0 before 2024-06-11, the validation cut"),
        ({"ratings": table(*FEW[:2])}, "1 new ones in the 10 days after it|0 new ones"),
    ],
)
def test_tables_without_ratings_to_use_are_refused_in_their_own_name(tables, said):
    with pytest.raises(DataError, match=said):
        TASK.rows(tables)


def test_a_lopsided_cut_is_named():
    share, _ = TASK.standing(rows_of(), {})
    assert (share.verdict, share.found) == (
        "yes",
        "4 before 2024-06-21, the test cut, and 2 (33%) after it",
    )
    many = [("amy", "salt", 5.0, 4), ("bob", "rye", 2.0, 1)]
    share, _ = TASK.standing(rows_of(*many), {})
    assert share.verdict == "look"
    assert "another horizon_days" in share.remedy


# --- the scores ---


class Said:
    """Tastes that are given."""

    def __init__(self, expected, chances):
        self._expected, self._chances = np.array(expected), np.array(chances)

    def expected(self, customers, products):  # noqa: ARG002
        return self._expected

    def chances(self, customers, products):  # noqa: ARG002
        return self._chances


def test_scores_are_known_by_hand():
    """Customer 0 rated 5 and 1 and was told 4 and 2; customer 3 rated 2, and 5 was expected."""
    asked = Ratings.of([0, 0, 3], [0, 1, 2], [5, 1, 2], [0, 1, 0])
    sure, torn = [0.0, 0.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.0, 0.0, 0.0]
    scores = star_scores(Said([4.0, 2.0, 5.0], [sure, torn, sure]), asked)
    found = scores.values()
    assert scores.units == 2
    assert found["stars_rmse"] == pytest.approx(np.sqrt((1 + 1 + 9) / 3), abs=1e-5)
    assert found["stars_right"] == pytest.approx(2 / 3, abs=1e-5)
    assert found["stars_log_loss"] == pytest.approx((np.log(2) + np.log(1e6)) / 3, abs=1e-4)
    assert found["stars_ndcg"] == found["stars_lift"] == 1.0
    discount = 1 / np.log2(3)
    assert found["stars_random"] == pytest.approx(16 * (1 + discount) / (31 + discount), abs=1e-5)


def test_ndcg_is_the_mean_over_all_orders_that_the_scores_allow():
    scores, stars = [2.0, 1.0, 2.0, 1.0, 3.0], np.array([5, 2, 1, 4, 3])
    gains = 2.0**stars - 1

    def dcg(order):
        return (gains[list(order)][:3] / np.log2([2, 3, 4])).sum()

    allowed = [dcg((4, *first, *last)) for first in ((0, 2), (2, 0)) for last in ((1, 3), (3, 1))]
    every = [dcg(order) for order in permutations(range(5))]
    one, best = np.zeros(5, int), max(every)
    assert ndcg(one, np.array(scores), stars, 3) == pytest.approx(np.mean(allowed) / best)
    assert ndcg(one, np.zeros(5), stars, 3) == pytest.approx(np.mean(every) / best)


def test_who_knows_nothing_has_a_lift_of_zero_and_the_ndcg_of_chance():
    asked = Ratings.of(np.repeat(range(9), 4), [0, 1, 2, 3] * 9, np.arange(36) % 5 + 1, range(36))
    nothing = Said(np.full(36, 3.0), np.full((36, 5), 0.2))
    found = star_scores(nothing, asked).values()
    assert found["stars_lift"] == pytest.approx(0.0, abs=1e-5)
    assert found["stars_ndcg"] == found["stars_random"] > 0.6


# --- the models ---


def test_auto_stands_for_the_models_from_totals():
    assert kinds_of(("auto",)) == ("item-mean", "factors")
    assert kinds_of(("ncf", "auto")) == ("ncf", "item-mean", "factors")
    for wrong, said in ((("neural",), "no model 'neural'"), (("ncf", "ncf"), "named twice")):
        with pytest.raises(PlanError, match=said):
            Stars(COMMON, models=wrong)


def test_a_task_that_nobody_bounded_is_refused_under_epsilon_by_name(example):
    source = Plan.read(example / "plan.toml").source
    source = {
        **source,
        "privacy": {"epsilon": 4.0, "delta": 1e-6},
        "tasks": {"stars": {"kind": "ratings"}},
    }
    with pytest.raises(RefusedError, match=r"\[tasks.stars\]: 'ratings'"):
        Plan.of(source, "a plan").budget()


NETWORK = NeuralRatings(
    embedding=6, width=16, dropout=0.0, rounds=8, patience=0, rate=0.02, batch=32
)


def test_a_network_is_chosen_where_it_is_better_and_no_customer_is_in_what_travels():
    rng = np.random.default_rng(6)
    rows = {split: make_cut(rng, 40) for split in ("validation", "test")}
    task = Stars(Common(TODAY, tuple(map(str, range(PRODUCTS)))), ("ncf",))
    found = choose(Local(rows), [NETWORK, ItemMeans()], PRODUCTS)
    network, means = found.choice["tried"]
    assert network["stars_rmse"] < means["stars_rmse"]
    assert found.choice["chosen"]["model"] == "ncf"
    assert not [name for name in found.model.arrays if "customers" in name]
    built = task.build(found.model.arrays, found.model.meta)
    assert isinstance(built, NetworkModel)
    scores = [task.score(model, rows, "test") for model in (found.model, built)]
    assert arrays_digest(scores[0].arrays) == arrays_digest(scores[1].arrays)


def test_a_customer_without_ratings_is_told_the_same_by_a_network_as_any_other():
    rows = {"validation": make_cut(np.random.default_rng(6), 20)}
    model = NETWORK.fit(Local(rows), PRODUCTS, "validation")
    nobody = Ratings.of([3], [0], [5], [0])
    told = model.tastes(nobody, 9).chances(np.array([0, 2, 8]), np.array([1, 1, 1]))
    assert told[0] == pytest.approx(told[1])
    assert told[0] == pytest.approx(told[2])


# --- the lists ---


def test_lists_hold_what_is_sold_and_not_yet_rated_the_best_first(frames, common):
    task = Stars(common, horizon_days=120)
    tables = dict(frames["north"])
    tables["products"] = tables["products"].filter(pl.col("product") != "P05")
    rows = task.rows(tables)
    lists = task.predict(task.baseline(rows)[0], rows, tables, 56)
    rated = tables["ratings"].select("customer", "product")
    rated = rated.filter(pl.col("product").is_in(common.catalogue))
    assert lists.join(rated, on=["customer", "product"]).is_empty()
    assert "P05" not in lists["product"]
    assert set(lists["customer"]) == set(rated["customer"])
    by_customer = lists.group_by("customer", maintain_order=True).agg("rank", "rating")
    for ranks, stars in by_customer.select("rank", "rating").iter_rows():
        assert ranks == list(range(1, len(ranks) + 1))
        assert stars == sorted(stars, reverse=True)
    chances = lists.select(f"p_{star}" for star in range(1, 6)).to_numpy()
    assert chances.sum(axis=1) == pytest.approx(1.0, abs=1e-3)
    assert chances @ np.arange(1, 6) == pytest.approx(lists["rating"].to_numpy(), abs=1e-3)


# --- from outside ---

PLAN = """\
[consortium]
name = "stars"
members = ["north", "south", "west"]
today = 2024-07-15
catalogue = "catalogue.csv"

[privacy]
secure_sum = true

[tasks.stars]
kind = "ratings"
models = ["item-mean"]
horizon_days = 120
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns retailers that have ratings, with some rows that cannot be used."""
    folder = make_example(tmp_path_factory.mktemp("stars"))
    (folder / "plan.toml").write_text(PLAN)
    for name in ("north", "south", "west"):
        lines = pl.read_csv(folder / name / "data/transactions.csv", try_parse_dates=True)
        ratings = rating_table(lines.with_columns(pl.col("time").cast(pl.Datetime("us"))))
        wrong = ratings.head(3).with_columns(rating=pl.Series([6.0, 0.0, 2.5]))
        both = pl.concat([ratings, wrong.with_columns(time=pl.col("time") + timedelta(hours=1))])
        both.write_csv(folder / name / "data/ratings.csv", datetime_format="%Y-%m-%d %H:%M:%S")
        config = folder / name / "retailer.toml"
        declared = '\n[tables.ratings]\npath = "data/ratings.csv"\n\n[privacy]'
        config.write_text(config.read_text().replace("\n[privacy]", declared))
    return folder


def test_rows_that_are_no_rating_are_set_aside_and_customers_without_consent_dropped(folder):
    tables = Tables(load_config(folder / "north" / "retailer.toml"))
    read, agreed = tables["ratings"], set(tables["customers"]["customer"])
    account = tables.accounts["ratings"]
    assert account.set_aside == {"rating is above 5": 1, "rating is below 1": 1}
    assert "rating is a part of a star" in [warning.reason for warning in account.warnings]
    assert account.no_consent > 0
    assert set(read["customer"]) <= agreed


def test_a_run_under_secure_sums_its_report_and_predictions_from_the_command_line(folder, tmp_path):
    run = gt.run(folder / "plan.toml", tmp_path)
    assert run.scores["stars"]["pooled_model"]["same_as_federated"]
    rows = run.scores["stars"]["overall"]["rows"]
    assert {*rows} == {"baseline", "alone", "federated", "pooled"}
    assert {*rows["federated"]} == {metric.name for metric in METRICS}
    words = ("predict", "latest", "--runs", str(tmp_path), "--retailer", "west", "--json")
    command = [sys.executable, "-m", "grandtotal.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    written = json.loads(done.stdout)
    lists = pl.read_parquet(written["stars"])
    assert lists.columns[:5] == ["customer", "rank", "product", "title", "rating"]
    page = run.report().read_text()
    for said in ("How many stars will each customer give", "Star by star", "RMSE in stars"):
        assert said in page
