"""Choices of 0 or 1 by HiGHS, which now and then prints to standard output: that is for data."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp


def solved(
    cost: NDArray[np.float64], conditions: Sequence[LinearConstraint], gap: float, seconds: float
) -> OptimizeResult:
    """Returns what scipy's `milp` finds for variables that are 0 or 1; the cost is made small.

    gap: relative to the best that may be possible. seconds: the best so far is taken then.
    """
    with _silent():
        return milp(
            cost,
            integrality=np.ones(len(cost), np.int64),
            bounds=Bounds(0, 1),
            constraints=list(conditions),
            options={"mip_rel_gap": gap, "time_limit": seconds},
        )


@contextmanager
def _silent() -> Iterator[None]:
    """Takes standard output away below Python, where `redirect_stdout` does not reach."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
