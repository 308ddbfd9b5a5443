"""What is asked to estimate elasticities: who sells what, and the sums of a regression by product.

log-log: log units on log price, least squares. ppml: units on exp of the same, Poisson
pseudo-maximum likelihood, in which weeks without a sale count. In both each store x product x
season has a level of its own, which is removed inside the retailer: by its mean (Frisch and Waugh,
1933), or, for ppml, by conditioning on the group's units, which leaves a multinomial likelihood
(Hausman, Hall and Griliches, "Econometric models for count data", 1984,
https://doi.org/10.2307/1911191). Both depend on differences of log prices alone.

PPML: Santos Silva and Tenreyro, "The log of gravity", 2006, https://doi.org/10.1162/rest.88.4.641
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp, log
from grandtotal.algorithms.price_rows import OWN, PriceRows
from grandtotal.consortium.query import Rows, State
from grandtotal.privacy.bound import NoCustomers, Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.threads import each

FAMILIES = ("log-log", "ppml")
BUCKETS = 32  # of category names: two that meet are shrunk towards each other, nothing worse
MOMENT_STEPS = 2**24
# Squares of scores: small for logs, and of units^2 where units are what is explained.
_SQUARE_STEPS = {"log-log": 2**30, "ppml": 2**12}
_MOST = 30.0  # of |x'b|: a week's share of its season
_FEW = 0.5  # of the series: of fewer, only their rows are looked at


@dataclass(frozen=True)
class PricePresence:
    """How many retailers have rows of each product, and which category each says it is.

    listed: counted from the assortment that a retailer lists, not from what was bought.
    """

    name: ClassVar[str] = "price-presence"

    products: int
    split: str
    listed: bool = False

    @property
    def bound(self) -> Stated:
        """None, unless it is about the products table."""
        if self.listed:
            return NoCustomers(
                "it is read from the products table, which no customer's row can change"
            )
        return None

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns retailers (products,), categories (products, BUCKETS) and members."""
        small = 2**32
        return {
            "retailers": Field((self.products,), modulus=small),
            "categories": Field((self.products, BUCKETS), modulus=small),
            "members": Field((), modulus=small),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns 1 for every product that this retailer has, and 1 in its category's bucket."""
        retailers = np.zeros(self.products, np.int32)
        categories = np.zeros((self.products, BUCKETS), np.int32)
        parts = rows[self.split].parts
        for part in parts:
            known = part.categories >= 0
            categories[np.flatnonzero(known), part.categories[known]] += 1
            retailers += known if self.listed else _has_rows(part, self.products)
        members = np.asarray(len(parts), np.int32)
        return {"retailers": retailers, "categories": categories, "members": members}


def _has_rows(part: PriceRows, products: int) -> NDArray[np.bool_]:
    return np.bincount(part.product[part.series_of], minlength=products) > 0


@dataclass(frozen=True)
class PriceMoments:
    """One Newton step's totals by product, and what the scatter of the estimate is made of.

    The broadcast holds "asked" (products,), places in the catalogue, and "coefficients" (products,
    columns) at which the sums are taken.
    """

    name: ClassVar[str] = "price-moments"
    bound: ClassVar[Stated] = None

    family: str
    columns: int
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns, for each product that is asked about, of the rows less their group's mean:

        curvature and gradient X'WX, X'(y - mean); scatter, the outer products of the scores of
        each series; weights, the squares of each series' curvature in the own price; the same two
        of each series and season, for products of few series; loss; spread, the sum of squares of
        the log price; how many rows and series.
        """
        asked, k = len(broadcast["asked"]), self.columns
        triangle = (asked, k * (k + 1) // 2)
        return {
            "curvature": Field(triangle, scale=MOMENT_STEPS),
            "gradient": Field((asked, k), scale=MOMENT_STEPS),
            "scatter": Field(triangle, scale=_SQUARE_STEPS[self.family]),
            "loss": Field((asked,), scale=MOMENT_STEPS),
            "spread": Field((asked,), scale=MOMENT_STEPS),
            "weights": Field((asked,), scale=_SQUARE_STEPS[self.family]),
            "season scatter": Field(triangle, scale=_SQUARE_STEPS[self.family]),
            "season weights": Field((asked,), scale=_SQUARE_STEPS[self.family]),
            "rows": Field((asked,)),
            "series": Field((asked,)),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; what a series adds is rounded before it is added."""
        fields = self.fields(broadcast)
        total = {name: np.zeros(field.shape, np.int64) for name, field in fields.items()}
        for found in each(partial(self._of_part, broadcast), rows[self.split].parts):
            for name, own in found.items():
                total[name] += own
        return total

    def _of_part(self, broadcast: Arrays, part: PriceRows) -> Arrays:
        fields, asked = self.fields(broadcast), broadcast["asked"]
        used = part.sold if self.family == "log-log" else part
        place = np.full(int(max(asked.max(initial=-1), used.product.max(initial=-1))) + 1, -1)
        place[asked] = np.arange(len(asked))
        at = place[used.product]
        if np.count_nonzero(at >= 0) < _FEW * len(at):
            used = used.chosen((at >= 0)[used.series])
        total = {name: np.zeros(field.shape, np.int64) for name, field in fields.items()}
        for name, values in self._of_series(used, broadcast["coefficients"], at).items():
            steps = np.rint(values[at >= 0] * fields[name].scale).astype(np.int64)
            np.add.at(total[name], at[at >= 0], steps)
        return total

    def _of_series(
        self, rows: PriceRows, coefficients: NDArray[np.float64], at: NDArray[np.intp]
    ) -> Arrays:
        """Returns what each series adds, (series, ...)."""
        # Series of products that are not asked about are left out afterwards: at 0.
        x = rows.within[:, : self.columns]
        b = coefficients[np.maximum(at, 0)][rows.series] if len(coefficients) else 0 * x
        predictor = np.clip((x * b).sum(axis=1), -_MOST, _MOST)
        moments = _least_squares if self.family == "log-log" else _multinomial
        curvature, gradient, loss = moments(rows, x, predictor)
        score, by_series = rows.per_series(gradient), rows.per_series(curvature)
        one, other = np.triu_indices(self.columns)
        rows_of = rows.per_series(rows.per_group(np.ones(len(rows.y))))
        return {
            "curvature": by_series,
            "gradient": score,
            "scatter": score[:, one] * score[:, other],
            "loss": rows.per_series(loss),
            "spread": rows.per_series(rows.per_group(rows.within[:, OWN] ** 2)),
            "weights": by_series[:, OWN] ** 2,
            "season scatter": rows.per_series(gradient[:, one] * gradient[:, other]),
            "season weights": rows.per_series(curvature[:, OWN] ** 2),
            "rows": rows_of,
            "series": (rows_of > 0).astype(np.float64),
        }


def _least_squares(
    rows: PriceRows, x: NDArray[np.float64], predictor: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Returns by group X'X, X'r and r'r / 2 of what is left when each group's mean is removed."""
    left = rows.centred(log(np.maximum(rows.y, 1e-9))) - predictor
    one, other = np.triu_indices(x.shape[1])
    return (
        rows.per_group(x[:, one] * x[:, other]),
        rows.per_group(x * left[:, None]),
        rows.per_group(left**2) / 2,
    )


def _multinomial(
    rows: PriceRows, x: NDArray[np.float64], predictor: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Returns by group the curvature, gradient and -log likelihood given the group's units."""
    group, weight = rows.group, exp(predictor)
    units, whole = rows.per_group(rows.y), rows.per_group(weight)
    mean = weight * (units / whole)[group]
    one, other = np.triu_indices(x.shape[1])
    first = rows.per_group(x * mean[:, None])
    per_unit = np.divide(1.0, units, out=np.zeros_like(units), where=units > 0)
    curvature = rows.per_group(x[:, one] * x[:, other] * mean[:, None])
    curvature -= first[:, one] * first[:, other] * per_unit[:, None]
    loss = units * log(whole) - rows.per_group(rows.y * predictor)
    return curvature, rows.per_group(x * (rows.y - mean)[:, None]), loss
