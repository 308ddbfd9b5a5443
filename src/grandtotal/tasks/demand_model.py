"""A demand forecast: the shared regression, and what a retailer adds to it at home.

The shared part is relative to each product's level. At home a retailer may correct it by a level of
its own, kept only where it helped on validation, and learns the quantiles of its own past errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.glm import GLM, Design, features, mean
from grandtotal.consortium.totals import Local
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import Arrays, over, under
from grandtotal.tasks.demand_families import BASELINES, FAMILIES, GRID
from grandtotal.tasks.demand_trees import TreesOfDemand
from grandtotal.tasks.intervals import (
    QUANTILES,
    SHAPE,
    cells,
    in_units,
    is_late,
    pinball,
    placed,
    scaled,
    spread,
)
from grandtotal.tasks.sales import Cases, Panel

__all__ = ["BASELINES", "GRID", "DemandModel", "adapted", "baseline_model", "cases_of", "wape"]

_BEFORE = "before "
ON_TOP = "own trees on top"
ALONE = "own model, as it would have it alone"
MIXED = "mix, {:.0%} of the shared model and {:.0%} of what it would have alone"
_ONE = np.ones(())
# Of the loss of the consortium's intervals: made of fewer cases, own ones hold less than they seem.
_BETTER = 0.97
_NONE = np.empty(0)


@dataclass(frozen=True)
class DemandModel:
    """parts: the arrays of the family, fitted on all rows before the test cut; series: (products,
    periods) the consortium's units. before: the arrays of the same family, fitted on the rows
    before the validation: what the model would have forecast there. Empty under epsilon.

    spread: (2, classes, quantiles) of sold / forecast in the consortium, of the early half of the
    validation and of all of it: see intervals.py; empty where nobody was asked.

    At home only: own, the arrays of a retailer's own trees on top, empty without; alone, what it
    has without the others, and share, how much of a forecast is everybody's where the rest is of
    that; level, (3,) the retailer's own correction, empty if it does not help; ratios, (classes,
    quantiles) of sold / forecast, the retailer's own or the consortium's; earlier, all of it as it
    was before the validation; shared, the model that travelled, where all the rest is what the
    retailer has without the others.
    """

    meta: Json
    parts: Arrays
    series: NDArray[np.float64]
    level: NDArray[np.float64] = field(default_factory=lambda: _NONE)
    ratios: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, len(QUANTILES))))
    spread: NDArray[np.float64] = field(default_factory=lambda: _NONE)
    before: Arrays = field(default_factory=dict)
    own: Arrays = field(default_factory=dict)
    alone: DemandModel | None = None
    share: float = 1.0
    earlier: DemandModel | None = None
    shared: DemandModel | None = None

    @staticmethod
    def of(arrays: Arrays, meta: Json) -> DemandModel:
        """Returns the model of the arrays that travelled, or of a query's broadcast."""
        named = {k: v for k, v in arrays.items() if k not in ("series", "spread")}
        before = under(_BEFORE, named)
        parts = {k: v for k, v in named.items() if not k.startswith(_BEFORE)}
        spread = arrays.get("spread", _NONE)
        return DemandModel(meta, parts, arrays["series"], spread=spread, before=before)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved: nothing of a retailer's own is in them."""
        if self.shared is not None:
            return self.shared.arrays
        asked = {"spread": self.spread} if self.spread.size else {}
        return {**self.parts, **over(_BEFORE, self.before), "series": self.series, **asked}

    @property
    def keeps(self) -> str:
        """What the retailer keeps instead of everybody's model, in words; "" where it is that."""
        if self.shared is not None:
            return ALONE
        mixed = "" if self.alone is None else MIXED.format(self.share, 1 - self.share)
        return ", with ".join(words for words in (mixed, ON_TOP if self.own else "") if words)

    @property
    def validated(self) -> DemandModel:
        """The model as it was before the validation, which it has not seen."""
        if self.earlier is not None:
            return self.earlier
        return replace(self, parts=self.before, before={}) if self.before else self

    def forecast(self, cases: Cases) -> NDArray[np.float64]:
        """Returns the expected units of each case; 0 where it is known to be closed."""
        if self.level.size:
            own = _own_level_columns(self, cases)
            found = mean("poisson", own, cases.design.offset, self.level)
        else:
            found = self._global(cases)
        if self.alone is not None:
            found = self.share * found + (1 - self.share) * self.alone.forecast(cases)
        return np.where(cases.closed, 0.0, found)

    def _global(self, cases: Cases) -> NDArray[np.float64]:
        family = FAMILIES[self.meta["model"]]
        if self.own:
            found = cast(TreesOfDemand, family).forecast_on_top(self.parts, self.own, cases)
        else:
            found = family.forecast(self.parts, cases)
        factor = self.parts.get("factor", _ONE)
        return found if factor == 1 else found * float(factor)

    def quantiles(
        self, forecast: NDArray[np.float64], ahead: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Returns (cases, QUANTILES) of the units sold, from -1/2 on, from past errors.

        On the scale of intervals.py, on which a count fills its unit; `in_units` rounds them.
        """
        return scaled(forecast, ahead, self.ratios)


def _own_level_columns(model: DemandModel, cases: Cases) -> NDArray[np.int16]:
    """Returns the three columns of a retailer's own level: constant, global forecast, size."""
    offset = cases.design.offset
    shared = log(np.maximum(model._global(cases), 1e-3)) - offset
    return features([np.ones(len(shared)), shared, offset / 3])


def baseline_model(name: str) -> DemandModel:
    """Returns a model of BASELINES, which needs no totals."""
    return DemandModel({"model": name}, {}, _NONE)


def adapted(
    model: DemandModel, validation: Panel, test: Panel, before: DemandModel | None = None
) -> DemandModel:
    """Returns the model with the retailer's own level, where it helped, and with quantiles.

    The quantiles are the consortium's, or its own where those were clearly better on the later half
    of the validation when made of the earlier. All is learned on rows before the test and stays at
    home.
    before: the model as it was before the validation, where it is not only what travelled.
    """
    before = before or model.validated
    level, model = _leveled(before, model, validation, test)
    before = replace(before, level=level)
    model = replace(model, earlier=before)
    if model.spread.size:
        shared = _later_loss(before, validation, model.spread[0])
        if shared * _BETTER <= _later_loss(before, validation, None):
            return replace(model, ratios=model.spread[1])
    return replace(model, ratios=_with_own_quantiles(before, validation).ratios)


def _leveled(
    before: DemandModel, model: DemandModel, validation: Panel, test: Panel
) -> tuple[NDArray[np.float64], DemandModel]:
    """Returns the model with the retailer's own level if that was better on the validation.

    And first the level that was judged there.
    """
    if model.meta["model"] not in GRID:
        return _NONE, model
    try:
        leveled = _with_level(before, validation)
        if wape(leveled, validation) < wape(before, validation):
            return leveled.level, _with_level(model, test)
    except AnswerError as error:
        # A model of little but noise forecasts more than the sums of a correction can hold.
        if error.code is not Code.OVERFLOW:
            raise
    return _NONE, model


def _with_level(model: DemandModel, panel: Panel) -> DemandModel:
    start = {"coefficients": np.array([0.0, 1.0, 0.0])}
    rows = {"own": _OwnLevel(model, panel)}
    units = 2 * float(model.series.sum())
    level, _ = GLM("poisson", rounds=8).fit(Local(rows), 3, "own", start, units)
    return replace(model, level=level)


@dataclass(frozen=True)
class _OwnLevel:
    """The rows of a retailer's own level: its training rows, seen through the shared model."""

    model: DemandModel
    panel: Panel

    def training(self, broadcast: Arrays) -> list[Design]:  # noqa: ARG002
        return self._designs

    @cached_property
    def _designs(self) -> list[Design]:
        return [
            Design(_own_level_columns(self.model, cases), cases.design.y, cases.design.offset)
            for cases in self.panel.learned(self.model.series)
        ]


def cases_of(model: DemandModel, panel: Panel, whole: bool = False) -> list[Cases]:
    """Returns the scored cases; a baseline looks at no consortium series, so any will do.

    whole: those in which stock was short, too, with the demand that was made up for them.
    """
    series = model.series if model.series.size else np.ones((1, panel.parts[0].periods.count))
    return panel.whole(series) if whole else panel.cases(series)


def wape(model: DemandModel, panel: Panel) -> float:
    """Returns sum |sold - forecast| / sum sold over the scored cases."""
    cases = cases_of(model, panel)
    error = sum(float(np.abs(model.forecast(c) - c.sold).sum()) for c in cases)
    return error / max(sum(float(c.sold.sum()) for c in cases), 1.0)


def _later_loss(model: DemandModel, panel: Panel, shared: NDArray[np.float64] | None) -> float:
    """Returns the pinball loss on the later half of the origins of quantiles from the earlier.

    shared: the consortium's; None for the retailer's own. Infinite for its own if no origin is
    left to judge them by.
    """
    if shared is not None:
        model = replace(model, ratios=shared)
    elif len(panel.scored) < 2:
        return np.inf
    else:
        model = _with_own_quantiles(model, panel, early_only=True)
    loss = 0.0
    for sales, cases in zip(panel.parts, cases_of(model, panel), strict=True):
        late = is_late(cases.origin, panel.scored)
        found = in_units(
            model.quantiles(model.forecast(cases), cases.ahead), sales.whole[cases.series]
        )
        loss += float(pinball(cases.sold[late], found[late]).sum())
    return loss


def _with_own_quantiles(model: DemandModel, panel: Panel, early_only: bool = False) -> DemandModel:
    """Returns the model with the quantiles of sold / forecast of these cases alone."""
    counts = np.zeros(math.prod(SHAPE[1:]), np.int64)
    for sales, cases in zip(panel.parts, cases_of(model, panel), strict=True):
        found = cells(model.forecast(cases), placed(sales, cases), cases.ahead)
        chosen = ~is_late(cases.origin, panel.scored) | (not early_only)
        counts += np.bincount(found[chosen], minlength=len(counts))
    return replace(model, ratios=spread(counts.reshape(SHAPE[1:])))
