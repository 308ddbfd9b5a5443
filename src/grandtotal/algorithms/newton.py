"""The largest value of a sum over customers, by Newton steps that are held back where they must be.

A likelihood of several parameters need not be concave. Each step is taken along the eigenvectors of
the curvature, uphill whatever its sign, and is no longer than a radius: a step after which the sum
is lower is taken back and makes it smaller, any other makes it larger. Parameters stay in a box.
Everything depends on totals alone.

Dauphin et al., "Identifying and attacking the saddle point problem in high-dimensional non-convex
optimization", 2014, https://arxiv.org/abs/1406.2572
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.gate import Gate
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import quantise

Values = NDArray[np.float64]
LONGEST = 2.0  # of a step: parameters are logarithms, so at most a factor of 7
STEPS = 2**32  # of a parameter that is broadcast
_FLATTEST = 1e-9  # of the largest curvature: what is flatter counts as so flat


@dataclass(frozen=True)
class Sums:
    """value, gradient (p,) and curvature (p, p) of a sum; seen: what rounding may add to value."""

    value: float
    gradient: Values
    curvature: Values
    seen: float


def maximise(
    sums_at: Callable[[Values], Sums], start: Values, box: Values, rounds: int, tolerance: float
) -> tuple[Values, Json]:
    """Returns the parameters (p,) and {"rounds", "converged", "left", "rolled_back"}.

    box: (2, p), between which the parameters stay. It has converged when the next step is predicted
    to raise the sum by no more than rounding lets anybody see, or than `tolerance` of it; that step
    is taken as well, since it costs no round.
    """
    point = _whole(start, box)
    gate, step, left, radius = Gate(point), np.zeros_like(start), math.inf, LONGEST
    for done in range(1, rounds + 1):
        sums = sums_at(point)
        if gate.passes(done, point, -sums.value, sums.seen):
            radius = min(LONGEST, 2 * radius)
            step, left = _step(sums, point, box, radius)
        else:
            radius = float(np.linalg.norm(step)) / 4
            step, left = step / 4, left / 4
        point = _whole(gate.good + step, box)
        converged = left <= max(sums.seen, tolerance * abs(sums.value))
        if converged:
            break
    fit = {"rounds": done, "converged": converged, "left": left}
    return point, {**fit, "rolled_back": gate.rolled_back}


def _step(sums: Sums, point: Values, box: Values, radius: float) -> tuple[Values, float]:
    """Returns the step, and by how much it is predicted to raise the sum."""
    low, high = box
    outward = ((sums.gradient > 0) & (point >= high)) | ((sums.gradient < 0) & (point <= low))
    free = np.flatnonzero(~outward)
    step = np.zeros_like(point)
    if not len(free):
        return step, 0.0
    values, directions = np.linalg.eigh(sums.curvature[np.ix_(free, free)])
    steep = np.abs(values)
    steep = np.maximum(steep, max(_FLATTEST * steep.max(), np.finfo(float).tiny))
    step[free] = directions @ ((directions.T @ sums.gradient[free]) / steep)
    step *= radius / max(float(np.linalg.norm(step)), radius)
    return step, float(step @ sums.gradient) / 2


def _whole(point: Values, box: Values) -> Values:
    return quantise(np.clip(point, *box), STEPS) / STEPS
