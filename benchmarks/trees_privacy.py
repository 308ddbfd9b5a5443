"""Trees under epsilon: designs at equal epsilon, beside the regression and beside no noise.

Churn on Online Retail II, horizon 84 days, five retailers by a hash of the customer; whom noise
hides is the customer, known to one retailer, delta 1e-5. Everything is asked through egress, in
noise that each retailer adds its share of; all of epsilon but the score's share goes to one model.
AUC and log loss of the delivered model on the test, means of draws of the noise.

"trees of depth d, n x m": n questions about m trees each, all splits of one depth one drawn cut.
"curves": one feature a tree and every cut in it, so that a leaf is a bin of a histogram: noise on
histograms. "whose splits are found": the trees without epsilon. The best design is named by the log
loss of one run at epsilon 4 at the cut before, and shown on the test. With --quick: generated
customers, one draw, fewer designs.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.churn import HORIZON, RETAILERS, generated_customers
from benchmarks.outcomes import scores_of
from benchmarks.retail import online_retail
from benchmarks.rows import Row, at_least
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.trees_in_noise import TreesInNoise
from grandtotal.consortium.query import Rows, shared
from grandtotal.consortium.totals import Local
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks.churn import Churn
from grandtotal.tasks.outcome_model import OutcomeModel
from grandtotal.tasks.outcomes import OUTCOME

EPSILONS = (2.0, 4.0, 8.0)
MIDDLE, DELTA = 4.0, 1e-5
METRICS = ("auc", "log-loss")
REGRESSION = "regression"
DESIGNS: Mapping[str, TreesInNoise] = {
    "trees of depth 1, 10 x 10": TreesInNoise(releases=10, trees=10, depth=1),
    "trees of depth 3, 5 x 20": TreesInNoise(releases=5, trees=20, depth=3),
    "trees of depth 3, 10 x 10": TreesInNoise(releases=10, trees=10, depth=3),
    "trees of depth 3, 20 x 10": TreesInNoise(releases=20, trees=10, depth=3),
    "trees of depth 5, 20 x 10": TreesInNoise(releases=20, trees=10, depth=5),
    "curves, 10 x 18": TreesInNoise(releases=10, trees=18, depth=0, cuts=12, rate=2.0),
}
_QUICK = ("trees of depth 3, 10 x 10", "curves, 10 x 18")


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns AUC and log loss of every design at every epsilon, and the best design."""
    retail = generated_customers() if quick else online_retail()
    draws, epsilons = (1, (4.0,)) if quick else (2, EPSILONS)
    designs = {name: DESIGNS[name] for name in (_QUICK if quick else DESIGNS)}
    privacy = Agreement(epsilon=MIDDLE, delta=DELTA)
    task = Churn(replace(retail.common, privacy=privacy), horizon_days=HORIZON, models=("trees",))
    holders = retail.holders(task, RETAILERS)
    rows = _exact(replace(task, common=retail.common), holders)
    found: dict[tuple[str, float], dict[str, float]] = {}
    for epsilon in epsilons:
        for name, fit in (*designs.items(), (REGRESSION, None)):
            each = [_in_noise(task, holders, fit, epsilon, "test") for _ in range(draws)]
            found[name, epsilon] = {what: _mean(each, what) for what in METRICS}
            rows += [
                Row(f"epsilon {epsilon:g}, {name}: {what}", found[name, epsilon][what])
                for what in METRICS
            ]
    earlier = {
        name: _in_noise(task, holders, fit, MIDDLE, "validation")["log-loss"]
        for name, fit in designs.items()
    }
    best = min(earlier, key=lambda name: earlier[name])
    for epsilon in epsilons:
        score, other = found[best, epsilon], found[REGRESSION, epsilon]
        named = f"epsilon {epsilon:g}, best on validation: {best}"
        rows.append(at_least(0.7, f"{named}: auc", score["auc"]))
        rows.append(Row(f"{named}: auc less the regression's", score["auc"] - other["auc"]))
    return rows


def _mean(scores: list[dict[str, float]], what: str) -> float:
    return float(np.mean([score[what] for score in scores]))


def _exact(task: Churn, holders: Mapping[str, Rows]) -> list[Row]:
    """Returns what the models reach without epsilon."""
    rows, pooled = [], task.pooled(list(holders.values()))
    for name, model in ((REGRESSION, "logistic"), ("trees whose splits are found", "trees")):
        fitted = replace(task, models=(model,)).fit(Local(pooled)).model
        score = scores_of(task, dict.fromkeys(holders, fitted), holders)
        rows += [Row(f"no epsilon, {name}: {what}", score[what]) for what in METRICS]
    return rows


def _in_noise(
    task: Churn, holders: Mapping[str, Rows], design: TreesInNoise | None, epsilon: float, cut: str
) -> dict[str, float]:
    """Returns the scores at a cut of a model of what was known at that cut; None: regression.

    What is scored at the validation cut chooses the design, in a run with a budget of its own.
    """
    agreement = Agreement(epsilon=epsilon, delta=DELTA)
    models = ("logistic",) if design is None else ("trees",)
    task = replace(task, common=replace(task.common, privacy=agreement), models=models)
    fit, *_, scored = task.releases()
    if design is not None:
        fit = design.asked(fit.times * fit.weight)
    budget = Budget.of(agreement, {TASK: (fit, scored)}, RETAILERS)
    # A task fits what it delivers at the test cut: the earlier one stands in its place.
    at = {
        name: {**rows, shared("test"): rows[cut], "test": rows[cut]}
        for name, rows in holders.items()
    }
    with federated(at, budget=budget) as consortium:
        totals = consortium.of(TASK)
        if design is None:
            model = task.fit(totals).model
        else:
            sized = replace(design, rows=task.rows_of_unit)
            trees, _ = sized.fit(totals, task.names[1:], OUTCOME, "test")
            model = OutcomeModel({"model": "trees"}, trees.arrays)
    return scores_of(task, dict.fromkeys(at, model), at)
