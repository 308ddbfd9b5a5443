"""Demand under epsilon: what it asks, of which rows, and what it makes of noisy totals."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from grandtotal.algorithms.glm import GLM, GLMMoments
from grandtotal.consortium.totals import Local
from grandtotal.coordinate import _test_scores
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, DataError, PlanError, RefusedError
from grandtotal.participate import Participant
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_model import DemandModel, wape
from grandtotal.tasks.demand_queries import DemandSeries, ForecastScores
from grandtotal.tasks.intervals import ForecastErrors
from grandtotal.tasks.lines import lines_of_few
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.task import at_home, releases_of, scores_asked

PRIVATE = Agreement(epsilon=8.0, delta=1e-6)
SETTINGS = {"horizon": 4, "test": 8, "history": 80}
CHOICES = (("ridge",), ("poisson",), ("ridge", "poisson"))


@pytest.fixture(scope="module")
def private(common):
    """Returns a maker of the task under epsilon."""
    return lambda **values: Demand(replace(common, privacy=PRIVATE), **{**SETTINGS, **values})


@pytest.fixture(scope="module")
def rows_of(frames):
    """Returns a maker of everybody's rows, as a task has them."""
    return lambda task: task.pooled([task.rows(found) for found in frames.values()])


@pytest.fixture(scope="module")
def pooled(private, rows_of):
    return rows_of(private())


class Noisy:
    """Totals of rows with Gaussian noise of some share of the bound, and what was asked."""

    def __init__(self, rows, share=0.0):
        self.local, self.share, self.asked = Local(rows), share, []
        self.rng = np.random.default_rng(11)

    def total(self, query, broadcast=None):
        self.asked.append(query)
        fields = query.fields(broadcast or {})
        return {
            name: np.asarray(value) + self._noise(query, fields[name])
            for name, value in self.local.total(query, broadcast).items()
        }

    def _noise(self, query, field):
        drawn = self.rng.normal(size=field.shape) * self.share * query.bound.norm / field.scale
        return (drawn + drawn.T) / 2**0.5 if field.symmetric else drawn


@pytest.mark.parametrize("models", CHOICES)
@pytest.mark.parametrize("few", [0, 3])
def test_what_is_asked_is_bounded_and_in_the_schedule(private, rows_of, models, few):
    task = private(models=models, products_per_customer=few)
    totals = Noisy(rows_of(task))
    task.fit(totals)
    asked = Counter(query.name for query in totals.asked)
    scores = scores_asked("demand", task)
    scheduled = {release.query: release.times for release in releases_of("demand", task)}
    assert {**asked, scores.name: 1} == scheduled
    for query in (*totals.asked, scores):
        assert isinstance(query.bound, Bound)
        assert query.bound.unit == ("customer" if few else "product")


def test_the_schedule_needs_no_rows_and_weighs_a_matrix_more_than_two_numbers(private):
    weights = {release.query: release.weight for release in private().releases()}
    assert weights["glm-moments"] > weights["demand-series"] > weights["forecast-scores"] > 0


def test_a_task_that_does_not_say_what_it_asks_is_refused():
    with pytest.raises(RefusedError, match=r"\[tasks.price\]: 'price' does not say what it asks"):
        releases_of("price", SimpleNamespace(kind="price"))


def test_the_model_of_clipped_totals_is_nearly_as_good_as_the_exact_one(private, pooled):
    task = private()
    exact = at_home(task).fit(Local(pooled)).model
    clipped = task.fit(Noisy(pooled)).model
    assert clipped.series.shape == (1, task.history)
    assert wape(clipped, pooled["test"]) < 1.1 * wape(exact, pooled["test"])


@pytest.mark.parametrize("share", [0.01, 1.0, 1e4])
def test_any_noise_leaves_a_model_that_can_forecast_and_travel(private, pooled, share):
    task = private()
    fitted = task.fit(Noisy(pooled, share))
    built = task.build(fitted.model.arrays, fitted.model.meta)
    found = task.score(built, pooled, "shared test")
    assert np.isfinite(built.parts["coefficients"]).all()
    assert (built.series >= 0).all()
    assert found.units > 0


def test_a_model_of_nothing_but_noise_does_not_stop_a_retailer(private, frames):
    task = private()
    rows = task.rows(frames["north"])
    wild = DemandModel({"model": "poisson"}, {"coefficients": np.full(22, 1e6)}, np.ones((1, 80)))
    adapted = task.adapt(wild, rows)
    assert not adapted.level.size
    assert task.score(adapted, rows, "test").units > 0


