"""One price for each product, chosen together: a mixed-integer linear programme (HiGHS).

maximise sum value x, x binary, one candidate a product, where
    never cheaper: sum price x of the one >= sum price x of the other
    budgets: sum weight x <= most
so that a choice of thousands of products is exact and not a matter of the order of rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint
from scipy.sparse import csr_array, vstack

from grandtotal.decide.response import Floats
from grandtotal.decide.solver import solved
from grandtotal.errors import PlanError, RefusedError

_SECONDS = 60.0
_GAP = 1e-5
_TOLERANCE = 1e-6
_INFEASIBLE = 2  # of scipy.optimize.milp


@dataclass(frozen=True)
class Condition:
    """sum of entries x <= most, over all candidates of all products; `name` is for people."""

    name: str
    entries: Floats
    most: float


class ClashError(PlanError):
    """No choice keeps all of these conditions, and without any one of them there is one."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__("; ".join(names))
        self.names = tuple(names)


def choose(
    values: Sequence[Floats], conditions: Sequence[Condition]
) -> tuple[NDArray[np.intp], bool]:
    """Returns the best candidate of each product, and whether it is proven to be the best.

    values: of each candidate, one array a product, none empty. ClashError if there is no choice.
    """
    sizes = np.array([len(each) for each in values])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    if not conditions:
        return np.array([int(np.argmax(each)) for each in values], dtype=np.intp), True
    solved = _solve(np.concatenate(values), sizes, conditions)
    if solved is None:
        raise ClashError([each.name for each in _clash(sizes, conditions)])
    x, proven = solved
    chosen = [int(np.argmax(x[a:b])) for a, b in pairwise(starts)]
    return np.array(chosen, dtype=np.intp), proven


def _solve(
    value: Floats, sizes: NDArray[np.intp], conditions: Sequence[Condition]
) -> tuple[Floats, bool] | None:
    owner = np.repeat(np.arange(len(sizes)), sizes)
    each = csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    # HiGHS compares with fixed tolerances: a money of millions is brought near 1.
    scale = np.array([max(float(np.abs(each.entries).max()), 1e-300) for each in conditions])
    limited = csr_array(np.stack([each.entries for each in conditions]) / scale[:, None])
    most = np.array([each.most for each in conditions]) / scale + _TOLERANCE
    one, free = np.ones(len(sizes)), np.full(len(conditions), -np.inf)
    found = solved(
        -value / max(float(np.abs(value).max()), 1e-300),
        [LinearConstraint(vstack([each, limited]), np.append(one, free), np.append(one, most))],
        _GAP,
        _SECONDS,
    )
    if found.x is None and found.status != _INFEASIBLE:
        raise RefusedError(
            f"no choice of prices was found in {_SECONDS:.0f} s ({found.message}); decide with "
            f"fewer products or conditions at once"
        )
    return None if found.x is None else (found.x, found.status == 0)


def _clash(sizes: NDArray[np.intp], conditions: Sequence[Condition]) -> list[Condition]:
    """Returns conditions that clash, of which none can be left out: those that stay are tried."""
    kept = list(conditions)
    for each in conditions:
        fewer = [other for other in kept if other is not each]
        if fewer and _solve(np.zeros(int(sizes.sum())), sizes, fewer) is None:
            kept = fewer
    return kept
