"""What churn and purchase intent share: scores, calibration, groups, levels and noise."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from grandtotal.algorithms.glm import GLM, X_STEPS, GLMMoments
from grandtotal.consortium.totals import Local
from grandtotal.errors import AnswerError, PlanError
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound
from grandtotal.tasks.churn import Churn
from grandtotal.tasks.classification import precision_at_rank, pseudo_values, unit_scores
from grandtotal.tasks.intent import PurchaseIntent
from grandtotal.tasks.outcome_groups import found_gaps, seen_band, shared_gaps
from grandtotal.tasks.outcome_model import OutcomeModel, model_of, table, with_level
from grandtotal.tasks.outcome_queries import (
    GroupGaps,
    OutcomeScores,
    calibration_error,
    highest,
)
from grandtotal.tasks.outcomes import Cases, Split, in_steps, text_columns
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.task import releases_of, scores_asked

PRIVATE = Agreement(epsilon=8.0, delta=1e-6)
COEFFICIENTS = {"coefficients": np.array([0.3, 1.0, -0.8])}


@pytest.fixture
def split(build):
    return build.split(np.random.default_rng(3), 800)


@pytest.fixture
def model():
    return model_of("logistic", COEFFICIENTS)


# --- scores ---


def test_scores_are_scikit_learns(split, model):
    y, p = split.scored.y, model.probabilities(split.scored)
    found = unit_scores(split.scored, model).values()
    assert found["auc"] == pytest.approx(roc_auc_score(y, p), abs=1e-6)
    assert found["log-loss"] == pytest.approx(log_loss(y, p), abs=1e-6)
    assert found["average-precision"] == pytest.approx(average_precision_score(y, p), abs=1e-6)
    assert found["brier"] == pytest.approx(np.mean((p - y) ** 2), abs=1e-6)
    top = np.argsort(-p)[:80]
    assert found["lift"] == pytest.approx(y[top].mean() / y.mean(), abs=1e-3)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_pseudo_values_have_the_auc_as_their_mean_with_ties(rows):
    y, rank = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    if 0 < y.sum() < len(y):
        assert pseudo_values(y, rank).mean() == pytest.approx(roc_auc_score(y, rank))
        assert precision_at_rank(y, rank)[y > 0].mean() == pytest.approx(
            average_precision_score(y, rank)
        )
    else:
        assert not pseudo_values(y, rank).any()


def test_the_variance_of_pseudo_values_is_that_of_the_auc_over_new_samples(build, model):
    rng = np.random.default_rng(5)
    aucs, said = [], []
    for _ in range(300):
        scored = build.split(rng, 200).scored
        values = pseudo_values(scored.y, model.log_odds(scored))
        aucs.append(values.mean())
        said.append(values.var(ddof=1) / len(values))
    assert np.mean(said) == pytest.approx(np.var(aucs), rel=0.2)


def test_without_one_class_there_is_no_auc_and_the_other_scores_stand(split, model):
    nobody = replace(split.scored, y=np.zeros(len(split.scored)))
    found = unit_scores(nobody, model)
    assert np.isnan(found.values()["auc"])
    assert found.values()["log-loss"] > 0
    both = UnitScores.joined([found, unit_scores(split.scored, model)])
    assert both.values()["auc"] == unit_scores(split.scored, model).values()["auc"]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_the_highest_tenth_is_a_tenth_however_many_are_equal(values):
    p = np.array(values) / 4
    assert highest(p).sum() == pytest.approx(max(1, round(len(p) / 10)))
    assert ((highest(p) >= 0) & (highest(p) <= 1)).all()


# --- the regression, the level, the table ---


def test_the_logistic_regression_is_scikit_learns(split):
    found, fit = GLM("logistic", l2=1.0).fit(Local({"test": split}), 3, "test", {})
    x, y = split.train.x / X_STEPS, split.train.y
    known = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y)
    assert fit["converged"]
    assert found == pytest.approx(known.coef_[0], abs=1e-3)


def test_a_level_makes_as_many_expected_as_there_were(split, model):
    leveled = with_level(model, split.train)
    expected = leveled.probabilities(split.train).sum()
    assert expected == pytest.approx(split.train.y.sum(), abs=1.0)
    assert model.arrays is leveled.arrays


def test_a_season_is_added_to_what_is_said_and_not_to_what_a_level_is_of(split, model):
    late = OutcomeModel(model.meta, {**model.parts, "season": np.array([0.7])})
    assert late.log_odds(split.scored) == pytest.approx(model.log_odds(split.scored) + 0.7)
    assert with_level(late, split.train).level == with_level(model, split.train).level


def test_the_baseline_is_the_share_in_each_tenth(split):
    made = table(split.train, "recency")
    low = split.train.numbers("recency") <= made.parts["edges"][0]
    share = (split.train.y[low].sum() + 1) / (low.sum() + 2)
    lowest = made.probabilities(split.train)[low]
    assert lowest == pytest.approx(share)


def test_unknown_values_are_nothing_to_a_regression_and_missing_to_trees():
    x = in_steps({"a": np.array([1.0, np.nan, 1e9])})
    cases = Cases(("one", "a"), x, np.zeros(3), np.arange(3))
    assert cases.known()[:, 1].tolist() == [256, 0, 32767]
    assert np.isnan(cases.columns.number("a")).tolist() == [False, True, False]


def test_a_text_falls_into_the_same_bucket_everywhere():
    here = text_columns(("tier",), [np.array(["gold", "basic", "Gold "])])
    there = text_columns(("tier",), [np.array(["gold"])])
    found = np.stack(list(here.values()))
    assert (found.sum(axis=0) == 1).all()
    assert found[:, 0].tolist() == found[:, 2].tolist()
    assert found[:, 0].tolist() == [column[0] for column in there.values()]


# --- what is shared ---


def test_calibration_of_perfect_probabilities_is_small_and_of_moved_ones_is_not(split):
    def error(shift):
        parts = {"coefficients": COEFFICIENTS["coefficients"] * [0, 1, -1.25]}
        parts["coefficients"] = np.array([shift, -1.0, 1.0]) * -1
        sums = Local({"test": split}).total(OutcomeScores("logistic", "test"), parts)
        return calibration_error(sums)

    assert error(0.0) < 0.07
    assert error(2.0) > 0.2


def test_gaps_of_a_group_are_its_own_counts_and_a_small_group_is_only_named(split, model):
    groups = ("tier = gold", "tier = nobody")
    query = GroupGaps("logistic", "test", groups, 20)
    told = shared_gaps(groups, Local({"test": split}).total(query, COEFFICIENTS), 20)
    gold, p = split.facts["tier"] == "gold", model.probabilities(split.scored)
    assert told[0]["units"] == gold.sum()
    assert told[0]["share"] == pytest.approx(split.scored.y[gold].mean(), abs=1e-5)
    assert told[0]["probability"] == pytest.approx(p[gold].mean(), abs=1e-4)
    assert told[1] == {"group": "tier = nobody", "suppressed": True}


def test_a_retailer_with_few_of_a_group_adds_nothing_to_it(build):
    rng = np.random.default_rng(8)
    parts = [build.split(rng, units) for units in (300, 12)]
    query = GroupGaps("logistic", "test", ("tier = gold",), 10)
    few, many = (Local({"test": part}).total(query, COEFFICIENTS) for part in parts[::-1])
    both = Local({"test": Split.pooled(parts)}).total(query, COEFFICIENTS)
    assert not any(value.any() for value in few.values())
    assert all((both[name] == many[name]).all() for name in both)


def test_the_retailers_own_gaps_have_every_group(split, model):
    told = found_gaps(split, model.probabilities(split.scored), 50)
    assert [one["group"] for one in told["tier"]] == ["basic", "gold"]
    assert sum(one["units"] for one in told["tier"]) == len(split.scored)


def test_the_band_holds_the_share_that_came_true(split, model):
    low, high = seen_band(split.scored, model, model.probabilities(split.scored))
    assert (low <= high).all()
    assert low.mean() < split.scored.y.mean() < high.mean()


# --- settings ---


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (Churn, {"protected": ("tier",)}, "protected names 'tier'"),
        (Churn, {"groups": ("size = large",)}, "groups has 'size = large'"),
        (Churn, {"models": ("trees", "forest")}, "no model 'forest'"),
        (Churn, {"horizon_days": 200, "history_days": 365}, "history_days = 365"),
        (Churn, {"per_customer": 14}, "per_customer = 14"),
        (PurchaseIntent, {"table": "visits"}, "table = 'visits'"),
        (PurchaseIntent, {"leave_out": ("page_value",)}, "leave_out names 'page_value'"),
        (PurchaseIntent, {"split": "hash"}, "split = 'hash'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(common, kind, values, said):
    with pytest.raises(PlanError, match=said):
        kind(common, **values)


# --- under epsilon ---


class Noisy:
    """Totals with Gaussian noise of some share of the bound, and what was asked."""

    def __init__(self, rows, share):
        self.local, self.share, self.asked = Local(rows), share, []
        self.rng = np.random.default_rng(11)

    def total(self, query, broadcast=None):
        self.asked.append(query)
        fields, sums = query.fields(broadcast or {}), self.local.total(query, broadcast)
        return {name: value + self._noise(query, fields[name]) for name, value in sums.items()}

    def _noise(self, query, field):
        drawn = self.rng.normal(size=field.shape) * self.share * query.bound.norm / field.scale
        return (drawn + drawn.T) / 2**0.5 if field.symmetric else drawn


MODELS = {"regression": ("logistic", "trees"), "trees": ("trees",)}


@pytest.fixture(
    scope="module",
    params=[(kind, model) for kind in ("churn", "purchase-intent") for model in MODELS],
    ids=" by ".join,
)
def private(request, common, frames):
    """Returns each task under epsilon with each of its models, and everybody's rows."""
    kind, model = request.param
    common = replace(common, privacy=PRIVATE)
    churn = {"horizon_days": 56, "history_days": 560, "groups": ("tier = basic",)}
    given = {"models": MODELS[model]}
    task = Churn(common, **given, **churn) if kind == "churn" else PurchaseIntent(common, **given)
    return task, task.pooled([task.rows(found) for found in frames.values()])


