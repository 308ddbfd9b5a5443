"""What a boosted tree makes small: loss, gradient and hessian of a row, equal on every machine.

Poisson and Tweedie with a log link: Zhou, Qian and Yang, "Tweedie gradient boosting for extremely
unbalanced zero-inflated data", 2020. exp and log are those of `elementary`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp, log
from grandtotal.errors import PlanError

Floats = NDArray[np.float64]

NAMES = ("squared", "poisson", "tweedie", "logistic", "quantile")
MOST_SCORE = 30.0  # of a score under a log or logit link: e^30 is 10^13
_BLOCK = 16384  # rows: their numbers stay in the cache


@dataclass(frozen=True)
class Objective:
    """name: one of NAMES. shape: the power of tweedie, in (1, 2); the level of quantile, in (0, 1).

    A score s is the mean for squared, its logarithm for poisson and tweedie, its logit for
    logistic, the quantile itself for quantile; a target is y.
    """

    name: str = "squared"
    shape: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise PlanError(f"objective = {self.name!r}, expected one of {', '.join(NAMES)}")
        bounds = {"tweedie": (1, 2), "quantile": (0, 1)}.get(self.name)
        if bounds and not bounds[0] < self.shape < bounds[1]:
            raise PlanError(
                f"{self.name}: shape = {self.shape!r}, expected a number between {bounds[0]} and "
                f"{bounds[1]}"
            )

    @property
    def varies(self) -> bool:
        """Whether the hessian differs from row to row; else it is 1."""
        return self.name in ("poisson", "tweedie", "logistic")

    @property
    def accepted(self) -> str:
        """Which targets can be used."""
        return {
            "poisson": "0 or more",
            "tweedie": "0 or more",
            "logistic": "between 0 and 1",
        }.get(self.name, "any number")

    def wrong(self, y: Floats) -> NDArray[np.bool_]:
        """Returns which targets cannot be used."""
        if self.name in ("poisson", "tweedie"):
            return y < 0
        return (y < 0) | (y > 1) if self.name == "logistic" else np.zeros(len(y), np.bool_)

    def score(self, mean: float) -> float:
        """Returns the score of a mean: what boosting begins with."""
        if self.name in ("poisson", "tweedie"):
            return float(log(np.array([max(mean, 1e-6)]))[0])
        if self.name == "logistic":
            inside = np.array([min(max(mean, 1e-6), 1 - 1e-6)])
            return float((log(inside) - log(1 - inside))[0])
        return mean

    def mean(self, s: Floats) -> Floats:
        """Returns what is predicted at a score."""
        if self.name in ("poisson", "tweedie"):
            return exp(_clipped(s))
        return 1.0 / (1.0 + exp(-_clipped(s))) if self.name == "logistic" else s

    def gradient(self, y: Floats, s: Floats) -> tuple[Floats, Floats | None]:
        """Returns the first and second derivative of the loss at s; None where the second is 1."""
        if self.name == "squared":
            return s - y, None
        if self.name == "quantile":
            return np.where(y < s, 1 - self.shape, -self.shape), None
        if self.name == "tweedie":
            s = _clipped(s)
            paid, meant = y * exp((1 - self.shape) * s), exp((2 - self.shape) * s)
            return meant - paid, (2 - self.shape) * meant - (1 - self.shape) * paid
        mean = self.mean(s)
        return mean - y, mean if self.name == "poisson" else mean * (1 - mean)

    def loss(self, y: Floats, s: Floats) -> Floats:
        """Returns the loss: (y - s)^2, e^s - y s, Tweedie's, log loss, or the pinball loss."""
        if self.name == "squared":
            return (s - y) ** 2
        if self.name == "quantile":
            return np.where(y < s, (1 - self.shape) * (s - y), self.shape * (y - s))
        s = _clipped(s)
        if self.name == "poisson":
            return exp(s) - y * s
        if self.name == "logistic":
            return np.maximum(s, 0) - y * s + log(1 + exp(-np.abs(s)))
        power = self.shape
        return exp((2 - power) * s) / (2 - power) - y * exp((1 - power) * s) / (1 - power)

    def gradient_steps(
        self, y: Floats, s: Floats, scales: tuple[int, int], most: tuple[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Returns both derivatives in whole steps of 2^-scale, each cut at 2^most."""
        g = np.empty(len(y), np.int64)
        h = np.empty(len(y), np.int64) if self.varies else None
        for start in range(0, len(y), _BLOCK):
            block = slice(start, start + _BLOCK)
            first, second = self.gradient(y[block], s[block])
            g[block] = steps(first, scales[0], most[0])
            if h is not None:
                h[block] = steps(second, scales[1], most[1])
        return g, h


def steps(values: Any, scale: int, most: int) -> NDArray[np.int64]:
    """Returns values in whole steps of 2^-scale, cut at 2^most steps."""
    whole = np.rint(values * 2.0**scale)
    cut: NDArray[np.int64] = np.clip(whole, -(2.0**most), 2.0**most).astype(np.int64)
    return cut


def exponents(values: Floats) -> NDArray[np.int64]:
    """Returns how many values have each magnitude, (256,): place i holds [2^(i-129), 2^(i-128)).

    Zeros are not counted; what is smaller or larger counts at the ends.
    """
    biased = np.ascontiguousarray(values).view(np.int64) >> 52 & 0x7FF
    counts = np.bincount(biased, minlength=2048)
    counts[0] = 0
    first = 1022 - 128  # of a value in [0.5, 1) the biased exponent is 1022
    inside = counts[first : first + 256].astype(np.int64)
    inside[0] += counts[:first].sum()
    inside[-1] += counts[first + 256 :].sum()
    return inside


def largest(counts: NDArray[np.int64]) -> int | None:
    """Returns the least power of two that no counted magnitude reaches, None without any."""
    there = np.flatnonzero(counts)
    return int(there[-1]) - 128 if len(there) else None


def _clipped(s: Floats) -> Floats:
    return np.clip(s, -MOST_SCORE, MOST_SCORE)
