"""Customers' value: what is known at a cut, what is forecast, and customers of all sorts."""

import numpy as np
import pytest

from customer_lines import COMMON, SOME, some_customers, table
from grandtotal.consortium.totals import Local
from grandtotal.errors import DataError, PlanError, RefusedError
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.task import releases_of
from grandtotal.tasks.value import SpendCorrelation, Value, correlation
from grandtotal.tasks.value_model import BASELINES, baseline_model
from grandtotal.tasks.value_rows import Known

H = 28  # days


def value(**given):
    return Value(COMMON, **{"horizon_days": H, **given})


def test_what_is_known_at_a_cut_is_counted_by_hand():
    rows = value().rows(table(*SOME))
    known, names = rows["test"], rows["customers"]
    assert names[known.place].tolist() == ["often", "once", "sent back"]
    assert known.repeats.repeats.tolist() == [1, 0, 0]
    assert known.repeats.last.tolist() == [30, 0, 0]
    assert known.repeats.age.tolist() == [92, 72, 72]
    assert known.spent.tolist() == [18.0, 10.0, 0.0]
    assert known.bought.tolist() == [1, 0, 0]
    assert known.bought_spent.tolist() == [50.0, 0, 0]
    assert known.by_week.tolist() == [0, 1, 0, 0]
    assert known.spending.mean.tolist() == [9.0, 10.0]
    assert names[rows["now"].place].tolist() == ["new", "often", "once", "sent back"]


def test_what_comes_after_a_cut_changes_nothing_before_it():
    before = [line for line in some_customers() if line[1] > H]
    after = [line for line in some_customers() if line[1] <= H]
    changed = [(who, ago, 9 * quantity, price) for who, ago, quantity, price in after]
    whole, other = (value().rows(table(*before, *late)) for late in (after, changed[::2]))
    for name in ("spent", "recent", "recent_spent"):
        np.testing.assert_array_equal(
            getattr(whole["test"], name), getattr(other["test"], name), strict=True
        )
    for name in ("repeats", "last", "age"):
        left, right = (getattr(rows["test"].repeats, name) for rows in (whole, other))
        np.testing.assert_array_equal(left, right, strict=True)
    parameters = [value().fit(Local(rows)).model.arrays for rows in (whole, other)]
    for name, found in parameters[0].items():
        np.testing.assert_array_equal(found, parameters[1][name], strict=True)


def test_a_customer_who_bought_once_is_expected_to_spend_between_its_own_and_the_mean_of_all():
    task = value()
    rows = task.rows(table(*some_customers(), ("once", 100, 1, 500.0)))
    model = task.fit(Local(rows)).model
    known = rows["now"]
    (place,) = np.flatnonzero(rows["customers"][known.place] == "once")
    at_a_purchase = model.expected_spend(known.spends)
    assert at_a_purchase.mean() < at_a_purchase[place] < 500
    purchases, spend = model.forecast(known)
    np.testing.assert_allclose(spend, purchases * at_a_purchase, rtol=1e-12)


def test_a_retailer_without_a_repeat_customer_adds_its_customers(federate):
    task = value()
    held = [task.rows(table(*some_customers(seed, 60))) for seed in (1, 2)]
    held.append(task.rows(table(*((f"x{i}", 60 + i, 1, 9.0) for i in range(40)))))
    fitted = task.fit(federate(held).totals)
    pooled = task.fit(Local(task.pooled(held)))
    assert fitted.choice == pooled.choice
    known = sum(len(rows["test"]) for rows in held)
    assert fitted.choice["chosen"]["fit"]["customers"] == known
    adapted = task.adapt(fitted.model, held[2])
    assert np.isfinite(task.score(adapted, held[2], "test").values()["purchases_mae"])


@pytest.mark.parametrize(
    "lines",
    [
        [("a", 100, 1, 10.0)],  # one customer, one purchase
        [(f"c{i}", 100 + i, 1, 10.0) for i in range(20)],  # nobody came back
        [("a", 100, 1, 10.0), ("a", 80, -1, 99.0)],  # returns exceed purchases
        [("a", 100, 1, 0.0), ("b", 100, 2, 0.0), ("b", 50, 1, 0.0)],  # nothing was paid
    ],
)
def test_little_is_said_of_customers_of_whom_little_is_known(lines):
    task = value()
    rows = task.rows(table(*lines))
    fitted = task.fit(Local(rows))
    model = task.adapt(fitted.model, rows)
    frame = task.predict(model, rows, table(*lines), 5)
    numbers = frame.select("purchases", "spend", "low", "high", "p_alive").to_numpy()
    assert np.isfinite(numbers).all()
    assert (numbers >= 0).all()
    assert task.detail(model, rows)["once"] <= 1
    (standing,) = task.standing(rows, table(*lines))
    assert standing.verdict == "look"
    assert task.score(model, rows, "test").units == len(rows["test"])


