"""exp and log that give the same bits on every machine.

A row is rounded to whole steps after it went through one of these, and the last digit of a
library's exp differs between processors: now and then that would turn a step. These use only
additions, multiplications, divisions and powers of two, each rounded as IEEE 754 says, in one
order. Accurate to a few units in the last place.

Cody and Waite, "Software Manual for the Elementary Functions", 1980.
"""

import math

import numpy as np
from numpy.typing import NDArray

# ln 2 in two pieces: a whole number of times the first is exact.
_LN2_HIGH = float.fromhex("0x1.62E42FEEp-1")
_LN2_LOW = float.fromhex("0x1.A39EF35793C76p-33")
_EXP = [1.0 / math.factorial(i) for i in range(14)]
_LOG = [2.0 / (2 * i + 1) for i in range(12)]


def exp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns e^x for |x| < 700."""
    twos = np.rint(x * (1.0 / math.log(2.0)))
    rest = (x - twos * _LN2_HIGH) - twos * _LN2_LOW
    return np.ldexp(_polynomial(_EXP, rest), twos.astype(np.int32))


def log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the natural logarithm of x > 0."""
    mantissa, twos = np.frexp(x)
    small = mantissa < math.sqrt(0.5)
    mantissa = np.where(small, 2.0 * mantissa, mantissa)
    twos = (twos - small).astype(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return twos * _LN2_HIGH + (s * _polynomial(_LOG, s * s) + twos * _LN2_LOW)


def _polynomial(coefficients: list[float], x: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total
