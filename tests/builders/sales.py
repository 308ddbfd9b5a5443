"""Queries about sales by product and week."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from builders.asked import Asked, Holder
from grandtotal.algorithms.glm import GLMMoments
from grandtotal.consortium.query import Query
from grandtotal.tasks.demand_queries import DemandSeries, ForecastScores
from grandtotal.tasks.intervals import ForecastErrors
from grandtotal.tasks.sales import Panel, Periods, Sales
from grandtotal.tasks.task import Common


def make_sales(rng: np.random.Generator, products: int, periods: Periods, horizon: int) -> Sales:
    level = rng.gamma(1.5, 4.0, (products, 1))
    season = 1 + 0.4 * np.sin(2 * np.pi * np.arange(periods.count) / periods.season)
    units = rng.poisson(level * season).astype(np.float64)
    price = np.where(units > 0, rng.uniform(1.0, 9.0, units.shape).round(2), np.nan)
    return Sales(
        periods=periods,
        horizon=horizon,
        units=units,
        price=price,
        promoted=(rng.random(units.shape) < 0.1) * (units > 0) * 1.0,
        holidays=tuple(() for _ in range(periods.count + horizon)),
        cap=4.0,
    )


COMMON = Common(np.datetime64("2024-07-15").item(), tuple(f"P{i:02}" for i in range(8)))


PERIODS = Periods(COMMON.today, 7, 70)


HORIZON = 3


def make_panel(parts: list[Sales], cut: int = 60) -> Panel:
    origins = tuple(range(8, cut - HORIZON + 1, 4))
    return Panel(tuple(parts), origins, tuple(range(cut, 68, 2)), cut, 70)


def _of_panels(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        panels = [make_panel([make_sales(rng, 8, PERIODS, HORIZON)]) for _ in range(3)]
        series = sum(panel.parts[0].capped() for panel in panels)
        given = {"series": series, **broadcast} if broadcast else {}
        holders = [Holder({"test": panel}, folder) for panel in panels]
        return Asked(query, given, holders, Holder({"test": Panel.pooled(panels)}, folder))

    return build_asked


_SLOPES = np.linspace(-0.5, 0.5, 22).round(3)


BUILDERS = {
    "demand-series": _of_panels(DemandSeries(8, PERIODS.count)),
    "forecast-errors": _of_panels(ForecastErrors("poisson", "test"), coefficients=_SLOPES),
    "forecast-scores": _of_panels(ForecastScores("poisson", "test"), coefficients=_SLOPES),
    "glm-moments": _of_panels(GLMMoments("poisson", 22, "test"), coefficients=_SLOPES),
}
