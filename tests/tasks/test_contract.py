"""The contract of every task, on the generated example, whose customers have planted tastes."""

from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from grandtotal.algorithms.model import load_arrays, save_arrays
from grandtotal.consortium.query import installed
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest, canonical
from grandtotal.errors import PlanError
from grandtotal.tasks.scores import ROWS, TestScores, UnitScores, save_scores
from grandtotal.tasks.task import metric_of, settings

COLUMNS = {
    "recommend": "customer rank product title score because",
    "churn": "customer probability low high last_purchase tier why_1 why_2 why_3",
    "purchase-intent": "session time probability low high why_1 why_2 why_3",
    "demand": "product title start ahead units p10 p50 p90 recent_mean last_season",
    "price": "product title elasticity low high observations price lowest highest says",
    "value": "customer purchases spend low high p_alive past_purchases past_spend last_purchase",
    "segments": "customer segment name share distance silhouette recency purchases spend",
    "ratings": "customer rank product title rating p_1 p_2 p_3 p_4 p_5",
    "shift": "feature where since earliest latest from to change statistic threshold p q "
    "also_in_consortium consortium_change verdict a_week a_week_low a_week_high words",
}

SMALL = {
    "recommend": (
        {"horizon_days": 42, "models": ("auto", "als", "transitions")},
        {"horizon_days": 42},
        {"horizon_days": 42, "repeat": True},
        {"horizon_days": 42, "models": ("hybrid",), "scope": "consortium"},
    ),
    "demand": ({"horizon": 4, "test": 8, "history": 80},),
    "price": ({"test": 12, "history": 80},),
    "churn": ({"horizon_days": 56, "history_days": 560, "groups": ("tier = basic",), "trees": 1},),
    "purchase-intent": ({"models": ("logistic",)},),
    "value": ({"horizon_days": 91},),
    "segments": ({"models": ("kmeans", "mixture"), "segments": 3, "horizon_days": 91},),
    "ratings": ({"horizon_days": 120},),
    "shift": ({"models": ("cusum",)},),
}


class Recorded:
    """Totals that remember what was asked."""

    def __init__(self, rows):
        self.local = Local(rows)
        self.asked = []

    def total(self, query, broadcast=None):
        self.asked.append((query, dict(broadcast or {})))
        return self.local.total(query, broadcast)


@pytest.fixture(scope="module")
def fitted(prepared):
    """Returns the model that is fitted on the pooled rows, and every question of the fit."""
    recorded = Recorded(prepared.pooled)
    return prepared.task.fit(recorded), recorded.asked


def scores_of(task, model, parts):
    return UnitScores.joined([task.score(task.adapt(model, rows), rows, "test") for rows in parts])


def test_a_fit_over_totals_beats_the_baseline(prepared, fitted):
    task, headline = prepared.task, metric_of(prepared.task)
    parts = prepared.parts.values()
    baseline = UnitScores.joined(
        [task.score(task.baseline(rows)[0], rows, "test") for rows in parts]
    )
    gain = scores_of(task, fitted[0].model, parts).gain_over(baseline, headline, seed=1)
    assert gain["value"] > 0
    if task.kind == "recommend" and not task.repeat:  # made so that there is something to find
        assert gain["low"] > 0
        assert gain["relative"] > 0.5


def test_federated_is_pooled(prepared, fitted, federate):
    federation = federate(list(prepared.parts.values()), prepared.task.kind)
    federated = prepared.task.fit(federation.totals)
    assert arrays_digest(federated.model.arrays) == arrays_digest(fitted[0].model.arrays)
    assert canonical(federated.choice) == canonical(fitted[0].choice)


def test_the_choice_is_the_best_of_what_was_tried(prepared, fitted):
    choice, headline = fitted[0].choice, metric_of(prepared.task)
    scores = [tried[headline.name] for tried in choice["tried"]]
    sign = 1 if headline.higher_is_better else -1
    best = choice["tried"][int(np.argmax(np.multiply(scores, sign)))]
    assert all(best[name] == choice["chosen"][name] for name in ("model", "l2") if name in best)
    assert {tried["model"] for tried in choice["tried"]} == set(prepared.task.models)


def test_a_model_that_was_saved_predicts_the_same(prepared, fitted, tmp_path):
    task, model = prepared.task, fitted[0].model
    rows, tables = prepared.parts["north"], prepared.frames["north"]
    save_arrays(tmp_path / "model.safetensors", model.arrays, {"model": model.meta})
    arrays, meta = load_arrays(tmp_path / "model.safetensors")
    built = task.build(arrays, meta["model"])
    now, later = (task.predict(task.adapt(each, rows), rows, tables, 5) for each in (model, built))
    assert now.equals(later)
    assert arrays_digest(task.score(built, rows, "test").arrays) == arrays_digest(
        task.score(model, rows, "test").arrays
    )


