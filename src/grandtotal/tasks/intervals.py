"""Intervals of a forecast from past errors: own ones, or the whole consortium's.

Each case of the validation is one count in a histogram of sold / forecast, by the size of the
forecast and by how far ahead it was; the histograms of all retailers add up, exactly. A quantile of
a summed histogram is a quantile of everybody's errors, so that a retailer with few products has
intervals too. As in conformal prediction, nothing is assumed of how the errors are spread.

Units are counts, and most products sell none in most weeks: no interval that holds 0 could hold
just 80 % of them. So a count y fills the unit from y - 1/2 to y + 1/2 evenly, as if it had been
rounded. Quantiles are of that scale, which begins at -1/2; an interval that ends inside a unit
holds this part of the counts in it; what is shown is rounded back to whole units. What is not sold
by the piece, such as weight, is what it is.

Vovk et al., "Algorithmic Learning in a Random World", 2005. Lu et al., "Federated conformal
predictors for distributed uncertainty quantification", 2023, https://arxiv.org/abs/2305.17564
Machado and Santos Silva, "Quantiles for counts", 2005, https://doi.org/10.1198/016214505000000330
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.tree_sampling import mixed
from grandtotal.consortium.query import Rows, State, shared_rows
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, by_unit, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.sales import Cases, Sales

# The nine levels of the M5 competition, and the ends of the interval of four cases in five.
# Makridakis et al., "The M5 uncertainty competition", 2022.
M5 = (0.005, 0.025, 0.165, 0.25, 0.5, 0.75, 0.835, 0.975, 0.995)
QUANTILES = tuple(sorted({*M5, 0.1, 0.9}))
# Of a forecast, in units: where one class ends and the next begins.
SIZES: NDArray[np.float64] = np.ldexp(1.0, np.arange(-6, 10))
CLASSES = len(SIZES) + 1
REACHES = 6  # periods ahead: 1, 2, 3-4, 5-8, 9-16, 17 and more
LEAST = 400  # cases from which a class has quantiles of its own
# Added to both before they are divided: a forecast near 0 has no endless ratio.
_HALF = 0.5
# Buckets of (sold + 1/2) / (forecast + 1/2) 5 % apart from 1/64 to 512.
RATIOS = np.multiply.accumulate(np.r_[1 / 64, np.full(213, 1.05)])
BUCKETS = len(RATIOS) + 1
SHAPE = (2, REACHES * CLASSES, BUCKETS)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ForecastErrors:
    """How often sold / forecast fell into each bucket, for the shared model in the broadcast.

    largest: norm to which the counts of one product are cut, in cases; 0 is not at all.
    per_customer: products that one customer's lines count for; 0 where the product is the unit.
    """

    name: ClassVar[str] = "forecast-errors"

    family: str
    split: str
    largest: float = 0.0
    per_customer: int = 0

    @property
    def bound(self) -> Stated:
        """A product's cases are its own sales against a model that all know: it moves its own."""
        return bound_by_group(self.largest, "product", self.per_customer, signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (2, REACHES * CLASSES, BUCKETS): early and late origins."""
        return {"counts": Field(SHAPE, scale=scale_of(self.largest) if self.largest else 1)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's counts."""
        from grandtotal.tasks.demand_model import DemandModel, cases_of

        model = DemandModel.of(broadcast, {"model": self.family})
        panel = (
            shared_rows(rows, self.split, self.per_customer) if self.largest else rows[self.split]
        )
        counts = np.zeros(SHAPE, np.int64)
        for sales, cases in zip(panel.parts, cases_of(model, panel), strict=True):
            late = is_late(cases.origin, panel.scored)
            found = cells(model.forecast(cases), placed(sales, cases), cases.ahead)
            found += late * (counts.size // 2)
            counts += self._added(cases.series, found).reshape(SHAPE)
        return {"counts": counts}

    def _added(self, products: NDArray[Any], found: NDArray[np.int64]) -> NDArray[np.int64]:
        width = math.prod(SHAPE)
        if not self.largest:
            return np.bincount(found, minlength=width)
        by_product = by_unit(products, found, np.ones(len(found)), width)
        return sum_of_clipped(by_product, self.largest)


def is_late(origin: NDArray[np.int64], scored: tuple[int, ...]) -> NDArray[np.bool_]:
    """Returns which cases are of the later half of the scored origins; the middle one is early."""
    return origin > scored[(len(scored) - 1) // 2]


def placed(sales: Sales, cases: Cases) -> Floats:
    """Returns where in its unit each case is counted, (cases,) from -1/2 on.

    A hash of product, origin and distance decides, so it is the same whenever it is asked.
    """
    key = (cases.series.astype(np.uint64) << np.uint64(32)) + cases.origin.astype(np.uint64)
    hashes = mixed(mixed(key, 1) + cases.ahead.astype(np.uint64), 2)
    within = (hashes >> np.uint64(48)).astype(np.float64) / 2**16 - _HALF
    return cases.sold + np.where(sales.whole[cases.series], within, 0.0)


def classes(forecast: Floats, ahead: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the class of each case, by how far ahead it is and by the size of its forecast."""
    reach = np.minimum(np.searchsorted(2 ** np.arange(REACHES - 1), ahead), REACHES - 1)
    return CLASSES * reach + np.searchsorted(SIZES, forecast)


def cells(forecast: Floats, placed: Floats, ahead: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns where each case is counted, in a flat (REACHES * CLASSES, BUCKETS)."""
    ratio = (placed + _HALF) / (forecast + _HALF)
    return classes(forecast, ahead) * BUCKETS + np.searchsorted(RATIOS, ratio, side="right")


def spread(counts: NDArray[Any]) -> Floats:
    """Returns (REACHES * CLASSES, quantiles) of sold / forecast for a histogram.

    A class with fewer than LEAST cases takes those of every distance, then those of forecasts that
    are smaller and larger by one class, by two, until there are enough.
    """
    by_reach = counts.reshape(REACHES, CLASSES, BUCKETS)
    every = by_reach.sum(axis=0)
    around = [_around(every, size) for size in range(CLASSES)]
    return np.stack(
        [
            quantiles_of(own if own.sum() >= LEAST else around[size])
            for reach in by_reach
            for size, own in enumerate(reach)
        ]
    )


def _around(every: NDArray[Any], size: int) -> NDArray[Any]:
    for more in range(CLASSES):
        found: NDArray[Any] = every[max(size - more, 0) : size + more + 1].sum(axis=0)
        if found.sum() >= LEAST:
            break
    return found


def quantiles_of(counts: NDArray[Any]) -> Floats:
    """Returns the quantiles of one histogram, evenly inside a bucket; 1 where nothing was counted.

    One count more than there are, as in split conformal prediction: the next case is one of them.
    """
    if not counts.sum():
        return np.ones(len(QUANTILES))
    ranks = np.array(QUANTILES) * (counts.sum() + 1)
    passed = np.concatenate([[0], np.cumsum(counts)])
    bucket = np.minimum(np.searchsorted(passed[1:], ranks), len(counts) - 1)
    inside = np.clip((ranks - passed[bucket]) / np.maximum(counts[bucket], 1), 0.0, 1.0)
    edges = np.concatenate([[0.0], RATIOS, [RATIOS[-1] * 1.05]])
    between: Floats = edges[bucket] + inside * (edges[bucket + 1] - edges[bucket])
    return between


def scaled(forecast: Floats, ahead: NDArray[np.int64], ratios: Floats) -> Floats:
    """Returns the quantiles (cases, quantiles) of units, from -1/2 on, for what `spread` found."""
    return (forecast[:, None] + _HALF) * ratios[classes(forecast, ahead)] - _HALF


def in_units(quantiles: Floats, whole: NDArray[np.bool_]) -> Floats:
    """Returns quantiles (cases, quantiles) of what can be sold: whole units where it is by piece.

    whole: (cases,) which are.
    """
    units = np.maximum(quantiles, 0.0)
    return np.where(whole[:, None], np.floor(units + _HALF), units)


def inside(sold: Floats, whole: NDArray[np.bool_], low: Floats, high: Floats) -> Floats:
    """Returns which share of each case, (cases,) from 0 to 1, lies in its interval."""
    part = np.minimum(high + _HALF, sold + 1) - np.maximum(low + _HALF, sold)
    return np.where(whole, np.clip(part, 0.0, 1.0), (sold >= low) & (sold <= high))


def at(level: float) -> int:
    """Returns the column of a quantile."""
    return QUANTILES.index(level)


def pinball(sold: Floats, quantiles: Floats) -> Floats:
    """Returns the pinball loss of each case, (cases,), the mean over the levels of the M5.

    Half the absolute error, if only the median were asked; lower is better.
    """
    chosen = [at(level) for level in M5]
    missed = sold[:, None] - quantiles[:, chosen]
    levels = np.array(M5)
    found: Floats = np.maximum(levels * missed, (levels - 1.0) * missed).mean(axis=1)
    return found
