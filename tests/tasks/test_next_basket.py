from datetime import date, datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms.blend import Blend, parts_arrays
from grandtotal.algorithms.item_model import ItemModel
from grandtotal.algorithms.item_similarity import ItemKNN
from grandtotal.algorithms.next_basket import Chances, Habit, NextBasket, frequencies
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.rebuying import CELLS, Rebuying
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, PlanError
from grandtotal.tasks import recommend_choice
from grandtotal.tasks.next_basket import DEVIATIONS, Baskets, BasketScores, best_lists, lists
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)
KEYS = ("tea", "jam", "rye", "oat")


def rows(*lines, horizon=10):
    """Returns the rows of transactions (days before today, customer, product, quantity)."""
    midnight = datetime(TODAY.year, TODAY.month, TODAY.day)
    table = pl.DataFrame(
        [
            (midnight - timedelta(days=days) + timedelta(hours=9), customer, product, quantity)
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
    task = Recommend(Common(TODAY, KEYS), horizon_days=horizon, repeat=True)
    return task.rows({"transactions": table})


def ages(purchases, customer, bought):
    """Returns how many baskets ago the customer bought the product, each time."""
    row = purchases.baskets[[customer]]
    return sorted(row.data[row.indices == bought].tolist())


def popular(*prior):
    return ItemModel(np.empty((0, 0), np.float32), np.array(prior, np.float32))


def test_baskets_are_days_counted_back_from_the_customers_last_before_the_cut():
    found = rows(
        (40, "a", "tea", 1),
        (40, "a", "jam", 1),
        (40, "a", "tea", 2),
        (25, "a", "tea", 1),
        (11, "a", "rye", 1),
        (3, "a", "tea", 1),
        (30, "b", "tea", 1),
    )
    assert ages(found["test"], 0, 0) == [2, 3]
    assert ages(found["test"], 0, 1) == [3]
    assert ages(found["test"], 0, 2) == [1]
    assert ages(found["test"], 1, 0) == [1]
    assert ages(found["now"], 0, 0) == [1, 3, 4]
    assert found["test"].future.toarray().tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]


def test_what_was_sent_back_altogether_is_in_no_basket():
    found = rows((30, "a", "tea", 2), (29, "a", "tea", -2), (20, "a", "jam", 1))["test"]
    assert ages(found, 0, 0) == []
    assert ages(found, 0, 1) == [1]


def test_an_older_basket_counts_less_by_the_decay():
    found = rows((40, "a", "tea", 1), (30, "a", "jam", 1), (20, "a", "tea", 1))["test"]
    assert frequencies(found, 0.5).tolist() == [[1.25, 0.5, 0, 0]]
    assert frequencies(found, 1.0).tolist() == [[2, 1, 0, 0]]


def test_the_share_moves_from_the_item_model_to_the_habit():
    held = rows((40, "a", "oat", 1), (30, "a", "oat", 1), (20, "a", "rye", 1))["test"]
    items = popular(4, 3, 2, 1)
    only_items = NextBasket(items, Habit(1.0, 0.0)).scores(held)
    only_habit = NextBasket(items, Habit(1.0, 1.0)).scores(held)
    assert only_items.tolist() == [[1.0, 0.75, 0.5, 0.25]]
    assert only_habit.tolist() == [[0.0, 0.0, 0.5, 1.0]]
    half = NextBasket(items, Habit(1.0, 0.5)).scores(held)
    np.testing.assert_allclose(half, (only_items + only_habit) / 2)


def test_the_score_of_a_customer_is_the_same_in_any_block(build):
    rng = np.random.default_rng(3)
    held = build.with_baskets(rng, build.purchases(rng, 20, 6))
    model = NextBasket(Popularity().fit(Local({"test": held}), 6, "test"), Habit(0.7, 0.4))
    whole = model.scores(held)
    for customer in range(20):
        assert (model.scores(held.of(np.array([customer])))[0] == whole[customer]).all()


def test_repeat_and_explore_add_up_to_the_recall_of_one_customer():
    task = Recommend(Common(TODAY, KEYS), top=2, repeat=True)
    history = csr_array(np.array([[3, 0, 0, 0]]))
    baskets = csr_array(np.array([[1, 0, 0, 0]], np.int32))
    held = Purchases(history, csr_array(np.array([[1, 1, 0, 1]])), baskets)
    found = task.score(NextBasket(popular(4, 3, 2, 1), Habit(1.0, 0.5)), {"test": held}, "test")
    # The list is tea, bought before, and jam, new; wanted are both and oat, new as well.
    values = found.values()
    assert values["recall"] == pytest.approx(2 / 3, abs=1e-6)
    assert (values["recall_repeat"], values["recall_explore"]) == (1.0, 0.5)
    assert values["hit_rate"] == 1.0


def test_a_customer_without_new_purchases_does_not_count_for_explore():
    task = Recommend(Common(TODAY, KEYS), top=1, repeat=True)
    held = Purchases(
        csr_array(np.array([[3, 0, 0, 0], [0, 2, 0, 0]])),
        csr_array(np.array([[1, 0, 0, 0], [0, 0, 1, 0]])),
        csr_array(np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.int32)),
    )
    found = task.score(NextBasket(popular(1, 1, 1, 1), Habit(1.0, 0.9)), {"test": held}, "test")
    assert found.denominators[:, 3:].astype(bool).tolist() == [[True, False], [False, True]]
    assert found.values()["recall_repeat"] == 1.0
    assert found.values()["recall_explore"] == 0.0


