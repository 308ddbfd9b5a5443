from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import ndcg_score

from grandtotal.algorithms.item_model import ItemModel, top
from grandtotal.algorithms.item_similarity import EASE
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest, canonical
from grandtotal.errors import DataError
from grandtotal.tasks.ranking import RankingScores, ranking_scores
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)
KEYS = ("tea", "jam", "rye", "oat")


@st.composite
def lists(draw):
    """Returns scores without ties (customers, products) and what each customer wanted."""
    customers, products = draw(st.integers(1, 5)), draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = rng.permuted(np.tile(np.arange(products, dtype=np.float32), (customers, 1)), axis=1)
    wanted = rng.random((customers, products)) < 0.3
    wanted[np.arange(customers), rng.integers(products, size=customers)] = True
    return scores, wanted


@given(lists(), st.integers(1, 10))
def test_ndcg_is_scikit_learns(case, k):
    scores, wanted = case
    found = ranking_scores(top(scores, k), wanted)[:, 0]
    for customer in range(len(scores)):
        reference = ndcg_score(wanted[[customer]], scores[[customer]], k=k, ignore_ties=True)
        assert found[customer] == pytest.approx(reference)


@given(lists(), st.integers(1, 10))
def test_recall_and_hits_are_counted_one_by_one(case, k):
    scores, wanted = case
    for row, (_, recall, hit) in enumerate(ranking_scores(top(scores, k), wanted).tolist()):
        best = sorted(range(scores.shape[1]), key=lambda i: -scores[row, i])[:k]
        hits = [product for product in best if wanted[row, product]]
        assert recall == len(hits) / wanted[row].sum()
        assert hit == (len(hits) > 0)


@given(lists())
def test_a_perfect_list_scores_one_and_an_empty_handed_one_zero(case):
    _, wanted = case
    if wanted.all():
        return
    best = np.argsort(~wanted, axis=1, kind="stable")
    perfect = ranking_scores(best, wanted)
    assert np.allclose(perfect[:, :2], 1.0)
    worst = ranking_scores(np.argsort(wanted, axis=1, kind="stable")[:, :1], wanted)
    assert (worst[~wanted.all(axis=1)] == 0).all()


# --- rows ---


def frame(*lines):
    """Returns transactions of (days before today, customer, product, quantity)."""
    midnight = datetime(TODAY.year, TODAY.month, TODAY.day)
    return pl.DataFrame(
        [
            (midnight - timedelta(days=days) + timedelta(hours=12), customer, product, quantity)
            for days, customer, product, quantity in lines
        ],
        schema={
            "time": pl.Datetime("us"),
            "customer": pl.String,
            "product": pl.String,
            "quantity": pl.Float64,
        },
        orient="row",
    )


def rows(*lines, horizon=10, **more):
    task = Recommend(Common(TODAY, KEYS), horizon_days=horizon)
    return task.rows({"transactions": frame(*lines), **more})


def dense(purchases):
    return purchases.history.toarray().tolist(), purchases.future.toarray().tolist()


def test_history_holds_the_days_since_and_the_future_what_is_new():
    found = rows((25, "a", "tea", 1), (12, "a", "tea", 2), (10, "a", "tea", 1), (3, "a", "jam", 1))
    assert dense(found["validation"]) == ([[5, 0, 0, 0]], [[0, 0, 0, 0]])
    assert dense(found["test"]) == ([[2, 0, 0, 0]], [[0, 1, 0, 0]])
    assert dense(found["now"]) == ([[10, 3, 0, 0]], [[0, 0, 0, 0]])


def test_the_day_of_a_cut_comes_after_it_and_its_eve_before():
    found = rows((11, "a", "tea", 1), (10, "a", "jam", 1), (0, "a", "rye", 1))
    history, future = dense(found["test"])
    assert history == [[1, 0, 0, 0]]
    assert future == [[0, 1, 0, 0]]
    assert dense(found["now"])[0] == [[11, 10, 0, 0]]


def test_what_was_sent_back_altogether_was_not_bought():
    found = rows(
        (15, "a", "tea", 2),
        (14, "a", "tea", -2),
        (15, "a", "jam", 2),
        (14, "a", "jam", -1),
        (5, "a", "rye", 1),
        (4, "a", "rye", -1),
        (5, "a", "tea", 1),
    )["test"]
    # Bought, sent back and bought for good later: the later purchase is the first.
    assert dense(found) == ([[0, 4, 0, 0]], [[1, 0, 0, 0]])