def test_under_epsilon_what_is_asked_is_bounded_and_in_the_schedule(private):
    task, rows = private
    totals = Noisy(rows, 0.01)
    fitted = task.fit(totals)
    scores = scores_asked("x", task)
    asked = Counter(query.name for query in (*totals.asked, scores))
    assert asked == {release.query: release.times for release in releases_of("x", task)}
    for query in (*totals.asked, scores):
        assert isinstance(query.bound, Bound)
        assert query.bound.unit == task.unit
    assert fitted.choice["chosen"]["model"] == task.models[0]
    assert fitted.choice["left_out"].keys() == {*task.models[1:]}


def test_under_little_noise_the_model_is_better_than_the_mean(private):
    task, rows = private
    model = task.fit(Noisy(rows, 0.01)).model
    share = rows["test"].train.y.mean()
    scored = rows["test"].scored
    found = unit_scores(scored, model).values()
    assert found["auc"] > 0.6
    assert found["log-loss"] < log_loss(scored.y, np.full(len(scored), share)) + 0.02
    assert np.isfinite(model.reasons(scored)).all()


def test_under_epsilon_a_horizon_of_ones_own_is_refused(common):
    with pytest.raises(PlanError, match="the horizon has to be agreed"):
        Churn(replace(common, privacy=PRIVATE))


def test_whoever_asks_cannot_choose_whom_noise_hides(private):
    task, rows = private
    query = GLMMoments("logistic", len(task.names), "test", 1.0, 0, "product")
    with pytest.raises(AnswerError, match="asked to hide each product"):
        Local(rows).total(query, {"coefficients": np.zeros(len(task.names))})