def habitual(share, customers=60, products=30):
    """Returns purchases of customers of whom this share buys its own three products again.

    Everybody else buys the bestsellers next: products 0, 1 and 2. Before, a quarter bought its own
    again and the others the bestsellers.
    """
    rng = np.random.default_rng(5)
    own = np.array([rng.choice(np.arange(3, products), 3, replace=False) for _ in range(customers)])
    best = np.tile(np.arange(3), (customers, 1))
    again = np.arange(customers) % 4 == 0
    entries = {(c, p, 2) for c in range(customers) for p in own[c]}
    entries |= {(c, p, 1) for c in range(customers) for p in (own if again[c] else best)[c]}
    rows, held, ago = np.array(sorted(entries), np.int32).T
    starts = np.searchsorted(rows, np.arange(customers + 1))
    baskets = csr_array((ago, held, starts), shape=(customers, products))
    history, future = np.zeros((2, customers, products), np.int32)
    history[rows[::-1], held[::-1]] = ago[::-1]
    wanted = np.where(rng.random((customers, 1)) < share, own, best)
    np.put_along_axis(future, wanted, 1, axis=1)
    held = Purchases(csr_array(history), csr_array(future), baskets)
    return {"validation": held, "test": held}


def test_the_more_habitual_the_customers_the_less_a_deviation_is_worth():
    chosen = [
        recommend_choice.choose(Baskets(30, 3), Local(habitual(share)), [Popularity()]).choice[
            "chosen"
        ]["deviation"]
        for share in (0.0, 1.0)
    ]
    assert chosen[0] > chosen[1]


def test_the_scores_of_each_worth_are_those_of_its_model(build):
    rng = np.random.default_rng(9)
    held = build.with_baskets(rng, build.purchases(rng, 25, 4))
    task = Recommend(Common(TODAY, KEYS), top=2, repeat=True)
    items = Popularity().fit(Local({"test": held}), 4, "test")
    again = Rebuying.fit(Local({"test": held}), 4, "test")
    broadcast = {**items.arrays, **again.arrays, "deviations": np.array(DEVIATIONS)}
    sums = Local({"test": held}).total(BasketScores(4, 2, "test"), broadcast)
    for i, deviation in enumerate(DEVIATIONS):
        model = NextBasket(items, Chances(again, deviation))
        scores = task.score(model, {"test": held}, "test")
        assert sums["customers"] == scores.units
        for column, name in enumerate(("ndcg", "recall", "hit_rate")):
            assert sums[name][i] * 2**20 == scores.numerators[:, column].sum()


def test_the_scores_of_each_blend_are_those_of_its_model(build):
    rng = np.random.default_rng(9)
    held = build.with_baskets(rng, build.purchases(rng, 25, 4))
    task = Recommend(Common(TODAY, KEYS), top=2, repeat=True)
    parts = tuple(
        candidate.fit(Local({"test": held}), 4, "test")
        for candidate in (ItemKNN(1.0), Popularity(), Transitions(shrink=1.0))
    )
    again = Rebuying.fit(Local({"test": held}), 4, "test")
    grid, worths = np.array([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]), [2.0**-4, 2.0**-8]
    ways = {**again.arrays, "grid": grid, "deviations": np.array(worths)}
    sums = Local({"test": held}).total(BasketScores(4, 2, "test"), parts_arrays(parts) | ways)
    for i, (shares, worth) in enumerate(product(grid, worths)):
        model = NextBasket(Blend(parts, shares), Chances(again, worth))
        scores = task.score(model, {"test": held}, "test")
        assert sums["ndcg"][i] * 2**20 == scores.numerators[:, 0].sum()