def test_anonymous_lines_and_products_outside_the_catalogue_are_left_out():
    found = rows((15, None, "tea", 1), (15, "a", "gin", 1), (15, "b", "jam", 1))["test"]
    assert dense(found)[0] == [[0, 15 - 10, 0, 0]]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (frame((15, None, "tea", 1)), "anonymous"),
        (frame((15, "a", "gin", 1)), "none of its products is in the plan's catalogue of 4 keys"),
        (frame((15, "a", "tea", 1)).drop("customer"), "needs the column 'customer'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_its_reason(table, words):
    with pytest.raises(DataError, match=words):
        Recommend(Common(TODAY, KEYS)).rows({"transactions": table})


# --- scores ---


def purchases(history, future):
    return Purchases(csr_array(np.array(history)), csr_array(np.array(future)))


def popular(*prior):
    return ItemModel(np.empty((0, 0), np.float32), np.array(prior, np.float32))


def test_only_customers_with_a_history_and_a_new_purchase_are_scored():
    task = Recommend(Common(TODAY, KEYS), top=1)
    held = purchases(
        [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 2, 0, 0]],
        [[0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
    )
    found = task.score(popular(4, 3, 2, 1), {"test": held}, "test")
    # The first is shown jam and wants it, the last is shown tea and wants oat.
    assert found.units == 2
    assert found.values() == {"ndcg": 0.5, "recall": 0.5, "hit_rate": 0.5, "coverage": 0.5}
    assert found.shown.tolist() == [1, 1, 0, 0]


def test_what_was_bought_does_not_count_as_shown():
    task = Recommend(Common(TODAY, KEYS), top=4)
    held = purchases([[1, 3, 0, 0]], [[0, 0, 0, 1]])
    found = task.score(popular(4, 3, 2, 1), {"test": held}, "test")
    assert found.shown.tolist() == [0, 0, 1, 1]


def test_the_query_sums_what_the_customers_score():
    rng = np.random.default_rng(1)
    history = rng.random((30, 4)) < 0.3
    held = purchases(history.astype(int), (~history & (rng.random((30, 4)) < 0.5)).astype(int))
    task = Recommend(Common(TODAY, KEYS), top=2)
    model = popular(1, 4, 2, 3)
    scores = task.score(model, {"test": held}, "test")
    sums = Local({"test": held}).total(RankingScores(4, 2, "test"), model.arrays)
    assert sums["customers"] == scores.units
    for i, metric in enumerate(task.metrics):
        assert sums[metric.name] * metric.steps == scores.numerators[:, i].sum()


def test_many_customers_score_as_each_block_of_them(monkeypatch):
    rng = np.random.default_rng(2)
    history = rng.random((50, 4)) < 0.4
    held = {"test": purchases(history.astype(int), (~history).astype(int))}
    task = Recommend(Common(TODAY, KEYS), top=2)
    model = EASE(1.0).fit(Local(held), 4, "test")
    whole = task.score(model, held, "test")
    monkeypatch.setattr("grandtotal.tasks.ranking.BLOCK", 7)
    assert arrays_digest(task.score(model, held, "test").arrays) == arrays_digest(whole.arrays)


def test_hits_by_rank_add_up_to_the_hits(recommend, frames):
    rows = recommend.rows(frames["north"])
    model = recommend.fit(Local(rows)).model
    hits = recommend.detail(model, rows)["hits_by_rank"]
    assert len(hits) == recommend.top
    purchased = rows["test"].future.toarray() > 0
    scored = (np.diff(rows["test"].history.indptr) > 0) & purchased.any(axis=1)
    recall = recommend.score(model, rows, "test").numerators[:, 1]
    found = (recall / 2**20 * purchased[scored].sum(axis=1)).sum() / scored.sum()
    assert sum(hits) == pytest.approx(found, abs=1e-4)  # each rank is rounded to 6 digits


def test_the_baseline_is_the_better_window_of_the_retailers_own_bestsellers(recommend, frames):
    rows = recommend.rows(frames["south"])
    model, label = recommend.baseline(rows)
    days = model.meta["days"]
    assert label == (f"own bestsellers of the last {days} days" if days else "own bestsellers")
    assert not model.weights.size
    recent = rows["test"].history.toarray()
    counted = (recent > 0) & (recent <= days) if days else recent > 0
    assert model.prior.tolist() == counted.sum(axis=0).tolist()


# --- predictions ---


def test_every_customer_gets_the_top_of_what_is_new_to_them(recommend, frames):
    rows = recommend.rows(frames["west"])
    model = recommend.fit(Local(rows)).model
    found = recommend.predict(model, rows, frames["west"], 3)
    lines = frames["west"]["transactions"].filter(pl.col("customer").is_not_null())
    assert set(found["customer"]) == set(lines["customer"])
    ranks = found.group_by("customer").agg("rank", "score")
    assert all(found == [1, 2, 3] for found in ranks["rank"].to_list())
    assert all(scores == sorted(scores, reverse=True) for scores in ranks["score"].to_list())
    net = lines.group_by("customer", "product").agg(pl.col("quantity").sum())
    bought = net.filter(pl.col("quantity") > 0)
    assert found.join(bought, on=["customer", "product"], how="semi").is_empty()


def test_a_prediction_says_why_in_titles(recommend, frames):
    rows = recommend.rows(frames["west"])
    model = recommend.fit(Local(rows)).model
    found = recommend.predict(model, rows, frames["west"], 1)
    products = frames["west"]["products"]
    named = dict(products.select("product", "title").iter_rows())
    assert found["title"].to_list() == [named[product] for product in found["product"]]
    bought = frames["west"]["transactions"].group_by("customer").agg(pl.col("product"))
    known = {c: {named[p] for p in products} for c, products in bought.iter_rows()}
    assert found["because"].str.len_chars().sum() > 0
    for customer, because in found.select("customer", "because").iter_rows():
        assert set(filter(None, because.split(" | "))) <= known[customer]


# --- nothing sees past the cut ---


def shuffled_after(lines, cut, seed=0):
    """Returns the lines with every column dealt anew among the lines from the cut on."""
    before, after = lines.filter(pl.col("time") < cut), lines.filter(pl.col("time") >= cut)
    rng = np.random.default_rng(seed)
    dealt = [after[name].gather(rng.permutation(after.height)) for name in after.columns]
    return pl.concat([before, pl.DataFrame(dealt)])


def test_lines_after_the_cut_change_no_history_and_no_model(recommend, frames):
    tables = frames["north"]
    known = recommend.rows(tables)
    cut = recommend.common.today - timedelta(days=recommend.horizon_days)
    lines = shuffled_after(tables["transactions"], cut)
    found = recommend.rows({**tables, "transactions": lines})
    assert dense(found["test"])[0] == dense(known["test"])[0]
    assert dense(found["validation"]) == dense(known["validation"])
    assert dense(found["test"])[1] != dense(known["test"])[1]
    fitted, other = recommend.fit(Local(known)), recommend.fit(Local(found))
    assert arrays_digest(other.model.arrays) == arrays_digest(fitted.model.arrays)
    assert canonical(other.choice) == canonical(fitted.choice)


def test_lines_after_the_validation_cut_change_no_model_that_is_validated(recommend, frames):
    tables = frames["north"]
    cut = recommend.common.today - timedelta(days=2 * recommend.horizon_days)
    lines = shuffled_after(tables["transactions"], cut)
    found = recommend.rows({**tables, "transactions": lines})
    known = recommend.rows(tables)
    digests = {
        arrays_digest(EASE(30.0).fit(Local(rows), 56, "validation").arrays)
        for rows in (known, found)
    }
    assert len(digests) == 1
    assert dense(found["test"])[0] != dense(known["test"])[0]


def test_lines_before_the_cut_do_change_the_model(recommend, frames):
    tables = frames["north"]
    cut = recommend.common.today - timedelta(days=recommend.horizon_days + 30)
    lines = shuffled_after(tables["transactions"], cut)
    found, known = recommend.rows({**tables, "transactions": lines}), recommend.rows(tables)
    assert dense(found["test"])[0] != dense(known["test"])[0]


# --- rows that are unusual ---


def test_a_customer_of_50_000_lines_is_one_customer():
    many = [(1 + i % 300, "a", KEYS[i % 4], 1) for i in range(50_000)]
    found = rows(*many, (40, "b", "tea", 1), (3, "b", "jam", 1), horizon=10)
    assert found["test"].history.shape == (2, 4)
    model = EASE(1.0).fit(Local(found), 4, "test")
    assert np.isfinite(model.affinities(found["now"].history)).all()


def test_a_retailer_without_a_repeat_customer_is_told_that_nobody_can_be_scored():
    task = Recommend(Common(TODAY, KEYS), ("item-knn",), horizon_days=10)
    tables = {"transactions": frame((30, "a", "tea", 1), (30, "b", "jam", 1))}
    found = task.rows(tables)
    (standing,) = task.standing(found, tables)
    assert (standing.verdict, standing.found) == ("no", "2 with a history, 0 of them scored")
    assert task.predict(task.fit(Local(found)).model, found, tables, 1).height == 2


def test_a_retailer_of_one_product_has_nothing_new_to_recommend():
    task = Recommend(Common(TODAY, KEYS[:1]), ("item-knn",), horizon_days=10)
    tables = {"transactions": frame((30, "a", "tea", 1), (3, "a", "tea", 1))}
    found = task.rows(tables)
    assert task.predict(task.fit(Local(found)).model, found, tables, 5).is_empty()
