"""Customers as points of a box: what clusters are made of.

Each feature is cut to an agreed range and becomes whole steps from 0 to 1, so that distances
between points, sums of them and centres are integers: equal on any split of the customers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.quantiles import QuantileCounts, Quantiles
from grandtotal.consortium.totals import Totals
from grandtotal.privacy.fixedpoint import Arrays

STEPS = 2**12  # of a box
BLOCK = 2**16  # customers whose distances lie in memory at once
TAIL = 0.025  # of the customers beyond either end of the box
_NOISY_TAIL = 0.05
# Of a feature under epsilon, which is a logarithm or a share: coarse, since each bucket is noised.
_COARSE = {"alpha": 0.05, "smallest": 0.05, "largest": 20.0}

Points = NDArray[np.float64]
"""(customers, features), whole steps of 1/STEPS from 0 to STEPS. float64 holds them, their
products and the sums of these exactly, and is what matrices are multiplied in."""


@dataclass(frozen=True)
class Box:
    """The range of each feature, low and high (features,). One without a range is 0 for all."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def arrays(self) -> Arrays:
        """The arrays that are broadcast and saved."""
        return {"low": self.low, "high": self.high}

    @staticmethod
    def of(arrays: Arrays) -> "Box":
        """Returns the box that was broadcast or saved."""
        return Box(arrays["low"], arrays["high"])

    def points(self, columns: Columns, features: Sequence[str]) -> Points:
        """Returns the rows' points; a missing value lies in the middle."""
        values = [columns.number(name) for name in features]
        return self.points_of(np.stack(values, axis=1))

    def points_of(self, values: NDArray[np.float64]) -> Points:
        """Returns the points of features (any, features)."""
        width = self.high - self.low
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(width > 0, (values - self.low) / width, 0.0)
        share = np.where(np.isnan(share), 0.5, share)
        steps: Points = np.rint(np.clip(share, 0.0, 1.0) * STEPS)
        return steps

    def values(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the features that points (any, features) stand for."""
        return self.low + np.maximum(self.high - self.low, 0.0) * points / STEPS


def joined(features: Sequence[str]) -> str:
    """Returns the names of features as a parameter that travels."""
    return ",".join(features)


def apart(features: str) -> tuple[str, ...]:
    """Returns the names that `joined` made one text of."""
    return tuple(features.split(","))


def box_of(totals: Totals, features: Sequence[str], split: str, private: bool) -> Box:
    """Returns the box in which all but TAIL of the rows lie, at either end. A round a feature."""
    tail, ends = (_NOISY_TAIL if private else TAIL), []
    for name in features:
        query = counts_of(name, split, private)
        sums = totals.total(query)
        counts = np.maximum(np.rint(np.asarray(sums["counts"], np.float64)), 0).astype(np.int64)
        found = Quantiles(query.buckets, name, counts, 0)
        ends.append([found.quantile(tail), found.quantile(1 - tail)] if found.rows else [0.0, 0.0])
    low, high = np.nan_to_num(np.array(ends), posinf=_COARSE["largest"]).T
    return Box(low, high)


def counts_of(feature: str, split: str, private: bool) -> QuantileCounts:
    """Returns the question for the range of a feature; a customer is one row."""
    if private:
        return QuantileCounts(feature, split, **_COARSE, most=1)
    return QuantileCounts(feature, split)


def squared_distances(points: Points, centres: Points) -> NDArray[np.float64]:
    """Returns (customers, centres), in squared steps: whole numbers, exactly."""
    lengths = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    found: NDArray[np.float64] = lengths - 2 * points @ centres.T
    return found


def nearest(points: Points, centres: Points) -> NDArray[np.intp]:
    """Returns the nearest centre of each point (customers,); of several the first."""
    found: NDArray[np.intp] = squared_distances(points, centres).argmin(axis=1)
    return found


def blocks(points: Points) -> list[Points]:
    """Returns the points in pieces."""
    return [points[start : start + BLOCK] for start in range(0, len(points), BLOCK)]
