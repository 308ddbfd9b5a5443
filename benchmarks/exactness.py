"""Federated is pooled, digest for digest, and both are what an independent program says.

3, 5 and 10 retailers, by a hash of the customer, answer through messages, envelope and egress; one
holder of all the rows answers the same questions. Every total and every array of the model is
compared by its digest. Then, with five retailers, the models are compared with float programs of
numpy and scikit-learn that share no code with ours. A relative difference is the largest difference
over the largest entry: of each product's column for weights, of the array for everything else.

Online Retail II (D. Chen, UCI, CC BY 4.0) as the package ships it; generated lines with --quick.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks import reference
from benchmarks.columns import column_rows
from benchmarks.retail import Retail, generated, online_retail
from benchmarks.rows import Row, at_most
from benchmarks.simulation import TASK, Recorded, federated
from grandtotal.algorithms.als import ALS
from grandtotal.algorithms.blend import Candidate
from grandtotal.algorithms.glm import UNIT_STEPS, X_STEPS, Design
from grandtotal.algorithms.item_similarity import EASE, EDLAE, ItemKNN
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.consortium import Consortium
from grandtotal.consortium.query import Rows, installed
from grandtotal.consortium.totals import Local, Totals
from grandtotal.durable import arrays_digest
from grandtotal.tasks.churn import Churn
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_model import GRID, DemandModel
from grandtotal.tasks.demand_queries import DemandSeries
from grandtotal.tasks.price import Price
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.recommend_models import GRIDS
from grandtotal.tasks.sales import Panel
from grandtotal.tasks.scores import ROWS, TestScores, UnitScores
from grandtotal.tasks.segments import Segments
from grandtotal.tasks.shift import Shift
from grandtotal.tasks.task import Task
from grandtotal.tasks.value import Value

RETAILERS = (3, 5, 10)
REFERENCE_RETAILERS = 5
ITEM_BAR = 1e-5  # float32
REGRESSION_BAR = 1e-3
SCORE_BAR = 1e-3
ALS_CANDIDATE = ALS(factors=8, epochs=3)
TRANSITIONS = Transitions(neighbours=10**6)
_ROOM = 12.0  # units that are never an outlier
_TIE_BREAK = 1e-6
# Under epsilon alone, where totals carry noise, by no task, or of words that these lines do not
# have: tests/consortium compares them.
NOT_ASKED = {"feature-sums", "price-pairs", "group-gaps", "price-trials", "segment-moments"}
NOT_ASKED |= {"bridge-sums", "content-vectors"}
NOT_ASKED |= {"tree-leaves"}
# These lines hold no ratings: recommend-ratings compares them.
NOT_ASKED |= {f"rating-{what}" for what in ("counts", "moments", "classes", "errors")}
# What comes out of training at home depends on who holds which rows: demand-neural measures it.
NOT_EXACT = {"network-records", "network-scores", "network-updates"}
# Tasks whose table these lines do not have: `intent` and `recommend-ratings` compare them.
ELSEWHERE = {"purchase-intent", "ratings"}
# Of these a unit's score is its place among its retailer's own: not that among everybody's.
RANKED = {"churn", "value", "segments"}

Fit = Callable[[Totals], Model]
Floats = NDArray[np.float64]


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns digests that differ, and the largest differences from the independent programs."""
    retail = generated() if quick else online_retail()
    if quick:
        recommend = Recommend(retail.common, horizon_days=56)
        basket = Recommend(retail.common, horizon_days=56, repeat=True)
        demand = Demand(retail.common, horizon=4, test=6, history=76)
        blend = Recommend(
            retail.common,
            ("auto", "popularity", "transitions"),
            horizon_days=56,
            scope="consortium",
        )
    else:
        recommend, demand = Recommend(retail.common), Demand(retail.common)
        basket = Recommend(retail.common, ("item-knn",), horizon_days=28, repeat=True)
        models = ("auto", "popularity", "transitions")
        blend = Recommend(retail.common, models, scope="consortium")
    others, counts = _others(retail, quick), RETAILERS[:1] if quick else RETAILERS
    asked: set[str] = set()
    return [
        *_digests(retail, recommend, _item_fits(recommend), asked),
        *_digests(retail, basket, {}, asked),
        *_digests(retail, blend, {}, asked),
        *_digests(retail, demand, _regression_fits(demand), asked),
        *(row for task in others for row in _digests(retail, task, {}, asked, counts)),
        *column_rows(retail, RETAILERS, asked),
        _untested("queries", asked | NOT_ASKED | NOT_EXACT),
        _untested("tasks", {task.kind for task in (recommend, demand, *others)} | ELSEWHERE),
        *_recommend_reference(retail, recommend),
        *_demand_reference(retail, demand),
    ]