@pytest.mark.parametrize("products", [20, 400])
def test_lists_of_what_can_be_on_them_are_those_of_all_products(build, products):
    rng = np.random.default_rng(4)
    few = build.purchases(rng, 30, 20)
    history, future = (
        csr_array((m.data, m.indices * (products // 20), m.indptr), shape=(30, products))
        for m in (few.history, few.future)
    )
    known = build.with_baskets(rng, Purchases(history, future)).without([1, 5])
    again = Rebuying.fit(Local({"test": known}), products, "test")
    # Small whole numbers: many scores are equal.
    items = popular(*rng.integers(0, 6, products))
    shared = items.knowing(known.history, None)
    found = best_lists(shared, again.chances(known), known, 5, DEVIATIONS)
    for deviation, ranked in zip(DEVIATIONS, found, strict=True):
        model = NextBasket(items, Chances(again, deviation))
        customers = np.flatnonzero(np.diff(known.future.indptr) > 0)
        whole = np.concatenate([each.ranked for each in lists(model, known, 5)])
        assert np.array_equal(ranked[customers], whole)


def test_a_likelier_new_product_comes_before_what_was_bought_once_long_ago():
    held = rows(*((40 - day, "a", "oat" if day < 29 else "rye", 1) for day in range(20, 30)))
    rates = Rebuying(np.full(CELLS, 0.01), np.ones(4))
    found = NextBasket(popular(9, 0, 0, 0), Chances(rates, 2.0**-4)).scores(held["test"])[0]
    assert found.argmax() == 0
    assert (
        NextBasket(popular(9, 0, 0, 0), Chances(rates, 2.0**-9)).scores(held["test"])[0][3]
        > (found[1])
    )


def following(customers=90, products=30):
    """Returns purchases of a fixed product after another, or, of half, of a bestseller."""
    rng = np.random.default_rng(5)
    history, future = np.zeros((2, customers, products), np.int32)
    everybody = np.arange(customers)
    before = rng.integers(3, products - 1, customers)
    history[everybody, before] = 1
    third = everybody % 3
    history[third > 0, before[third > 0] + 1] = 1  # what was bought with it
    history[third > 0, 0] = 1
    future[third == 0, before[third == 0] + 1] = 1
    future[everybody[::2], 0] = 1
    held = Purchases(csr_array(history), csr_array(future), csr_array(history))
    return {"validation": held, "test": held}


def test_auto_blends_where_neither_model_alone_is_the_best():
    task = Recommend(Common(TODAY, tuple(map(str, range(30)))), ("auto",), top=2, repeat=True)
    grids = [[Popularity()], [ItemKNN(1.0, 0)]]
    found = task.choose_and_blend(Local(following()), grids)
    alone = max(way["ndcg"] for way in found.choice["tried"])
    assert found.choice["chosen"]["model"] == "blend"
    assert max(mixed["ndcg"] for mixed in found.choice["blended"]) > alone
    assert "above the best one alone" in found.choice["why"]
    built = task.build(found.model.arrays, found.model.meta)
    assert arrays_digest(built.arrays) == arrays_digest(found.model.arrays)
    scores = [task.score(model, following(), "test") for model in (found.model, built)]
    assert arrays_digest(scores[0].arrays) == arrays_digest(scores[1].arrays)


def test_a_grid_of_other_parts_is_refused(build):
    rng = np.random.default_rng(9)
    held = build.with_baskets(rng, build.purchases(rng, 9, 4))
    parts = (Popularity().fit(Local({"test": held}), 4, "test"),)
    again = Rebuying.fit(Local({"test": held}), 4, "test")
    ways = {"grid": np.array([[0.5, 0.5]]), "deviations": np.array([0.5]), **again.arrays}
    with pytest.raises(AnswerError, match="parts"):
        Local({"test": held}).total(BasketScores(4, 2, "test"), parts_arrays(parts) | ways)


def test_pooled_purchases_keep_every_basket(build):
    rng = np.random.default_rng(2)
    parts = [build.with_baskets(rng, build.purchases(rng, n, 6)) for n in (5, 9)]
    pooled = Purchases.pooled(parts)
    assert pooled.baskets.nnz == sum(part.baskets.nnz for part in parts)
    expected = np.concatenate([frequencies(part, 0.9) for part in parts])
    assert (frequencies(pooled, 0.9) == expected).all()


def test_no_array_of_the_model_grows_with_the_customers(recommend, frames):
    task = Recommend(recommend.common, horizon_days=42, repeat=True)
    model = task.fit(Local(task.rows(frames["north"]))).model
    products = len(recommend.common.catalogue)
    assert {name: array.size for name, array in model.arrays.items()} == {
        "weights": products**2,
        "prior": products,
        "rates": CELLS,
        "ratios": products,
        "deviation": 1,
    }
    built = task.build(model.arrays, model.meta)
    assert built.meta == model.meta
    assert arrays_digest(built.arrays) == arrays_digest(model.arrays)


def test_predictions_may_be_bought_before_and_say_so(recommend, frames):
    task = Recommend(recommend.common, horizon_days=42, repeat=True)
    held = task.rows(frames["north"])
    found = task.predict(task.fit(Local(held)).model, held, frames["north"], 3)
    net = (
        frames["north"]["transactions"]
        .group_by("customer", "product")
        .agg(pl.col("quantity").sum())
    )
    lines = net.filter(pl.col("quantity") > 0)
    again = found.join(lines, on=["customer", "product"], how="semi")
    assert 0 < again.height < found.height
    assert all(r["because"].startswith(r["title"]) for r in again.iter_rows(named=True))


@pytest.mark.parametrize("value", [1, "yes", None])
def test_repeat_is_true_or_false(common, value):
    with pytest.raises(PlanError, match="expected true or false"):
        Recommend(common, repeat=value)
