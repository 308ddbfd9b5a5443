"""Learning what a price does while prices are set: Thompson sampling on totals, batch by batch.

The log units of a product, against its usual, are a line in x = (1, how far its log price is from
usual). All that a batch teaches is A = sum x x' and b = sum r x: both add up over stores, retailers
and periods, so the posterior of many retailers is that of the pooled rows digit for digit, and a
new batch is one more round. Each row's x and r are whole steps before they are multiplied and
added.

What is usual is each retailer's own: multiply all prices of one retailer by ten and x is the same.

Agrawal and Goyal, "Thompson sampling for contextual bandits with linear payoffs", 2013,
https://arxiv.org/abs/1209.3352. Prices in batches: Ganti et al., "Thompson sampling for dynamic
pricing", 2018, https://arxiv.org/abs/1802.03050
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, by_unit, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field

Floats = NDArray[np.float64]

STEPS = 2**10  # of x and of r
MOST_X, MOST_R = 2.0, 8.0  # what is larger counts as this: log price, log units
UNIT = "store-week"


@dataclass(frozen=True)
class Trials:
    """What was tried in one period, a row for each store and product.

    product: (rows,) its place in the catalogue. moved: (rows,) log(price / usual price). sold:
    (rows,) log(units / usual units). unit: (rows,) which store and week; any type that sorts.
    """

    product: NDArray[np.intp]
    moved: Floats
    sold: Floats
    unit: NDArray[np.generic]

    def steps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns x as (rows, 2) and r as (rows,), in whole steps; a missing value counts as 0."""
        moved, sold = (
            np.rint(np.clip(np.nan_to_num(values), -most, most) * STEPS).astype(np.int64)
            for values, most in ((self.moved, MOST_X), (self.sold, MOST_R))
        )
        return np.stack([np.full_like(moved, STEPS), moved], axis=1), sold

    @staticmethod
    def pooled(parts: Sequence[Trials]) -> Trials:
        """Returns the rows of several retailers as if one held them: for simulations."""
        return Trials(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in Trials.__dataclass_fields__
            )
        )


@dataclass(frozen=True)
class PriceTrials:
    """A and b of one period, per product: (n, sum x, sum x^2) and (sum r, sum r x).

    period: of which the retailer is asked; its rows hold Trials under this name.
    largest: norm to which all that one store did in one week is cut, in units; 0 is not at all.
    """

    name: ClassVar[str] = "price-trials"

    products: int
    period: str
    largest: float = 0.0

    @property
    def bound(self) -> Stated:
        """The week of one store may become any other."""
        return bound_by_group(self.largest, UNIT)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns sums (products, 5)."""
        scale = scale_of(self.largest) if self.largest else STEPS**2
        return {"sums": Field((self.products, 5), scale=scale)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums in integer steps."""
        trials: Trials = rows[self.period]
        (one, moved), sold = (x := trials.steps())[0].T, x[1]
        # Squares of steps: with x[0] = 1 all five are whole steps of 1 / STEPS^2.
        each = np.stack([one * one, one * moved, moved * moved, one * sold, moved * sold], axis=1)
        if not self.largest:
            sums = np.zeros((self.products, 5), np.int64)
            np.add.at(sums, trials.product, each)
            return {"sums": sums}
        cells = trials.product[:, None] * 5 + np.arange(5)
        units = by_unit(
            np.repeat(trials.unit, 5), cells.ravel(), each.ravel() / STEPS**2, 5 * self.products
        )
        return {"sums": sum_of_clipped(units, self.largest).reshape(self.products, 5)}


@dataclass(frozen=True)
class Posterior:
    """What is known of the line of each product: level and elasticity, as normal distributions.

    mean: (products, 2). covariance: (products, 2, 2).
    """

    mean: Floats
    covariance: Floats

    @property
    def own(self) -> Floats:
        """The elasticity, (products,)."""
        return self.mean[:, 1]

    @property
    def own_sd(self) -> Floats:
        """How unsure it is, (products,)."""
        sd: Floats = np.sqrt(self.covariance[:, 1, 1])
        return sd

    def draw(self, rng: np.random.Generator) -> Floats:
        """Returns one level and elasticity of each product that may be true, (products, 2)."""
        factor = np.linalg.cholesky(self.covariance)
        drawn: Floats = self.mean + np.einsum(
            "pij,pj->pi", factor, rng.standard_normal(self.mean.shape)
        )
        return drawn


@dataclass(frozen=True)
class PriceBandit:
    """Hyper-parameters of the posterior.

    mean, sd: what is known of level and elasticity before the first batch, such as the elasticities
        of the consortium. noise: standard deviation of the log units of one store and period.
    largest: see PriceTrials.
    """

    mean: tuple[float, float] = (0.0, -2.0)
    sd: tuple[float, float] = (0.5, 1.0)
    noise: float = 0.5
    largest: float = 0.0

    def ask(self, totals: Totals, products: int, period: str) -> Floats:
        """Returns the sums of one period, (products, 5); those of all periods add up."""
        return totals.total(PriceTrials(products, period, self.largest))["sums"]

    def posterior(self, sums: Floats, extra: float = 0.0) -> Posterior:
        """Returns what is known after batches whose sums add up to these, (products, 5).

        extra: standard deviation of the noise that was added to each sum, for epsilon: a sum that
        is no longer a sum of squares counts as none, and what noise moves is less sure.
        """
        prior = np.diag(1 / np.square(self.sd))
        a = np.stack([sums[:, :2], sums[:, 1:3]], axis=1)
        values, directions = np.linalg.eigh(a)
        a = np.einsum("pij,pj,pkj->pik", directions, np.maximum(values, 0.0), directions)
        covariance = np.linalg.inv(prior + a / self.noise**2)
        pulled = prior @ np.array(self.mean) + sums[:, 3:] / self.noise**2
        mean = np.einsum("pij,pj->pi", covariance, pulled)
        moved = extra * (1 + np.abs(mean).sum(axis=1)) / self.noise**2
        return Posterior(
            mean, covariance + np.square(moved)[:, None, None] * (covariance @ covariance)
        )

    def learn(self, totals: Totals, products: int, periods: Sequence[str]) -> Posterior:
        """Returns what all these periods together teach."""
        sums = [self.ask(totals, products, period) for period in periods]
        return self.posterior(np.sum(sums, axis=0))