def _others(retail: Retail, quick: bool) -> tuple[Task, ...]:
    """Returns the tasks that have no independent program here.

    Purchase intent is not among them: it shares its models with churn, and these lines are no
    visits. `python -m benchmarks intent` compares it with pooled training.
    """
    common, weeks = retail.common, 76 if quick else 104
    return (
        Price(common, history=weeks, test=12),
        Churn(common, ("logistic",), horizon_days=56, history_days=7 * weeks),
        Value(common, horizon_days=56),
        Segments(common, ("kmeans", "mixture"), segments=3, horizon_days=56),
        Shift(common, ("cusum",)),
    )


def _untested(kind: str, tested: set[str]) -> Row:
    left = sorted(set(installed(kind)) - tested)
    return at_most(
        0, f"{kind} installed and not compared here: {', '.join(left) or '-'}", len(left)
    )


# --- federated is pooled ---


def _item_fits(task: Recommend) -> Mapping[str, Fit]:
    models: Mapping[str, Candidate] = {
        "popularity": Popularity(),
        "popularity of 28 days": Popularity(28),
        "item-knn": ItemKNN(),
        "ease": EASE(),
        "edlae": EDLAE(),
        "als": ALS_CANDIDATE,
        "als by conjugate gradients": replace(ALS_CANDIDATE, steps=3),
        "transitions": TRANSITIONS,
    }
    return {
        name: lambda totals, model=model: model.fit(totals, task.products, "test")  # type: ignore[misc]
        for name, model in models.items()
    }


def _regression_fits(task: Demand) -> Mapping[str, Fit]:
    return {
        family: lambda totals, family=family: _regression(task, family, totals, "test")  # type: ignore[misc]
        for family in GRID
    }


def _regression(task: Demand, family: str, totals: Totals, split: str) -> DemandModel:
    query = DemandSeries(len(task.common.catalogue), task.history)
    series = np.asarray(totals.total(query)["units"])
    coefficients, _ = GRID[family].fit(totals, task.width, split, {"series": series})
    return DemandModel({"model": family}, {"coefficients": coefficients}, series)


def _digests(
    retail: Retail,
    task: Task,
    fits: Mapping[str, Fit],
    asked: set[str],
    counts: tuple[int, ...] = RETAILERS,
) -> list[Row]:
    rows = []
    for count in counts:
        holders = retail.holders(task, count)
        pooled = task.pooled(list(holders.values()))
        with federated(holders, task) as consortium:
            for name, fit in fits.items():
                rows.append(_same(f"{name}, {count} retailers", fit, consortium, pooled, asked)[0])
            whole = f"the task {_named(task)}, {count} retailers"
            row, model = _same(
                whole, lambda totals: task.fit(totals).model, consortium, pooled, asked
            )
            consortium.deliver(TASK, model.meta, model.arrays)
            apart = list(holders.values()) if task.kind in RANKED else [pooled]
            rows += [row, _same_scores(whole, task, model, consortium, apart, asked)]
    return rows


def _named(task: Task) -> str:
    blended = " with auto" if "auto" in task.models else ""  # type: ignore[attr-defined]
    repeats = " with repeats" if "recall_repeat" in _metrics(task) else ""
    return f"{task.kind}{repeats}{blended}"


def _metrics(task: Task) -> list[str]:
    return [metric.name for metric in task.metrics]


