"""Filters leave products out, weights move them, and what lacks is said by name."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.consortium.totals import Local
from grandtotal.errors import DataError, PlanError, RunError
from grandtotal.tasks import recommend_models
from grandtotal.tasks.wishes import NO_WISHES, Wishes, last_prices, moved, varied


@pytest.fixture(scope="module")
def served(recommend, frames):
    """Returns what predicts for west under wishes, and west's tables."""
    tables = frames["west"]
    rows = recommend.rows(tables)
    model = recommend.fit(Local(rows)).model

    def predict(wishes, more=(), k=5):
        return recommend.predict(model, rows, {**tables, **dict(more)}, k, wishes)

    return predict, tables


@pytest.fixture(scope="module")
def serving(recommend, frames):
    rows = recommend.rows(frames["west"])
    model = recommend.fit(Local(rows)).model
    return lambda wishes=NO_WISHES: recommend.serving(model, rows, frames["west"], wishes)


def test_only_what_is_in_stock_is_on_a_list(served):
    predict, tables = served
    stock = tables["stock"]
    there = stock["product"].unique().sort()[::2]
    empty = stock.with_columns(
        on_hand=pl.when(pl.col("product").is_in(there.implode())).then(3.0).otherwise(0.0)
    )
    found = predict(Wishes(in_stock=True), {"stock": empty})
    assert set(found["product"]) <= set(there)
    assert not found.is_empty()


def test_only_prices_of_the_band_are_on_a_list(served, recommend):
    predict, tables = served
    paid = last_prices(tables, recommend.common)
    price = dict(zip(recommend.common.catalogue, paid, strict=True))
    found = predict(Wishes(least_price=2.0, most_price=4.0))
    assert not found.is_empty()
    assert all(2.0 <= price[product] <= 4.0 for product in found["product"])


def test_a_category_holds_what_is_below_it(served):
    predict, tables = served
    products = tables["products"]
    path = products["category"].str.split(">").list.first().str.strip_chars()
    inside = set(products.filter(path == path[0])["product"])
    found = predict(Wishes(category=path[0]))
    assert set(found["product"]) <= inside
    assert not found.is_empty()


def test_what_was_bought_is_on_the_list_only_where_it_is_wished(served):
    predict, tables = served
    both = ["customer", "product"]
    net = tables["transactions"].group_by(both).agg(pl.col("quantity").sum())
    bought = net.filter(pl.col("quantity") > 0, pl.col("customer").is_not_null())
    assert not predict(Wishes(again=True)).join(bought, on=both, how="semi").is_empty()
    assert predict(Wishes(again=False)).join(bought, on=both, how="semi").is_empty()


def test_a_weight_on_the_margin_raises_it_and_one_on_reach_lowers_sales(served):
    predict, tables = served
    products = tables["products"].select("product")
    costs = products.with_columns(cost=pl.Series(np.linspace(0.1, 1.5, products.height)))
    more = {"products": tables["products"].drop("cost", strict=False).join(costs, on="product")}
    cost = dict(costs.iter_rows())

    def mean_cost(wishes):
        return np.mean([cost[product] for product in predict(wishes, more)["product"]])

    assert mean_cost(Wishes(margin=3.0)) < mean_cost(NO_WISHES)
    sales = dict(tables["transactions"].group_by("product").len().iter_rows())

    def mean_sales(wishes):
        return np.mean([sales[product] for product in predict(wishes)["product"]])

    assert mean_sales(Wishes(reach=2.0)) < mean_sales(Wishes(reach=0.5)) < mean_sales(NO_WISHES)


def test_diversity_shows_more_categories_in_as_long_a_list(served):
    predict, tables = served
    kind = tables["products"].select("product", "category")

    def categories(wishes):
        found = predict(wishes).join(kind, on="product")
        assert found.group_by("customer").len()["len"].max() == 5
        return found.group_by("customer").agg(pl.col("category").n_unique())["category"].mean()

    assert categories(Wishes(diversity=0.0)) < categories(Wishes(diversity=1.0))


def test_with_diversity_1_a_second_of_a_category_comes_after_every_other():
    listed = pl.DataFrame(
        {"customer": ["a"] * 5, "rank": [1, 2, 3, 4, 5], "product": list("pqrst")},
        schema_overrides={"rank": pl.Int32},
    )
    kinds = pl.DataFrame({"product": list("pqr"), "category": ["x", "x", "y"]})
    found = varied(listed, kinds, 1.0, 5)
    assert found["product"].to_list() == list("prstq")
    assert found["rank"].to_list() == [1, 2, 3, 4, 5]
    assert varied(listed, kinds, 0.0, 3)["product"].to_list() == list("pqr")


def test_a_varied_list_that_is_shorter_than_asked_keeps_its_first_product():
    listed = pl.DataFrame(
        {"customer": [*"aabbb"], "rank": [1, 2, 1, 2, 3], "product": [*"pqpqr"]},
        schema_overrides={"rank": pl.Int32},
    )
    kinds = pl.DataFrame({"product": [*"pqr"], "category": ["x", "y", "z"]})
    assert varied(listed, kinds, 0.5, 5).equals(listed)


