"""What the report draws beside the scores: where a forecast is good, where it is not, and examples.

From the retailer's own test rows, and shown in its own report alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.durable import Json
from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.demand_predict import name_of
from grandtotal.tasks.intervals import at, in_units, inside
from grandtotal.tasks.sales import Cases, Panel

if TYPE_CHECKING:
    from grandtotal.tasks.demand import Demand

Floats = NDArray[np.float64]
VOLUMES = (1.0, 4.0, 16.0, 64.0)  # units a period before the forecast: where one class ends
_BACK = 26  # periods before the forecast that a curve shows


def where_it_is_good(task: Demand, model: DemandModel, panel: Panel) -> Json:
    """Returns the error by distance and by volume, examples of it, and what stock hides.

    examples: of "best", "median" and "worst" among the series that sold more than half of the
    others in the test; none where there are fewer than three.
    """
    (cases,) = cases_of(model, panel)
    forecast = model.forecast(cases)
    error = np.abs(forecast - cases.sold)
    sales = panel.parts[0]
    largest = int(sales.units[:, : panel.cut].sum(axis=1).argmax())
    shelf = sales.shelf[:, panel.cut :]
    return {
        "wape_by_period_ahead": [
            _share(error, cases.sold, cases.ahead == a) for a in range(1, task.horizon + 1)
        ],
        "by_volume": _by_volume(model, panel, cases, forecast, error),
        "short": round(float((shelf < 1.0).mean()), 6) if shelf.size else None,
        "curve": curve_of(task, model, cases, forecast, panel, largest),
        "examples": [
            {"which": which, "wape": wape} | curve_of(task, model, cases, forecast, panel, series)
            for which, series, wape in _examples(cases, error)
        ],
    }


def _share(error: Floats, sold: Floats, chosen: NDArray[np.bool_]) -> float:
    return round(float(error[chosen].sum() / max(sold[chosen].sum(), 1.0)), 6)


def _by_volume(
    model: DemandModel, panel: Panel, cases: Cases, forecast: Floats, error: Floats
) -> list[Json]:
    """Returns for each class of volume: from and to how many units, series, error, what was inside.

    most: None of the last class; inside: None where there are no ranges.
    """
    volume = np.searchsorted(VOLUMES, cases.mean)
    within = None
    if model.ratios.size:
        found = model.quantiles(forecast, cases.ahead)
        whole = panel.parts[0].whole[cases.series]
        within = inside(cases.sold, whole, found[:, at(0.1)], found[:, at(0.9)])
    rows = []
    for c, (least, most) in enumerate(zip((0.0, *VOLUMES), (*VOLUMES, None), strict=True)):
        chosen = volume == c
        if chosen.any():
            held = None if within is None else round(float(within[chosen].mean()), 6)
            rows.append(
                {
                    "least": least,
                    "most": most,
                    "series": len(np.unique(cases.series[chosen])),
                    "wape": _share(error, cases.sold, chosen),
                    "inside": held,
                }
            )
    return rows


def _examples(cases: Cases, error: Floats) -> list[tuple[str, int, float]]:
    """Returns which series are examples of what, and the error of each."""
    sold, missed = np.bincount(cases.series, cases.sold), np.bincount(cases.series, error)
    there = np.flatnonzero(sold > 0)
    if not len(there):
        return []
    large = there[sold[there] >= np.median(sold[there])]
    if len(large) < 3:
        return []
    share = missed[large] / sold[large]
    order = np.argsort(share, kind="stable")
    places = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    return [(w, int(large[i]), round(float(share[i]), 6)) for w, i in places.items()]


def curve_of(
    task: Demand, model: DemandModel, cases: Cases, forecast: Floats, panel: Panel, series: int
) -> Json:
    """Returns the history of a series, and its forecast from the first origin of the test on."""
    sales = panel.parts[0]
    first, last = max(panel.cut - _BACK, 0), panel.cut + task.horizon
    chosen = (cases.series == series) & (cases.origin == panel.cut)
    found = model.quantiles(forecast[chosen], cases.ahead[chosen]) if model.ratios.size else None
    place = cases.ahead[chosen] - 1
    drawn: dict[str, Any] = {name: np.zeros(task.horizon) for name in ("forecast", "low", "high")}
    # Closed periods are no cases: nothing is sold there, and nothing is forecast.
    drawn["forecast"][place] = forecast[chosen]
    if found is not None:
        units = in_units(found, sales.whole[cases.series[chosen]])
        drawn["low"][place], drawn["high"][place] = units[:, at(0.1)], units[:, at(0.9)]
    return {
        "product": name_of(task, sales, series),
        "starts": [str(task.periods.start(t)) for t in range(first, last)],
        "sold": sales.units[series, first:last].tolist(),
        "from": panel.cut - first,
        **{name: values.round(2).tolist() for name, values in drawn.items()},
    }
