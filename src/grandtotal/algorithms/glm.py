"""Ridge, Poisson and logistic regression from totals. Exact: a row is rounded, then added.

Features, weights and residuals are whole steps, and the coefficients that are broadcast are whole
steps too, so that x'b, X'WX and X'r are integers that float64 holds exactly: the totals are equal
digit for digit on any split of the rows, any BLAS and any number of threads.

IRLS: Nelder and Wedderburn, "Generalized linear models", 1972, https://doi.org/10.2307/2344614
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from grandtotal.algorithms.elementary import exp, log
from grandtotal.algorithms.gate import Gate
from grandtotal.consortium.query import Rows, State, shared_rows
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code, RefusedError
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field, quantise, unpack
from grandtotal.threads import each

X_STEPS = 2**8  # of a feature: resolution 0.004
MOST_X = 2**15 - 1  # steps of a feature, so that it fits 16 bits
UNIT_STEPS = 2**6  # of a target, in units sold
ROW_STEPS = 2**12  # of a row's weight, residual and loss, at most: how exact a fit can be
MOST_STEPS = 2**40  # of the weights of all rows: leaves features of 8 their squares below 2^62
COEFFICIENT_STEPS = 2**20
MOST_LOG = 13.86  # of a mean: a million units, which keeps the weight of a row in 32 bits
_EXACT = 2.0**53
# Entries of x in a block: in the cache, and below what a BLAS would wake its other threads for.
_BLOCK = 9000
_AT_ONCE = 2**14  # rows that go through exp and log together: their columns stay in the cache
_FEW = 2**10  # rows of which each one's own sums are made at once


@dataclass(frozen=True)
class Design:
    """Rows of a regression.

    x: (rows, features) int16, in steps of 1/X_STEPS.
    y: (rows,) float64 target in units, whole steps of 1/UNIT_STEPS.
    offset: (rows,) float64, the log of the level that the forecast is relative to; of logistic
        what is added to the log of the odds.
    product: (rows,) whose rows they are, a product's or another unit's; a row depends on no other
        unit's. Only where what one unit contributes is clipped.
    """

    x: NDArray[np.int16]
    y: NDArray[np.float64]
    offset: NDArray[np.float64]
    product: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))

    def chosen(self, rows: NDArray[np.bool_]) -> "Design":
        """Returns some of the rows; the same design if all are chosen."""
        if rows.all():
            return self
        product = self.product[rows] if len(self.product) else self.product
        return Design(self.x[rows], self.y[rows], self.offset[rows], product)

    def blocks(self, length: int = _AT_ONCE) -> Iterator["Design"]:
        """Yields the rows in blocks of this length."""
        for start in range(0, len(self.y), length):
            rows = slice(start, start + length)
            yield Design(self.x[rows], self.y[rows], self.offset[rows], self.product[rows])


def features(columns: list[NDArray[Any]]) -> NDArray[np.int16]:
    """Returns float columns (rows,) as one (rows, features) matrix of steps, clipped to 16 bits."""
    steps = np.rint(np.stack(columns, axis=1) * X_STEPS)
    whole: NDArray[np.int16] = np.clip(steps, -MOST_X, MOST_X).astype(np.int16)
    return whole


def linear(x: NDArray[np.int16], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns x'b, exactly: both are whole steps and the sums stay below 2^53."""
    whole, found = np.rint(coefficients * COEFFICIENT_STEPS), np.empty(len(x))
    for rows in _small(x):
        found[rows] = x[rows].astype(np.float64) @ whole
    return found / (X_STEPS * COEFFICIENT_STEPS)


