"""Sample paths of a demand forecast: what may be sold, period after period, from past errors.

Each path takes the errors of one past forecast, a product from one origin on, as they came: a week
that sold too well is followed by what followed it. An error is counted in the usual swing of its
product, so that other products' errors may be drawn for it: nothing is assumed of how errors are
spread, and what happens to a product once in ten years has happened to some product of late. They
are drawn from past forecasts of about as many swings: of little that is expected no more than that
can be missing, and at times much more is sold. A swing is how far the product's own units lay from
their mean in a year, mixed with that of products of its size. All of it happens at home.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.sales import Cases, Panel, Sales

Floats = NDArray[np.float64]
_OTHERS = 20.0  # periods of its own that the swing of products of its size counts for
_LEAST = 1e-3  # units: no swing is smaller, so that none divides by 0
_ALIKE = 0.1  # share of the past paths, those of the nearest forecasts, that are drawn from
_ENOUGH = 400  # paths that are drawn from, where there are so many


@dataclass(frozen=True)
class PastErrors:
    """Errors of past paths, in swings of their products.

    errors: (paths, periods) of sold - forecast. origin: (paths,) the first period of each.
    size: (paths,) the mean forecast of a period.
    """

    errors: Floats
    origin: NDArray[np.int64]
    size: Floats

    @staticmethod
    def of(model: DemandModel, past: list[Panel]) -> "PastErrors":
        """Returns the errors of the cases of one retailer's panels, which have all happened."""
        parts = [
            _errors(model, sales, cases)
            for panel in past
            for sales, cases in zip(panel.parts, cases_of(model, panel, whole=True), strict=True)
        ]
        return PastErrors(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    @staticmethod
    def joined(parts: list["PastErrors"]) -> "PastErrors":
        """Returns the errors of all parts, each of a model that had not seen what it forecast."""
        return PastErrors(
            np.concatenate([part.errors for part in parts]),
            np.concatenate([part.origin for part in parts]),
            np.concatenate([part.size for part in parts]),
        )

    def before(self, t: int) -> "PastErrors":
        """Returns the errors of the paths that had ended when period t began."""
        known = self.origin + self.errors.shape[1] <= t
        return PastErrors(self.errors[known], self.origin[known], self.size[known])

    def sample(
        self, model: DemandModel, sales: Sales, now: Cases, draws: int, seed: int
    ) -> tuple[NDArray[np.intp], Floats]:
        """Returns the products (P,) and (P, draws, periods) units that each may sell from now on.

        sales, now: of one retailer, seen from one origin.
        """
        product, mean = _whole(now, model.forecast(now))
        swing = _swings(sales, int(now.origin[0]))[product]
        drawn = self._alike(mean.mean(axis=1) / swing, draws, np.random.default_rng(seed))
        # Of many products these are the largest arrays of an order: there is one of them.
        paths: Floats = self.errors[:, : mean.shape[1]][drawn]
        paths *= swing[:, None, None]
        paths += mean[:, None, :]
        return product, np.maximum(paths, 0.0, out=paths)

    def _alike(self, size: Floats, draws: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Returns (products, draws) past paths, drawn from those of the nearest size to each."""
        order = np.argsort(self.size, kind="stable")
        count = len(order)
        many = min(max(round(_ALIKE * count), _ENOUGH), count)
        middle = np.searchsorted(self.size[order], size)
        first = np.clip(middle - many // 2, 0, count - many)
        found: NDArray[np.intp] = order[first[:, None] + rng.integers(0, many, (len(size), draws))]
        return found


def _errors(
    model: DemandModel, sales: Sales, cases: Cases
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Returns the errors of each past path, its origin, and its size."""
    product, forecast = _whole(cases, model.forecast(cases))
    _, sold = _whole(cases, cases.sold)
    origin = _whole(cases, cases.origin)[1][:, 0]
    swing = np.empty(len(product))
    for t in np.unique(origin):
        swing[origin == t] = _swings(sales, int(t))[product[origin == t]]
    return (sold - forecast) / swing[:, None], origin, forecast.mean(axis=1) / swing


def _swings(sales: Sales, t: int) -> Floats:
    """Returns the mean |units - mean| of each product in the year before t, mixed with its like.

    Its like are products of the same mean, by a line through the logarithms of all.
    """
    recent = sales.units[:, max(t - sales.periods.year, 0) : t]
    mean = recent.mean(axis=1)
    own = np.abs(recent - mean[:, None]).mean(axis=1)
    known, size = own > 0, np.log(mean + 1)
    if not known.any():
        return np.full(len(own), _LEAST)
    x, y = size[known], np.log(own[known])
    across = x - x.mean()
    slope = across @ y / max(across @ across, 1e-9)
    like = np.exp(y.mean() + slope * (size - x.mean()))
    periods = recent.shape[1]
    swing = np.sqrt((periods * own**2 + _OTHERS * like**2) / (periods + _OTHERS))
    found: Floats = np.maximum(swing, _LEAST)
    return found


def _whole(cases: Cases, values: NDArray[np.generic]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Returns the product (paths,) and the values (paths, periods ahead) of each origin."""
    order = np.lexsort([cases.ahead, cases.series, cases.origin])
    periods = int(cases.ahead.max())
    return cases.series[order][::periods], values[order].reshape(-1, periods)
