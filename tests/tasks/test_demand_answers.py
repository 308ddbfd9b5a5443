"""What a demand forecast of trees tells: reasons, what if, and what it says to bad input."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.tasks.made_shops import TODAY, by_day, promoted, shops

from grandtotal.consortium.totals import Local
from grandtotal.errors import DataError, PlanError
from grandtotal.tasks import demand_reasons
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_features import feature_names
from grandtotal.tasks.demand_model import baseline_model, cases_of
from grandtotal.tasks.demand_reasons import reasons
from grandtotal.tasks.demand_what_if import WhatIf
from grandtotal.tasks.task import Common

# --- reasons ---


@pytest.mark.parametrize("model", ["trees", "trees-log"])
def test_reasons_name_what_moved_a_forecast_most(model):
    tables, task = shops(shops=2), by_day(models=(model,), trees=8)
    rows = task.rows(tables)
    kept = task.adapt(task.fit(Local(rows)).model, rows)
    (cases,) = cases_of(kept, rows["now"])
    forecast = kept.forecast(cases)
    told = reasons(kept, cases, forecast)
    assert all(len(words.split("; ")) <= 3 for words in told)
    for words in filter(None, told):
        sizes = [float(part.split()[-2]) for part in words.split("; ")]
        logs = np.abs(np.log1p(np.array(sizes) / 100))
        assert (np.diff(logs) <= 0.02).all()
        assert all(part.rsplit(" ", 2)[0] in feature_names(1) for part in words.split("; "))
    assert any(told)
    frame = task.predict(kept, rows, tables, 5)
    assert frame.height == sum(cases.open)
    assert set(frame["reasons"]) <= {*told}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demand_reasons, "MOST", 3)
        few = np.array(reasons(kept, cases, forecast))
    assert set(np.flatnonzero(few != "")) <= set(np.argsort(-forecast)[:3])
    assert reasons(task.baseline(rows)[0], cases, forecast) is None


# --- what if ---


def rng_prices(sales):
    """Returns list prices that go up and down by a half."""
    return np.random.default_rng(1).uniform(0.5, 1.5, sales.known.promotion.shape)


def test_a_forecast_as_if_it_were_a_promotion_is_higher_and_without_one_the_same():
    tables, task = promoted(0.2), by_day()
    rows = task.rows(tables)
    model = task.adapt(task.fit(Local(rows)).model, rows)
    for asked in ("promotion=yes", "price=0.8, promotion=yes"):
        found = task.predict(model, rows, tables, 5, WhatIf.of(asked))
        assert (found["units_what_if"] > 1.4 * found["units"]).all()
    same = task.predict(model, rows, tables, 5, WhatIf.of("promotion=no"))
    assert same["units_what_if"].to_list() == same["units"].to_list()
    with pytest.raises(PlanError, match="that was chosen, mean, reads no prices"):
        WhatIf.of("price=0.8").applied(baseline_model("mean"), rows["now"])
    with pytest.raises(DataError, match=r"no list price of the .*price=0\.8,promotion=yes"):
        WhatIf.of("price=0.8").applied(model, rows["now"])
    (sales,) = rows["now"].parts
    listed = replace(sales.known, price=rng_prices(sales))
    priced = replace(rows["now"], parts=(replace(sales, known=listed),))
    with pytest.raises(PlanError, match="no table of them in training; train again"):
        WhatIf.of("price=0.8").applied(model, priced)
    bare = task.rows(shops(shops=2))
    with pytest.raises(DataError, match="promotions: none in the past"):
        WhatIf.of("promotion=yes").applied(model, bare["now"])
    flat = task.rows(promoted(0.0))
    with pytest.raises(DataError, match="no 'depth' of any past promotion"):
        WhatIf.of("price=0.8,promotion=yes").applied(model, flat["now"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prize=0.9", "what if 'prize=0.9': expected price=0.9, promotion=yes"),
        ("price=0.9,price=0.8", "each once"),
        ("price=1.2,promotion=yes", "a promotion reduces; leave promotion=yes out"),
        ("price=low", "expected a multiple of the price of now above 0"),
        ("price=0", "expected a multiple of the price of now above 0"),
        ("promotion=maybe", "expected yes or no"),
        ("", "expected price=0.9"),
    ],
)
def test_a_what_if_that_cannot_be_asked_says_what_can(text, words):
    with pytest.raises(PlanError) as refused:
        WhatIf.of(text)
    assert words in str(refused.value)


# --- bad input ---


def test_a_constant_target_of_one_store_and_days_that_are_there_twice_are_forecast():
    tables = shops(shops=1)
    constant = tables["transactions"].with_columns(quantity=pl.lit(7.0))
    doubled = pl.concat([constant, constant])  # every day twice: it counts twice
    for lines, units in ((constant, 7.0), (doubled, 14.0)):
        task = by_day()
        frames = {**tables, "transactions": lines}
        rows = task.rows(frames)
        found = task.predict(task.adapt(task.fit(Local(rows)).model, rows), rows, frames, 5)
        assert found["units"].to_numpy() == pytest.approx(units, rel=1e-3)
        assert set(found["store"]) == {"S0"}


@pytest.mark.parametrize("by", ["product", "store"])
def test_one_row_is_no_history(by):
    tables, task = shops(shops=1), Demand(Common(TODAY, ("all",)), by=by)
    one = tables["transactions"][-1:]
    with pytest.raises(DataError, match="no product sold in the 26 periods before"):
        task.fit(Local(task.rows({"transactions": one})))
    rows = task.rows({"transactions": one})
    (history,) = (told for told in task.standing(rows, tables) if told.point == "history")
    assert history.verdict == "no"
    assert "a longer export" in history.remedy


def test_negative_and_fractional_units_and_gaps_are_sums_of_whole_steps():
    tables, task = shops(shops=2), by_day()
    lines = tables["transactions"]
    other = lines.with_columns(
        quantity=pl.when(pl.int_range(pl.len()) % 11 == 0)
        .then(-pl.col("quantity"))
        .otherwise(pl.col("quantity") + 0.25)
    ).filter(pl.int_range(pl.len()) % 13 != 0)
    frames = {**tables, "transactions": other}
    rows = task.rows(frames)
    units = rows["test"].parts[0].units
    assert (units >= 0).all()
    assert (units * 64 == np.rint(units * 64)).all()
    model = task.adapt(task.fit(Local(rows)).model, rows)
    assert np.isfinite(task.predict(model, rows, frames, 5)["units"].to_numpy()).all()


def test_weather_that_ends_too_early_is_told_with_its_first_day():
    tables, task = shops(shops=1), by_day()
    days = [TODAY + timedelta(days=back) for back in range(-300, 3)]
    weather = pl.DataFrame({"date": days, "weather": [float(day.month) for day in days]})
    calendar = pl.concat([tables["calendar"], weather], how="diagonal")
    standing = task.standing(task.rows({**tables, "calendar": calendar}), tables)
    (told,) = (one for one in standing if one.point == "weather")
    assert told.verdict == "look"
    assert told.found == "unknown for 4 of the coming days, the first from 2024-07-04"
    assert {one.point for one in task.standing(task.rows(tables), tables)} == {"history", "stock"}


def test_promotions_that_nobody_has_planned_yet_are_told():
    task = by_day()
    tables = promoted(0.2)
    plan = tables["promotions"]
    coming = plan[:1].with_columns(start=pl.lit(TODAY), end=pl.lit(TODAY + timedelta(days=2)))
    for more, verdict, found in (
        (plan, "look", "none planned from 2024-07-01 on"),
        (pl.concat([plan, coming]), "yes", "planned until 2024-07-03"),
    ):
        standing = task.standing(task.rows({**tables, "promotions": more}), tables)
        (told,) = (one for one in standing if one.point == "promotions")
        assert (told.verdict, told.found) == (verdict, found)


def test_a_series_that_begins_tomorrow_has_no_forecast_and_harms_none():
    tables, task = shops(shops=2), by_day()
    tomorrow = tables["transactions"][-1:].with_columns(
        time=pl.lit(datetime(2024, 7, 2)).cast(pl.Datetime("us")), store=pl.lit("NEW")
    )
    kinds = pl.DataFrame({"store": ["S0", "S1", "NEW"], "format": ["a", "b", "c"]})
    frames = {
        **tables,
        "transactions": pl.concat([tables["transactions"], tomorrow]),
        "stores": kinds,
    }
    rows = task.rows(frames)
    found = task.predict(task.adapt(task.fit(Local(rows)).model, rows), rows, frames, 5)
    assert set(found["store"]) == {"S0", "S1"}


def test_a_feature_that_is_missing_everywhere_changes_no_forecast():
    tables, task = shops(shops=2), by_day(trees=4)
    empty = pl.DataFrame(
        {"date": [TODAY - timedelta(days=9)], "weather": [None]},
        schema_overrides={"weather": float},
    )
    forecasts = []
    for calendar in (
        tables["calendar"],
        pl.concat([tables["calendar"], empty], how="diagonal"),
    ):
        rows = task.rows({**tables, "calendar": calendar})
        model = task.fit(Local(rows)).model
        forecasts.append(model.forecast(cases_of(model, rows["now"])[0]))
    assert forecasts[0].tolist() == forecasts[1].tolist()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"by": "shop"}, "by = 'shop', expected product or store or product-store"),
        ({"judged_by": "mape"}, "judged_by = 'mape', expected wape or rmspe"),
        ({"trees": 0}, "trees = 0, expected a whole number from 1 on"),
        ({"horizon": 30, "test": 30, "history": 60}, "history = 60, expected a whole number from"),
        ({"leaves": 1}, "leaves = 1, expected a whole number from 2 on"),
        ({"models": ("tree",)}, "did you mean 'trees'?"),
        ({"models": "auto", "horizon": 90, "test": 14}, "test = 14"),
    ],
)
def test_a_setting_of_trees_that_cannot_be_is_refused(common, settings, words):
    with pytest.raises(PlanError) as refused:
        Demand(common, **settings)
    assert words in str(refused.value)
