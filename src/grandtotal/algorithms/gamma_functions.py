"""log of the gamma function and its first two derivatives, with the same bits on every machine.

A small argument is first raised above _LARGE by the recurrence of each function; there Stirling's
series is accurate to a few units in the last place. Nothing but additions, multiplications,
divisions and `elementary.log` is used: see `elementary` for why.

Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 6.1.41, 6.3.18 and 6.4.12.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log

_LARGE = 8.0
_HALF_LOG_2PI = float.fromhex("0x1.d67f1c864beb5p-1")
# Bernoulli numbers B_2, B_4, ... of the three series.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_LOG_GAMMA = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1)]
_DIGAMMA = [-b / (2 * k) for k, b in enumerate(_BERNOULLI, 1)]
_TRIGAMMA = list(_BERNOULLI)

Values = NDArray[np.float64]


def log_gamma(x: Values) -> Values:
    """Returns log Gamma(x) for x > 0."""
    product, high = np.ones_like(x), x.copy()
    for small in _raised(high):
        product[small] *= high[small]
        high[small] += 1
    series = _series(_LOG_GAMMA, high) / high
    return (high - 0.5) * log(high) - high + _HALF_LOG_2PI + series - log(product)


def digamma(x: Values) -> Values:
    """Returns the derivative of log Gamma(x) for x > 0."""
    below, high = np.zeros_like(x), x.copy()
    for small in _raised(high):
        below[small] += 1 / high[small]
        high[small] += 1
    return log(high) - 0.5 / high + _series(_DIGAMMA, high) / (high * high) - below


def trigamma(x: Values) -> Values:
    """Returns the second derivative of log Gamma(x) for x > 0."""
    below, high = np.zeros_like(x), x.copy()
    for small in _raised(high):
        below[small] += 1 / (high[small] * high[small])
        high[small] += 1
    squared = high * high
    return 1 / high + 0.5 / squared + _series(_TRIGAMMA, high) / (squared * high) + below


def _raised(high: Values) -> Iterator[NDArray[np.bool_]]:
    """Yields the entries that are still small, until none is; the caller raises them by one."""
    small = high < _LARGE
    while small.any():
        yield small
        small = high < _LARGE


def _series(coefficients: list[float], x: Values) -> Values:
    """Returns sum_k coefficients[k] x^(-2 k)."""
    inverse = 1 / (x * x)
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * inverse + coefficient
    return total