def test_noise_takes_no_direction_below_the_penalty():
    # The eigenvalue of -50 tells that noise is as large as 50 in any direction.
    sums = {"curvature": np.diag([100.0, -50.0]), "gradient": np.array([100.0, 100.0])}
    totals = SimpleNamespace(total=lambda *_: sums)
    b, fit = GLM("ridge", l2=1.0, rounds=1, largest=1.0).fit(totals, 2, "test", {})
    assert b == pytest.approx([100 / 150, 100 / 50], abs=1e-6)
    assert fit == {"rounds": 1}


def test_whoever_asks_cannot_choose_how_little_noise_is_enough(private, pooled):
    totals = Noisy(pooled)
    private().fit(totals)
    given = {"series": np.ones((1, 80)), "coefficients": np.zeros(22)}
    for query in totals.asked:
        for few in (0, 1, 9):  # the plan says 8
            with pytest.raises(AnswerError, match="the plan says how many"):
                Local(pooled).total(replace(query, per_customer=few), given)


# --- rows ---


def test_without_epsilon_nothing_is_other_than_it_was(common, frames):
    known, few = Demand(common, **SETTINGS), Demand(common, **SETTINGS, products_per_customer=2)
    rows, other = (task.rows(frames["north"]) for task in (known, few))
    fitted = {
        f"{split} {family}" for split in ("validation", "test") for family in ("trees", "windows")
    }
    assert rows.keys() == other.keys() == {"validation", "test", "now", *fitted}
    digests = {arrays_digest(task.fit(Local(rows)).model.arrays) for task in (known, few)}
    assert len(digests) == 1


def test_at_home_a_private_task_is_the_exact_one(private, common, frames):
    task = private()
    rows = task.rows(frames["north"])
    exact = Demand(common, **SETTINGS)
    assert at_home(task) == exact
    ours = arrays_digest(at_home(task).fit(Local(rows)).model.arrays)
    assert ours == arrays_digest(exact.fit(Local(exact.rows(frames["north"]))).model.arrays)
    shared = {"shared validation", "shared test"}
    assert shared == rows.keys() - exact.rows(frames["north"]).keys()
    for split in ("validation", "test"):
        whole, shared = rows[split].parts[0], rows[f"shared {split}"].parts[0]
        assert whole.units.sum() > shared.units.sum()


@pytest.fixture
def lines(frames, common):
    """Returns transactions of the catalogue, some of nobody."""
    found = frames["north"]["transactions"]
    found = found.filter(pl.col("product").is_in(list(common.catalogue)))
    nobody = pl.int_range(pl.len()) % 7 == 0
    return found.with_columns(customer=pl.when(nobody).then(None).otherwise(pl.col("customer")))


def kept(lines, common, few):
    """Returns the counted lines with the customer, who is told by a line's own number."""
    numbered = lines.with_columns(price=pl.int_range(pl.len()).cast(pl.Float64))
    found = pl.concat(lines_of_few({"transactions": numbered}, common, ("price",), few))
    assert found.columns == ["price", "i"]
    return numbered.join(found, on="price", maintain_order="right")


def test_a_customer_counts_for_few_products_and_nobody_for_all(lines, common):
    found = kept(lines, common, 3)
    products = found.drop_nulls("customer").group_by("customer").agg(pl.col("product").n_unique())
    before = lines.drop_nulls("customer").group_by("customer").agg(pl.col("product").n_unique())
    assert products["product"].max() == 3
    assert before["product"].max() > 3
    assert found["customer"].null_count() == lines["customer"].null_count()
    known = found.drop_nulls("customer").join(lines, on=["customer", "product"], how="semi")
    whole = lines.join(known, on=["customer", "product"], how="semi")
    assert len(whole) == len(known)  # all of a customer's lines of a product that counts


def test_which_products_count_depends_on_no_other_customer(lines, common):
    one = lines.drop_nulls("customer")["customer"][0]
    alone = kept(lines.filter(pl.col("customer") == one), common, 2)
    among = kept(lines, common, 2).filter(pl.col("customer") == one)
    columns = ["product", "time", "quantity"]
    assert among.select(columns).equals(alone.select(columns))


