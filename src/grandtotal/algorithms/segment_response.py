"""How much more, or less, than all customers those of a segment follow prices, from totals.

A line of a customer falls into one of the weeks of its product's prices. In how many weeks it could
have fallen, at which prices, is the retailer's own and no customer's; given what a segment bought
of a product in all, the weeks are multinomial with odds
    weight exp(shift x),   x = log(price / usual), weight = what all customers did at that price,
so that levels of products, stores and segments drop out, and a customer adds to two numbers of one
segment: sum of (x - mean) over its lines, and of the variance of x. Both are clipped by customer
under epsilon. Chamberlain, "Analysis of covariance with qualitative data", 1980,
https://doi.org/10.2307/2297110
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.privacy import clipping
from grandtotal.privacy.bound import Bound, Stated
from grandtotal.privacy.fixedpoint import Arrays, Field, quantise

Floats = NDArray[np.float64]

STEPS = 2**20
_MOST = 20.0  # of |shift x|
_COUNT = 0.125  # what a customer is counted by, so that the count takes little of the clip


@dataclass(frozen=True, eq=False)
class SegmentLines:
    """One retailer's lines of known customers, and the prices that they could have met.

    segment, customer, series, week: (lines,) of the customer; of the product in a store; in which
    column of the prices. customer may be of any type that sorts.
    moved: (series, weeks) log(price / usual), nan in weeks that do not count. weight: (series,
    weeks) how much all customers are expected to buy, relative to other weeks.
    """

    segment: NDArray[np.intp]
    customer: NDArray[np.generic]
    series: NDArray[np.intp]
    week: NDArray[np.intp]
    moved: Floats
    weight: Floats

    @staticmethod
    def pooled(parts: Sequence[SegmentLines]) -> SegmentLines:
        """Returns the lines of several retailers as if one held them: for simulations."""
        firsts = np.cumsum([0, *(len(part.moved) for part in parts)])
        series = [part.series + first for part, first in zip(parts, firsts, strict=False)]
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in SegmentLines.__dataclass_fields__
        }
        return SegmentLines(**{**joined, "series": np.concatenate(series)})


@dataclass(frozen=True)
class SegmentMoments:
    """A Newton step's totals by segment: gradient, curvature, and how many customers there are.

    The broadcast holds "shift" (segments,), at which the sums are taken.
    largest: norm to which all lines of one customer, together, are cut; 0 is not at all.
    """

    name: ClassVar[str] = "segment-moments"

    segments: int
    split: str
    largest: float = 0.0

    @property
    def bound(self) -> Stated:
        """A customer may become any other, of another segment too."""
        if not self.largest:
            return None
        return Bound(clipping.changed(clipping.norm_of(self.largest)))

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns sums (segments, 3): gradient, curvature, an eighth of the customers."""
        scale = clipping.scale_of(self.largest) if self.largest else STEPS
        return {"sums": Field((self.segments, 3), scale)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; what a customer adds is rounded before it is added."""
        lines: SegmentLines = rows[self.split]
        mean, variance = _moments(lines, broadcast["shift"])
        at = lines.series, lines.segment
        x = np.nan_to_num(lines.moved[lines.series, lines.week])
        _, first = np.unique(lines.customer, return_index=True)
        once = np.zeros(len(x))
        once[first] = _COUNT
        values = np.stack([x - mean[at], variance[at], once], axis=1)
        cells = 3 * lines.segment[:, None] + np.arange(3)
        width = 3 * self.segments
        units = clipping.by_unit(np.repeat(lines.customer, 3), cells.ravel(), values.ravel(), width)
        if self.largest:
            sums = clipping.sum_of_clipped(units, self.largest)
        else:
            whole = np.rint(units.data * STEPS).astype(np.int64)
            sums = np.zeros(width, np.int64)
            np.add.at(sums, units.indices, whole)
        return {"sums": sums.reshape(self.segments, 3)}


def _moments(lines: SegmentLines, shift: Floats) -> tuple[Floats, Floats]:
    """Returns mean and variance of x, (series, segments), at each segment's shift."""
    x = np.nan_to_num(lines.moved)
    weight = np.where(np.isfinite(lines.moved), np.maximum(lines.weight, 0.0), 0.0)
    means, variances = [], []
    for each in shift:
        odds = weight * exp(np.clip(each * x, -_MOST, _MOST))
        whole = np.maximum(odds.sum(axis=1), 1e-300)
        mean = (odds * x).sum(axis=1) / whole
        means.append(mean)
        variances.append(np.maximum((odds * x**2).sum(axis=1) / whole - mean**2, 0.0))
    return np.stack(means, axis=1), np.stack(variances, axis=1)


@dataclass(frozen=True)
class Shifts:
    """What is added to the elasticity of every product in each segment, (segments,), and how sure.

    customers: how many there are, of totals with noise about how many.
    """

    shift: Floats
    sd: Floats
    customers: Floats

    @property
    def apart(self) -> Floats:
        """The shifts less what they have in common, as far as each is sure.

        What all customers do is for the elasticities to say: they know stores and seasons.
        """
        weight = self.sd**-2
        apart: Floats = self.shift - float(weight @ self.shift / weight.sum())
        return apart


@dataclass(frozen=True)
class SegmentResponse:
    """Newton steps on the sums of segments, drawn to no difference.

    between: standard deviation that segments' shifts are believed to have. rounds: of steps.
    largest: see SegmentMoments. noise: standard deviation of what is added to each total for
    epsilon, by which shifts are less sure.
    """

    between: float = 0.5
    rounds: int = 4
    largest: float = 0.0
    noise: float = 0.0

    def fit(self, totals: Totals, segments: int, split: str) -> Shifts:
        """Returns the shifts of so many segments."""
        query = SegmentMoments(segments, split, self.largest)
        shift, prior = np.zeros(segments), self.between**-2
        for _ in range(self.rounds):
            sums = totals.total(query, {"shift": shift})["sums"]
            curvature = np.maximum(sums[:, 1], 0.0)
            step = (sums[:, 0] - prior * shift) / (curvature + prior)
            shift = quantise(np.clip(shift + step, -5.0, 5.0), STEPS) / STEPS
        known = curvature + prior
        sd = np.sqrt(1 / known + (self.noise / known) ** 2)
        return Shifts(shift, sd, sums[:, 2] / _COUNT)