def _small(x: NDArray[np.int16]) -> Iterator[slice]:
    """Yields the rows in pieces of _BLOCK entries, one column more among them."""
    length = max(1, _BLOCK // (x.shape[1] + 1))
    for start in range(0, len(x), length):
        yield slice(start, start + length)


def mean(
    family: str,
    x: NDArray[np.int16],
    offset: NDArray[np.float64],
    coefficients: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Returns the expected units: exp(offset + x'b) for poisson, exp(offset) x'b for ridge.

    For logistic, the probability of a 1 at these log odds.
    """
    return _mean(family, offset, linear(x, coefficients))


def _mean(
    family: str, offset: NDArray[np.float64], predictor: NDArray[np.float64]
) -> NDArray[np.float64]:
    if family == "ridge":
        return exp(offset) * predictor
    if family == "logistic":
        return probability(offset + predictor)
    return exp(np.clip(offset + predictor, -MOST_LOG, MOST_LOG))


def probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 1 / (1 + e^-s), the same bits on every machine."""
    return 1.0 / (1.0 + exp(-np.clip(log_odds, -MOST_LOG, MOST_LOG)))


def log_loss(y: NDArray[np.float64], log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns minus the log of the probability that was given to what came, 0 or 1."""
    s = np.clip(log_odds, -MOST_LOG, MOST_LOG)
    return np.maximum(s, 0.0) - y * s + log(1.0 + exp(-np.abs(s)))


@dataclass(frozen=True)
class GLMMoments:
    """One Newton step's totals: X'WX, X'(y - mean), the loss, and the number of rows.

    The broadcast holds "coefficients" (features,), and what the rows need to build their features.

    largest: norm to which X'WX (its upper triangle) and X'(y - mean) of one product, together, are
        cut, in the units of the totals; 0 is not at all. Loss and rows are then not asked.
    per_customer: products that one customer's lines count for; 0 where the product is the unit.
    group: whose rows are clipped together, where that is not a product: then it is the unit.
    steps: of a unit, to which a row's weight, residual and loss are rounded.

    Why the product and not the row: a week of sales is the target of some rows, and through means,
    last year and the limit of outliers a feature of nearly all later rows of the same product. All
    of these are in the one contribution that is clipped, and no row of another product is touched.
    """

    name: ClassVar[str] = "glm-moments"

    family: str
    features: int
    split: str
    largest: float = 0.0
    per_customer: int = 0
    group: str = "product"
    steps: int = ROW_STEPS

    @property
    def bound(self) -> Stated:
        """A product's contribution may become any other of norm `largest`, its opposite too."""
        return bound_by_group(self.largest, self.group, self.per_customer)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns curvature (features, features), gradient (features,), loss and rows."""
        p = self.features
        if self.largest:
            scale = scale_of(self.largest)
            return {
                "curvature": Field((p, p), scale, symmetric=True),
                "gradient": Field((p,), scale),
            }
        return {
            "curvature": Field((p, p), scale=X_STEPS**2 * self.steps, symmetric=True),
            "gradient": Field((p,), scale=X_STEPS * self.steps),
            "loss": Field((), scale=self.steps),
            "rows": Field(()),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums in integer steps."""
        coefficients = broadcast["coefficients"]
        p = self.features
        if self.largest:
            shared = shared_rows(rows, self.split, self.per_customer, self.group)
            return self._clipped(shared.training(broadcast), coefficients)
        designs = rows[self.split].training(broadcast)
        blocks = (block for design in designs for block in design.blocks())
        sums, loss, count, reach = np.zeros((p, p + 1), np.int64), 0, 0, 0.0
        for found in each(partial(_sums, self.family, coefficients, self.steps), blocks):
            sums, loss = sums + found.sums, loss + found.loss
            count, reach = count + found.rows, reach + found.reach
        _refuse_wrapped(reach)
        return {
            "curvature": sums[:, :p],
            "gradient": sums[:, p],
            "loss": np.asarray(loss),
            "rows": np.asarray(count),
        }

    def _clipped(self, designs: list[Design], coefficients: NDArray[Any]) -> Arrays:
        p = self.features
        total = np.zeros(p * (p + 1) // 2 + p, np.int64)
        for design in designs:
            contributions = _by_product(self.family, design, coefficients)
            total += sum_of_clipped(contributions, self.largest)
        return {"curvature": unpack(total[:-p], p), "gradient": total[-p:]}


def _by_product(family: str, design: Design, coefficients: NDArray[Any]) -> NDArray[np.float64]:
    """Returns each product's X'WX, its upper triangle row by row, and X'r: one row a product."""
    p = design.x.shape[1]
    upper = np.triu_indices(p)
    found = np.zeros((design.product.max(initial=-1) + 1, len(upper[0]) + p))
    for block in design.blocks(_FEW):
        weight, residual, _ = _working(family, block, coefficients, ROW_STEPS)
        x = block.x / X_STEPS
        squares = x[:, upper[0]] * x[:, upper[1]] * weight[:, None]
        np.add.at(found, block.product, np.hstack([squares, x * residual[:, None]]))
    return found / ROW_STEPS


def _working(
    family: str, rows: Design, coefficients: NDArray[Any], steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Returns weights, residuals and losses of the rows, in so many whole steps of a unit.

    poisson: weight = mean, loss = mean - y log(mean). ridge, on y / level with weight level:
    weight = level, loss = (y - mean)^2 / (2 level). logistic: weight = mean (1 - mean).
    """
    predictor = linear(rows.x, coefficients)
    fitted = _mean(family, rows.offset, predictor)
    if family == "logistic":
        weight = fitted * (1.0 - fitted)
        loss = log_loss(rows.y, rows.offset + predictor)
    elif family == "ridge":
        weight = exp(rows.offset)
        loss = (rows.y - fitted) ** 2 / (2 * weight)
    else:
        weight = fitted
        loss = fitted - rows.y * (rows.offset + predictor)
    return (
        np.rint(weight * steps),
        np.rint((rows.y - fitted) * steps),
        np.rint(loss * steps),
    )


@dataclass(frozen=True)
class _Sums:
    """Of some rows. sums: as of `_exact_sums`. reach: what no sum over them can pass, in steps."""

    sums: NDArray[np.int64]
    loss: int
    rows: int
    reach: float


def _sums(family: str, coefficients: NDArray[Any], steps: int, rows: Design) -> _Sums:
    weight, residual, lost = _working(family, rows, coefficients, steps)
    p = rows.x.shape[1]
    sums, loss, reach = np.zeros((p, p + 1), np.int64), 0, 0.0
    for some in _small(rows.x):
        x, w, r = rows.x[some].astype(np.float64), weight[some], residual[some]
        most = np.abs(x).max(axis=1, initial=1.0)
        reach += float((most**2 * np.maximum(w, np.abs(r))).sum())
        _refuse_wrapped(reach)
        sums += _exact_sums(x, most, w, r)
        loss += int(lost[some].sum())
    return _Sums(sums, loss, len(rows.y), reach)


def _exact_sums(
    x: NDArray[np.float64],
    most: NDArray[np.float64],
    weight: NDArray[np.float64],
    residual: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Returns x' diag(weight) x and, as one column more, x' residual, for whole numbers.

    most: (rows,) what no entry of a row passes. The rows are halved until float64 is exact.
    """
    largest = max((most**2 * weight).sum(), (most * np.abs(residual)).sum())
    if len(x) > 1 and largest >= _EXACT:
        halves = slice(None, len(x) // 2), slice(len(x) // 2, None)
        first, second = (_exact_sums(x[h], most[h], weight[h], residual[h]) for h in halves)
        return first + second
    return (x.T @ np.column_stack([x * weight[:, None], residual])).astype(np.int64)


def _refuse_wrapped(reach: float) -> None:
    if reach > 2.0**62:
        raise AnswerError(
            Code.OVERFLOW,
            f"X'WX may reach {reach:.1e} steps, 2^62 is the most: too many units; count them in "
            "packs or in thousands",
        )


def steps_of(units: float) -> int:
    """Returns in how many steps of a unit rows are rounded that weigh so many units together.

    A power of two, ROW_STEPS where few are sold: the more units, the less one of them matters.
    """
    most = min(MOST_STEPS / max(units, 1.0), ROW_STEPS)
    return 1 << max(math.floor(math.log2(most)), 0)


@dataclass(frozen=True)
class GLM:
    """Regression of units sold on features relative to a level, "ridge" or "poisson".

    "logistic" is of an outcome that is 0 or 1.

    l2: penalty on every coefficient, in units of the curvature.
    rounds: most Newton steps; ridge needs one.
    tolerance: the fit has converged when the next step is predicted to lower the loss by less than
        this share of it, or by less than the rounding of the rows lets anybody see.
    largest, per_customer, group: as in GLMMoments. Where contributions are clipped totals have
        noise, and all `rounds` steps are taken: neither loss nor convergence could be seen in it.
    """

    family: str = "poisson"
    l2: float = 10.0
    rounds: int = 25
    tolerance: float = 1e-9
    largest: float = 0.0
    per_customer: int = 0
    group: str = "product"

    def fit(
        self, totals: Totals, features: int, split: str, broadcast: Arrays, units: float = 0.0
    ) -> tuple[NDArray[np.float64], Json]:
        """Returns coefficients (features,) and {"rounds", "converged", "left", "rows", ...}.

        "rolled_back" of it are the steps after which the summed loss was higher: see `Gate`.

        broadcast: what the rows need to build their features; may hold "coefficients" to start.
        units: about how many all rows together are of, where they may be very many.
        """
        sort = (self.largest, self.per_customer, self.group)
        query = GLMMoments(self.family, features, split, *sort, steps_of(units))
        b = np.asarray(broadcast.get("coefficients", np.zeros(features)), np.float64)
        if self.largest:
            return self._fit_in_noise(totals, query, b, broadcast)
        gate, step = Gate(b), np.zeros(features)
        left = math.inf
        for rounds in range(1, self.rounds + 1):
            sums = totals.total(query, {**broadcast, "coefficients": b})
            loss = float(sums["loss"]) + self.l2 * float(b @ b) / 2
            seen = _rounding(float(sums["rows"]), query.steps)
            if gate.passes(rounds, b, loss, seen):
                step, left = self._newton(sums, b)
            else:
                # The step went too far: try half of it.
                step, left = step / 2, left / 2
            b = _whole(gate.good + step)
            # The loss of ridge is a parabola: its first Newton step is the solution.
            left = 0.0 if self.family == "ridge" else left
            converged = left <= max(seen, self.tolerance * abs(loss))
            if converged:
                break
        fit = {"rounds": rounds, "converged": converged, "left": left, "rows": int(sums["rows"])}
        return b, {**fit, "rolled_back": gate.rolled_back}

    def _fit_in_noise(
        self, totals: Totals, query: GLMMoments, b: NDArray[np.float64], broadcast: Arrays
    ) -> tuple[NDArray[np.float64], Json]:
        """Returns coefficients after `rounds` Newton steps, and {"rounds"}.

        Without noise X'WX has no negative eigenvalue: how far below 0 they go is how large the
        noise is in any direction, and the penalty is at least as large.
        """
        for _ in range(self.rounds):
            sums = totals.total(query, {**broadcast, "coefficients": b})
            values, directions = np.linalg.eigh(sums["curvature"])
            gradient = directions.T @ (sums["gradient"] - self.l2 * b)
            penalty = max(self.l2, -float(values.min()))
            b = _whole(b + directions @ (gradient / (np.maximum(values, 0.0) + penalty)))
        return b, {"rounds": self.rounds}

    def _newton(self, sums: Arrays, b: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Returns the step, and by how much it is predicted to lower the loss."""
        curvature = sums["curvature"] + self.l2 * np.eye(len(b))
        gradient = sums["gradient"] - self.l2 * b
        try:
            factor = cho_factor(curvature)
        except (LinAlgError, ValueError) as error:
            raise RefusedError(
                "X'WX + l2 I of all rows together is not positive definite, which no sum of rows "
                "makes: the answer of a retailer is broken; each has its own log.txt"
            ) from error
        step: NDArray[np.float64] = cho_solve(factor, gradient)
        return step, float(step @ gradient) / 2


def _rounding(rows: float, steps: int) -> float:
    """Returns how far the sum of so many rounded losses may be off: losses nearer are equal."""
    return 3 * math.sqrt(rows / 12) / steps


def _whole(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    return quantise(coefficients, COEFFICIENT_STEPS) / COEFFICIENT_STEPS
