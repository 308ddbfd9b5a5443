"""BG/NBD: how often a customer buys, and whether it still does.

While active, a customer buys at rate lambda; after each purchase it leaves for good with
probability p. Over the customers lambda ~ Gamma(r, rate alpha) and p ~ Beta(a, b). Without leaving
it is the older NBD. Time is in days: weeks would move the parameters by a percent or two.

Purchases are whole numbers, so that Gamma(r + x) / Gamma(r) is a product of x factors: log and
four operations are enough, and the sums of the likelihood have the same digits on every machine.

Fader, Hardie and Lee, "'Counting your customers' the easy way: an alternative to the Pareto/NBD
model", 2005, https://doi.org/10.1287/mksc.1040.0098, equations 6 and 10.
NBD: Ehrenberg, "The pattern of consumer purchases", 1959, https://doi.org/10.2307/2985810
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp, log

Values = NDArray[np.float64]
BG_NBD = ("r", "alpha", "a", "b")
NBD = ("r", "alpha")
_NOTHING = -60.0  # log of a share that adding to 1 does not change
_NEAR_ONE = 1e-7
_MOST_LOG = 600.0  # of a factor: float64 holds it and its inverse
_TERMS = 20_000
_SMALLEST = 2.0**-55  # of a sum: a term that does not change it


@dataclass(frozen=True)
class Repeats:
    """What BG/NBD knows of each customer, all (customers,).

    repeats: x, days on which something was bought, without the first; int64.
    last: t_x, days from the first purchase to the last. age: T, days from the first one to now.
    """

    repeats: NDArray[np.int64]
    last: Values
    age: Values

    def __len__(self) -> int:
        return len(self.repeats)

    def taken(self, rows: slice | NDArray[np.bool_]) -> "Repeats":
        """Returns some of the customers."""
        return Repeats(self.repeats[rows], self.last[rows], self.age[rows])


# --- the likelihood of each customer ---


def nbd_terms(rows: Repeats, parameters: Values) -> tuple[Values, Values, Values]:
    """Returns log-likelihoods (n,), gradients (n, 2), curvatures (n, 2, 2) in r and alpha."""
    r, alpha = parameters
    x, until = rows.repeats, alpha + rows.age
    value, slope, bend = _rising(r, x)
    log_alpha, log_until = log(np.array([alpha]))[0], log(until)
    likelihood = value + r * log_alpha - (r + x) * log_until
    gradient = np.stack([slope + log_alpha - log_until, r / alpha - (r + x) / until], axis=1)
    curvature = np.empty((len(x), 2, 2))
    curvature[:, 0, 0] = bend
    curvature[:, 0, 1] = curvature[:, 1, 0] = 1 / alpha - 1 / until
    curvature[:, 1, 1] = (r + x) / until**2 - r / alpha**2
    return likelihood, gradient, curvature


def bgnbd_terms(rows: Repeats, parameters: Values) -> tuple[Values, Values, Values]:
    """Returns log-likelihoods (n,), gradients (n, 4), curvatures (n, 4, 4) in r, alpha, a, b.

    The likelihood is A2 (active + left): that the customer is still active, the NBD, or that it
    left after its last purchase, each times the share of customers who stayed x times.
    """
    r, alpha, a, b = parameters
    x = rows.repeats
    stayed, stayed_slope, stayed_bend = _rising(b, x)
    all_, all_slope, all_bend = _rising(a + b, x)
    active, active_gradient, active_curvature = nbd_terms(rows, parameters[:2])
    left = _log_odds_of_leaving(rows, parameters)
    share = _share(left)

    # The share that left has moved these derivatives of log A4 - log A3 into the likelihood.
    until, since = alpha + rows.age, alpha + rows.last
    again = np.maximum(b + x - 1, b)  # where x is 0 the share is 0 as well
    apart = np.stack(
        [
            log(until) - log(since),
            (r + x) * (1 / until - 1 / since),
            np.full(len(x), 1 / a),
            -1 / again,
        ],
        axis=1,
    )
    gradient = share[:, None] * apart
    gradient[:, :2] += active_gradient
    gradient[:, 2] -= all_slope
    gradient[:, 3] += stayed_slope - all_slope

    curvature = (share * (1 - share))[:, None, None] * apart[:, :, None] * apart[:, None, :]
    curvature[:, :2, :2] += active_curvature
    curvature[:, 0, 1] += share * (1 / until - 1 / since)
    curvature[:, 1, 0] = curvature[:, 0, 1]
    curvature[:, 1, 1] += share * (r + x) * (1 / since**2 - 1 / until**2)
    curvature[:, 2, 2] -= share / a**2
    curvature[:, 3, 3] += share / again**2 + stayed_bend
    curvature[:, 2:, 2:] -= all_bend[:, None, None]
    likelihood = active + stayed - all_ + _log_1p_exp(left)
    return likelihood, gradient, curvature


def _log_odds_of_leaving(rows: Repeats, parameters: Values) -> Values:
    """Returns log(A4 / A3): left after the last purchase, over still active; -inf where x is 0."""
    r, alpha, a, b = parameters
    x = rows.repeats
    again = np.maximum(b + x - 1, b)
    silent = (r + x) * (log(alpha + rows.age) - log(alpha + rows.last))
    return np.where(x > 0, silent + log(np.array([a]))[0] - log(again), -np.inf)


def _rising(start: float, x: NDArray[np.int64]) -> tuple[Values, Values, Values]:
    """Returns log of start (start + 1) ... (start + x - 1) and its two derivatives in start."""
    factors = start + np.arange(x.max(initial=0), dtype=np.float64)
    sums = (log(factors), 1 / factors, -1 / factors**2)
    # One after the other, so that a sum does not depend on how many others are asked for.
    tables = [np.concatenate([[0.0], np.cumsum(each)]) for each in sums]
    return tables[0][x], tables[1][x], tables[2][x]


def _share(odds: Values) -> Values:
    """Returns 1 / (1 + exp(-odds))."""
    small = exp(np.maximum(-np.abs(odds), _NOTHING)) * (odds > -np.inf)
    return np.where(odds > 0, 1.0, small) / (1 + small)


def _log_1p_exp(odds: Values) -> Values:
    """Returns log(1 + exp(odds))."""
    small = exp(np.maximum(-np.abs(odds), _NOTHING)) * (odds > -np.inf)
    return np.maximum(odds, 0.0) + log(1 + small)


# --- what follows for each customer ---


def probability_alive(rows: Repeats, parameters: Values) -> Values:
    """Returns the probability (customers,) of being active still; 1 under NBD.

    A customer who never came back is active for certain in this model: it leaves after purchases
    only, and not after the first.
    """
    if len(parameters) == len(NBD):
        return np.ones(len(rows))
    return _share(-_log_odds_of_leaving(rows, parameters))


def expected_purchases(rows: Repeats, parameters: Values, days: float) -> Values:
    """Returns how many purchases (customers,) are expected in the next `days`.

    Equation 10 and, unless its terms have both signs, what Euler's transformation makes of it: a
    series that does not grow with x.
    """
    r, alpha = parameters[:2]
    x = rows.repeats
    if len(parameters) == len(NBD):
        rate: Values = (r + x) / (alpha + rows.age) * days
        return rate
    a, b = parameters[2:]
    a = a + _NEAR_ONE if abs(a - 1) < _NEAR_ONE else a  # there the formula is 0 / 0
    until, c = alpha + rows.age, a + b + x - 1
    z, log_rest = days / (until + days), log(until) - log(until + days)
    plain = (a + b - 1 < r) & (-(r + x) * log_rest < _MOST_LOG)
    stay = exp(np.maximum(np.where(plain, r + x, a - 1) * log_rest, -_MOST_LOG))
    stay[plain] *= _hypergeometric(r + x[plain], b + x[plain], c[plain], z[plain])
    one, other = np.full(len(x), a + b - 1 - r), np.full(len(x), a - 1)
    stay[~plain] *= _hypergeometric(one[~plain], other[~plain], c[~plain], z[~plain])
    expected = (a + b + x - 1) / (a - 1) * (1 - stay) * probability_alive(rows, parameters)
    found: Values = np.maximum(expected, 0.0)
    return found


def _hypergeometric(a: Values, b: Values, c: Values, z: Values) -> Values:
    """Returns 2F1(a, b; c; z) for z in [0, 1), all (n,), term by term.

    An entry that has converged is not changed by what others still add: its terms are below half
    a unit in its last place. That takes about 40 / (1 - z) terms; after _TERMS of them, where a
    forecast looks hundreds of times as far ahead as anything is known, it is left as it is.
    """
    total, active = np.ones_like(z), np.arange(len(z))
    term = np.ones_like(z)
    for n in range(_TERMS):
        a_, b_, c_, z_ = (each[active] for each in (a, b, c, z))
        term = term * ((a_ + n) * (b_ + n) / ((c_ + n) * (n + 1)) * z_)
        total[active] += term
        if n % 16 == 0:
            left = np.abs(term) > _SMALLEST * np.abs(total[active])
            term, active = term[left], active[left]
        if not len(active):
            break
    return total
