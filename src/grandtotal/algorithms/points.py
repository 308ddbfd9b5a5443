"""Customers as points of a box: what clusters are made of.

Each feature is cut to an agreed range and becomes whole steps from 0 to 1, so that distances
between points, sums of them and centres are integers: equal on any split of the customers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.quantiles import QuantileSketch
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field

STEPS = 2**12  # of a box
BLOCK = 2**16  # customers whose distances lie in memory at once
TAIL = 0.025  # of the customers beyond either end of the box

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


def box_of(totals: Totals, features: Sequence[str], split: str) -> Box:
    """Returns the box in which all but TAIL of the rows lie, at either end. A round a feature."""
    found = [QuantileSketch().fit(totals, name, split) for name in features]
    ends = [[f.quantile(TAIL), f.quantile(1 - TAIL)] if f.rows else [0.0, 0.0] for f in found]
    low, high = np.array(ends).T
    return Box(low, high)


@dataclass(frozen=True)
class FeatureSums:
    """How many customers there are and the sums of their features: in one release.

    The broadcast holds "widths" (features,): a feature counts from 0 to twice its width, and is
    divided by that. most: 1 where a customer, who is one row, is to be hidden; else 0.
    """

    name: ClassVar[str] = "feature-sums"

    features: str  # joined
    split: str
    most: int = 0

    @property
    def bound(self) -> Stated:
        """A customer adds 1 and a share of 1 for each feature, or others."""
        return bound_by_group(self.most * self._largest, "customer", signed=False)

    @property
    def _largest(self) -> float:
        return math.sqrt(1 + len(apart(self.features)))

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns sums (1 + features,), the first of which is the number of customers."""
        return {"sums": Field((1 + len(apart(self.features)),), scale_of(self._largest))}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums."""
        columns: Columns = rows[self.split]
        given = [columns.number(name) for name in apart(self.features)]
        values = np.stack(given, axis=1)[columns.counted(self.most)]
        shares = np.clip(np.nan_to_num(values) / (2 * broadcast["widths"]), 0.0, 1.0)
        told = np.hstack([np.ones((len(shares), 1)), shares])
        if self.most:
            return {"sums": sum_of_clipped(told, self._largest)}
        steps = np.rint(told * scale_of(self._largest)).astype(np.int64)
        return {"sums": steps.sum(axis=0)}


def box_in_noise(
    totals: Totals, features: Sequence[str], split: str, widths: NDArray[np.float64]
) -> Box:
    """Returns the box of these widths around the mean of the rows. One round."""
    query = FeatureSums(joined(features), split, most=1)
    customers, *sums = totals.total(query, {"widths": widths})["sums"]
    mean = np.clip(np.array(sums) / max(float(customers), 1.0), 0.0, 1.0) * 2 * widths
    return Box(mean - widths / 2, mean + widths / 2)


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
