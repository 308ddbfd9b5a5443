"""The inner loops of ALS in NumPy: slower than `als_kernels`.

Sums of integers are the same bits; a customer's factors agree to the last bits of float64, as they
do between two libraries of linear algebra, and become whole steps that are a million times coarser.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.threads import one_thread

_SOLVED = 1024  # items of which all pairs with customers are in memory at once
_DENSE = 40  # cells per purchase up to which products of all pairs are quicker than of the bought

Floats = NDArray[np.float64]


def conjugate(
    starts: NDArray[Any],
    products: NDArray[Any],
    factors: Floats,
    common: Floats,
    penalty: Floats,
    steps: int,
    turn: Floats,
    out: Floats,
) -> None:
    """Writes x turn for each customer's solution x of (common + penalty + sum q q') x = sum q.

    Nearly: after so many conjugate gradients from 0, preconditioned by common + penalty, or fewer
    where float64 has no smaller residual. A customer's bits do not depend on who else is asked for.

    starts, products: what each customer bought, as in a sparse matrix. factors: (products, d), q.
    common: (d,) a diagonal. penalty: (customers,). turn: (d, d). out: (customers, d).
    """
    with one_thread():
        for customer in range(len(out)):
            own = factors[products[starts[customer] : starts[customer + 1]]]
            out[customer] = _conjugate(own, common + penalty[customer], steps) @ turn


def _conjugate(own: Floats, diagonal: Floats, steps: int) -> Floats:
    x, residual = np.zeros_like(diagonal), own.sum(axis=0)
    direction = residual / diagonal
    length = residual @ direction
    least = length * 2.0**-104
    for _ in range(steps):
        if not length > least:
            break
        towards = diagonal * direction + (own @ direction) @ own
        far = length / (direction @ towards)
        x += far * direction
        residual -= far * towards
        nearer = residual / diagonal
        before, length = length, residual @ nearer
        direction = nearer + length / before * direction
    return x


def weighted(
    starts: NDArray[Any],
    customers: NDArray[Any],
    directions: Floats,
    steps: Floats,
    down: int,
    out: NDArray[np.int64],
) -> float:
    """Writes the sum of (p'x) p over each item's customers; returns the largest |p'x|.

    p'x is rounded to 2^down. All are integers; 256 of x times p add up to less than 2^53.

    starts, customers: of each item, as in a sparse matrix. directions: (items, d), x.
    steps: (customers, d), p. out: (items, d).
    """
    shape = len(directions), len(steps)
    if shape[0] * shape[1] > _DENSE * len(customers):
        exact = _of_pairs(starts, customers, directions, steps)
    else:
        exact = _of_all(starts, customers, directions, steps)
    weights = np.rint(exact * 2.0**-down)
    items = csr_array((weights.astype(np.int64), customers, starts), shape=shape)
    out[:] = items @ steps.astype(np.int64)
    return float(np.abs(weights).max(initial=0.0))


def _of_pairs(starts: NDArray[Any], customers: Any, directions: Floats, steps: Floats) -> Floats:
    owner = np.repeat(np.arange(len(directions)), np.diff(starts))
    exact = np.empty(len(customers))
    for start in range(0, len(customers), 2**16):
        some = slice(start, start + 2**16)
        exact[some] = (directions[owner[some]] * steps[customers[some]]).sum(axis=1)
    return exact


def _of_all(starts: NDArray[Any], customers: Any, directions: Floats, steps: Floats) -> Floats:
    owner = np.repeat(np.arange(len(directions)), np.diff(starts))
    exact = np.empty(len(customers))
    with one_thread():
        for start in range(0, len(directions), _SOLVED):
            stop = min(start + _SOLVED, len(directions))
            own = slice(starts[start], starts[stop])
            whole = directions[start:stop] @ steps.T
            exact[own] = whole[owner[own] - start, customers[own]]
    return exact
