"""The demand task under epsilon: few questions, each about clipped products.

Nothing that a product contributes counts for more than if it sold EACH units a period, so that one
product's history hides behind the others. The series of single products is what is to be hidden:
one season of all together takes its place. Intervals come from each retailer's own errors.

What is asked, of the rows in which a customer's lines count for few products:
    demand-series       the season of all products together                      once
    glm-moments         ROUNDS Newton steps of each model, one more after a choice
    forecast-scores     the validation of each model, where there is a choice
    test-scores         the WAPE of the delivered model                          once
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from grandtotal.algorithms.glm import GLM
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.demand_families import GRID
from grandtotal.tasks.demand_model import DemandModel
from grandtotal.tasks.demand_queries import DemandSeries, ForecastScores
from grandtotal.tasks.task import Fitted

if TYPE_CHECKING:
    from grandtotal.tasks.demand import Demand

EACH = 1.0  # units a period; a product that sells more counts as if it sold so many
ROUNDS: Mapping[str, int] = {"ridge": 1, "poisson": 3}
# Measured on the generated example: the norm of X'WX and X'r of one case, per unit of its mean.
_CASE = 4.0
_LIGHT = 0.1  # weight of a release of two sums, which stand out of noise that hides a matrix


LEFT_OUT = (
    "it has no private form: a product's rows are in too many of its questions for noise to leave "
    "anything of them; under epsilon a regression is fitted"
)


def private_models(task: Demand) -> tuple[str, ...]:
    """Returns the models of the plan that can be fitted under epsilon."""
    return tuple(name for name in task.models if name in GRID)


def releases_in_noise(task: Demand) -> tuple[Release, ...]:
    """Returns the schedule of the module's docstring."""
    models = private_models(task)
    choice = len(models) > 1
    steps = sum(ROUNDS[name] for name in models) + choice
    scores = (Release("forecast-scores", len(models), _LIGHT),) if choice else ()
    return (
        Release("demand-series", 1, 0.5),
        Release("glm-moments", steps),
        *scores,
        Release("test-scores", 1, _LIGHT),
    )


def fit_in_noise(task: Demand, totals: Totals) -> Fitted:
    """Returns the model with the best noisy validation WAPE, fitted up to the test cut."""
    few = task.products_per_customer
    # As far as it is known, a season is a product's share of it: its size has no meaning.
    query = DemandSeries(len(task.common.catalogue), task.history, _largest_series(task), few)
    given = {"series": np.maximum(totals.total(query)["units"], 0.0)}
    models = private_models(task)
    if len(models) == 1:
        name, tried = models[0], []
        glm = _glm(task, name, "test", ROUNDS[name])
    else:
        fitted = {name: _validated(task, totals, name, given) for name in models}
        known = [each for each in fitted if fitted[each][0]["wape"] is not None]
        name = min(known or fitted, key=lambda each: fitted[each][0]["wape"] or 0.0)
        tried = [score for score, _ in fitted.values()]
        given["coefficients"] = fitted[name][1]
        glm = _glm(task, name, "test", 1)
    coefficients, fit = glm.fit(totals, task.width, "test", given)
    meta = {"model": name, "l2": GRID[name].l2, "fit": fit}
    model = DemandModel(meta, {"coefficients": coefficients}, given["series"])
    left_out = {name: LEFT_OUT for name in task.models if name not in GRID}
    more: Json = {"left_out": left_out} if left_out else {}
    return Fitted(model, {"chosen": meta, "tried": tried, **more})


def _validated(task: Demand, totals: Totals, name: str, given: Arrays) -> tuple[Json, np.ndarray]:
    glm = _glm(task, name, "validation", ROUNDS[name])
    coefficients, fit = glm.fit(totals, task.width, "validation", given)
    largest = largest_score(task, "validation")
    query = ForecastScores(name, "validation", largest, task.products_per_customer)
    sums = totals.total(query, {**given, "coefficients": coefficients})
    sold = float(sums["sold"])
    # Noise may leave nothing sold: such a score is no reason to choose a model.
    wape = float(sums["error"]) / sold if sold > 0 else None
    return {"model": name, "l2": glm.l2, "fit": fit, "wape": wape}, coefficients


def _glm(task: Demand, name: str, split: str, rounds: int) -> GLM:
    training, _ = task.origins(*_cuts(task, split))
    largest = EACH * _CASE * len(training) * task.horizon
    return replace(
        GRID[name], rounds=rounds, largest=largest, per_customer=task.products_per_customer
    )


def largest_score(task: Demand, split: str) -> float:
    """Returns the norm of what a product of EACH units adds to error and sold, the error as large.

    In units, over the scored cases of the split.
    """
    _, scored = task.origins(*_cuts(task, split))
    return math.sqrt(2.0) * EACH * len(scored) * task.horizon


def _largest_series(task: Demand) -> float:
    return EACH * math.sqrt(task.history)


def _cuts(task: Demand, split: str) -> tuple[int, int]:
    test = task.history - task.test
    return (test - task.test, test) if split == "validation" else (test, task.history)