def test_a_horizon_longer_than_the_history_is_refused_with_what_to_do():
    with pytest.raises(DataError, match="smaller horizon_days"):
        value(horizon_days=300).rows(table(*SOME))
    with pytest.raises(PlanError, match="horizon_days"):
        value(horizon_days=3)
    with pytest.raises(PlanError, match="did you mean 'nbd'"):
        value(models=("nbdd",))


def test_it_is_refused_under_epsilon_by_name():
    with pytest.raises(RefusedError, match="'value' does not say what it asks under epsilon"):
        releases_of("worth", value())


def test_customers_who_stop_are_what_bg_nbd_is_chosen_for():
    task = value()
    fitted = task.fit(Local(task.rows(table(*some_customers(customers=400)))))
    assert fitted.model.meta["model"] == "bg-nbd"
    alive = fitted.model.alive(task.rows(table(*some_customers()))["now"])
    assert alive.min() < 0.2
    assert alive.max() > 0.7


def test_the_test_by_week_adds_up_to_what_was_forecast():
    task = value()
    rows = task.rows(table(*some_customers()))
    model = task.adapt(task.fit(Local(rows)).model, rows)
    weeks = task.detail(model, rows)["by_week"]
    assert weeks["days"] == [7, 14, 21, 28]
    assert weeks["expected"][-1] == pytest.approx(model.forecast(rows["test"])[0].sum(), abs=0.01)
    assert weeks["bought"][-1] == rows["test"].bought.sum()
    assert (np.diff(weeks["expected"]) > 0).all()


def test_four_in_five_of_the_past_spends_lie_in_their_intervals():
    task = value()
    rows = task.rows(table(*some_customers(customers=600)))
    model = task.adapt(task.fit(Local(rows)).model, rows)
    known = rows["validation"]
    spend = model.forecast(known)[1]
    low, high = model.interval(spend).T
    inside = (known.bought_spent >= low) & (known.bought_spent <= high)
    assert inside.mean() > 0.78


def test_every_baseline_is_what_its_name_says(build):
    known = build.known(np.random.default_rng(3), 40)
    recent = baseline_model("recent", 10).forecast(known)
    np.testing.assert_array_equal(recent[0], known.recent)
    mean = baseline_model("mean", 10).forecast(known)
    assert np.allclose(mean[1], known.recent_spent.mean())
    rate = baseline_model("rate", 10).forecast(known)
    old = known.repeats.age >= 10
    np.testing.assert_allclose(rate[0][old], (known.purchases * 10 / known.repeats.age)[old])
    assert (rate[0][~old] == known.purchases[~old]).all()
    assert set(BASELINES) == {"recent", "mean", "rate"}


def test_the_top_tenth_is_that_of_the_expected_spend(build):
    task, known = value(), build.known(np.random.default_rng(3), 40)
    model = baseline_model("recent", H)
    scores = task.score(model, {"test": known}, "test")
    order = np.argsort(-known.recent_spent, kind="stable")[:4]
    share = known.bought_spent[order].sum() / known.bought_spent.sum()
    assert scores.values()["top_decile"] == pytest.approx(share, rel=1e-6)
    assert UnitScores.joined([scores, scores]).units == 80


def test_the_correlation_is_that_of_the_logarithms(build):
    known = build.known(np.random.default_rng(3), 500)
    known = Known(**{**vars(known), "spent": known.spent * known.purchases})
    spending = known.spending
    expected = np.corrcoef(np.log(spending.purchases), np.log(spending.mean))[0, 1]
    found = correlation(Local({"test": known}).total(SpendCorrelation("test")))
    assert found == pytest.approx(expected, abs=1e-5)
    assert found > 0.3
    alike = {"sums": np.zeros(5), "customers": np.asarray(0)}
    assert correlation(alike) == 0
