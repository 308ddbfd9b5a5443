"""Measuring a task of an outcome: the four rows, calibration, and what federation costs."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from benchmarks.rows import Row, at_most
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.tasks.classification import Classification, tenths
from grandtotal.tasks.outcome_model import OutcomeModel
from grandtotal.tasks.outcome_queries import calibration_error
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.task import Fitted

METRICS = ("auc", "lift", "average-precision", "log-loss")


def four(
    task: Classification, holders: Mapping[str, Rows], label: str
) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """Returns rows of baseline, alone, federated and pooled, and every score of each."""
    with federated(holders) as consortium:
        shared = task.fit(consortium.of(TASK))
    pooled = task.fit(Local(task.pooled(list(holders.values()))))
    alone = {name: task.fit(Local(rows)) for name, rows in holders.items()}
    print(f"  {label}: chose {shared.choice['chosen']['model']}")
    models: Mapping[str, Mapping[str, Model]] = {
        "baseline": {name: task.baseline(rows)[0] for name, rows in holders.items()},
        "alone": _adapted(task, holders, alone),
        "federated": _adapted(task, holders, dict.fromkeys(holders, shared)),
        "pooled": _adapted(task, holders, dict.fromkeys(holders, pooled)),
    }
    differs = arrays_digest(shared.model.arrays) != arrays_digest(pooled.model.arrays)
    scores = {name: scores_of(task, each, holders) for name, each in models.items()}
    rows = [
        Row(f"{label}, {name}: {metric}", scores[name][metric])
        for name in models
        for metric in (*METRICS, "ECE")
    ]
    unlike = at_most(0, f"{label}: federated models that are not the pooled one", int(differs))
    return [*rows, unlike], scores


def pooled_only(task: Classification, holders: Mapping[str, Rows], label: str) -> list[Row]:
    """Returns rows of the baseline and of the pooled model, which is the federated one."""
    fitted = task.fit(Local(task.pooled(list(holders.values()))))
    models = {
        "baseline": {name: task.baseline(rows)[0] for name, rows in holders.items()},
        "federated": _adapted(task, holders, dict.fromkeys(holders, fitted)),
    }
    scores = {name: scores_of(task, each, holders) for name, each in models.items()}
    return [
        Row(f"{label}, {name}: {metric}", scores[name][metric])
        for name in models
        for metric in ("auc", "lift", "ECE")
    ]


def _adapted(
    task: Classification, holders: Mapping[str, Rows], fitted: Mapping[str, Fitted]
) -> dict[str, Model]:
    return {name: task.adapt(fitted[name].model, rows) for name, rows in holders.items()}


def scores_of(
    task: Classification, models: Mapping[str, Model], holders: Mapping[str, Rows]
) -> dict[str, float]:
    """Returns every metric over all units, and ECE: over tenths of all units by probability."""
    found = [task.score(models[name], rows, "test") for name, rows in holders.items()]
    parts: list[tuple[Any, Any]] = []
    for name, rows in holders.items():
        cases = rows["test"].scored
        parts.append((cases.y, cast(OutcomeModel, models[name]).probabilities(cases)))
    y, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    return {**UnitScores.joined(found).values(), "ECE": calibration_error(tenths(y, p))}
