"""Quantiles of a column from one total of counts. Exact: the federated sketch is the pooled one.

DDSketch: Masson, Rim and Lee, "DDSketch: A fast and fully-mergeable quantile sketch with
relative-error guarantees", 2019, https://arxiv.org/abs/1908.10693
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns, rows_bound
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field


@dataclass(frozen=True)
class LogBuckets:
    """Buckets whose bounds grow by (1 + alpha) / (1 - alpha), for both signs; agreed beforehand.

    alpha: largest relative error of a quantile, in (0, 1).
    smallest: values of this magnitude or less count as 0.
    largest: values of a larger magnitude are counted as beyond it, and no more is known of them.

    From the least to the greatest, with n magnitudes: beyond -largest, n negative buckets, zero,
    n positive buckets, beyond largest; 2 n + 3 in all.
    """

    alpha: float = 0.01
    smallest: float = 1e-6
    largest: float = 1e9

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise PlanError(f"alpha = {self.alpha!r}, expected a relative error between 0 and 1")
        if not 0 < self.smallest < self.largest < np.inf:
            raise PlanError(
                f"smallest = {self.smallest!r} and largest = {self.largest!r}, expected two "
                f"positive magnitudes in this order"
            )

    @property
    def bounds(self) -> NDArray[np.float64]:
        """The magnitudes between which the buckets lie, (n + 1,): bucket i is (b_i-1, b_i]."""
        gamma = (1 + self.alpha) / (1 - self.alpha)
        n = int(np.ceil(np.log(self.largest / self.smallest) / np.log(gamma)))
        # Products of floats are equal on every machine, logarithms are not.
        return np.cumprod(np.concatenate([[self.smallest], np.full(n, gamma)]))

    def places(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Returns the bucket of each finite value."""
        bounds = self.bounds
        magnitude = np.searchsorted(bounds, np.abs(values), side="left")
        return np.where(values < 0, -magnitude, magnitude).astype(np.int64) + len(bounds)

    @property
    def values(self) -> NDArray[np.float64]:
        """What each bucket stands for: within alpha of everything in it, infinite beyond."""
        low, high = self.bounds[:-1], self.bounds[1:]
        # The harmonic mean of the bounds is as far from one as from the other, relatively.
        middle = np.concatenate([2 * low * high / (low + high), [np.inf]])
        return np.concatenate([-middle[::-1], [0.0], middle])

    @property
    def greatest(self) -> NDArray[np.float64]:
        """The greatest value that falls into each bucket."""
        bounds = self.bounds
        below = np.nextafter(-bounds[::-1], -np.inf)
        return np.concatenate([below, bounds, [np.inf]])


@dataclass(frozen=True)
class QuantileCounts:
    """How many rows have their value in each logarithmic bucket, and how many have none.

    most: rows of one customer that count, its last ones; 0 is all, and then nothing bounds it.
    """

    name: ClassVar[str] = "quantile-counts"

    column: str
    split: str
    alpha: float = 0.01
    smallest: float = 1e-6
    largest: float = 1e9
    most: int = 0

    @property
    def bound(self) -> Stated:
        """`most` rows of a customer move to other buckets: sqrt(2) most, if all were in one."""
        return rows_bound(self.most)

    @property
    def buckets(self) -> LogBuckets:
        """The buckets that all retailers count in."""
        return LogBuckets(self.alpha, self.smallest, self.largest)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (buckets,) and the number of rows without a value."""
        return {"counts": Field((len(self.buckets.values),)), "missing": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's counts."""
        columns: Columns = rows[self.split]
        values = columns.number(self.column)[columns.counted(self.most)]
        known = values[~np.isnan(values)]
        counts = np.bincount(self.buckets.places(known), minlength=len(self.buckets.values))
        return {"counts": counts, "missing": np.asarray(len(values) - len(known))}


@dataclass(frozen=True)
class QuantileSketch:
    """Quantiles within a relative error of `alpha`, for magnitudes from `smallest` to `largest`."""

    alpha: float = 0.01
    smallest: float = 1e-6
    largest: float = 1e9

    def fit(self, totals: Totals, column: str, split: str) -> "Quantiles":
        """Returns the quantiles of a numeric column over all rows of a split. One round."""
        query = QuantileCounts(column, split, self.alpha, self.smallest, self.largest)
        sums = totals.total(query)
        return Quantiles(query.buckets, column, sums["counts"], int(sums["missing"]))


@dataclass(frozen=True)
class Quantiles:
    """Counts in logarithmic buckets, and what they tell.

    counts: (buckets,) rows in each; missing: rows without a value.
    """

    buckets: LogBuckets
    column: str
    counts: NDArray[np.int64]
    missing: int

    @property
    def arrays(self) -> Arrays:
        """The arrays that are saved."""
        return {"counts": self.counts, "missing": np.asarray(self.missing)}

    @property
    def meta(self) -> Json:
        """What is needed to read the arrays."""
        b = self.buckets
        return {
            "model": "quantiles",
            "column": self.column,
            "alpha": b.alpha,
            "smallest": b.smallest,
            "largest": b.largest,
        }

    @property
    def rows(self) -> int:
        """The number of rows with a value."""
        return int(self.counts.sum())

    def quantile(self, q: float) -> float:
        """Returns the value of rank floor(q (rows - 1)), counted from 0; q in [0, 1].

        Within alpha of the true one relatively, which is np.quantile(..., method="lower"). 0 where
        its magnitude is at most `smallest`, infinite beyond `largest`, nan if no row has a value.
        """
        return float(self.buckets.values[self._place(q)]) if self.rows else float("nan")

    def edges(self, bins: int) -> NDArray[np.float64]:
        """Returns at most bins - 1 increasing edges that cut the rows into nearly equal parts.

        A value belongs to bin np.searchsorted(edges, value). Edges lie between buckets, so the
        rows at or below an edge are exactly those counted there, and some rows are above it; a
        column whose rows all lie in one bucket, or without any, has no edge.
        """
        if not self.rows:
            return np.empty(0)
        places = np.array([self._place(i / bins) for i in range(1, bins)], np.int64)
        last = np.flatnonzero(self.counts)[-1]
        edges: NDArray[np.float64] = self.buckets.greatest[np.unique(places[places < last])]
        return edges

    def _place(self, q: float) -> int:
        if not 0 <= q <= 1:
            raise ValueError(f"q = {q!r}, expected a share from 0 to 1")
        rank = int(np.floor(q * (self.rows - 1)))
        return int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))
