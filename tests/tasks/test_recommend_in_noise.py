"""Recommend under epsilon: what it asks, what is delivered, and what a retailer makes of it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from grandtotal.algorithms.item_model import ItemModel
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.recommend_in_noise import joined
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.task import at_home, releases_of, scores_asked

PRIVATE = Agreement(epsilon=8.0, delta=1e-6)
KINDS = ({}, {"repeat": True}, {"models": ("popularity",)}, {"models": ("edlae",)})


class Noisy:
    """Totals with Gaussian noise of some share of the bound, and what was asked."""

    def __init__(self, rows, share=0.0):
        self.local, self.share, self.asked = Local(rows), share, []
        self.rng = np.random.default_rng(11)

    def total(self, query, broadcast=None):
        self.asked.append(query)
        found, fields = self.local.total(query, broadcast), query.fields(broadcast or {})
        return {name: value + self._noise(query, fields[name]) for name, value in found.items()}

    def _noise(self, query, field):
        drawn = self.rng.normal(size=field.shape) * self.share * query.bound.norm / field.scale
        return np.triu(drawn) + np.triu(drawn, 1).T if field.symmetric else drawn


@pytest.fixture(scope="module")
def private(common):
    """Returns a maker of the task under epsilon."""
    settings = {"horizon_days": 42, "top": 10}
    return lambda **values: Recommend(replace(common, privacy=PRIVATE), **settings, **values)


@pytest.fixture(scope="module")
def parts(private, frames):
    """Returns each retailer's rows, with baskets."""
    return {name: private(repeat=True).rows(found) for name, found in frames.items()}


@pytest.fixture(scope="module")
def pooled(private, parts):
    return private().pooled(list(parts.values()))


def ndcg(task, models, parts):
    scores = [task.score(models[name], rows, "test") for name, rows in parts.items()]
    return UnitScores.joined(scores).values()["ndcg"]


@pytest.mark.parametrize("values", KINDS)
def test_what_is_asked_is_bounded_and_in_the_schedule(private, pooled, values):
    task, totals = private(**values), Noisy(pooled)
    task.fit(totals)
    scores = scores_asked("recommend", task)
    asked = Counter(query.name for query in (*totals.asked, scores))
    scheduled = {release.query: release.times for release in releases_of("recommend", task)}
    assert asked == scheduled
    for query in (*totals.asked, scores):
        assert isinstance(query.bound, Bound)
        assert query.bound.unit == "customer"


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5, 1e3])
def test_any_noise_leaves_a_model_that_can_be_built_and_scored(
    private, pooled, parts, share, repeat
):
    task = private(repeat=repeat)
    model = task.fit(Noisy(pooled, share)).model
    built = task.build(model.arrays, model.meta)
    assert all(np.isfinite(array).all() for array in built.arrays.values())
    assert ndcg(task, dict.fromkeys(parts, built), parts) > 0


def test_where_noise_hides_co_purchases_the_choice_says_so(private, pooled):
    fitted = private().fit(Noisy(pooled, 1e3))
    assert fitted.choice["chosen"]["model"] == "popularity"
    assert "bestsellers alone" in fitted.choice["chosen"]["in_noise"]["why"]


def test_an_exact_model_needs_nothing_from_home(recommend, parts):
    model = ItemModel(np.zeros((56, 56), np.float32), np.zeros(56, np.float32), {"model": "ease"})
    assert recommend.adapt(model, parts["north"]) is model


@pytest.mark.parametrize("repeat", [False, True])
def test_what_is_joined_at_home_does_not_travel(private, pooled, parts, repeat):
    task = private(repeat=repeat)
    model = task.fit(Noisy(pooled, 0.1)).model
    home = task.adapt(model, parts["north"])
    items, shared = (home.items, model.items) if repeat else (home, model)
    assert arrays_digest(items.arrays) == arrays_digest(shared.arrays)


def test_joined_with_bestsellers_a_retailers_own_model_stays_as_it_is(private, pooled, parts):
    task = private(models=("popularity", "ease"))
    own = at_home(task).fit(Local(parts["west"]))
    found = joined(at_home(task), own, task.fit(Noisy(pooled, 1e3)).model, parts["west"]).model
    assert (found.weights == own.model.weights).all()
    assert (found.prior == own.model.prior).all()


def test_at_home_noisy_models_are_better_than_the_own_ones_and_than_themselves(
    private, pooled, parts
):
    task = private(models=("ease",))
    own = {name: at_home(task).fit(Local(rows)) for name, rows in parts.items()}
    alone = ndcg(task, {name: fitted.model for name, fitted in own.items()}, parts)
    home, delivered = [], []
    for noise in (0.1, 0.2, 0.3, 0.4):  # which of two nearly equal models is taken is chance
        shared = task.fit(Noisy(pooled, noise)).model
        both = {n: joined(at_home(task), own[n], shared, rows).model for n, rows in parts.items()}
        home.append(ndcg(task, both, parts))
        delivered.append(ndcg(task, dict.fromkeys(parts, shared), parts))
    assert np.mean(home) > alone
    assert np.mean(home) > np.mean(delivered)
