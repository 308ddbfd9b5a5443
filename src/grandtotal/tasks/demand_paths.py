"""Sample paths of a demand forecast: what may be sold, period after period, from past errors.

Each path takes the errors of one past forecast, a product from one origin on, as they came: a week
that sold too well is followed by what followed it. Paths are drawn among past forecasts of about
the same size, so nothing is assumed of how errors are spread. All of it happens at home.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.sales import Cases, Panel

_CLASSES = 8  # of forecasts by size, each with its own errors
# Units added before errors are taken relative to the forecast: those of a product that hardly
# sells are then differences, and no forecast near 0 makes them endless.
_ONE = 1.0


def sample_paths(
    model: DemandModel, past: Sequence[Panel], now: Cases, draws: int, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Returns the products (P,) and (P, draws, periods) units that each may sell from now on.

    past: panels of one retailer whose cases have happened; now: the cases of one origin.
    """
    forecasts, ratios = _past_errors(model, past)
    edges = np.quantile(forecasts, np.arange(1, _CLASSES) / _CLASSES)
    product, mean = _whole(now, model.forecast(now))
    members = [np.flatnonzero(np.searchsorted(edges, forecasts) == c) for c in range(_CLASSES)]
    rng = np.random.default_rng(seed)
    paths = np.empty((len(product), draws, mean.shape[1]))
    for i, which in enumerate(np.searchsorted(edges, mean.mean(axis=1))):
        among = members[which] if len(members[which]) else np.arange(len(ratios))
        drawn = ratios[rng.choice(among, draws)]
        paths[i] = np.maximum((mean[i] + _ONE) * drawn - _ONE, 0.0)
    return product, paths


def _past_errors(
    model: DemandModel, past: Sequence[Panel]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the mean forecast of each past path (paths,), and the relative errors along it."""
    sizes, ratios = [], []
    for panel in past:
        for cases in cases_of(model, panel):
            _, forecast = _whole(cases, model.forecast(cases))
            _, sold = _whole(cases, cases.sold)
            sizes.append(forecast.mean(axis=1))
            ratios.append((sold + _ONE) / (forecast + _ONE))
    return np.concatenate(sizes), np.concatenate(ratios)


def _whole(
    cases: Cases, values: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Returns the product (paths,) and the values (paths, periods ahead) of each origin."""
    order = np.lexsort([cases.ahead, cases.series, cases.origin])
    periods = int(cases.ahead.max())
    return cases.series[order][::periods], values[order].reshape(-1, periods)
