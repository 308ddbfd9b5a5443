import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grandtotal.errors import RunError
from grandtotal.tasks.scores import (
    REPLICATES,
    ROWS,
    Metric,
    TestScores,
    UnitScores,
    draw_together,
    load_scores,
    save_scores,
)

MEAN = Metric("mean", True, "the mean")
COST = Metric("cost", False, "lower is better")
ROOT = Metric("rmse", False, "a root", root=True, steps=2**6)
METRICS = (MEAN, ROOT)
columns = hnp.arrays(np.float64, 7, elements=st.floats(-50, 50))


def scores(values, weights=None, metric=MEAN, shown=None):
    values = np.asarray(values, float)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, float)
    return UnitScores.of((metric,), [values], [weights], shown)


@given(columns, st.integers(1, 6))
def test_a_score_does_not_depend_on_who_holds_the_units(values, cut):
    weights = np.arange(1.0, 8.0)
    parts = [scores(values[:cut], weights[:cut]), scores(values[cut:], weights[cut:])]
    assert UnitScores.joined(parts).values() == scores(values, weights).values()
    # Half a step of each unit.
    expected = values.sum() / weights.sum()
    assert scores(values, weights).values()["mean"] == pytest.approx(expected, abs=2**-20)


def test_a_root_metric_is_the_root_of_the_ratio():
    found = UnitScores.of(METRICS, [np.ones(2), np.array([4.0, 14.0])], [np.ones(2)] * 2)
    assert found.values() == {"mean": 1.0, "rmse": 3.0}


def test_nothing_to_divide_by_is_no_value():
    nothing = scores([], [])
    assert np.isnan(nothing.values()["mean"])
    assert nothing.summary(1) == {"mean": {"value": None, "low": None, "high": None}}
    assert nothing.gain_over(nothing, MEAN, 1)["value"] is None


def test_coverage_is_the_share_of_products_ever_shown():
    parts = [
        scores([1.0], shown=np.array([0, 2, 0, 0])),
        scores([1.0], shown=np.array([0, 0, 1, 0])),
    ]
    assert UnitScores.joined(parts).values()["coverage"] == 0.5
    assert "coverage" not in scores([1.0]).values()
    assert set(UnitScores.joined(parts).summary(1)["coverage"]) == {"value"}


def test_the_interval_of_a_mean_is_that_of_normal_theory():
    x = np.random.default_rng(0).gamma(2.0, 3.0, 2000)
    found = scores(x).summary(seed=3)["mean"]
    error = x.std(ddof=1) / np.sqrt(len(x))
    # A 2.5 % quantile of 1000 replicates has a standard error of 0.085 errors; four of them.
    assert found["low"] == pytest.approx(x.mean() - 1.96 * error, abs=0.35 * error)
    assert found["high"] == pytest.approx(x.mean() + 1.96 * error, abs=0.35 * error)
    assert found["value"] == pytest.approx(x.mean(), abs=1e-5)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(100):
        found = scores(rng.exponential(2.0, 300)).summary(seed=5)["mean"]
        inside += found["low"] <= 2.0 <= found["high"]
    # Binomial(100, 0.95) is below 88 once in 600 times.
    assert inside >= 88


def test_equal_seeds_draw_the_same_and_others_do_not():
    x = np.random.default_rng(2).random(50)
    assert scores(x).summary(1) == scores(x).summary(1)
    assert scores(x).summary(1) != scores(x).summary(2)


def test_many_units_are_drawn_in_several_parts_with_the_right_spread():
    x = np.random.default_rng(4).normal(10.0, 2.0, 20_000)  # 2^18 / 20,000 draws at once
    found = scores(x).summary(seed=0)["mean"]
    error = 2.0 / np.sqrt(len(x))
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_drawn_together_is_drawn_alone():
    rng = np.random.default_rng(3)
    x = [rng.normal(size=many) for many in (40, 40, 15)]
    several = [scores(values) for values in x]
    draw_together([*several, several[0]], 5)
    for values, found in zip(x, several, strict=True):
        assert (found.draws(5) == scores(values).draws(5)).all()


@given(columns, columns)
def test_a_gain_changes_its_sign_with_the_direction_of_the_metric(mine, theirs):
    up = scores(mine).gain_over(scores(theirs), MEAN, 1)
    down = scores(mine, metric=COST).gain_over(scores(theirs, metric=COST), COST, 1)
    assert up["value"] == -down["value"]
    assert (up["low"], up["high"]) == (-down["high"], -down["low"])
    assert up["low"] <= up["high"]


def test_a_gain_is_paired_so_that_a_constant_one_has_no_spread():
    x = np.random.default_rng(6).normal(100.0, 50.0, 400)
    gain = scores(x + 1.0).gain_over(scores(x), MEAN, 1)
    assert (gain["low"], gain["value"], gain["high"]) == pytest.approx((1.0, 1.0, 1.0))
    alone = scores(x).summary(1)["mean"]
    assert alone["high"] - alone["low"] > 5.0


def test_a_relative_gain_is_the_share_of_the_others_value():
    gain = scores([3.0, 3.0]).gain_over(scores([2.0, 2.0]), MEAN, 1)
    assert gain["relative"] == gain["relative_low"] == gain["relative_high"] == 0.5
    cost = scores([1.5], metric=COST).gain_over(scores([2.0], metric=COST), COST, 1)
    assert cost["relative"] == 0.25


def test_a_gain_over_nothing_has_no_relative_value():
    gain = scores([1.0, 2.0]).gain_over(scores([0.0, 0.0]), MEAN, 1)
    assert gain["value"] == 1.5
    assert gain["relative"] is gain["relative_low"] is gain["relative_high"] is None


def test_there_are_as_many_replicates_as_declared():
    assert len(scores(np.ones(9)).draws(0)) == REPLICATES


def test_kept_scores_come_back(tmp_path):
    kept = scores([1.0, 2.5], shown=np.array([3, 0]))
    save_scores(tmp_path, "task", "alone", kept)
    found = load_scores(tmp_path, "task", "alone", (MEAN,))
    assert found.summary(1) == kept.summary(1)
    assert found.shown.tolist() == [3, 0]


def test_the_query_adds_up_what_is_on_the_disk_and_nothing_else(tmp_path):
    for value, row in enumerate(ROWS, start=1):
        save_scores(
            tmp_path, "task", row, scores([value, 1.0], [2.0, 3.0], shown=np.array([value]))
        )
    query = TestScores("task", 1, 1)
    state = type("State", (), {"folder": tmp_path})
    answer = query.answer({}, state, {})
    steps = MEAN.steps
    for value, row in enumerate(ROWS, start=1):
        assert answer[f"{row} numerators"].tolist() == [(value + 1) * steps]
        assert answer[f"{row} denominators"].tolist() == [5 * steps]
        assert answer[f"{row} shown"].tolist() == [value]
        assert answer[f"{row} units"].tolist() == [2]
    with pytest.raises(RunError, match="other"):
        TestScores("other", 1, 1).answer({}, state, {})
