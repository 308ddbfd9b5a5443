"""Sums, means and distances along the periods of series: what features of demand are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def running(values: Floats) -> Floats:
    """Returns running sums over the last axis with a 0 before the first period."""
    zero = np.zeros((*values.shape[:-1], 1))
    sums: Floats = np.concatenate([zero, np.cumsum(values, axis=-1)], axis=-1)
    return sums


def divided(above: Any, below: Any) -> Floats:
    """Returns above / below, nan where below is 0 or unknown."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    found: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found


def mean_of_columns(values: Floats) -> Floats:
    """Returns the mean of each column over what is known in it."""
    known = ~np.isnan(values)
    return divided(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def mean_of_rows(values: Floats) -> Floats:
    """Returns the mean of each row over what is known in it."""
    known = np.isfinite(values)
    return divided(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))


def mean_of(sums: Floats, counts: Floats, s: Any, first: Any, last: Any) -> Floats:
    """Returns the mean of open periods from first to before last, of each case."""
    return divided(sums[s, last] - sums[s, first], counts[s, last] - counts[s, first])


def run(marks: NDArray[np.bool_], s: Any, u: Any, step: int, last: int) -> Floats:
    """Returns how many steps it is from period u to the next mark, 0 if it is one.

    nan where there is none before the first period or up to `last`.
    """
    length = marks.shape[1]
    places = np.where(marks, np.arange(length), -1 if step < 0 else length)
    if step < 0:
        near = np.maximum.accumulate(places, axis=1)[s, u]
        return np.where(near >= 0, u - near, np.nan)
    near = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1][s, u]
    return np.where(near < last, near - u, np.nan)


def changes(marks: NDArray[np.bool_], s: Any, u: Any, step: int, last: int) -> Floats:
    """Returns for how many periods the mark of period u has been, or will be, what it is.

    From 1 on; nan where it does not change from the first period on, or up to `last`.
    """
    length = marks.shape[1]
    other = np.zeros_like(marks)
    other[:, 1:] = marks[:, 1:] != marks[:, :-1]  # a new state begins here
    if step < 0:
        return run(other, s, u, -1, last) + 1
    nxt = np.minimum(u + 1, length - 1)
    found = run(other, s, nxt, 1, last) + 1
    return np.where(u + 1 < length, found, np.nan)
