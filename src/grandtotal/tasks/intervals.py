"""Intervals of a forecast from past errors: own ones, or the whole consortium's.

Each case of the validation is one count in a histogram of sold / forecast, by the size of the
forecast and by how far ahead it was; the histograms of all retailers add up, exactly. A quantile of
a summed histogram is a quantile of everybody's errors, so that a retailer with few products has
intervals too. As in conformal prediction, nothing is assumed of how the errors are spread.

Vovk et al., "Algorithmic Learning in a Random World", 2005. Lu et al., "Federated conformal
predictors for distributed uncertainty quantification", 2023, https://arxiv.org/abs/2305.17564
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.consortium.query import Rows, State, shared_rows
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, by_unit, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
# Of a forecast, in units: where one class ends and the next begins.
SIZES: NDArray[np.float64] = np.ldexp(1.0, np.arange(-1, 9))
CLASSES = len(SIZES) + 1
LEAST = 200  # cases from which a class has quantiles of its own
# Buckets of sold / forecast 5 % apart from 1/64 to 64; the first holds what is below.
RATIOS = np.multiply.accumulate(np.r_[1 / 64, np.full(171, 1.05)])
BUCKETS = len(RATIOS) + 1
SHAPE = (2, 2 * CLASSES, BUCKETS)


@dataclass(frozen=True)
class ForecastErrors:
    """How often sold / forecast fell into each bucket, for the shared model in the broadcast.

    near: how many periods ahead count as near; the others are far.
    largest: norm to which the counts of one product are cut, in cases; 0 is not at all.
    per_customer: products that one customer's lines count for; 0 where the product is the unit.
    """

    name: ClassVar[str] = "forecast-errors"

    family: str
    split: str
    near: int
    largest: float = 0.0
    per_customer: int = 0

    @property
    def bound(self) -> Stated:
        """A product's cases are its own sales against a model that all know: it moves its own."""
        return bound_by_group(self.largest, "product", self.per_customer, signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (2, 2 * CLASSES, BUCKETS): early and late origins, near then far."""
        return {"counts": Field(SHAPE, scale=scale_of(self.largest) if self.largest else 1)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's counts."""
        from grandtotal.tasks.demand_model import DemandModel, cases_of

        model = DemandModel.of(broadcast, {"model": self.family})
        panel = (
            shared_rows(rows, self.split, self.per_customer) if self.largest else rows[self.split]
        )
        counts = np.zeros(SHAPE, np.int64)
        for cases in cases_of(model, panel):
            late = is_late(cases.origin, panel.scored)
            found = cells(model.forecast(cases), cases.sold, cases.ahead > self.near)
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


def cells(
    forecast: NDArray[np.float64], sold: NDArray[np.float64], far: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Returns where each case is counted, in a flat (2 * CLASSES, BUCKETS): near, then far."""
    group = np.searchsorted(SIZES, forecast) + CLASSES * far
    bucket = np.searchsorted(RATIOS, sold / np.maximum(forecast, 1e-6), side="right")
    return group * BUCKETS + bucket


def spread(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Returns (2 * CLASSES, quantiles) of sold / forecast for a histogram.

    A class with fewer than LEAST cases takes near and far together, then all cases together.
    """
    both = counts[:CLASSES] + counts[CLASSES:]
    everything = counts.sum(axis=0)
    rows = []
    for group, own in enumerate(counts):
        pools = (own, both[group % CLASSES], everything)
        enough = next((pool for pool in pools if pool.sum() >= LEAST), everything)
        rows.append(_quantiles(enough))
    return np.stack(rows)


def _quantiles(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the quantiles of one histogram, evenly inside a bucket; 1 where nothing was counted.

    The first bucket stands for 0: most of what is in it did not sell at all.
    """
    if not counts.sum():
        return np.ones(len(QUANTILES))
    # One more than there are, as in split conformal prediction: the next case is one of them.
    ranks = np.array(QUANTILES) * (counts.sum() + 1)
    passed = np.concatenate([[0], np.cumsum(counts)])
    bucket = np.minimum(np.searchsorted(passed[1:], ranks), len(counts) - 1)
    inside = np.clip((ranks - passed[bucket]) / np.maximum(counts[bucket], 1), 0.0, 1.0)
    edges = np.concatenate([[0.0], RATIOS, [RATIOS[-1] * 1.05]])
    between: NDArray[np.float64] = edges[bucket] + inside * (edges[bucket + 1] - edges[bucket])
    return np.where(bucket == 0, 0.0, between)


def pinball(sold: NDArray[np.float64], quantiles: NDArray[np.float64]) -> float:
    """Returns the summed pinball loss of (cases, quantiles); lower is better."""
    missed = sold[:, None] - quantiles
    levels = np.array(QUANTILES)
    return float(np.maximum(levels * missed, (levels - 1.0) * missed).sum())