def _same(
    name: str, fit: Fit, consortium: Consortium, pooled: Rows, asked: set[str]
) -> tuple[Row, Model]:
    """Returns the row that compares two fits, and the federated model."""
    shared, local = Recorded(consortium.of(TASK)), Recorded(Local(pooled))
    model, expected = fit(shared), fit(local)
    asked |= {query for query, _ in shared.digests}
    pairs = [
        *zip(shared.digests, local.digests, strict=True),
        *(
            (arrays_digest({n: model.arrays[n]}), arrays_digest({n: a}))
            for n, a in expected.arrays.items()
        ),
    ]
    different = sum(ours != theirs for ours, theirs in pairs)
    row = at_most(0, f"{name}: digests that differ", different, f"of {len(pairs)}")
    return row, model


def _same_scores(
    name: str, task: Task, model: Model, consortium: Consortium, parts: list[Rows], asked: set[str]
) -> Row:
    """Returns the row that compares the shared test scores with those of all rows."""
    query = TestScores(TASK, len(task.metrics), task.shown)
    asked.add(query.name)
    sums = consortium.of(TASK).total(query)
    found = UnitScores.joined([task.score(model, part, "test") for part in parts])
    expected = {
        "numerators": found.numerators.sum(axis=0),
        "denominators": found.denominators.sum(axis=0),
        "shown": found.shown,
        "units": np.array([found.units]),
    }
    different = sum(
        not np.array_equal(sums[f"{row} {what}"], values)
        for row in ROWS
        for what, values in expected.items()
    )
    return at_most(0, f"{name}: sums of test scores that differ", different, f"of {4 * len(ROWS)}")


# --- recommendations, by an independent program ---


def _recommend_reference(retail: Retail, task: Recommend) -> list[Row]:
    pooled = task.pooled(list(retail.holders(task, REFERENCE_RETAILERS).values()))
    days = _dense(pooled["test"].history)
    rows = [
        at_most(ITEM_BAR, f"{name}: relative difference from an independent program", apart)
        for name, apart in {
            "popularity": _item_apart(Popularity(), pooled, days),
            "popularity of 28 days": _item_apart(Popularity(28), pooled, days),
            "item-knn": _item_apart(ItemKNN(), pooled, days),
            "ease": _item_apart(EASE(), pooled, days),
            "edlae": _item_apart(EDLAE(), pooled, days),
            "als": _factors_apart(ALS_CANDIDATE, pooled, days),
            "als by conjugate gradients": _factors_apart(
                replace(ALS_CANDIDATE, steps=3 * ALS_CANDIDATE.factors), pooled, days
            ),
            "transitions": _transitions_apart(TRANSITIONS, pooled, days),
        }.items()
    ]
    return [*rows, _validation_row(task, pooled)]


def _item_apart(candidate: Candidate, pooled: Rows, days: Floats) -> float:
    """Returns the larger of the relative differences of weights and prior."""
    model = candidate.fit(Local(pooled), days.shape[1], "test")
    weights, prior, contested = _item_reference(candidate, days)
    prior_apart = _relative(model.prior, prior)
    if not weights.size:
        return prior_apart
    ours = np.where(contested & (model.weights == 0), weights, model.weights)
    largest = np.abs(weights).max(axis=0)
    columns = np.abs(ours - weights).max(axis=0) / np.where(largest > 0, largest, 1.0)
    return max(prior_apart, float(columns.max()))


def _factors_apart(candidate: ALS, pooled: Rows, days: Floats) -> float:
    model = candidate.fit(Local(pooled), days.shape[1], "test")
    fold = (candidate.l2, candidate.unobserved, candidate.scaled, candidate.epochs)
    expected = reference.als(days > 0, candidate.first(days.shape[1]), *fold)
    return _relative(model.factors, expected)


def _transitions_apart(candidate: Transitions, pooled: Rows, days: Floats) -> float:
    model = candidate.fit(Local(pooled), days.shape[1], "test")
    settings = (candidate.follows, candidate.window, candidate.shrink)
    return _relative(model.weights.toarray(), reference.transitions(days, *settings))


def _item_reference(
    candidate: Candidate, days: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_] | bool]:
    """Returns weights, prior, and where rounding alone decides whether a weight is kept."""
    bought = (days > 0).astype(np.float64)
    if isinstance(candidate, Popularity):
        recent = bought * (days <= candidate.days) if candidate.days else bought
        return np.empty((0, 0)), reference.popularity(recent), False
    count = bought.sum(axis=0)
    prior = _TIE_BREAK * count / count.max()
    if isinstance(candidate, EASE):
        return reference.ease(bought, candidate.l2), prior, False
    if isinstance(candidate, EDLAE):
        return reference.edlae(bought, candidate.l2, candidate.dropout), prior, False
    weights, contested = reference.item_knn(bought, candidate.shrink, candidate.neighbours)
    return weights, prior, contested


