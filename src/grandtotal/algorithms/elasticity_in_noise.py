"""Elasticities under epsilon: pairs of weeks of one series, each clipped, split by product.

The sum over a series of (x - mean)(r - mean) is the mean over its weeks of the sums of
(x_s - x_t)(r_s - r_t) with the others (Honore and Powell, "Pairwise difference estimators of
censored and truncated regression models", 1994, https://doi.org/10.1016/0304-4076(94)90065-5).
A mean hides how far one row moves it; pairs do not: a row is in at most so many pairs as there are
weeks near it, each pair is cut to a norm, and no other pair knows of the row. So the level of the
series is removed, and what is promised holds for a row whose price, promotion and units all change.

r is what is left at a price that is public: the first round at the mean of the literature, the
second at the first one's result, where what is left is small and centred, and little is cut. Other
products' prices would put a row into their sums as well: cross-prices are not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elasticity import BELIEVED, categories_of, unpacked
from grandtotal.algorithms.elasticity_model import (
    ESTIMATED,
    FEW_RETAILERS,
    NO_VARIATION,
    Elasticities,
)
from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.price_moments import BUCKETS, PricePresence
from grandtotal.algorithms.price_rows import CROSS, OWN, PriceRows
from grandtotal.algorithms.shrinkage import prior_of
from grandtotal.consortium.query import Rows, State, shared_rows
from grandtotal.consortium.totals import Totals
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy import clipping
from grandtotal.privacy.bound import Bound, Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

CLIPS = (0.4, 0.3)  # norm of one pair in the two rounds
STORE_WEEK = "store-week"  # one product in one store in one week: its price, promotion and units
_PROMOTION = 0.3  # a promotion is 0 or 1: as large as log prices differ
_GRAM = 0.5  # weight of the pair's products of prices beside those of prices and units
_ZEROS = 64  # entries whose total is the noise itself, to know how large it is
_SCATTER = 0.6  # of log units, squared, weeks of a series hanging together; what noise leaves out
_SURE = 3.0  # a price's variation is there where it stands out of the noise by so many of its sd
_TRUST = 1.0  # sd of what is believed, in the units of the scaled columns


@dataclass(frozen=True)
class PricePairs:
    """Sums by product over pairs of weeks: (x_s - x_t)(r_s - r_t), and x_s - x_t with itself.

    The broadcast holds "coefficients" (products, columns - 1), of the columns but the others'
    prices, at which r = log units - x'b is taken.

    gram: whether the products of x with itself are asked too. window: most weeks between the two;
    weeks: most weeks that a series has. largest: norm to which a pair's contribution is cut.
    per_customer: rows in which a customer's lines count; 0 where the row is the unit.
    """

    name: ClassVar[str] = "price-pairs"

    products: int
    columns: int
    split: str
    window: int
    weeks: int
    largest: float
    gram: bool = True
    per_customer: int = 0

    @property
    def partners(self) -> int:
        """In how many pairs a row is at most."""
        return min(2 * self.window, self.weeks - 1)

    @property
    def bound(self) -> Stated:
        """Each pair of a row may become any other, and they may all move in one direction."""
        of_pair = clipping.bound_by_group(self.largest, STORE_WEEK, self.per_customer)
        assert of_pair is not None
        return Bound(of_pair.norm * self.partners, of_pair.unit)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns gradient (products, columns - 1), the packed curvature, and zeros."""
        # A sum over pairs counts a row once for each partner.
        k, scale = self.columns - 1, clipping.scale_of(self.largest) * self.partners
        fields = {"gradient": Field((self.products, k), scale), "nothing": Field((_ZEROS,), scale)}
        if self.gram:
            fields["curvature"] = Field((self.products, k * (k + 1) // 2), scale)
        return fields

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each pair is cut and rounded before it is added."""
        k = self.columns - 1
        width = k + (k * (k + 1) // 2 if self.gram else 0)
        total = np.zeros((self.products, width), np.int64)
        norm = clipping.norm_of(self.largest)
        scale = clipping.scale_of(self.largest)
        for part in shared_rows(rows, self.split, self.per_customer).parts:
            for product, pairs in self._pairs(part.sold, broadcast["coefficients"]):
                whole = clipping.clip(pairs * scale, norm)
                clipping.checked_sum(whole, norm)
                np.add.at(total, product, whole)
        found = {"gradient": total[:, :k], "nothing": np.zeros(_ZEROS, np.int64)}
        return {**found, "curvature": total[:, k:]} if self.gram else found

    def _pairs(
        self, rows: PriceRows, coefficients: NDArray[np.float64]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Yields for each distance in weeks the product of each pair and what it contributes."""
        x, left = self._grids(rows, coefficients)
        one, other = np.triu_indices(self.columns - 1)
        for apart in range(1, min(self.window, x.shape[1] - 1) + 1):
            there = np.isfinite(left[:, apart:]) & np.isfinite(left[:, :-apart])
            dx = (x[:, apart:] - x[:, :-apart])[there]
            dr = (left[:, apart:] - left[:, :-apart])[there]
            parts = [dx * dr[:, None]]
            if self.gram:
                parts.append(_GRAM * dx[:, one] * dx[:, other])
            yield rows.product[np.nonzero(there)[0]], np.concatenate(parts, axis=1)

    def _grids(
        self, rows: PriceRows, coefficients: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns scaled x (series, weeks, columns - 1) and r (series, weeks); nan: no row."""
        week = rows.week - (int(rows.week.min()) if len(rows.week) else 0)
        if week.max(initial=0) >= self.weeks:
            raise AnswerError(
                Code.PLAN_REFUSED,
                f"a series of {int(week.max()) + 1} weeks, asked for at most {self.weeks}: a row "
                f"would be in more pairs than the noise is made for",
            )
        x = scaled(rows.x[:, : self.columns])
        b = coefficients[rows.product[rows.series]]
        # Whatever a coefficient is in much noise, what is cut has to be a number.
        left = np.clip(log(np.maximum(rows.y, 1e-9)) - (x * b).sum(axis=1), -1e6, 1e6)
        grid = np.full((len(rows.product), self.weeks, x.shape[1]), np.nan)
        grid[rows.series, week] = x
        of_left = np.full((len(rows.product), self.weeks), np.nan)
        of_left[rows.series, week] = left
        return grid, of_left


def scaled(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the columns but the others' prices, (rows, columns - 1), promotions made smaller."""
    found = np.delete(x, CROSS, axis=1)
    found[:, 1:] *= _PROMOTION
    return found


@dataclass(frozen=True)
class ElasticityInNoise:
    """Settings of the fit; as in PricePairs and Elasticity."""

    columns: int = 3
    retailers: int = 3
    window: int = 26
    weeks: int = 104
    per_customer: int = 0
    clips: tuple[float, ...] = CLIPS

    def fit(self, totals: Totals, products: int, split: str) -> Elasticities:
        """Returns the elasticities of all products; their sd has the noise in it."""
        presence = totals.total(PricePresence(products, split, listed=True))
        sold = presence["retailers"] >= max(min(self.retailers, int(presence["members"])), 1)
        query = PricePairs(
            products,
            self.columns,
            split,
            self.window,
            self.weeks,
            self.clips[0],
            per_customer=self.per_customer,
        )
        b = np.full((products, self.columns - 1), BELIEVED[2].mean / _PROMOTION)
        b[:, OWN] = BELIEVED[0].mean
        sums = totals.total(query, {"coefficients": b})
        curvature = unpacked(sums["curvature"], self.columns - 1) / _GRAM
        values, directions = np.linalg.eigh(curvature)
        values = np.maximum(values, 0.0)
        b = b + _step(sums, values, directions)
        for clip in self.clips[1:]:
            sums = totals.total(replace(query, largest=clip, gram=False), {"coefficients": b})
            b = b + _step(sums, values, directions)
        variance = _variance(values, directions, _noise(sums))
        size = float(np.std(curvature[~sold, OWN, OWN])) if (~sold).any() else _noise(sums) / _GRAM
        seen = curvature[:, OWN, OWN] > _SURE * max(size, _noise(sums))
        category = categories_of(presence["categories"])
        return _model(b[:, OWN], variance, sold, seen, category, len(self.clips))


def _noise(sums: Arrays) -> float:
    """Returns the standard deviation of what was added to each number."""
    return float(np.sqrt(np.mean(sums["nothing"] ** 2)))


def _step(
    sums: Arrays, values: NDArray[np.float64], directions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the Newton step of each product, short where noise and scatter leave little.

    In a direction of curvature v the step g / v has the variance (scatter v + noise^2) / v^2, and
    what is believed has _TRUST^2.
    """
    gradient = np.einsum("pji,pj->pi", directions, sums["gradient"])
    unsure = (_SCATTER * values + _noise(sums) ** 2) / _TRUST**2
    step = values * gradient / np.maximum(values**2 + unsure, 1e-12)
    return np.asarray(np.einsum("pij,pj->pi", directions, step))


def _variance(
    values: NDArray[np.float64], directions: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    """Returns the variance of the own-price coefficient, (products,)."""
    each = (_SCATTER * values + noise**2) / np.maximum(values**2, 1e-12)
    return np.asarray((directions[:, OWN, :] ** 2 * each).sum(axis=1))


def _model(
    b: NDArray[np.float64],
    variance: NDArray[np.float64],
    sold: NDArray[np.bool_],
    seen: NDArray[np.bool_],
    category: NDArray[np.int32],
    rounds: int,
) -> Elasticities:
    """Returns the own-price estimates drawn to their category, and what is believed of the rest."""
    products, known = len(b), sold & seen
    group = np.where(category < 0, BUCKETS, category).astype(np.intp)
    own, cross, promotion, _ = BELIEVED
    prior = prior_of(b[known], variance[known], group[known], BUCKETS, own)
    mean, of_prior = prior.mean[group], prior.variance[group]
    weight = np.where(known, of_prior / (of_prior + variance), 0.0)
    every, nothing = np.ones(products), np.zeros(products)
    return Elasticities(
        {"model": "log-log in noise", "fit": {"rounds": rounds, "asked": int(sold.sum())}},
        own=mean + weight * (b - mean),
        own_sd=np.sqrt((1 - weight) * of_prior),
        cross=cross.mean * every,
        cross_sd=cross.between * every,
        promotion=promotion.mean * every,
        promotion_sd=promotion.between * every,
        raw=np.where(known, b, np.nan),
        raw_sd=np.where(known, np.sqrt(variance), np.nan),
        observations=np.zeros(products, np.int64),
        variation=nothing,
        basis=np.select([~sold, ~seen], [FEW_RETAILERS, NO_VARIATION], ESTIMATED).astype(np.int32),
        category=category,
        means=np.array([prior.overall, cross.mean, promotion.mean]),
        sds=np.array([prior.between, cross.between, promotion.between]),
    )
