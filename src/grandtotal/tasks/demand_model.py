"""A demand forecast: the shared regression, and what a retailer adds to it at home.

The shared part is relative to each product's level. At home a retailer may correct it by a level of
its own, kept only where it helped on validation, and learns the quantiles of its own past errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.glm import GLM, Design, features, mean
from grandtotal.consortium.totals import Local
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.intervals import CLASSES, QUANTILES, SIZES, is_late, pinball
from grandtotal.tasks.sales import Cases, Panel

GRID: Mapping[str, GLM] = {"ridge": GLM("ridge"), "poisson": GLM("poisson")}
BASELINES = ("mean", "seasonal")
_CLASSES = 6  # of forecast size, each with its own quantiles


@dataclass(frozen=True)
class DemandModel:
    """coefficients: (features,) of the GLM; series: (products, periods) the consortium's units.

    spread: (2, 2 * CLASSES, quantiles) of sold / forecast in the consortium, for cases near and far
    ahead, of the early half of the validation and of all of it; empty where nobody was asked.

    At home only: level, (3,) the retailer's own correction, empty if it does not help; edges,
    (classes - 1,) forecast sizes; ratios, (classes, quantiles) of sold / forecast in each class,
    the retailer's own or twice as many from the spread, near then far.
    """

    meta: Json
    coefficients: NDArray[np.float64]
    series: NDArray[np.float64]
    level: NDArray[np.float64]
    edges: NDArray[np.float64]
    ratios: NDArray[np.float64]
    spread: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @staticmethod
    def shared(
        meta: Json,
        coefficients: NDArray[np.float64],
        series: NDArray[np.float64],
        spread: NDArray[np.float64] | None = None,
    ) -> DemandModel:
        """Returns the model as it travels: nothing of a retailer's own is in it."""
        none = np.empty(0)
        ratios = np.empty((0, len(QUANTILES)))
        shared = none if spread is None else spread
        return DemandModel(meta, coefficients, series, none, none, ratios, shared)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        asked = {"spread": self.spread} if self.spread.size else {}
        return {"coefficients": self.coefficients, "series": self.series, **asked}

    def forecast(self, cases: Cases) -> NDArray[np.float64]:
        """Returns the expected units of each case."""
        if self.meta["model"] in BASELINES:
            return cases.mean if self.meta["model"] == "mean" else np.maximum(cases.seasonal, 0)
        design = cases.design
        if self.level.size:
            own = _own_level_columns(self, design)
            return mean("poisson", own, design.offset, self.level)
        return np.maximum(self._global(design), 0.0)

    def _global(self, design: Design) -> NDArray[np.float64]:
        return mean(self.meta["model"], design.x, design.offset, self.coefficients)

    def quantiles(
        self, forecast: NDArray[np.float64], ahead: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Returns (cases, quantiles) of the units sold, from past errors."""
        which = np.searchsorted(self.edges, forecast)
        if len(self.ratios) > len(self.edges) + 1:
            which = which + CLASSES * (ahead > self.meta["near"])
        return forecast[:, None] * self.ratios[which]


def _own_level_columns(model: DemandModel, design: Design) -> NDArray[np.int16]:
    """Returns the three columns of a retailer's own level: constant, global forecast, size."""
    shared = log(np.maximum(model._global(design), 1e-3)) - design.offset
    return features([np.ones(len(shared)), shared, design.offset / 3])


def baseline_model(name: str) -> DemandModel:
    """Returns a model of BASELINES, which needs no totals."""
    none = np.empty(0)
    return DemandModel.shared({"model": name}, none, none)


def adapted(model: DemandModel, validation: Panel, test: Panel) -> DemandModel:
    """Returns the model with the retailer's own level, where it helped, and with quantiles.

    The quantiles are its own or the consortium's, whichever were better on the later half of the
    validation when made of the earlier. All is learned on rows before the test and stays at home.
    """
    model = _leveled(model, validation, test)
    if not model.spread.size:
        return _with_own_quantiles(model, validation)
    if _later_loss(model, validation, None) < _later_loss(model, validation, model.spread[0]):
        return _with_own_quantiles(model, validation)
    return replace(model, edges=SIZES, ratios=model.spread[1])


def _leveled(model: DemandModel, validation: Panel, test: Panel) -> DemandModel:
    """Returns the model with the retailer's own level if that was better on the validation."""
    try:
        if wape(_with_level(model, validation), validation) < wape(model, validation):
            return _with_level(model, test)
    except AnswerError as error:
        # A model of little but noise forecasts more than the sums of a correction can hold.
        if error.code is not Code.OVERFLOW:
            raise
    return model


def _with_level(model: DemandModel, panel: Panel) -> DemandModel:
    start = {"coefficients": np.array([0.0, 1.0, 0.0])}
    rows = {"own": _OwnLevel(model, panel)}
    level, _ = GLM("poisson", rounds=8).fit(Local(rows), 3, "own", start)
    return replace(model, level=level)


@dataclass(frozen=True)
class _OwnLevel:
    """The rows of a retailer's own level: its training rows, seen through the shared model."""

    model: DemandModel
    panel: Panel

    def training(self, broadcast: Arrays) -> list[Design]:  # noqa: ARG002
        return [
            Design(_own_level_columns(self.model, design), design.y, design.offset)
            for design in self.panel.training({"series": self.model.series})
        ]


def cases_of(model: DemandModel, panel: Panel) -> list[Cases]:
    """Returns the scored cases; a baseline needs no consortium series, so its own stands in."""
    series = model.series if model.series.size else sum(p.capped() for p in panel.parts)
    return panel.cases(np.asarray(series))


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
        model = replace(model, edges=SIZES, ratios=shared)
    elif len(panel.scored) < 2:
        return np.inf
    else:
        model = _with_own_quantiles(model, panel, early_only=True)
    loss = 0.0
    for cases in cases_of(model, panel):
        late = is_late(cases.origin, panel.scored)
        found = model.quantiles(model.forecast(cases), cases.ahead)
        loss += pinball(cases.sold[late], found[late])
    return loss


def _with_own_quantiles(model: DemandModel, panel: Panel, early_only: bool = False) -> DemandModel:
    """Returns the model with the quantiles of sold / forecast, by size of the forecast."""
    cases = cases_of(model, panel)
    forecast = np.concatenate([model.forecast(c) for c in cases])
    ratio = np.concatenate([c.sold for c in cases]) / np.maximum(forecast, 1e-6)
    if early_only:
        early = ~is_late(np.concatenate([c.origin for c in cases]), panel.scored)
        forecast, ratio = forecast[early], ratio[early]
    edges = np.quantile(forecast, np.arange(1, _CLASSES) / _CLASSES)
    which = np.searchsorted(edges, forecast)
    every = np.quantile(ratio, QUANTILES)
    ratios = [
        np.quantile(ratio[which == c], QUANTILES) if (which == c).any() else every
        for c in range(_CLASSES)
    ]
    return replace(model, edges=edges, ratios=np.stack(ratios))