def _validation_row(task: Recommend, pooled: Rows) -> Row:
    """Returns how far the task's validation scores are from the independent program's."""
    tried = task.fit(Local(pooled)).choice["tried"]
    candidates = [candidate for model in task.models for candidate in GRIDS[model]]
    purchases: Purchases = pooled["validation"]
    days, wanted = _dense(purchases.history), _dense(purchases.future) > 0
    expected = [_validation_ndcg(candidate, days, wanted, task.top) for candidate in candidates]
    return at_most(
        SCORE_BAR,
        f"the task recommend: relative difference of {len(tried)} validation NDCGs",
        _relative(np.array([score["ndcg"] for score in tried]), np.array(expected)),
    )


def _validation_ndcg(
    candidate: Candidate, days: Floats, wanted: NDArray[np.bool_], k: int
) -> float:
    weights, prior, _ = _item_reference(candidate, days)
    found = []
    for history, new in zip(days > 0, wanted, strict=True):
        if history.any() and new.any():
            scores = prior + (weights[history].sum(axis=0) if weights.size else 0.0)
            found.append(reference.ndcg(np.where(history, -np.inf, scores), new, k))
    return float(np.mean(found))


# --- demand, by an independent program ---


def _demand_reference(retail: Retail, task: Demand) -> list[Row]:
    pooled = task.pooled(list(retail.holders(task, REFERENCE_RETAILERS).values()))
    totals = Local(pooled)
    window = task.periods.windows[-1]
    series = sum(
        reference.capped_units(part.units, part.cap, _ROOM, window, UNIT_STEPS)
        for part in pooled["test"].parts
    )
    model = {family: _regression(task, family, totals, "test") for family in GRID}
    expected = {
        family: _regression_reference(family, pooled["test"], np.asarray(series)) for family in GRID
    }
    name = "relative difference from an independent program"
    return [
        at_most(ITEM_BAR, f"demand series: {name}", _relative(model["ridge"].series, series)),
        *(
            at_most(
                REGRESSION_BAR,
                f"{family}: {name}",
                _relative(model[family].parts["coefficients"], expected[family]),
            )
            for family in GRID
        ),
        _wape_row(task, totals, pooled["validation"], np.asarray(series)),
    ]


def _regression_reference(family: str, panel: Panel, series: Floats) -> Floats:
    x, y, level = _floats(list(panel.training({"series": series})))
    found: Floats = reference.REGRESSIONS[family](x, y, level, GRID[family].l2)
    return found


def _wape_row(task: Demand, totals: Totals, panel: Panel, series: Floats) -> Row:
    tried = task.fit(totals).choice["tried"]
    expected = []
    for family in task.models:
        coefficients = _regression_reference(family, panel, series)
        cases = list(panel.cases(series))
        x, _, level = _floats([case.design for case in cases])
        sold = np.concatenate([case.sold for case in cases])
        missed = np.abs(reference.forecast(family, x, level, coefficients) - sold)
        expected.append(missed.sum() / sold.sum())
    return at_most(
        SCORE_BAR,
        f"the task demand: relative difference of {len(tried)} validation WAPEs",
        _relative(np.array([score["wape"] for score in tried]), np.array(expected)),
    )


def _floats(designs: list[Design]) -> tuple[Floats, Floats, Floats]:
    """Returns features, target and level of all rows."""
    x = np.concatenate([design.x for design in designs]) / X_STEPS
    y = np.concatenate([design.y for design in designs])
    return x, y, np.exp(np.concatenate([design.offset for design in designs]))


def _dense(matrix: csr_array) -> Floats:
    return matrix.toarray().astype(np.float64)


def _relative(ours: NDArray[Any], theirs: Any) -> float:
    """Returns the largest difference over the largest entry."""
    expected = np.asarray(theirs, np.float64)
    return float(np.abs(ours - expected).max() / np.abs(expected).max())
