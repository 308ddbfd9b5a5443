"""How fast does a weekly total grow: quasi-Poisson regression of totals on time.

log E[y] = log exposure + a + b week (+ season, + other columns); the variance is a multiple of the
mean, and where neighbouring weeks are alike the error of b grows with their correlation.

Quasi-likelihood: Wedderburn, "Quasi-likelihood functions, generalized linear models, and the
Gauss-Newton method", 1974, https://doi.org/10.2307/2334725
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]
_ROUNDS = 50
_RIDGE = 1e-6
_MOST = 30.0
YEAR = 364 / 7


@dataclass(frozen=True)
class Growth:
    """A trend of one series.

    rate: log growth a week. error: its standard error; infinite where nothing can be said.
    other: coefficients of the further columns.
    """

    rate: float
    error: float
    other: tuple[float, ...] = ()

    @property
    def p(self) -> float:
        """The probability of a rate as far from 0 without any growth."""
        return float(2 * norm.sf(abs(self.rate) / self.error)) if np.isfinite(self.error) else 1.0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Returns the growth a week, as a share, that the interval begins and ends with."""
        reach = float(norm.ppf((1 + level) / 2)) * self.error
        return float(np.expm1(self.rate - reach)), float(np.expm1(self.rate + reach))


NOTHING = Growth(0.0, np.inf)


def growth(happened: Floats, exposed: Floats, columns: Floats | None = None) -> Growth:
    """Returns the trend of (weeks,) totals over (weeks,) exposures; `NOTHING` from too few weeks.

    columns: (weeks, more) what else the level depends on. A year's season is fitted where there
    are two years: with less it cannot be told from a trend.
    """
    known = exposed > 0
    if known.sum() < 8 or happened[known].sum() <= 0:
        return NOTHING
    week = np.arange(len(happened), dtype=np.float64)
    middle = float(week[known].mean())
    parts = [np.ones_like(week), (week - middle) / YEAR]
    extra = 0 if columns is None else columns.shape[1]
    if columns is not None:
        parts += list(columns.T)
    if len(week) >= 2 * YEAR:
        angle = 2 * np.pi * week / YEAR
        parts += [np.cos(angle), np.sin(angle)]
    x = np.stack(parts, axis=1)[known]
    y, offset = happened[known], np.log(exposed[known])
    if len(y) < x.shape[1] + 4:
        return NOTHING
    b, covariance = _fit(x, y, offset)
    mean = np.exp(np.clip(offset + x @ b, -_MOST, _MOST))
    spread = _spread((y - mean) / np.sqrt(mean), x.shape[1])
    error = float(np.sqrt(max(covariance[1, 1], 0.0) * spread)) / YEAR
    return Growth(float(b[1]) / YEAR, max(error, 1e-9), tuple(b[2 : 2 + extra].tolist()))


def _fit(x: Floats, y: Floats, offset: Floats) -> tuple[Floats, Floats]:
    """Returns coefficients and the inverse of X'WX after Newton steps that never overshoot."""
    b = np.zeros(x.shape[1])
    b[0] = np.log(y.sum() / np.exp(offset).sum())
    ridge = _RIDGE * np.eye(len(b))
    for _ in range(_ROUNDS):
        mean = np.exp(np.clip(offset + x @ b, -_MOST, _MOST))
        curvature = (x.T * mean) @ x + ridge * mean.sum()
        step = np.linalg.solve(curvature, x.T @ (y - mean))
        b = b + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-10:
            break
    mean = np.exp(np.clip(offset + x @ b, -_MOST, _MOST))
    return b, np.linalg.inv((x.T * mean) @ x + ridge * mean.sum())


def _spread(residuals: Floats, fitted: int) -> float:
    """Returns variance over mean, times what weeks that are alike add to the error of a trend."""
    dispersion = float((residuals**2).sum()) / max(len(residuals) - fitted, 1)
    squares = float((residuals**2).sum())
    alike = float((residuals[1:] * residuals[:-1]).sum()) / squares if squares else 0.0
    alike = min(max(alike, 0.0), 0.8)
    return dispersion * (1 + alike) / (1 - alike)


def shrunk(own: Growth, others: Growth, spread: float) -> float:
    """Returns the own rate moved to the others', as far as it is the less certain of the two.

    spread: standard deviation of rates around that of all retailers, log growth a week.
    """
    if not np.isfinite(own.error):
        return others.rate if np.isfinite(others.error) else 0.0
    towards = others.rate if np.isfinite(others.error) else 0.0
    weight = spread**2 / (spread**2 + own.error**2)
    return weight * own.rate + (1 - weight) * towards
