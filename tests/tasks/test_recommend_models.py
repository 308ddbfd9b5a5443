"""What "auto" chooses, what it says about it, and rows that leave little to choose from."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import PlanError, RefusedError
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks import recommend_models
from grandtotal.tasks.own_products import same_kind
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.recommend_models import CORE, GRIDS, kinds_of
from grandtotal.tasks.task import Common, releases_of
from grandtotal.threads import limited_to

KINDS = ("ease", "transitions")


@pytest.fixture(scope="module")
def auto(recommend):
    return replace(recommend, models=("auto", *KINDS))


@pytest.fixture(scope="module")
def rows(auto, frames):
    return auto.pooled([auto.rows(found) for found in frames.values()])


@pytest.fixture(scope="module")
def fitted(auto, rows):
    return auto.fit(Local(rows))


def test_auto_takes_the_best_of_every_blend_it_tried(fitted):
    blended = fitted.choice["blended"]
    assert len(blended) == 5  # quarters of two kinds
    best = max(blended, key=lambda way: way["ndcg"])
    chosen = fitted.model.meta
    shares = [p["share"] for p in chosen["parts"]] if chosen["model"] == "blend" else [1.0]
    assert shares == [share for share in best["shares"] if share]
    assert best["ndcg"] >= max(tried["ndcg"] for tried in fitted.choice["tried"])


def test_auto_says_why_in_numbers(fitted):
    best = max(way["ndcg"] for way in fitted.choice["blended"])
    assert f"validation NDCG {best:.4f}" in fitted.choice["why"]


def test_a_part_alone_scores_in_a_blend_what_it_scores_by_itself(fitted):
    alone = {tuple(way["shares"]): way["ndcg"] for way in fitted.choice["blended"]}
    best = dict.fromkeys(KINDS, 0.0)
    for tried in fitted.choice["tried"]:
        best[tried["model"]] = max(best[tried["model"]], tried["ndcg"])
    assert alone[(1.0, 0.0)] == pytest.approx(max(best.values()), abs=1e-5)
    assert alone[(0.0, 1.0)] == pytest.approx(min(best.values()), abs=1e-5)


def test_however_many_work_side_by_side_the_choice_is_the_same(recommend, rows):
    task = replace(recommend, models=("popularity", "item-knn", "ease"))
    with limited_to(1):
        one = task.fit(Local(rows))
    with limited_to(3):
        several = task.fit(Local(rows))
    assert several.choice == one.choice
    assert arrays_digest(several.model.arrays) == arrays_digest(one.model.arrays)


def test_what_was_chosen_can_be_made_again_from_its_settings(fitted, auto, rows):
    candidate = same_kind(fitted.model.meta, GRIDS)
    again = candidate.fit(Local(rows), auto.products, "test")
    assert arrays_digest(again.arrays) == arrays_digest(fitted.model.arrays)


def test_auto_alone_stands_for_the_core_models():
    assert kinds_of(("auto",)) == CORE
    assert kinds_of(("auto", "ease")) == ("ease",)
    assert set(CORE) < set(GRIDS)


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (("auot",), "did you mean 'auto'"),
        (("ease", "ease"), "named twice"),
        (("transition",), "did you mean 'transitions'"),
    ],
)
def test_a_model_that_does_not_exist_is_refused_with_the_nearest_name(recommend, models, words):
    with pytest.raises(PlanError, match=words):
        replace(recommend, models=models)


@pytest.mark.parametrize(
    "models", [("als",), ("ease", "transitions"), ("auto", "ease"), ("sasrec",)]
)
def test_what_has_no_bound_is_refused_under_epsilon_by_name(recommend, models):
    private = replace(recommend.common, privacy=Agreement(epsilon=4.0, delta=1e-6, secure_sum=True))
    with pytest.raises(RefusedError, match=models[-1] if models[0] != "auto" else "auto"):
        releases_of("recommend", replace(recommend, common=private, models=models))


# --- rows that leave little to choose from ---


def rows_of(history, future):
    held = Purchases(csr_array(np.array(history)), csr_array(np.array(future)))
    return {"validation": held, "test": held, "now": held}


def fit(rows, products, monkeypatch):
    small = {kind: grid[:1] for kind, grid in GRIDS.items()}
    monkeypatch.setattr(recommend_models, "GRIDS", small)
    catalogue = tuple(f"P{i}" for i in range(products))
    return Recommend(Common(np.datetime64("2024-07-01").item(), catalogue), ("auto",)).fit(
        Local(rows)
    )


@pytest.mark.parametrize(
    ("history", "future"),
    [
        ([[1, 0, 0], [0, 2, 0]], [[0, 0, 0], [0, 0, 0]]),  # nobody came back
        ([[1], [0]], [[0], [1]]),  # one product
        ([[0, 0, 0]], [[0, 0, 0]]),  # nobody bought
        ([[1, 1, 0]] * 4, [[0, 0, 1]] * 4),  # everybody alike: all scores are equal
    ],
)
def test_auto_has_a_model_of_whatever_there_is(history, future, monkeypatch):
    rows = rows_of(history, future)
    model = fit(rows, len(history[0]), monkeypatch).model
    scores = model.affinities(rows["test"].history)
    assert np.isfinite(scores).all()


def test_a_customer_of_the_whole_catalogue_is_served(monkeypatch):
    history = np.zeros((6, 200), np.int32)
    history[0] = np.arange(1, 201)
    history[1:, :5] = 3
    future = np.zeros((6, 200), np.int32)
    future[1:, 6] = 1
    model = fit(rows_of(history, future), 200, monkeypatch).model
    scores = model.scores(csr_array(history))
    assert np.isneginf(scores[0]).all()
    assert np.isfinite(scores[1]).sum() == 195
