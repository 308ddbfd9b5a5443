"""Trees of a demand forecast, series of stores, and what they know of a case at its origin."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import DataError, PlanError
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks import demand_reasons
from grandtotal.tasks.covariates import Covariates, Revisions
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_facts import Facts, text_names
from grandtotal.tasks.demand_features import DAILY, FEATURES, Seen, feature_names
from grandtotal.tasks.demand_home import best_at_home, judged
from grandtotal.tasks.demand_in_noise import private_models
from grandtotal.tasks.demand_model import baseline_model, cases_of
from grandtotal.tasks.demand_reasons import reasons
from grandtotal.tasks.demand_what_if import WhatIf
from grandtotal.tasks.sales import Periods, SeriesNames
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)  # a Monday
SMALL = {"horizon": 4, "test": 8, "history": 80, "trees": 6, "leaves": 6}


def known_of(rng, series, periods, horizon, origin, changed):
    """Returns covariates of which those after the origin, or known after it, can be changed."""
    length = periods.count + horizon
    shares = {kind: (rng.random((2, length)) < 0.2) * 1.0 for kind in ("holiday", "school")}
    shares["closed"] = (rng.random((2, length)) < 0.15) * 1.0
    since = {kind: np.full((2, length), -(2**30)) for kind in shares}
    for kind in ("holiday", "school"):
        since[kind][:, ::5] = origin + 1  # told the day after
    promotion = (rng.random((series, length)) < 0.15) * 1.0
    days = np.arange(length * periods.days)
    rows = [(group, day, when) for group in (0, 1) for day in days for when in (0, origin + 1)]
    group, day, when = np.array(sorted(rows, key=lambda row: row[2])).T
    value = rng.normal(size=len(rows))
    if changed:
        for kind in ("holiday", "school"):
            shares[kind][:, ::5] = 1 - shares[kind][:, ::5]
        promotion[:, origin + horizon :] = 1 - promotion[:, origin + horizon :]
        value = np.where(when > origin, -value, value)
    revised = {name: Revisions(group, day, when, value) for name in ("weather", "trend")}
    return Covariates(
        np.arange(series) % 2, shares, since, revised, promotion, promotion / 4, planned=True
    )


@pytest.mark.parametrize("days", [1, 7])
def test_no_feature_sees_what_came_after_its_origin_or_was_known_later(build, days):
    origin = 70 if days == 7 else 430
    periods, horizon = Periods(TODAY, days, origin + 30), 5
    found = []
    for changed in (False, True):
        rng = np.random.default_rng(3)
        sales = build.sales(rng, 6, periods, horizon)
        sales.units[5, : origin // 2] = 0.0
        if changed:
            later = np.random.default_rng(8)
            for values in (sales.units, sales.price, sales.promoted):
                values[:, origin:] = later.random(values[:, origin:].shape) * 40
        known = known_of(np.random.default_rng(6), 6, periods, horizon, origin, changed)
        names = SeriesNames(np.arange(6), (), np.arange(6) // 3)
        opened = [periods.start(t).toordinal() for t in (0, 10, 20, origin + 1 + changed, 40, 50)]
        told = replace(Facts.unknown(6), competitor=np.arange(6) / 2, opened=np.array(opened))
        sales = replace(sales, known=known, names=names, told=told)
        s, ahead = (part.ravel() for part in np.meshgrid(np.arange(6), np.arange(1, 6)))
        seen = Seen(sales, s, np.full(len(s), origin), ahead)
        found.append({name: seen.number(name) for name in feature_names(days)})
        found[-1]["level"] = seen.level
    for name, values in found[0].items():
        assert np.array_equal(values, found[1][name], equal_nan=True), name
    informative = [name for name, values in found[0].items() if np.isfinite(values).any()]
    assert set(feature_names(days)) - {*informative} <= {"open until"}


def test_a_feature_of_a_few_numbers_is_what_its_words_say(build):
    periods = Periods(TODAY, 7, 60)
    sales = build.sales(np.random.default_rng(1), 3, periods, 4)
    seen = Seen(sales, np.array([0, 2]), np.array([50, 50]), np.array([1, 3]))
    logs = np.log(sales.capped() + 1)
    level = (logs[[0, 2], :50].sum(axis=1) + 0.5 * logs[[0, 2], :50].mean(axis=1)) / 50.5
    assert seen.level == pytest.approx(level)
    assert seen.number("last period") == pytest.approx(logs[[0, 2], 49] - level)
    recent = logs[[0, 2], 42:50].mean(axis=1)
    assert seen.number("recent sales, third window") == pytest.approx(recent - level)
    zeros = (sales.units[[0, 2], 42:50] == 0).mean(axis=1)
    assert seen.number("share of periods without sales") == pytest.approx(zeros)
    assert seen.number("month").tolist() == [4, 5]  # the middle of the weeks
    assert seen.number("periods ahead").tolist() == [1, 3]
    assert np.isnan(seen.number("weather")).all()
    assert set(DAILY).isdisjoint(FEATURES)


# --- series of stores ---


@pytest.fixture(scope="module")
def stores(common):
    """Returns a maker of the task by store."""
    return lambda by, **more: Demand(common, by=by, models=("trees-log",), **{**SMALL, **more})


def test_series_of_products_in_stores_add_up_to_the_products(stores, frames, common):
    by_both = stores("product-store").rows(frames["north"])["test"].parts[0]
    by_product = stores("product").rows(frames["north"])["test"].parts[0]
    in_stores = frames["north"]["transactions"].filter(pl.col("store").is_not_null())
    whole = stores("product").rows({**frames["north"], "transactions": in_stores})["test"].parts[0]
    sums = np.zeros_like(by_product.units)
    np.add.at(sums, by_both.names.product, by_both.units)
    returned = by_both.units.shape[0] > 0
    assert returned
    # A return in one store does not make sales of another one less.
    assert (sums >= whole.units - 1e-9).all()
    assert np.abs(sums - whole.units).sum() <= 0.02 * whole.units.sum()
    assert set(by_both.names.store) <= set(frames["north"]["stores"]["store"])
    assert len(common.catalogue) >= len(set(by_both.names.product))


class Summed:
    """Totals of several holders of rows: each answers alone, and the answers are added."""

    def __init__(self, parts):
        self.holders = [Local(part) for part in parts]

    def total(self, query, broadcast=None):
        found = [holder.total(query, broadcast) for holder in self.holders]
        return {name: sum(part[name] for part in found) for name in found[0]}


def test_federated_trees_of_stores_are_the_pooled_ones(stores, frames):
    task = stores("product-store", trees=3, horizon=8)
    parts = [task.rows(found) for found in frames.values()]
    pooled = task.fit(Local(task.pooled(parts)))
    federated = task.fit(Summed(parts))
    assert arrays_digest(federated.model.arrays) == arrays_digest(pooled.model.arrays)


def test_forecasts_by_store_name_the_store_and_no_summand_does(stores, frames):
    task = stores("product-store")
    rows = task.rows(frames["north"])
    model = task.adapt(task.fit(Local(rows)).model, rows)
    found = task.predict(model, rows, frames["north"], 5)
    assert found.columns[:6] == ["level", "product", "title", "store", "start", "ahead"]
    of_series = found.filter(found["level"] == "product-store")
    assert of_series.group_by("product", "store").len()["len"].unique().to_list() == [4]
    assert task.score(model, rows, "test").units > len(task.common.catalogue) / 2
    assert task.detail(model, rows)["curve"]["product"].count("store") == 1


def test_a_table_without_stores_cannot_be_forecast_by_store(stores, frames):
    bare = {**frames["north"], "transactions": frames["north"]["transactions"].drop("store")}
    with pytest.raises(DataError, match=r"map 'store' in retailer\.toml"):
        stores("store").rows(bare)


def shops(days=300, shops=3, seed=1):
    """Returns daily sales of shops that are closed on Sundays, and know it."""
    rng = np.random.default_rng(seed)
    rows, closed = [], []
    for back in range(days, 0, -1):
        day = TODAY - timedelta(days=back)
        for shop in range(shops):
            if day.weekday() == 6:
                closed.append((day, f"S{shop}", "closed"))
                continue
            mean = (20 + 10 * shop) * (1.5 if day.weekday() == 5 else 1.0)
            rows.append((datetime.combine(day, datetime.min.time()), f"S{shop}", rng.poisson(mean)))
    closed += [(TODAY + timedelta(days=6), f"S{shop}", "closed") for shop in range(shops)]
    sold = pl.DataFrame(rows, schema=["time", "store", "quantity"], orient="row")
    return {
        "transactions": sold.with_columns(
            pl.col("quantity").cast(pl.Float64),
            pl.col("time").cast(pl.Datetime("us")),
            product=pl.lit("all"),
            price=pl.lit(1.0),
        ),
        "calendar": pl.DataFrame(closed, schema=["date", "region", "holiday"], orient="row"),
    }


def by_day(**more):
    given = {"every": "day", "horizon": 7, "test": 14, "history": 300, "trees": 20, "leaves": 8}
    return Demand(
        Common(TODAY, ("all",)), by="store", **{"models": ("trees-log",), **given, **more}
    )


def test_a_day_that_is_known_to_be_closed_is_neither_learned_scored_nor_forecast():
    tables, task = shops(), by_day()
    rows = task.rows(tables)
    model = task.adapt(task.fit(Local(rows)).model, rows)
    found = task.predict(model, rows, tables, 5)
    assert found["start"].n_unique() == 6
    assert TODAY + timedelta(days=6) not in found["start"].to_list()
    learned = rows["test trees"]
    assert 6 not in learned.number("weekday")
    assert (learned.number("closed the period after")[learned.number("weekday") == 5] == 1).all()
    assert task.score(model, rows, "test").values()["wape"] < 0.25
    saturday = found.filter(pl.col("start") == TODAY + timedelta(days=5))["units"]
    friday = found.filter(pl.col("start") == TODAY + timedelta(days=4))["units"]
    assert (saturday.to_numpy() > 1.2 * friday.to_numpy()).all()


@pytest.mark.parametrize("models", [("trees-tweedie",), ("forest",), ("auto",)])
def test_every_kind_of_trees_and_the_choice_among_all_beat_the_baseline(models):
    tables = shops(shops=4, seed=2)
    task = by_day(models=models, trees=12)
    rows = task.rows(tables)
    fitted = task.fit(Local(rows))
    assert {tried["model"] for tried in fitted.choice["tried"]} == set(task.models)
    wape = task.score(task.adapt(fitted.model, rows), rows, "test").values()["wape"]
    assert wape < task.score(task.baseline(rows)[0], rows, "test").values()["wape"]


# --- what does not change of a series ---


def test_trees_know_the_kind_of_a_store_and_one_never_seen_is_other():
    days, task = 300, by_day(trees=20, horizon=7)
    tables = shops(days, shops=6)
    kinds = pl.DataFrame(
        {
            "store": [f"S{shop}" for shop in range(6)],
            "format": ["outlet", "city"] * 3,
            "opened": [TODAY - timedelta(days=7)] + [TODAY - timedelta(days=900)] * 5,
            "competitor_km": [0.5, None, 2.0, 3.0, 4.0, 5.0],
        }
    )
    # On the days that the weather tells outlets sell five times as much.
    date_ = pl.col("time").dt.date()
    odd = (date_.dt.ordinal_day() % 3 == 0) & pl.col("store").is_in(["S0", "S2", "S4"])
    lines = tables["transactions"].with_columns(
        quantity=pl.when(odd).then(5 * pl.col("quantity")).otherwise("quantity")
    )
    weather = tables["transactions"].select(date=date_).unique().sort("date")
    weather = weather.with_columns(weather=(pl.col("date").dt.ordinal_day() % 3).cast(pl.Float64))
    calendar = pl.concat([tables["calendar"], weather], how="diagonal")
    tables |= {"transactions": lines, "calendar": calendar, "stores": kinds}
    rows = task.rows(tables)
    model = task.fit(Local(rows)).model
    facts = rows["test"].parts[0].facts
    assert facts.texts["format"] == ("outlet", "city") * 3
    assert np.isnan(facts.competitor).tolist() == [False, True] + [False] * 4
    assert np.isnan(facts.open_for(TODAY - timedelta(days=8))).tolist() == [True] + [False] * 5
    told = model.forecast(cases_of(model, rows["now"])[0])
    for other in ("never seen", None):
        changed = kinds.with_columns(format=pl.lit(other, pl.String))
        unseen = task.rows({**tables, "stores": changed})
        found = model.forecast(cases_of(model, unseen["now"])[0])
        assert np.isfinite(found).all()
        assert (found != told).any()


def test_a_product_is_told_by_its_category_and_brand_and_only_where_products_are_series(
    frames, common
):
    assert text_names("product") == ("category", "brand")
    assert text_names("store") == ("format", "assortment", "region")
    assert set(text_names("product-store")) == {*text_names("product"), *text_names("store")}
    facts = Demand(common, **SMALL).rows(frames["north"])["test"].parts[0].facts
    known = frames["north"]["products"].filter(pl.col("product") == "P01")["category"].to_list()
    assert [facts.texts["category"][0]] == known


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


def promoted(depth):
    """Returns shops that sell twice as much in promotions: every third week, not in the coming."""
    tables = shops(shops=2)
    starts = [TODAY - timedelta(days=back) for back in range(294, 0, -21)]
    plan = pl.DataFrame({"start": starts}).with_columns(
        product=pl.lit("all"), end=pl.col("start") + timedelta(days=6), depth=pl.lit(depth)
    )
    days = [start + timedelta(days=i) for start in starts for i in range(7)]
    twice = pl.when(pl.col("time").dt.date().is_in(days)).then(2.0).otherwise(1.0)
    lines = tables["transactions"].with_columns(quantity=pl.col("quantity") * twice)
    return {**tables, "transactions": lines, "promotions": plan}


def test_a_forecast_as_if_it_were_a_promotion_is_higher_and_without_one_the_same():
    tables, task = promoted(0.2), by_day()
    rows = task.rows(tables)
    model = task.adapt(task.fit(Local(rows)).model, rows)
    for asked in ("promotion=yes", "price=0.8", "price=0.8, promotion=yes"):
        found = task.predict(model, rows, tables, 5, WhatIf.of(asked))
        assert (found["units_what_if"] > 1.4 * found["units"]).all()
    same = task.predict(model, rows, tables, 5, WhatIf.of("promotion=no"))
    assert same["units_what_if"].to_list() == same["units"].to_list()
    with pytest.raises(PlanError, match="that was chosen, mean, reads no prices"):
        WhatIf.of("price=0.8").applied(baseline_model("mean"), rows["now"])
    bare = task.rows(shops(shops=2))
    with pytest.raises(DataError, match="promotions: none in the past"):
        WhatIf.of("promotion=yes").applied(model, bare["now"])
    flat = task.rows(promoted(0.0))
    with pytest.raises(DataError, match="no 'depth' of any past promotion"):
        WhatIf.of("price=0.8").applied(model, flat["now"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prize=0.9", "what if 'prize=0.9': expected price=0.9, promotion=yes"),
        ("price=0.9,price=0.8", "each once"),
        ("price=1.2", "no table plans higher prices"),
        ("price=low", "expected a share of the price of now"),
        ("promotion=maybe", "expected yes or no"),
        ("price=0.9,promotion=no", "leave promotion=no out"),
        ("", "expected price=0.9"),
    ],
)
def test_a_what_if_that_cannot_be_asked_says_what_can(text, words):
    with pytest.raises(PlanError) as refused:
        WhatIf.of(text)
    assert words in str(refused.value)


# --- what stays at home ---


@pytest.mark.parametrize("judge", ["wape", "rmspe"])
def test_a_retailer_keeps_what_was_best_on_its_own_validation(judge):
    task = by_day(judged_by=judge)
    mine, other = (task.rows(shops(shops=3, seed=seed)) for seed in (1, 9))
    shared = task.fit(Local(task.pooled([mine, other]))).model
    before, now = best_at_home(task, shared, mine)
    panel = mine["validation"]
    assert judged(task, before, panel) <= judged(task, shared.validated, panel)
    assert (before.kept, before.own.keys() == {"factor"}) == (
        now.kept,
        now.own.keys() == {"factor"},
    )
    # Leaves that say the opposite are worse than any trees of its own.
    values = "trees values"
    spoiled = replace(
        shared,
        parts={**shared.parts, values: -3 * shared.parts[values]},
        before={**shared.before, values: -3 * shared.before[values]},
    )
    assert best_at_home(task, spoiled, mine)[0].kept != ""
    assert arrays_digest(now.arrays) == arrays_digest(shared.arrays)


def test_the_squares_of_relative_errors_are_judged_at_their_best_factor():
    task = by_day(judged_by="rmspe", models=("trees-log", "mean"))
    rows = task.rows(shops())
    fitted = task.fit(Local(rows))
    tried = {score["model"]: score for score in fitted.choice["tried"]}
    plain = replace(fitted.model.validated, parts={**fitted.model.before, "factor": np.ones(())})
    best = tried[fitted.model.meta["model"]]["rmspe"]
    assert best == pytest.approx(judged(task, fitted.model.validated, rows["validation"]), rel=1e-4)
    assert best <= judged(task, plain, rows["validation"]) + 1e-6
    assert task.headline == "rmspe"


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


def test_under_epsilon_trees_are_left_out_and_stores_refused(common):
    private = replace(common, privacy=Agreement(epsilon=8.0, delta=1e-6))
    assert private_models(Demand(private, models=("auto",))) == ("ridge", "poisson")
    with pytest.raises(PlanError, match="under epsilon at least one of ridge, poisson"):
        Demand(private, models=("trees",))
    with pytest.raises(PlanError, match="only series of products are hidden"):
        Demand(private, by="store")
