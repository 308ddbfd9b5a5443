"""Price elasticities from totals: a regression by product, then shrinkage to its like.

Least squares in logs or Poisson pseudo-maximum likelihood, with the levels of store x product x
season removed inside the retailer (`price_moments`): both are Newton steps on sums. Standard errors
hold where the weeks of a series hang together: the outer products of the scores of series are a
total too, and those of their seasons where a product has few series (Liang and Zeger, "Longitudinal
data analysis using generalized linear models", 1986, https://doi.org/10.1093/biomet/73.1.13).
Estimates are then drawn to their category's mean and that to the consortium's (`shrinkage`).

What is believed before any data: the mean of 1,851 published elasticities, -2.62 (Bijmolt, van
Heerde and Pieters, "New empirical generalizations on the determinants of price elasticity", 2005,
https://doi.org/10.1509/jmkr.42.2.141.62296).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from grandtotal.algorithms.elasticity_model import (
    ESTIMATED,
    FEW_RETAILERS,
    NO_VARIATION,
    WITH_PROMOTIONS,
    Elasticities,
)
from grandtotal.algorithms.price_moments import (
    BUCKETS,
    MOMENT_STEPS,
    PriceMoments,
    PricePresence,
)
from grandtotal.algorithms.price_rows import CROSS, EFFECTS, OWN, PROMOTION
from grandtotal.algorithms.shrinkage import Believed, Prior, prior_of
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays, quantise

BELIEVED = (
    Believed(-2.62, 1.0, 1.0),
    Believed(0.0, 0.5, 0.5),
    Believed(0.3, 0.5, 0.5),
    Believed(0.0, 0.5, 0.5),
)
"""Of own price, others' price, promotion, and the rest; only the first from the literature."""

COEFFICIENT_STEPS = 2**20
_LEAST_VARIATION = 0.003  # of a log price: less is rounding to cents
_LEAST_OWN = 0.02  # of the price's variation that promotions and other prices do not explain
_MOST = 30.0  # of a coefficient on the way
_NORMAL = 1.959964
_LEAST = 1e-9  # of the scatter, beside the curvature: no estimate is sure
_FEW = 4  # series: fewer say nothing of the scatter between them, one least of all
_BORROWED = 4.0  # series that the scatter of all products counts for in that of one


