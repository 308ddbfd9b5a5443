"""A demand forecast: the shared regression, and what a retailer adds to it at home.

The shared part is relative to each product's level. At home a retailer may correct it by a level of
its own, kept only where it helped on validation, and learns the quantiles of its own past errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.glm import GLM, Design, features, mean
from grandtotal.consortium.totals import Local
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.sales import Cases, Panel

BASELINES = ("mean", "seasonal")
QUANTILES = (0.1, 0.5, 0.9)
_CLASSES = 6  # of forecast size, each with its own quantiles


@dataclass(frozen=True)
class DemandModel:
    """coefficients: (features,) of the GLM; series: (products, periods) the consortium's units.

    At home only: level, (3,) the retailer's own correction, empty if it does not help; edges,
    (classes - 1,) forecast sizes; ratios, (classes, quantiles) of sold / forecast in each class.
    """

    meta: Json
    coefficients: NDArray[np.float64]
    series: NDArray[np.float64]
    level: NDArray[np.float64]
    edges: NDArray[np.float64]
    ratios: NDArray[np.float64]

    @staticmethod
    def shared(
        meta: Json, coefficients: NDArray[np.float64], series: NDArray[np.float64]
    ) -> DemandModel:
        """Returns the model as it travels: nothing of a retailer's own is in it."""
        none = np.empty(0)
        return DemandModel(meta, coefficients, series, none, none, np.empty((0, len(QUANTILES))))

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {"coefficients": self.coefficients, "series": self.series}

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

    def quantiles(self, forecast: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns (cases, quantiles) of the units sold, from the retailer's own past errors."""
        ratio = self.ratios[np.searchsorted(self.edges, forecast)]
        return forecast[:, None] * ratio


def _own_level_columns(model: DemandModel, design: Design) -> NDArray[np.int16]:
    """Returns the three columns of a retailer's own level: constant, global forecast, size."""
    shared = log(np.maximum(model._global(design), 1e-3)) - design.offset
    return features([np.ones(len(shared)), shared, design.offset / 3])


def baseline_model(name: str) -> DemandModel:
    """Returns a model of BASELINES, which needs no totals."""
    none = np.empty(0)
    return DemandModel.shared({"model": name}, none, none)


def adapted(model: DemandModel, validation: Panel, test: Panel) -> DemandModel:
    """Returns the model with the retailer's own level, where it helped, and its own quantiles.

    Both are learned on rows before the test; both stay at home.
    """
    leveled = _with_level(model, validation)
    if wape(leveled, validation) < wape(model, validation):
        model = _with_level(model, test)
    return _with_quantiles(model, validation)


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


def _with_quantiles(model: DemandModel, panel: Panel) -> DemandModel:
    """Returns the model with the quantiles of sold / forecast, by size of the forecast."""
    cases = cases_of(model, panel)
    forecast = np.concatenate([model.forecast(c) for c in cases])
    ratio = np.concatenate([c.sold for c in cases]) / np.maximum(forecast, 1e-6)
    edges = np.quantile(forecast, np.arange(1, _CLASSES) / _CLASSES)
    which = np.searchsorted(edges, forecast)
    every = np.quantile(ratio, QUANTILES)
    ratios = [
        np.quantile(ratio[which == c], QUANTILES) if (which == c).any() else every
        for c in range(_CLASSES)
    ]
    return replace(model, edges=edges, ratios=np.stack(ratios))
