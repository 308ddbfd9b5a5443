"""What a retailer keeps: a mix of everybody's model and of what it would have alone.

Decided on its own validation, with models that have not seen it, and then fitted on all rows before
the test. All of it stays at home. A mix is seldom worse than the better of the two: Bates and
Granger, "The combination of forecasts", 1969. It is one of halves unless another one is clearly
better, up to everybody's model as it is, or what the retailer has alone, to the last bit.

Clearly is by more than a standard error of the difference, as in Breiman et al., "Classification
and regression trees", 1984. Errors of one period hang together, so that it is periods that are
counted: what is better on a few days, such as holidays, decides little.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.demand_families import FAMILIES
from grandtotal.tasks.demand_model import DemandModel, adapted, cases_of
from grandtotal.tasks.demand_trees import TreesOfDemand, rows_of_trees
from grandtotal.tasks.sales import Panel

if TYPE_CHECKING:
    from grandtotal.tasks.demand import Demand

Floats = NDArray[np.float64]
# Of everybody's model in a mix, in the order of preference; and where there can be none.
SHARES = (0.5, 0.75, 0.25, 1.0, 0.0)
WHOLE = (1.0, 0.0)


def best_at_home(task: Demand, model: DemandModel, rows: Rows) -> DemandModel:
    """Returns the model with all that the retailer adds at home, or what it has alone instead."""
    panel: Panel = rows["test"]
    if not isinstance(FAMILIES[model.meta["model"]], TreesOfDemand) or not model.before:
        return adapted(model, rows["validation"], panel)
    alone = cast(DemandModel, task.fit(Local(rows)).model)
    if model is alone:
        # A row of the table, and a part of the other: finished once.
        return panel.once(("alone", task), lambda: _finished(task, model, rows))
    return _mixed(task, model, best_at_home(task, alone, rows), rows)


def _finished(task: Demand, model: DemandModel, rows: Rows) -> DemandModel:
    before, model = _with_own_trees(task, model, rows)
    return adapted(model, rows["validation"], rows["test"], before)


def _mixed(task: Demand, model: DemandModel, alone: DemandModel, rows: Rows) -> DemandModel:
    """alone: what the retailer has without the others, finished."""
    panel: Panel = rows["validation"]
    before, kept = _with_own_trees(task, model, rows)
    everybody, own = (_forecasts(one, panel) for one in (before, alone.validated))
    # A regression reads the consortium's series: it has only its own cases to forecast.
    mixable = isinstance(FAMILIES[alone.meta["model"]], TreesOfDemand)
    shares = SHARES if mixable else WHOLE
    mixes = [
        [share * a + (1 - share) * b for a, b in zip(everybody, own, strict=True)]
        for share in shares
    ]
    losses = [missed(task, before, panel, forecasts) for forecasts in mixes]
    share = shares[first_not_beaten(np.stack(losses))]
    if share == 0:
        return replace(alone, shared=model)
    if share < 1:
        before = replace(before, alone=alone.validated, share=share)
        kept = replace(kept, alone=alone, share=share)
    return adapted(kept, panel, rows["test"], before)


def _with_own_trees(
    task: Demand, model: DemandModel, rows: Rows
) -> tuple[DemandModel, DemandModel]:
    """Returns the model as it was before the validation, and as it is.

    With a few trees on top, grown on what it leaves over at home, where they clearly help.
    """
    before = model.validated
    family = FAMILIES[model.meta["model"]]
    if not isinstance(family, TreesOfDemand) or not family.can_be_on_top:
        return before, model

    def on_top(split: str, parts: Arrays) -> Arrays:
        return family.fit_on_top(parts, rows[rows_of_trees(split)], task)

    more = replace(before, own=on_top("validation", before.parts))
    panel: Panel = rows["validation"]
    both = [missed(task, each, panel, _forecasts(each, panel)) for each in (before, more)]
    if first_not_beaten(np.stack(both)) == 0:
        return before, model
    return more, replace(model, own=on_top("test", model.parts))


def first_not_beaten(losses: Floats) -> int:
    """Returns the first row of losses (candidates, periods) that none is clearly better than.

    That is, the first whose sum is above the least by no more than a standard error of the
    difference.
    """
    more = losses - losses[np.argmin(losses.sum(axis=1))]
    periods = losses.shape[1]
    error = np.sqrt(periods) * more.std(axis=1, ddof=min(periods - 1, 1))
    return int(np.argmax(more.sum(axis=1) <= error))


def missed(task: Demand, model: DemandModel, panel: Panel, forecasts: list[Floats]) -> Floats:
    """Returns what forecasts of the scored cases of each period missed, (periods,).

    Summed over cases: units for "wape", squares of relative errors for "rmspe".
    """
    found = np.zeros(panel.until)
    for cases, forecast in zip(cases_of(model, panel), forecasts, strict=True):
        error = np.abs(forecast - cases.sold)
        if task.judged_by == "rmspe":
            sold = cases.sold > 0
            error = np.divide(error, cases.sold, out=np.zeros_like(error), where=sold) ** 2
        found += np.bincount(cases.origin + cases.ahead - 1, error, panel.until)
    return found[panel.cut :]


def _forecasts(model: DemandModel, panel: Panel) -> list[Floats]:
    return [model.forecast(cases) for cases in cases_of(model, panel)]


def at_best_factor(cases: Floats, ratio: Floats, square: Floats) -> tuple[list[Floats], float]:
    """Returns the sums (periods,) at the factor of all forecasts that is taken, and it.

    What makes the squares of relative errors least is below the middle of what may be sold: less is
    missed. How far below follows from how wide the errors are; 1, or what these very periods ask
    for, is taken where that was clearly better: levels of other periods are other ones.
    cases: how many sold; ratio, square: sums of forecast / sold, and of its square.
    """
    asked_for = float(ratio.sum() / square.sum()) if square.sum() > 0 else 1.0
    factors = (factor_of_width(cases, ratio, square), 1.0, asked_for)
    found = [[cases, f * ratio, f**2 * square] for f in factors]
    chosen = first_not_beaten(np.stack([n - 2 * r + s for n, r, s in found]))
    return found[chosen], factors[chosen]


def factor_of_width(cases: Floats, ratio: Floats, square: Floats) -> float:
    """Returns the factor that is best for forecasts in the middle of lognormal errors.

    exp(-3/2 v) makes E(1 - f X)^2 least where ln X is normal with mean 0 and variance v, and
    E(X)^2 / E(X^2) is exp(-v). It is that of the middle period: a holiday that nobody foresaw says
    nothing of the others. 1 where nothing sold.
    """
    some = cases * square > 0
    if not some.any():
        return 1.0
    narrow = float(np.median(ratio[some] ** 2 / (cases[some] * square[some])))
    return narrow * float(np.sqrt(narrow))


def rmspe(cases: Floats, ratio: Floats, square: Floats) -> float:
    """Returns the root of the mean of (1 - forecast / sold)^2 for such sums."""
    above = float((cases - 2 * ratio + square).sum())
    return float(np.sqrt(max(above, 0.0) / max(float(cases.sum()), 1.0)))