@given(seed=st.integers(0, 99))
def test_a_lift_of_nothing_changes_nothing_and_what_is_out_stays_out(seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(4, 9)).astype(np.float32)
    scores[:, :2] = -np.inf
    assert moved(scores, np.zeros(9, np.float32)) is scores
    found = moved(scores, rng.normal(size=9).astype(np.float32))
    assert np.isneginf(found[:, :2]).all()
    assert np.isfinite(found[:, 2:]).all()


def test_equal_scores_are_ordered_by_the_lift():
    found = moved(np.full((1, 3), 7, np.float32), np.array([0, 2, 1], np.float32))
    assert found.argsort().tolist() == [[0, 2, 1]]


@pytest.mark.parametrize(
    ("wishes", "table", "columns", "words"),
    [
        (Wishes(in_stock=True), "stock", None, r"no table 'stock'; add \[tables.stock\]"),
        (Wishes(category="food"), "products", ["category"], "column 'category'"),
        (Wishes(margin=1.0), "products", ["cost"], "column 'cost'"),
        (Wishes(diversity=1.0), "products", ["category"], "column 'category'"),
        (Wishes(category="none such"), "", None, "no product is in it"),
    ],
)
def test_what_lacks_is_said_by_table_and_column(recommend, frames, wishes, table, columns, words):
    tables = dict(frames["west"])
    rows = recommend.rows(tables)
    model = recommend.fit(Local(rows)).model
    if columns:
        tables[table] = tables[table].drop(columns, strict=False)
    elif table:
        del tables[table]
    with pytest.raises(DataError, match=words):
        recommend.predict(model, rows, tables, 3, wishes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"least_price": 3.0, "most_price": 2.0},
        {"least_price": float("nan")},
        {"most_price": -1.0},
        {"margin": -1.0},
        {"reach": float("nan")},
    ],
)
def test_a_wish_that_cannot_be_is_refused(wrong):
    with pytest.raises(PlanError):
        Wishes(**wrong)


# --- without a customer ---


def test_a_session_is_served_without_a_customer(serving, recommend):
    keys = recommend.common.catalogue
    found = serving().session(["P01", "P02", "unheard of"], 4)
    assert len(found) == 4
    assert {each.product for each in found} <= set(keys) - {"P01", "P02"}
    assert [each.score for each in found] == sorted((e.score for e in found), reverse=True)
    assert serving().unknown(["P01", "unheard of"]) == ["unheard of"]
    assert any(each.because for each in found)


def test_a_session_of_nothing_known_gets_what_sells(serving):
    first, *_ = serving().session([], 3)
    assert first.because == ()


def test_a_session_may_name_what_was_looked_at_where_it_is_wished(serving):
    again = serving(Wishes(again=True)).session(["P01"], 56)
    assert "P01" in {each.product for each in again}


def test_a_session_in_one_category_goes_on_in_it(serving, frames):
    """The example's customers were made to prefer a category each."""
    kind = dict(frames["west"]["products"].select("product", "category").iter_rows())
    first = next(iter(kind))
    same = [product for product, category in kind.items() if category == kind[first]][:3]
    found = serving().session(same, 3)
    assert sum(kind[each.product] == kind[first] for each in found) >= 2


def test_similar_products_are_of_the_same_category_and_never_the_product(serving, frames):
    kind = dict(frames["west"]["products"].select("product", "category").iter_rows())
    hits = [
        kind[each.product] == kind[product]
        for product in list(kind)[:20]
        if product in serving().shelf.place
        for each in serving().similar(product, 2)
    ]
    assert np.mean(hits) > 0.7
    assert all(each.product != "P01" for each in serving().similar("P01", 56))


def test_an_unknown_product_has_no_similar_ones(serving):
    with pytest.raises(RunError, match="product 'gin': not among the 56"):
        serving().similar("gin")


@pytest.mark.parametrize("models", [("als",), ("transitions",), ("popularity",), ("auto", "ease")])
def test_every_model_answers_a_session(recommend, frames, models):
    task = replace(recommend, models=models)
    rows = task.rows(frames["south"])
    candidate = recommend_models.GRIDS[models[-1]][0]
    model = candidate.fit(Local(rows), task.products, "test")
    serving = task.serving(model, rows, frames["south"], NO_WISHES)
    assert len(serving.session(["P03", "P04"], 5)) == 5
    similar = serving.similar("P03", 5)
    assert len(similar) == (0 if models == ("popularity",) else 5)


def test_the_next_basket_of_a_session_may_hold_what_is_in_it(recommend, frames):
    task = replace(recommend, models=("popularity",), repeat=True)
    rows = task.rows(frames["south"])
    serving = task.serving(task.fit(Local(rows)).model, rows, frames["south"], NO_WISHES)
    assert serving.session(["P03", "P03", "P04"], 2)[0].product in ("P03", "P04")
