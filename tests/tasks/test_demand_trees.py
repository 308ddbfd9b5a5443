"""Trees of a demand forecast, series of stores, and what they know of a case at its origin."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from tests.tasks.made_shops import TODAY, by_day, shops

from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import DataError, PlanError
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks.covariates import Covariates, Revisions
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_facts import Facts, text_names
from grandtotal.tasks.demand_features import DAILY, FEATURES, Seen, feature_names
from grandtotal.tasks.demand_home import first_not_beaten, missed
from grandtotal.tasks.demand_in_noise import private_models
from grandtotal.tasks.demand_model import ALONE, ON_TOP, cases_of
from grandtotal.tasks.sales import Periods, SeriesNames

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
    price = rng.uniform(1.0, 9.0, (series, length))
    days = np.arange(length * periods.days)
    rows = [(group, day, when) for group in (0, 1) for day in days for when in (0, origin + 1)]
    group, day, when = np.array(sorted(rows, key=lambda row: row[2])).T
    value = rng.normal(size=len(rows))
    if changed:
        for kind in ("holiday", "school"):
            shares[kind][:, ::5] = 1 - shares[kind][:, ::5]
        promotion[:, origin + horizon :] = 1 - promotion[:, origin + horizon :]
        price[:, origin + horizon :] *= 9
        value = np.where(when > origin, -value, value)
    revised = {name: Revisions(group, day, when, value) for name in ("weather", "trend")}
    return Covariates(
        np.arange(series) % 2, shares, since, revised, promotion, promotion / 4, True, price
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


def test_on_a_holiday_it_is_known_what_such_days_sold_in_the_past(build):
    periods, origin = Periods(TODAY, 7, 60), 50
    sales = build.sales(np.random.default_rng(1), 2, periods, 4)
    known = known_of(np.random.default_rng(6), 2, periods, 4, origin, changed=False)
    holiday = np.zeros((2, 64))
    holiday[:, [0, 20, 40, 52]] = 1.0
    known = replace(known, shares={**known.shares, "holiday": holiday, "closed": 0 * holiday})
    known = replace(known, since={**known.since, "holiday": np.full((2, 64), -1)})
    sales = replace(sales, known=known)
    ahead = np.arange(1, 5)
    seen = Seen(sales, np.ones(4, np.intp), np.full(4, origin), ahead)
    above = sales.past.origin(origin)._above[1]
    expected = [np.nan, *(above[days].mean() for days in ([19, 39], [0, 20, 40], [1, 21, 41]))]
    assert seen.number("sales on past holidays") == pytest.approx(expected, nan_ok=True)


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


@pytest.mark.parametrize(("grow", "learned_from"), [("level", 1), ("leaf", 2)])
def test_federated_trees_of_stores_are_the_pooled_ones(stores, frames, grow, learned_from):
    task = stores("product-store", trees=3, horizon=8, grow=grow, learned_from=learned_from)
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


def test_learned_from_more_origins_a_case_lies_as_far_ahead_in_any_of_its_periods():
    tables, weekdays = shops(), {}
    for learned_from in (1, 7):
        rows = by_day(learned_from=learned_from).rows(tables)["test trees"]
        monday = rows.number("weekday") == 0
        weekdays[learned_from] = np.unique(rows.number("periods ahead")[monday], return_counts=True)
    ahead, _ = weekdays[1]
    assert len(ahead) == 1  # a horizon of a week: the weekday says how far ahead it is
    ahead, counts = weekdays[7]
    assert ahead.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert counts.max() - counts.min() <= 3  # of one period, in three shops


@pytest.mark.parametrize("models", [("trees-tweedie",), ("forest",), ("auto",)])
def test_every_kind_of_trees_and_the_choice_among_all_beat_the_baseline(models):
    tables = shops(shops=4, seed=2)
    task = by_day(models=models, trees=20)
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


# --- what stays at home ---


@pytest.fixture(scope="module", params=["wape", "rmspe"])
def home(request):
    """Returns the task, a retailer's rows, the shared model and what the retailer has alone."""
    task = by_day(judged_by=request.param)
    mine, other = (task.rows(shops(shops=3, seed=seed)) for seed in (1, 9))
    shared = task.fit(Local(task.pooled([mine, other]))).model
    return task, mine, shared, task.adapt(task.fit(Local(mine)).model, mine)


def spoiled(model):
    """Returns the model with leaves that say the opposite: worse than any trees of its own."""
    values = "trees values"
    return replace(
        model,
        parts={**model.parts, values: -30 * model.parts[values]},
        before={**model.before, values: -30 * model.before[values]},
    )


def of_periods(task, model, panel):
    """Returns what the model missed in each period."""
    return missed(task, model, panel, [model.forecast(cases) for cases in cases_of(model, panel)])


def test_nothing_was_clearly_better_on_its_validation_than_what_a_retailer_keeps(home):
    task, mine, shared, alone = home
    kept, panel = task.adapt(shared, mine), mine["validation"]
    found, everybody, own = (
        of_periods(task, model.validated, panel) for model in (kept, shared, alone)
    )
    assert first_not_beaten(np.stack([found, everybody, own])) == 0
    assert arrays_digest(kept.arrays) == arrays_digest(shared.arrays)


def test_a_retailer_whom_others_do_not_help_keeps_what_it_has_alone_to_the_last_bit(home):
    task, mine, shared, alone = home
    bad = spoiled(shared)
    kept = task.adapt(bad, mine)
    assert kept.keeps == task.detail(kept, mine)["kept"] == ALONE
    assert not alone.keeps or alone.keeps == ON_TOP
    for split in ("test", "now"):
        (found,), (own,) = cases_of(kept, mine[split]), cases_of(alone, mine[split])
        assert np.array_equal(kept.forecast(found), alone.forecast(own))
    tables = [task.predict(model, mine, {}, 5) for model in (kept, alone)]
    assert tables[0].equals(tables[1])
    assert arrays_digest(kept.arrays) == arrays_digest(bad.arrays)


def test_what_a_retailer_has_alone_is_fitted_once(home):
    task, mine, _, alone = home
    assert task.fit(Local(mine)).model is task.fit(Local(mine)).model
    assert task.adapt(task.fit(Local(mine)).model, mine) is alone
    fewer = replace(task, trees=task.trees - 1)
    assert fewer.fit(Local(mine)).model is not task.fit(Local(mine)).model


def test_the_squares_of_relative_errors_are_judged_at_the_factor_that_is_delivered():
    task = by_day(judged_by="rmspe", models=("trees-log", "mean"))
    rows = task.rows(shops())
    fitted = task.fit(Local(rows))
    tried = {score["model"]: score for score in fitted.choice["tried"]}
    found = task.score(fitted.model.validated, rows, "validation").values()["rmspe"]
    assert tried[fitted.model.meta["model"]]["rmspe"] == pytest.approx(found, rel=1e-3)
    assert task.headline == "rmspe"


def test_under_epsilon_trees_are_left_out_and_stores_refused(common):
    private = replace(common, privacy=Agreement(epsilon=8.0, delta=1e-6))
    assert private_models(Demand(private, models=("auto",))) == ("ridge", "poisson")
    with pytest.raises(PlanError, match="under epsilon at least one of ridge, poisson"):
        Demand(private, models=("trees",))
    with pytest.raises(PlanError, match="only series of products are hidden"):
        Demand(private, by="store")
