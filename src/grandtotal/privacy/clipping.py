"""What one unit contributes to a sum, cut to a norm: clipped, rounded, checked, then added.

In this order, since a bound that holds before rounding does not hold after it: a row of d entries
grows by up to sqrt(d) / 2 when each is rounded to the nearest integer. So the contribution of each
unit, by default a customer, is one row that is
    1. scaled down until its Euclidean norm is at most the bound, direction kept;
    2. rounded to the nearest integers, or towards zero where the nearest would pass the bound;
    3. checked as integers, whose squares float64 adds up exactly;
    4. added.
What a row becomes depends on nothing but the row: that is what makes the bound one of the sum.

Rounding to the nearest is off by at most half a step an entry and by nothing in the mean; towards
zero by less than one step, always inwards. Make a step small: a bound of sqrt(d) steps or less
leaves little but zeros of a row of d like entries.

Contributions clipped one unit at a time, and their noise: McMahan et al., "Learning differentially
private recurrent language models", 2018, https://arxiv.org/abs/1710.06963. Rounding under a norm:
Kairouz, Liu and Steinke, "The distributed discrete Gaussian mechanism for federated learning with
secure aggregation", 2021, https://arxiv.org/abs/2102.06387
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.bound import Bound

STEPS = 2**16  # about how many make the largest contribution, where a scale is free to choose
MOST_NORM = 2.0**26  # steps: the squares of any row near the bound then add up below 2^53
_HUGE = 1e100  # what is larger counts as this: its square and sums of squares stay finite
# Brings a row whose norm is the bound, but for the rounding of float64, inside of it.
_INSIDE = 1 - 2.0**-32


def clip(steps: NDArray[Any], norm: float) -> NDArray[np.int64]:
    """Returns the rows of (units, d), in steps, as integers whose norms are at most `norm`.

    A row of integers inside the bound is returned as it is. A missing value, nan, counts as 0 and
    an infinite one as huge: what one customer's row holds must not decide whether there is a total.
    """
    return _clip(np.asarray(steps), norm, lambda row: row.sum(axis=1), lambda unit: unit[:, None])


def clip_sparse(steps: csr_array, norm: float) -> csr_array:
    """Returns what `clip` does, of a sparse (units, d): entries that became 0 are left out."""
    whole = _merged(steps)
    entries = np.diff(whole.indptr)
    rows = np.repeat(np.arange(len(entries)), entries)
    data = _clip(
        whole.data,
        norm,
        lambda values: np.bincount(rows, values, minlength=len(entries)),
        lambda unit: unit[rows],
    )
    clipped = csr_array((data, whole.indices, whole.indptr), shape=whole.shape)
    clipped.eliminate_zeros()
    return clipped


def checked_sum(whole: NDArray[np.int64] | csr_array, norm: float) -> NDArray[np.int64]:
    """Returns the sum (d,) of rows of integers (units, d); AnswerError if one is beyond `norm`."""
    merged = whole if isinstance(whole, np.ndarray) else _merged(whole)
    if merged.size:
        squares = np.asarray((merged.astype(np.float64) ** 2).sum(axis=1))
        if squares.max() > most_squares(norm):
            raise AnswerError(
                Code.INTERNAL,
                f"a contribution has the norm {math.sqrt(squares.max()):,.3f} steps, the bound is "
                f"{norm:,.3f}: it was not clipped, and nothing is released",
            )
    total: NDArray[np.int64] = np.asarray(whole.sum(axis=0, dtype=np.int64))
    return total


def equal_steps(entries: NDArray[np.integer], norm: float) -> NDArray[np.int64]:
    """Returns the integer (units,) of which each contribution of so many equal entries is made.

    It is the largest for which the contribution's norm is at most `norm`; 0 where there is no
    entry. All units with entries have about the same norm: many entries count no more than few.
    """
    most = most_squares(norm)
    steps = np.floor(np.sqrt(most / np.maximum(entries, 1))).astype(np.int64)
    steps -= steps**2 * entries > most
    return np.where(entries > 0, steps, 0)


def most_squares(norm: float) -> int:
    """Returns the largest sum of squares of integers that counts as inside `norm`, its square.

    sqrt(3) ** 2 is below 3 in float64, and three entries of 1 are inside sqrt(3) all the same.
    """
    if not 0 < norm <= MOST_NORM:
        raise ValueError(f"norm = {norm!r}, expected steps above 0, up to {MOST_NORM:,.0f}")
    square = norm * norm
    return math.floor(square + min(square * 2.0**-51, 0.5))


def changed(norm: float, signed: bool = True) -> float:
    """Returns how far a sum moves if a unit inside `norm` is removed, added, or becomes another.

    Two rows are at most 2 norm apart, and sqrt(2) norm where no entry is negative.
    """
    return (2.0 if signed else math.sqrt(2.0)) * norm


def scale_of(largest: float) -> int:
    """Returns steps per unit for contributions of at most `largest`: about STEPS make that."""
    if not 0 < largest <= MOST_NORM:
        raise ValueError(f"largest = {largest!r}, expected units above 0, up to {MOST_NORM:,.0f}")
    return max(1, math.floor(STEPS / largest))


def norm_of(largest: float) -> float:
    """Returns the norm, in steps of `scale_of`, of a contribution of `largest` units."""
    return largest * scale_of(largest)


def sum_of_clipped(contributions: NDArray[Any] | csr_array, largest: float) -> NDArray[np.int64]:
    """Returns the sum (d,), in steps of `scale_of`, of contributions (units, d) cut to `largest`.

    largest: the norm of a contribution, in its own units.
    """
    steps, norm = contributions * scale_of(largest), norm_of(largest)
    whole = clip(steps, norm) if isinstance(steps, np.ndarray) else clip_sparse(steps, norm)
    return checked_sum(whole, norm)


def bound_by_group(
    largest: float, group: str, per_customer: int = 0, signed: bool = True
) -> Bound | None:
    """Returns the bound of a sum whose rows are clipped group by group, None where largest is 0.

    largest: the norm of one group's contribution, in units. group: what it is, e.g. "product":
        all that one retailer knows of one product; the unit, where per_customer is 0.
    per_customer: in how many groups the rows of one customer are at most: then the customer is the
        unit. One who becomes another leaves so many groups and enters as many; each contribution
        that it touches may become any other, and the moves may all be in one direction.
    """
    if not largest:
        return None
    moved = changed(norm_of(largest), signed)
    return Bound(moved * 2 * per_customer, "customer") if per_customer else Bound(moved, group)


def by_unit(
    units: NDArray[Any], cells: NDArray[np.integer], values: NDArray[Any], width: int
) -> csr_array:
    """Returns the sums (different units, width) of values, each at its unit and cell: rows to clip.

    units: (rows,) whose row it is, of any type that sorts. cells: (rows,) in [0, width).
    """
    different, row = np.unique(units, return_inverse=True)
    # A sum of float64 of one unit must not depend on where other units' rows are.
    order = np.argsort(row, kind="stable")
    summed = csr_array((values[order], (row[order], cells[order])), (len(different), width))
    summed.sum_duplicates()
    return summed


def latest(units: NDArray[Any], most: int) -> NDArray[np.bool_]:
    """Returns which rows are among the last `most` of their unit, in the order given: (rows,)."""
    order = np.argsort(units, kind="stable")[::-1]
    sorted_units = units[order]
    starts = np.flatnonzero(np.append(True, sorted_units[1:] != sorted_units[:-1])[: len(units)])
    lengths = np.diff(np.append(starts, len(units)))
    kept = np.empty(len(units), np.bool_)
    kept[order] = np.arange(len(units)) - np.repeat(starts, lengths) < most
    return kept


def _clip(
    steps: NDArray[Any],
    norm: float,
    by_row: Callable[[NDArray[np.float64]], NDArray[Any]],
    of_row: Callable[[NDArray[Any]], NDArray[Any]],
) -> NDArray[np.int64]:
    """by_row sums entries into one number a unit; of_row gives every entry its unit's number."""
    most = most_squares(norm)
    x = np.clip(np.nan_to_num(steps.astype(np.float64), nan=0.0), -_HUGE, _HUGE)
    length = np.sqrt(by_row(x**2))
    x *= of_row(np.minimum(1.0, norm / np.maximum(length, norm)))
    whole = np.rint(x)
    beyond = of_row(by_row(whole**2) > most)
    whole = np.where(beyond, np.trunc(x * _INSIDE), whole)
    return whole.astype(np.int64)


def _merged(matrix: csr_array) -> csr_array:
    """Returns a copy in which no two entries are of the same cell."""
    copy = csr_array(matrix, copy=True)
    copy.sum_duplicates()
    return copy