@dataclass(frozen=True)
class Elasticity:
    """Settings of the fit.

    family: "log-log" or "ppml". columns: of the rows. retailers: how many must have rows of a
    product for its sums to be asked; of a retailer alone, its own are enough, as nothing leaves.
    rounds: most Newton steps; log-log needs two, and one more where a coefficient reaches _MOST.
    tolerance: a product has converged when its next step is predicted to lower its loss by less,
    relative to one, in units of the scatter, or by less than the rounding of sums and coefficients
    lets anybody see.
    l2: penalty on every coefficient of ppml: what a product of a handful of sales needs to have an
    estimate at all, and nothing beside the curvature of any other.
    """

    family: str = "log-log"
    columns: int = 3
    retailers: int = 3
    rounds: int = 25
    tolerance: float = 1e-9
    l2: float = 0.1

    def fit(self, totals: Totals, products: int, split: str) -> Elasticities:
        """Returns the elasticities of all products, with how each came about."""
        presence = totals.total(PricePresence(products, split))
        # A consortium has three members at least: alone means that nothing leaves.
        needed = min(self.retailers, int(presence["members"]))
        asked = np.flatnonzero(presence["retailers"] >= max(needed, 1))
        estimate = self._estimate(totals, asked, split)
        known = {"members": int(presence["members"]), "asked": len(asked)}
        meta = {"model": self.family, "fit": {**estimate.fit, **known}}
        return _shrunk(estimate, asked, categories_of(presence["categories"]), meta)

    def _estimate(self, totals: Totals, asked: NDArray[np.intp], split: str) -> "Estimate":
        query = PriceMoments(self.family, self.columns, split)
        b = np.zeros((len(asked), self.columns))
        good, step, best = b.copy(), b.copy(), np.full(len(asked), np.inf)
        going, known = np.arange(len(asked)), dict[str, NDArray[Any]]()
        for round_ in range(1, self.rounds + 1):
            # Of a product that has converged the sums would be the same: it is asked no more.
            sums = totals.total(query, {"asked": asked[going], "coefficients": b[going]})
            known = _replaced(known, going, sums)
            loss, gradient, curvature = self._penalised(sums, b[going])
            # A series' loss is rounded to steps; so many may hide in a sum of them.
            worse = loss > best[going] + (sums["series"] + 1) / MOMENT_STEPS
            best[going] = np.where(worse, best[going], loss)
            good[going] = np.where(worse[:, None], good[going], b[going])
            inside, left, unseen = _inside(b[going], curvature, gradient, sums["series"])
            step[going] = np.where(worse[:, None], step[going] / 2, inside)
            least = np.maximum(self.tolerance * (1 + np.abs(loss)), unseen)
            going = going[worse | (left > least)]
            if not len(going) or round_ == self.rounds:
                break
            b[going] = quantise(good[going] + step[going], COEFFICIENT_STEPS) / COEFFICIENT_STEPS
        curvature = self._penalised(known, b)[2]
        return Estimate(b, curvature, known, {"rounds": round_, "converged": not len(going)})

    def _penalised(self, sums: Arrays, b: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Returns loss, gradient and curvature of each product with the penalty in them."""
        l2 = self.l2 if self.family == "ppml" else 0.0
        curvature = unpacked(sums["curvature"], self.columns) + l2 * np.eye(self.columns)
        loss = sums["loss"] + l2 * (b**2).sum(axis=1) / 2
        return loss, sums["gradient"] - l2 * b, curvature


@dataclass(frozen=True)
class Estimate:
    """Coefficients (asked, columns) with the curvature (asked, columns, columns) and sums there."""

    b: NDArray[np.float64]
    curvature: NDArray[np.float64]
    sums: Arrays
    fit: Json

    @property
    def information(self) -> NDArray[np.float64]:
        """The inverse of the covariance of b that holds under any scatter within a series.

        Where rounding makes the scatter of few rows less than none, nothing is known.
        """
        values, vectors = np.linalg.eigh(self._scatter())
        known = values > _LEAST * values.max(axis=1, initial=0.0)[:, None]
        inverse = np.divide(1.0, values, out=np.zeros_like(values), where=known)
        half = self.curvature @ (vectors * np.sqrt(inverse)[:, None, :])
        found: NDArray[np.float64] = half @ half.swapaxes(1, 2)
        return found

    def _scatter(self) -> NDArray[np.float64]:
        """Returns the sums of outer products of scores, those of few series helped by all."""
        series = self._alike
        few = (stdtrit(series - 1, 0.975) / _NORMAL) ** 2 * series / (series - 1)
        chosen = np.where(self._lonely[:, None], self.sums["season scatter"], self.sums["scatter"])
        own = unpacked(chosen, self.b.shape[1]) * few[:, None, None]
        size = np.trace(self.curvature, axis1=1, axis2=2)
        beside = np.trace(own, axis1=1, axis2=2)[size > 0] / size[size > 0]
        usual = float(np.median(beside)) if len(beside) else 0.0
        weight = (series / (series + _BORROWED))[:, None, None]
        return np.asarray(weight * own + ((1 - weight) * usual + _LEAST) * self.curvature)

    @property
    def _lonely(self) -> NDArray[np.bool_]:
        """Which products have so few series that the seasons of a series stand in for them.

        The scores of all series add up to nothing, so that those of a single one, a retailer's
        without stores, would be taken for certain.
        """
        return np.asarray(self.sums["series"] < _FEW)

    @property
    def _alike(self) -> NDArray[np.float64]:
        """How many series of equal weight tell as much as those that there are, 2 at least.

        So many a t distribution is for: Carter, Schnepel and Steigerwald, "Asymptotic behavior of a
        t-test robust to cluster heterogeneity", 2017, https://doi.org/10.1162/REST_a_00639.
        """
        chosen = np.where(self._lonely, self.sums["season weights"], self.sums["weights"])
        whole, squares = self.curvature[:, OWN, OWN] ** 2, chosen
        alike = np.divide(whole, squares, out=np.ones_like(whole), where=squares > 0)
        # Seasons of a series are helped by those of all products: two are never all that there is.
        least = np.where(self._lonely, 3.0, 2.0)
        most = np.where(self._lonely, np.inf, np.maximum(self.sums["series"], 2.0))
        return np.asarray(np.clip(alike, least, most))

    @property
    def left(self) -> NDArray[np.float64]:
        """(asked, columns) share of a column's curvature that the other columns do not explain."""
        diagonal = np.einsum("pii->pi", self.curvature)
        inverse = np.einsum("pii->pi", np.linalg.inv(_ridged(self.curvature)))
        return np.asarray(
            np.divide(1.0, inverse * diagonal, out=np.zeros_like(diagonal), where=diagonal > 1e-9)
        )


def unpacked(triangle: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Returns (n, k, k) symmetric matrices of their upper triangles (n, k (k + 1) / 2)."""
    one, other = np.triu_indices(k)
    full = np.zeros((len(triangle), k, k))
    full[:, one, other] = full[:, other, one] = triangle
    return full


def categories_of(counts: NDArray[Any]) -> NDArray[np.int32]:
    """Returns the bucket that most retailers say, -1 where none does, from (products, BUCKETS)."""
    found: NDArray[np.int32] = counts.argmax(axis=1).astype(np.int32)
    found[counts.sum(axis=1) == 0] = -1
    return found


def _ridged(curvature: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns matrices that can be inverted: columns without variation get a little of it."""
    most = np.einsum("pii->pi", curvature).max(axis=1, initial=0.0)
    little = 1e-8 * most + 1e-9
    return np.asarray(curvature + little[:, None, None] * np.eye(curvature.shape[1]))


def _inside(
    b: NDArray[np.float64],
    curvature: NDArray[np.float64],
    gradient: NDArray[np.float64],
    series: NDArray[Any],
) -> tuple[NDArray[np.float64], ...]:
    """Returns what `_newton` does, with steps that end where a coefficient reaches _MOST.

    A coefficient that is there and would go on is held: the others go on without it.
    """
    there = np.abs(b) >= _MOST
    held = there & (b * gradient > 0)
    while True:
        either = held[:, :, None] | held[:, None, :]
        without = np.where(either, 0.0, curvature), np.where(held, 0.0, gradient)
        step, left, unseen = _newton(*without, series)
        further = there & ~held & (b * step > 0)
        if not further.any():
            break
        held |= further
    room = np.divide(
        _MOST - np.sign(step) * b, np.abs(step), out=np.ones_like(b), where=np.abs(step) > 0
    )
    return step * np.minimum(room.min(axis=1), 1.0)[:, None], left, unseen


def _newton(
    curvature: NDArray[np.float64], gradient: NDArray[np.float64], series: NDArray[Any]
) -> tuple[NDArray[np.float64], ...]:
    """Returns the step, by how much it is predicted to lower the loss, and how much is rounding.

    Every series' part of a sum is rounded: a direction in which the curvature is no larger than
    what rounding makes, as between columns that explain each other in a few rows, is not known, and
    no step is taken in it. In the others the rounding of gradient and coefficients, even within
    half a step, is a step as well; it counts with three standard deviations, as in `glm`.
    """
    values, vectors = np.linalg.eigh(curvature)
    known = values > values.shape[1] * series[:, None] / (2 * MOMENT_STEPS)
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=known)
    along = np.einsum("pij,pi->pj", vectors, gradient)
    step = np.einsum("pij,pj->pi", vectors, inverse * along)
    of_sums = inverse.sum(axis=1) * series / MOMENT_STEPS**2
    of_coefficients = values.sum(axis=1) / COEFFICIENT_STEPS**2
    return step, (inverse * along**2).sum(axis=1), 9 / 12 * (of_sums + of_coefficients)


def _replaced(known: Arrays, places: NDArray[np.intp], found: Arrays) -> Arrays:
    """Returns the sums of all products, with what was found of those at some places."""
    whole = {name: known.get(name, values).copy() for name, values in found.items()}
    for name, values in found.items():
        whole[name][places] = values
    return whole


def _shrunk(
    estimate: Estimate, asked: NDArray[np.intp], category: NDArray[np.int32], meta: Json
) -> Elasticities:
    """Returns all products: those estimated drawn to their category, the others its mean."""
    products, k = len(category), estimate.b.shape[1]
    rows, spread = estimate.sums["rows"], estimate.sums["spread"]
    variation = np.sqrt(np.maximum(spread, 0.0) / np.maximum(rows, 1))
    basis = np.full(products, FEW_RETAILERS, np.int32)
    basis[asked] = np.select(
        [variation < _LEAST_VARIATION, estimate.left[:, OWN] < _LEAST_OWN],
        [NO_VARIATION, WITH_PROMOTIONS],
        ESTIMATED,
    )
    group = np.where(category < 0, BUCKETS, category).astype(np.intp)
    variances = _variances(estimate)
    priors = [_prior(estimate.b[:, j], variances[:, j], group[asked], j) for j in range(k)]
    posterior = _posterior(estimate, priors, group[asked])
    known = basis[asked] == ESTIMATED
    means, sds = _of_all(priors, group, k)
    for j in range(k):
        use = known if j == OWN else np.ones(len(asked), np.bool_)
        means[asked[use], j] = posterior[0][use, j]
        sds[asked[use], j] = posterior[1][use, j]
    raw, raw_sd = np.full(products, np.nan), np.full(products, np.nan)
    raw[asked[known]] = estimate.b[known, OWN]
    raw_sd[asked[known]] = np.sqrt(variances[known, OWN])
    return Elasticities(
        meta,
        own=means[:, OWN],
        own_sd=sds[:, OWN],
        cross=means[:, CROSS],
        cross_sd=sds[:, CROSS],
        promotion=means[:, PROMOTION],
        promotion_sd=sds[:, PROMOTION],
        raw=raw,
        raw_sd=raw_sd,
        observations=spread_out(rows, asked, products).astype(np.int64),
        variation=spread_out(variation, asked, products),
        basis=basis,
        category=category,
        means=np.array([prior.overall for prior in priors[:EFFECTS]]),
        sds=np.array([prior.between for prior in priors[:EFFECTS]]),
    )


def spread_out(values: NDArray[Any], asked: NDArray[np.intp], products: int) -> NDArray[np.float64]:
    """Returns (products,) with the values of those asked, 0 elsewhere."""
    found = np.zeros(products)
    found[asked] = values
    return found


def _variances(estimate: Estimate) -> NDArray[np.float64]:
    """Returns (asked, columns) variances of the coefficients, infinite where nothing is known."""
    found = np.full(estimate.b.shape, np.inf)
    inverse = np.linalg.inv(_ridged(estimate.curvature))
    covariance = inverse @ estimate._scatter() @ inverse
    known = estimate.left > _LEAST_OWN
    variances = np.einsum("pii->pi", covariance)
    found[known] = np.maximum(variances[known], 1e-9)
    return found


def _prior(
    b: NDArray[np.float64], variance: NDArray[np.float64], group: NDArray[np.intp], column: int
) -> Prior:
    known = np.isfinite(variance)
    believed = BELIEVED[min(column, EFFECTS)]
    return prior_of(b[known], variance[known], group[known], BUCKETS, believed)


def _posterior(
    estimate: Estimate, priors: list[Prior], group: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns means and standard deviations (asked, columns) of estimates and priors together."""
    information = estimate.information
    mean = np.stack([prior.mean[group] for prior in priors], axis=1)
    precision = np.stack([1 / prior.variance[group] for prior in priors], axis=1)
    both = information + precision[:, :, None] * np.eye(len(priors))
    right = (information @ estimate.b[..., None])[..., 0] + precision * mean
    found = np.asarray(np.linalg.solve(both, right[..., None])[..., 0], np.float64)
    return found, np.asarray(np.sqrt(np.einsum("pii->pi", np.linalg.inv(both))))


def _of_all(
    priors: list[Prior], group: NDArray[np.intp], k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns mean and standard deviation (products, columns) of a product without its own."""
    means = np.stack([priors[j].mean[group] for j in range(k)], axis=1)
    sds = np.sqrt(np.stack([priors[j].variance[group] for j in range(k)], axis=1))
    return means, sds
