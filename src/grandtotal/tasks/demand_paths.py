"""Sample paths of a demand forecast: what may be sold, period after period, from past errors.

Each path takes the errors of one past forecast, a product from one origin on, as they came: a week
that sold too well is followed by what followed it. Paths are drawn among past forecasts of about
the same size, of products whose sales varied about as much before, so nothing is assumed of how
errors are spread. A bulk order, which the forecast does not believe either, is cut as it is there.
All of it happens at home.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.sales import Cases, Panel, Sales

_SIZES, _KINDS = 3, 8  # classes of forecasts by size, and of each by how sales varied before
# Units added before errors are taken relative to the forecast: those of a product that hardly
# sells are then differences, and no forecast near 0 makes them endless.
_ONE = 1.0


@dataclass(frozen=True)
class PastErrors:
    """Relative errors of past paths: (paths, periods), and members of each class.

    sizes: (_SIZES - 1,) where classes of forecasts end. kinds: (_SIZES, _KINDS - 1) the same of
    the variation. members: by class, which paths.
    """

    ratios: NDArray[np.float64]
    sizes: NDArray[np.float64]
    kinds: NDArray[np.float64]
    members: dict[tuple[int, int], NDArray[np.intp]]

    @staticmethod
    def of(model: DemandModel, past: list[Panel]) -> "PastErrors":
        """Returns the errors of the cases of one retailer's panels, which have all happened."""
        parts = [
            _errors(model, sales, cases)
            for panel in past
            for sales, cases in zip(panel.parts, cases_of(model, panel, whole=True), strict=True)
        ]
        size, varied, ratios = (np.concatenate(column) for column in zip(*parts, strict=True))
        sizes = np.quantile(size, np.arange(1, _SIZES) / _SIZES)
        which = np.searchsorted(sizes, size)
        steps = np.arange(1, _KINDS) / _KINDS
        kinds = np.stack(
            [
                np.quantile(varied[which == c] if (which == c).any() else varied, steps)
                for c in range(_SIZES)
            ]
        )
        kind = np.array([np.searchsorted(kinds[c], v) for c, v in zip(which, varied, strict=True)])
        members = {
            (c, k): np.flatnonzero((which == c) & (kind == k))
            for c in range(_SIZES)
            for k in range(_KINDS)
        }
        return PastErrors(ratios, sizes, kinds, members)

    def like(self, size: float, varied: float) -> NDArray[np.intp]:
        """Returns the paths of such a forecast's class; all of them if it has none."""
        c = int(np.searchsorted(self.sizes, size))
        found = self.members[c, int(np.searchsorted(self.kinds[c], varied))]
        return found if len(found) else np.arange(len(self.ratios))

    def sample(
        self, model: DemandModel, sales: Sales, now: Cases, draws: int, seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Returns the products (P,) and (P, draws, periods) units that each may sell from now on.

        sales, now: of one retailer, seen from one origin.
        """
        product, mean = _whole(now, model.forecast(now))
        varied = _variation(sales, int(now.origin[0]))[product]
        rng = np.random.default_rng(seed)
        paths = np.empty((len(product), draws, mean.shape[1]))
        for i, forecast in enumerate(mean):
            drawn = rng.choice(self.like(float(forecast.mean()), float(varied[i])), draws)
            paths[i] = np.maximum((forecast + _ONE) * self.ratios[drawn] - _ONE, 0.0)
        return product, paths


def _errors(
    model: DemandModel, sales: Sales, cases: Cases
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Returns of each past path its mean forecast, the variation before it, and its errors."""
    product, forecast = _whole(cases, model.forecast(cases))
    _, sold = _whole(cases, cases.design.y)
    _, origin = _whole(cases, cases.origin.astype(np.float64))
    varied = np.empty(len(product))
    for t in np.unique(origin[:, 0]):
        here = origin[:, 0] == t
        varied[here] = _variation(sales, int(t))[product[here]]
    return forecast.mean(axis=1), varied, (sold + _ONE) / (forecast + _ONE)


def _variation(sales: Sales, t: int) -> NDArray[np.float64]:
    """Returns sd / mean of each product's units in the periods before t; 0 without sales."""
    recent = sales.capped()[:, max(t - sales.periods.windows[-1], 0) : t]
    mean = recent.mean(axis=1)
    varied: NDArray[np.float64] = recent.std(axis=1) / np.where(mean > 0, mean, np.inf)
    return varied


def _whole(
    cases: Cases, values: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Returns the product (paths,) and the values (paths, periods ahead) of each origin."""
    order = np.lexsort([cases.ahead, cases.series, cases.origin])
    periods = int(cases.ahead.max())
    return cases.series[order][::periods], values[order].reshape(-1, periods)
