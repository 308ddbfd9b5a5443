"""Which trees a retailer keeps: everybody's, with some of its own on top, its own, or the mean.

Decided on its own validation, with models that have not seen it, and then fitted on all rows before
the test. All of it stays at home.

The factor of all forecasts stays everybody's: one of its own would be judged on the rows that it is
made from, and is of one retailer's few days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.demand_families import FAMILIES
from grandtotal.tasks.demand_model import BOTH, LOCAL, ON_TOP, DemandModel, cases_of, wape
from grandtotal.tasks.demand_trees import TreesOfDemand, rows_of_trees
from grandtotal.tasks.sales import Panel

if TYPE_CHECKING:
    from grandtotal.tasks.demand import Demand

# Of the error of others: trees of its own have seen few series, and win by chance now and then.
_CLEARLY = 0.99
Fit = Callable[[str, Arrays], Arrays]


def best_at_home(task: Demand, model: DemandModel, rows: Rows) -> tuple[DemandModel, DemandModel]:
    """Returns the model that was best on the retailer's validation: as it was there, and now."""
    family = FAMILIES[model.meta["model"]]
    shared = model.validated
    if not isinstance(family, TreesOfDemand) or not model.before:
        return shared, model
    panel: Panel = rows["validation"]
    fits = _fits(task, family, rows)
    tried = {"": shared}
    for name, fit in fits.items():
        tried[name] = replace(shared, kept=name, own=fit("validation", shared.parts))
    found = {name: judged(task, model, panel) for name, model in tried.items()}
    best = min(found, key=lambda name: found[name] / (_CLEARLY if name == LOCAL else 1.0))
    if not best:
        return shared, model
    return tried[best], replace(model, kept=best, own=fits[best]("test", model.parts))


def _fits(task: Demand, family: TreesOfDemand, rows: Rows) -> Mapping[str, Fit]:
    """Returns how each of the retailer's own parts is fitted to the rows of a split."""

    def local(split: str, parts: Arrays) -> Arrays:  # noqa: ARG001
        # Alone, federated and pooled are compared with the same trees: they are grown once.
        kept = rows[split].kept
        key = ("trees of its own", task.models, family.target, family.objective.name)
        if key not in kept:
            kept[key] = family.fit(Local(rows), task, split, {})[0]
        found: Arrays = kept[key]
        return found

    def on_top(split: str, parts: Arrays) -> Arrays:
        return family.fit_on_top(parts, rows[rows_of_trees(split)], task)

    alone = {LOCAL: local, BOTH: local}
    return {ON_TOP: on_top, **alone} if family.can_be_on_top else alone


def judged(task: Demand, model: DemandModel, panel: Panel) -> float:
    """Returns the error that choices are made on, over the scored cases of a panel."""
    if task.judged_by == "wape":
        return wape(model, panel)
    count, ratio, square = relative_sums(model, panel)
    return rmspe(count, ratio, square)


def relative_sums(model: DemandModel, panel: Panel) -> tuple[float, float, float]:
    """Returns how many cases sold, and the sums of forecast / sold and of its square."""
    sums = np.zeros(3)
    for cases in cases_of(model, panel):
        sold = cases.sold > 0
        ratio = model.forecast(cases)[sold] / cases.sold[sold]
        sums += [len(ratio), ratio.sum(), (ratio**2).sum()]
    return float(sums[0]), float(sums[1]), float(sums[2])


def rmspe(count: float, ratio: float, square: float) -> float:
    """Returns the root of the mean of (1 - forecast / sold)^2."""
    return float(np.sqrt(max(count - 2 * ratio + square, 0.0) / max(count, 1.0)))