def test_lines_without_a_customer_need_another_unit(private, frames):
    bare = {**frames["north"], "transactions": frames["north"]["transactions"].drop("customer")}
    with pytest.raises(DataError, match="products_per_customer = 0"):
        private().rows(bare)
    rows = private(products_per_customer=0).rows(bare)
    assert (rows["shared test"].parts[0].units == rows["test"].parts[0].units).all()


@pytest.mark.parametrize("few", [-1, 1.5, True, 1001])
def test_products_per_customer_is_a_number(private, few):
    with pytest.raises(PlanError, match="products_per_customer"):
        private(products_per_customer=few)


# --- the test ---


def test_only_the_delivered_models_headline_is_shared(private, frames, rows_of, tmp_path):
    task = private()
    fitted = task.fit(Noisy(rows_of(task), 1e-3))
    meta = {"model": fitted.model.meta, "choice": fitted.choice}
    part = Participant("north", "demand", task, frames["north"], tmp_path)
    part.receive(meta, fitted.model.arrays)

    with pytest.raises(AnswerError, match="by the plan they are of each product, 8 a customer"):
        replace(scores_asked("demand", task), per_customer=1).answer(part.rows, part, {})

    class Totals:
        def total(self, query):
            answer = query.answer(part.rows, part, {})
            return {name: answer[name] / field.scale for name, field in query.fields({}).items()}

    rows = _test_scores("demand", task, Totals())
    assert rows.keys() == {"federated"}
    assert rows["federated"].keys() == {"wape", "products"}
    assert rows["federated"]["products"] is None
    delivered = task.build(fitted.model.arrays, fitted.model.meta)
    own = task.score(delivered, part.rows, "shared test").values()["wape"]
    assert rows["federated"]["wape"] == pytest.approx(own, rel=0.2)


def test_a_score_that_noise_took_below_nothing_is_none(private):
    parts = {f"federated {part}": np.array([-0.5]) for part in ("numerators", "denominators")}
    totals = SimpleNamespace(total=lambda _: parts)
    assert _test_scores("demand", private(), totals) == {
        "federated": {"wape": None, "products": None}
    }


def test_days_and_a_small_history_are_asked_about_as_well(private, frames):
    task = private(every="day", horizon=7, test=14, history=140)
    rows = task.pooled([task.rows(frames["north"])])
    model = task.fit(Noisy(rows, 0.01)).model
    assert np.isfinite(model.forecast(rows["test"].cases(model.series)[0])).all()


def test_a_recommendation_counts_one_customer_for_one(common):
    query = scores_asked("recommend", Recommend(replace(common, privacy=PRIVATE)))
    assert query.bound == Bound(2**0.5 * 2**16, "customer")
    assert scores_asked("recommend", Recommend(common)).bound is None


# --- queries ---


@pytest.mark.parametrize(
    ("query", "largest"),
    [
        (GLMMoments("poisson", 22, "test"), 1e5),
        (GLMMoments("ridge", 22, "test"), 1e5),
        (ForecastScores("poisson", "test"), 1e4),
        (ForecastErrors("poisson", "test"), 1e3),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_bound_that_clips_nothing_leaves_the_totals(private, frames, query, largest):
    rows = private(products_per_customer=0).rows(frames["north"])
    series = rows["test"].parts[0].capped()
    broadcast = {"series": series, "coefficients": np.linspace(-0.2, 0.2, 22).round(3)}
    exact = Local(rows).total(query, broadcast)
    clipped = Local(rows).total(replace(query, largest=largest), broadcast)
    assert clipped.keys() <= exact.keys()
    for name, found in clipped.items():
        # Each of 56 products is rounded by up to half a step of largest / 2^16.
        assert found == pytest.approx(exact[name], abs=56 * largest / 2**16 / 2)


def test_the_season_of_all_products_is_the_sum_of_their_series(private, frames):
    rows = private(products_per_customer=0).rows(frames["north"])
    exact = Local(rows).total(DemandSeries(56, 80))["units"]
    season = Local(rows).total(DemandSeries(56, 80, 1e4))["units"]
    assert season == pytest.approx(exact.sum(axis=0)[None], abs=56 * 1e4 / 2**16 / 2)
    short = Local(rows).total(DemandSeries(56, 80, 1.0))["units"]
    assert np.linalg.norm(short) <= 56
