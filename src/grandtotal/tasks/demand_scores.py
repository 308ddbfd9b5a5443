"""What each series of a retailer adds to the scores of a demand forecast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.demand_model import DemandModel
from grandtotal.tasks.intervals import at, in_units, inside, pinball
from grandtotal.tasks.sales import Cases, Sales
from grandtotal.tasks.scores import Metric, UnitScores

METRICS = (
    Metric("wape", False, "WAPE: sum |sold - forecast| / sum sold"),
    Metric("bias", False, "bias: sum (forecast - sold) / sum sold; 0 is best"),
    Metric("rmsse", False, "RMSSE: error over the history's period-to-period change, squared"),
    Metric("mase", False, "MASE: error over the history's period-to-period change"),
    Metric("mape", False, "MAPE: mean of |sold - forecast| / sold where something was sold"),
    Metric("rmspe", False, "RMSPE: root of the mean of that squared", True, 2**10),
    Metric("mae", False, "MAE: mean |sold - forecast|, in units"),
    Metric("rmse", False, "RMSE: root of the mean squared error, in units", True, 2**6),
    Metric("coverage_80", True, "share of sales inside the 80 % interval; 0.8 is best"),
    Metric("coverage_95", True, "share of sales inside the 95 % interval; 0.95 is best"),
    Metric("pinball", False, "mean pinball loss of nine quantiles, a period, over units sold"),
    Metric("wspl", False, "WSPL of the M5: pinball loss over the history's change, by revenue"),
)

Floats = NDArray[np.float64]


def series_scores(model: DemandModel, sales: Sales, cases: Cases, cut: int) -> UnitScores:
    """Returns the scores of one retailer's products that had a case."""
    forecast = model.forecast(cases)
    sold, error = cases.sold, forecast - cases.sold
    count = np.bincount(cases.series, minlength=len(sales.units))
    present = np.flatnonzero(count)
    n = count[present].astype(np.float64)

    def total(values: NDArray[Any]) -> Floats:
        sums = np.bincount(cases.series, values, minlength=len(sales.units))
        return sums[present].astype(np.float64)

    def share(above: Floats, below: Floats) -> Floats:
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

    change, square = _naive_error(sales.units[present, :cut])
    scaled = change > 0
    positive = total((sold > 0).astype(np.float64))
    relative = share(np.abs(error), sold)
    within, missed = _of_quantiles(model, sales, cases, forecast)
    known = n * bool(model.ratios.size)
    value = _revenue(sales, cut)[present] * scaled * bool(model.ratios.size)
    mase = share(total(np.abs(error)) / n, change)
    rmsse = np.sqrt(share(total(error**2) / n, square))
    units = total(sold)
    of_units = units * bool(model.ratios.size)
    parts = (
        (total(np.abs(error)), units),
        (total(error), units),
        (rmsse, scaled),
        (mase, scaled),
        (total(relative), positive),
        (total(relative**2), positive),
        (total(np.abs(error)), n),
        (total(error**2), n),
        (total(within[0]), known),
        (total(within[1]), known),
        (total(missed), of_units),
        (value * share(total(missed) / n, change), value),
    )
    above, below = zip(*parts, strict=True)
    return UnitScores.of(METRICS, list(above), list(below))


def _of_quantiles(
    model: DemandModel, sales: Sales, cases: Cases, forecast: Floats
) -> tuple[Floats, Floats]:
    """Returns what of each case is inside the two intervals, (2, cases), and its pinball loss."""
    if not model.ratios.size:
        return np.zeros((2, len(forecast))), np.zeros(len(forecast))
    found = model.quantiles(forecast, cases.ahead)
    whole = sales.whole[cases.series]
    ends = ((at(0.1), at(0.9)), (at(0.025), at(0.975)))
    within = [inside(cases.sold, whole, found[:, low], found[:, high]) for low, high in ends]
    return np.stack(within), pinball(cases.sold, in_units(found, whole))


def _revenue(sales: Sales, cut: int) -> Floats:
    """Returns what each product took in the periods before the cut that make its level."""
    recent = slice(max(cut - sales.periods.level, 0), cut)
    taken: Floats = (sales.units[:, recent] * np.nan_to_num(sales.price[:, recent])).sum(axis=1)
    return taken


def _naive_error(history: Floats) -> tuple[Floats, Floats]:
    """Returns mean |y_t - y_(t-1)| and mean (y_t - y_(t-1))^2 from each series' first sale on."""
    started = np.cumsum(history > 0, axis=1)[:, :-1] > 0
    change = np.diff(history, axis=1) * started
    count = np.maximum(started.sum(axis=1), 1)
    return np.abs(change).sum(axis=1) / count, (change**2).sum(axis=1) / count
