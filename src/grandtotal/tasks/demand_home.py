"""Which model a retailer keeps: everybody's, with some of its own trees on top, a mean, or its own.

Decided on its own validation, with models that have not seen it, and then fitted on all rows before
the test. All of it stays at home. What it would have without the others is fitted, chosen and
finished as it would be without them, and is always one of the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.demand_families import FAMILIES
from grandtotal.tasks.demand_model import BOTH, ON_TOP, DemandModel, adapted, cases_of, wape
from grandtotal.tasks.demand_trees import TreesOfDemand, rows_of_trees
from grandtotal.tasks.sales import Panel

if TYPE_CHECKING:
    from grandtotal.tasks.demand import Demand

# Of the error of others: what has seen few series wins by chance now and then.
_CLEARLY = 0.99


@dataclass(frozen=True)
class _Candidate:
    """before: the model as it was before the validation; now: makes it as it is delivered.

    handicap: what its error on the validation is divided by.
    """

    before: DemandModel
    now: Callable[[], DemandModel]
    handicap: float = 1.0


def best_at_home(task: Demand, model: DemandModel, rows: Rows) -> DemandModel:
    """Returns the model with all that the retailer adds at home, or what it has alone instead."""
    panel: Panel = rows["test"]
    if not isinstance(FAMILIES[model.meta["model"]], TreesOfDemand) or not model.before:
        return adapted(model, rows["validation"], panel)
    alone = cast(DemandModel, task.fit(Local(rows)).model)
    if model is alone:
        # A row of the table, and a candidate of the other: finished once.
        return panel.once(("alone", task), lambda: _best(task, model, rows, None))
    return _best(task, model, rows, alone)


def _best(task: Demand, model: DemandModel, rows: Rows, alone: DemandModel | None) -> DemandModel:
    panel: Panel = rows["validation"]
    candidates = list(_candidates(task, model, rows, alone))
    errors = [judged(task, one.before, panel) / one.handicap for one in candidates]
    best = candidates[int(np.argmin(errors))]
    now = best.now()
    if now.shared is not None:
        return now  # finished as alone
    return adapted(now, panel, rows["test"], best.before)


def _candidates(
    task: Demand, model: DemandModel, rows: Rows, alone: DemandModel | None
) -> Iterator[_Candidate]:
    """alone: what the retailer has fitted without the others; None if the model is that."""
    family = cast(TreesOfDemand, FAMILIES[model.meta["model"]])
    before = model.validated
    yield _Candidate(before, lambda: model)

    def with_own(kept: str, fit: Callable[[str, Arrays], Arrays]) -> _Candidate:
        own = fit("validation", before.parts)
        return _Candidate(
            replace(before, kept=kept, own=own),
            lambda: replace(model, kept=kept, own=fit("test", model.parts)),
        )

    if family.can_be_on_top:
        yield with_own(
            ON_TOP, lambda split, parts: family.fit_on_top(parts, rows[rows_of_trees(split)], task)
        )
    if alone is None:
        return
    finished = best_at_home(task, alone, rows)
    yield _Candidate(finished.validated, lambda: replace(finished, shared=model), _CLEARLY)
    if alone.meta["model"] == model.meta["model"]:
        trees = {"validation": alone.before, "test": alone.parts}
        yield with_own(BOTH, lambda split, parts: trees[split])  # noqa: ARG005


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
