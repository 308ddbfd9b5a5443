"""The price task: a strict cut, prices that stay at home, and what cannot be told from the data."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.algorithms.elasticity_model import NO_VARIATION, WITH_PROMOTIONS
from grandtotal.algorithms.price_moments import PriceMoments
from grandtotal.consortium.totals import Local
from grandtotal.durable import canonical
from grandtotal.errors import DataError, PlanError
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks.price import Price
from grandtotal.tasks.price_queries import deviance
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 15)
CATALOGUE = ("tea", "jam", "rye")
COMMON = Common(TODAY, CATALOGUE)
TASK = Price(COMMON, history=60, test=8)


def shop(
    seed=1,
    elasticity=-2.0,
    level=8.0,
    stores=("A", "B"),
    price_of=None,
    promoted_of=None,
    scale=1.0,
):
    """Returns tables of a line a product, store and week, with that elasticity, for 60 weeks."""
    rng = np.random.default_rng(seed)
    rows = []
    for product in CATALOGUE:
        for week in range(60):
            price, promoted = rng.choice([2.0, 2.5, 3.0]), rng.random() < 0.15
            if price_of and product in price_of:
                price = price_of[product](week, promoted)
            if promoted_of and product in promoted_of:
                promoted = promoted_of[product](week)
                price = price_of[product](week, promoted)
            for store in stores:
                mean = level * (price / 2.5) ** elasticity * (1.5 if promoted else 1.0)
                rows.append(
                    {
                        "product": product,
                        "time": datetime(2024, 7, 14, 12) - timedelta(weeks=59 - week),
                        "quantity": float(rng.poisson(mean)),
                        "price": price * scale,
                        "store": store,
                        "promotion": "leaflet" if promoted else None,
                    }
                )
    lines = pl.DataFrame(rows, schema_overrides={"promotion": pl.String})
    products = pl.DataFrame(
        {"product": CATALOGUE, "category": ["hot", "sweet", "sweet"], "cost": [1.0, 9.0, None]}
    )
    return {"transactions": lines.filter(pl.col("quantity") > 0), "products": products}


def fitted(*shops, task=TASK):
    parts = [task.rows(each) for each in shops]
    return task.fit(Local(task.pooled(parts))).model, parts


def test_a_planted_elasticity_is_found_and_forecasts_better():
    model, parts = fitted(shop(1), shop(2), shop(3))
    assert model.own == pytest.approx([-2, -2, -2], abs=0.35)
    low, high = model.interval()
    assert ((low < -2) & (high > -2)).sum() >= 2
    for rows in parts:
        scores = TASK.score(TASK.adapt(model, rows), rows, "test").values()
        before = TASK.score(TASK.baseline(rows)[0], rows, "test").values()
        assert scores["deviance"] < 0.8 * before["deviance"]
        assert scores["direction"] > 0.7


def test_what_a_retailer_has_alone_is_fitted_once():
    rows = TASK.rows(shop())
    alone = TASK.fit(Local(rows)).model
    kept = {split: dict(rows[split].kept) for split in ("validation", "test")}
    assert alone in kept["test"].values()
    joint = replace(alone, meta={**alone.meta, "fit": {"members": 3}})
    TASK.adapt(joint, rows)
    assert all(rows[split].kept == kept[split] for split in kept)


def test_what_comes_after_a_cut_changes_nothing_before_it():
    tables = shop()
    lines = tables["transactions"]
    cut = datetime(2024, 7, 15) - timedelta(weeks=8)
    changed = lines.with_columns(
        price=pl.when(pl.col("time") >= cut).then(9.0).otherwise("price"),
        quantity=pl.when(pl.col("time") >= cut).then(50.0).otherwise("quantity"),
    )
    before, after = (TASK.rows({**tables, "transactions": each}) for each in (lines, changed))
    one, other = (rows["test"].parts[0] for rows in (before, after))
    for name in ("x", "y", "series", "week", "product"):
        assert (getattr(one, name) == getattr(other, name)).all()
    assert before["test"].prices[0].current == pytest.approx(after["test"].prices[0].current)
    assert not np.array_equal(before["test"].cases[0].sold, after["test"].cases[0].sold)


def test_dearer_everywhere_and_in_another_currency_tells_the_same():
    b = np.array([-2.0, 0.0, 0.5, 0.0, 0.0]) + np.zeros((3, 5))
    given = {"asked": np.arange(3), "coefficients": b}
    totals = [
        Local(TASK.rows(shop(scale=scale))).total(PriceMoments("ppml", 5, "test"), given)
        for scale in (1.0, 147.3)
    ]
    # Of the mean price of a week a log price is rounded to 0.0015 %, which is all that differs.
    for name in totals[0]:
        assert totals[0][name] == pytest.approx(totals[1][name], rel=1e-3, abs=0.05)


def test_no_price_of_a_member_is_in_what_travels():
    model, parts = fitted(shop(1), shop(2, scale=37.0), shop(3))
    home = TASK.adapt(model, parts[1])
    assert home.prices.current[0] > 50
    for arrays in (model.arrays, home.arrays):
        assert all(np.nan_to_num(values).max() < 1000 for values in arrays.values())
        assert not {"current", "lowest", "highest", "cost"} & set(arrays)
    other = TASK.adapt(model, parts[0])
    assert (other.own == TASK.adapt(model, parts[0]).own).all()
    assert "37" not in canonical(model.meta).decode()


def test_lines_at_a_price_of_zero_are_not_used_and_said():
    tables = shop()
    gifts = tables["transactions"].with_columns(price=0.0, quantity=1000.0)
    both = {**tables, "transactions": pl.concat([tables["transactions"], gifts])}
    one, other = TASK.rows(tables), TASK.rows(both)
    assert (one["test"].parts[0].y == other["test"].parts[0].y).all()
    assert "lines at a price of zero are not used" in TASK.standing(other, both)[0].found


def test_only_free_lines_are_refused_with_what_to_check():
    tables = shop()
    free = tables["transactions"].with_columns(price=0.0)
    with pytest.raises(DataError, match="no line of a catalogue product at a price above 0"):
        TASK.rows({**tables, "transactions": free})


def test_a_product_that_is_never_discounted_has_words_and_no_number():
    always = {"jam": lambda week, promoted: 2.5}  # noqa: ARG005
    model, parts = fitted(*(shop(seed, price_of=always) for seed in (1, 2, 3)))
    assert model.basis[1] == NO_VARIATION
    table = TASK.predict(TASK.adapt(model, parts[0]), parts[0], {}, 3)
    (row,) = table.filter(pl.col("product") == "jam").to_dicts()
    assert np.isnan(row["elasticity"])
    assert "try two prices in a few stores" in row["says"]


def test_promotions_with_every_price_change_are_said_not_to_be_told_apart():
    with_offer = {"jam": lambda week, promoted: 2.0 if promoted else 2.5}  # noqa: ARG005
    offers = {"jam": lambda week: week % 5 == 0}
    shops = [shop(seed, price_of=with_offer, promoted_of=offers) for seed in (1, 2, 3)]
    model, parts = fitted(*shops)
    assert model.basis[1] == WITH_PROMOTIONS
    table = TASK.predict(TASK.adapt(model, parts[0]), parts[0], {}, 3)
    assert "moved only with promotions" in table.filter(pl.col("product") == "jam")["says"][0]


def test_one_price_change_a_year_says_how_little_is_known():
    once = {"jam": lambda week, promoted: 2.5 if week < 40 else 2.6}  # noqa: ARG005
    model, _ = fitted(*(shop(seed, price_of=once) for seed in (1, 2, 3)))
    assert model.own_sd[1] > 2 * model.own_sd[0]


def test_a_cost_above_the_price_is_allowed_and_said():
    model, parts = fitted(shop(1), shop(2), shop(3))
    table = TASK.predict(TASK.adapt(model, parts[0]), parts[0], {}, 3)
    said = dict(table.select("product", "says").iter_rows())
    assert "sold below its cost" in said["jam"]
    assert "below its cost" not in said["tea"] + said["rye"]


def test_a_test_longer_than_the_history_is_refused():
    with pytest.raises(PlanError, match="history = 60, expected a whole number from 106 on"):
        Price(COMMON, history=60, test=40)


def test_fewer_than_three_retailers_are_refused():
    with pytest.raises(PlanError, match="retailers = 2, expected a whole number from 3 on"):
        Price(COMMON, retailers=2)


def test_without_a_change_in_the_test_weeks_nothing_is_scored_and_that_is_said():
    late = {name: lambda week, p: [2.0, 2.5][week % 2] if week < 30 else 2.5 for name in CATALOGUE}  # noqa: ARG005
    tables = shop(price_of=late)
    rows = TASK.rows(tables)
    assert TASK.score(TASK.baseline(rows)[0], rows, "test").units == 0
    assert TASK.standing(rows, tables)[0].verdict == "look"
    model, _ = fitted(tables, shop(2, price_of=late), shop(3, price_of=late))
    assert model.own == pytest.approx([-2, -2, -2], abs=0.6)


def test_stores_and_promotions_may_be_missing():
    tables = shop()
    bare = {"transactions": tables["transactions"].drop("store", "promotion")}
    rows = TASK.rows(bare)
    assert len(rows["test"].parts[0].product) == 3
    assert TASK.fit(Local(rows)).model.own.mean() < -1


def test_deviance_is_zero_where_a_forecast_is_right_and_finite_where_it_was_zero():
    sold = np.array([0.0, 3.0, 3.0, 0.0])
    found = deviance(sold, np.array([0.0, 3.0, 0.0, 2.0]))
    assert found == pytest.approx([0.02, 0.0, 2 * (3 * np.log(300) - 2.99), 4.0])


# --- under epsilon ---

PRIVATE = replace(
    TASK, common=replace(COMMON, privacy=Agreement(epsilon=4.0, delta=1e-6)), rows_per_customer=0
)


def test_under_epsilon_the_same_answer_without_noise_is_near_the_exact_one():
    many = [shop(seed, stores=tuple("ABCDEFGH"), level=30.0) for seed in (1, 2, 3)]
    exact, _ = fitted(*many)
    noisy, _ = fitted(*many, task=PRIVATE)
    assert noisy.own == pytest.approx(exact.own, abs=0.4)
    assert noisy.meta["model"] == "log-log in noise"


def test_under_epsilon_a_row_knows_of_no_other_series():
    tables = shop()
    lines = tables["transactions"]
    other = lines.with_columns(
        price=pl.when((pl.col("store") == "B") & (pl.col("product") == "rye"))
        .then(7.0)
        .otherwise("price")
    )
    one, two = (
        PRIVATE.rows({**tables, "transactions": each})["shared test"].parts[0]
        for each in (lines, other)
    )
    same = one.series != one.series.max()
    assert (one.x[same] == two.x[same]).all()
    assert (one.x[:, 1] == 0).all()


def test_under_epsilon_scores_and_pairs_are_of_one_unit():
    by_customer = replace(PRIVATE, rows_per_customer=8)
    for task, unit in ((PRIVATE, "store-week"), (by_customer, "customer")):
        assert task.scored.unit == unit
        assert [release.query for release in task.releases()] == ["price-pairs", "test-scores"]
    tables = shop()
    with pytest.raises(DataError, match="map 'customer' in retailer"):
        by_customer.rows(tables)


def test_under_epsilon_ppml_alone_is_refused():
    with pytest.raises(PlanError, match="under epsilon only log-log"):
        replace(PRIVATE, models=("ppml",))
