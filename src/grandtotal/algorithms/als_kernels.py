"""The inner loops of ALS, compiled by numba. `als_numpy` says what each does.

Each purchase's factors are read once for both of what they are needed for: p'q, and p'q times q.
"""

from functools import partial
from typing import Any

import numpy as np

from grandtotal.algorithms.compiled import compiled

# Sums in any order, so that they are made of several numbers at once: of integers they are exact.
_compiled = partial(compiled, fastmath={"reassoc", "contract"})


@_compiled
def conjugate(
    starts: Any,
    products: Any,
    factors: Any,
    common: Any,
    penalty: Any,
    steps: Any,
    turn: Any,
    out: Any,
) -> None:
    d = out.shape[1]
    x = np.empty(d)
    for customer in range(len(out)):
        own = products[starts[customer] : starts[customer + 1]]
        _conjugate(own, factors, common + penalty[customer], steps, x)
        turned = out[customer]
        turned[:] = 0.0
        for j in range(d):
            for k in range(d):
                turned[k] += x[j] * turn[j, k]


@_compiled
def _conjugate(own: Any, factors: Any, diagonal: Any, steps: Any, x: Any) -> None:
    d = len(x)
    x[:] = 0.0
    residual, towards = np.zeros(d), np.empty(d)
    for product in own:
        for k in range(d):
            residual[k] += factors[product, k]
    direction = residual / diagonal
    length = _dot(residual, direction)
    least = length * 2.0**-104
    for _ in range(steps):
        if not length > least:
            break
        for k in range(d):
            towards[k] = diagonal[k] * direction[k]
        for product in own:
            weight = _dot(factors[product], direction)
            for k in range(d):
                towards[k] += weight * factors[product, k]
        far = length / _dot(direction, towards)
        for k in range(d):
            x[k] += far * direction[k]
            residual[k] -= far * towards[k]
            towards[k] = residual[k] / diagonal[k]
        before, length = length, _dot(residual, towards)
        for k in range(d):
            direction[k] = towards[k] + length / before * direction[k]


@_compiled
def _dot(one: Any, other: Any) -> float:
    total = 0.0
    for k in range(len(one)):
        total += one[k] * other[k]
    return total


@_compiled
def weighted(
    starts: Any, customers: Any, directions: Any, steps: Any, down: Any, out: Any
) -> float:
    largest, scale = 0.0, 2.0**-down
    for item in range(len(out)):
        total = out[item]
        for customer in customers[starts[item] : starts[item + 1]]:
            own = steps[customer]
            weight = np.rint(_dot(directions[item], own) * scale)
            largest = max(largest, abs(weight))
            whole = np.int64(weight)
            for k in range(len(own)):
                total[k] += whole * np.int64(own[k])
    return largest