def test_what_a_retailer_adds_at_home_is_not_in_the_arrays_that_travel(prepared, fitted):
    model = fitted[0].model
    for rows in prepared.parts.values():
        adapted = prepared.task.adapt(model, rows)
        assert arrays_digest(adapted.arrays) == arrays_digest(model.arrays)


def test_predictions_have_the_documented_columns(prepared, fitted):
    rows, tables = prepared.parts["south"], prepared.frames["south"]
    frame = prepared.task.predict(prepared.task.adapt(fitted[0].model, rows), rows, tables, 3)
    assert frame.columns == COLUMNS[prepared.task.kind].split()
    assert frame.null_count().sum_horizontal().item() == 0
    assert not frame.is_empty()


def test_every_metric_is_scored_for_every_unit(prepared, fitted):
    task = prepared.task
    for rows in prepared.parts.values():
        scores = task.score(task.adapt(fitted[0].model, rows), rows, "test")
        assert scores.metrics == task.metrics
        assert scores.numerators.shape == scores.denominators.shape
        assert scores.numerators.shape == (scores.units, len(task.metrics))
        assert len(scores.shown) == task.shown
        assert (scores.denominators >= 0).all()
        assert metric_of(task).name == task.headline


def test_a_baseline_says_what_it_is_and_needs_no_consortium(prepared):
    model, label = prepared.task.baseline(prepared.parts["west"])
    assert label
    assert prepared.task.score(model, prepared.parts["west"], "test").units > 0


def test_the_detail_for_the_report_is_json(prepared, fitted):
    rows = prepared.parts["west"]
    detail = prepared.task.detail(prepared.task.adapt(fitted[0].model, rows), rows)
    assert canonical(detail)
    assert detail


@pytest.mark.parametrize("place", [1, -1])
def test_an_unknown_setting_is_refused_with_the_nearest_name(prepared, common, place):
    near = fields(type(prepared.task))[place].name
    wrong = f"{near}x"
    with pytest.raises(PlanError) as refused:
        settings(type(prepared.task), {wrong: 1}, "[tasks.x]", common=common)
    assert f"[tasks.x]: unknown key '{wrong}'" in str(refused.value)
    assert f"did you mean '{near}" in str(refused.value)


def test_the_plan_decides_the_defaults_that_can_be_left_out(prepared, common):
    assert settings(type(prepared.task), {}, "[tasks.x]", common=common).common == common


# --- nothing that a customer is known by ---


def renamed(frames):
    """Returns the tables with other customer ids, which sort in another order."""

    def other(frame):
        if "customer" not in frame.columns:
            return frame
        number = pl.col("customer").str.slice(1).cast(pl.Int64)
        return frame.with_columns(customer=pl.format("Z{}", (number * 7919) % 10_007))

    return {name: other(frame) for name, frame in frames.items()}


def test_renaming_the_customers_changes_no_answer(prepared, fitted):
    task = prepared.task
    for name, rows in prepared.parts.items():
        sides = [Local(rows), Local(task.rows(renamed(prepared.frames[name])))]
        for query, broadcast in fitted[1]:
            known, found = (side.total(query, broadcast) for side in sides)
            assert arrays_digest(known) == arrays_digest(found)


def test_renaming_the_customers_changes_no_total_of_test_scores(prepared, fitted, tmp_path):
    task = prepared.task
    query = TestScores("task", len(task.metrics), task.shown)
    answers = []
    for folder, frames in (("known", prepared.frames["north"]), ("other", None)):
        frames = frames or renamed(prepared.frames["north"])
        rows = task.rows(frames)
        scores = task.score(task.adapt(fitted[0].model, rows), rows, "test")
        for row in ROWS:
            save_scores(tmp_path / folder, "task", row, scores)
        state = type("State", (), {"folder": tmp_path / folder})
        answers.append(query.answer(rows, state, {}))
    assert arrays_digest(answers[0]) == arrays_digest(answers[1])


def test_the_tasks_ask_every_installed_query(frames, common):
    asked = {TestScores.name, "catalogue-presence"}  # asked for by the run, not by a fit
    asked |= {"als-moments"}  # where equations are solved as they are, not by steps
    asked |= {"quantile-counts", "category-counts", "target-sums"}  # of columns: no task has them
    asked |= {"price-pairs", "tree-leaves"}  # under epsilon alone
    asked |= {"price-trials", "segment-moments"}  # of prices: by a program of one's own
    asked |= {"feature-sums"}  # under epsilon alone
    asked |= {f"tree-{what}" for what in ("histograms", "progress", "residuals", "target")}
    # Of networks, whose training has a test of its own.
    asked |= {f"network-{what}" for what in ("records", "scores", "updates")}
    for kind, task_class in installed("tasks").items():
        for small in SMALL[kind]:
            task = task_class(common, **small)
            recorded = Recorded(task.rows(frames["north"]))
            task.fit(recorded)
            asked |= {query.name for query, _ in recorded.asked}
    assert asked == set(installed("queries"))
