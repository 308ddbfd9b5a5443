"""Estimates drawn to those of their like: product to category, category to consortium.

Normal-normal, its variances by the method of moments, from the estimates and their variances alone.

Paule and Mandel, "Consensus values and weighting factors", 1982,
https://doi.org/10.6028/jres.087.022; Efron and Morris, "Stein's estimation rule and its
competitors", 1973, https://doi.org/10.2307/2284155
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEW = 2.0  # estimates that what was believed before counts for


@dataclass(frozen=True)
class Believed:
    """What is public before any data: the mean of a coefficient, and how far products differ.

    sd: of the mean itself.
    """

    mean: float
    sd: float
    between: float


@dataclass(frozen=True)
class Prior:
    """What an estimate is drawn to.

    mean, variance: (groups + 1,) of one more product of each group, the last of an unknown one.
    overall: the mean over groups; between: standard deviation of products within a group.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    overall: float
    between: float


def prior_of(
    estimate: NDArray[np.float64],
    variance: NDArray[np.float64],
    group: NDArray[np.integer],
    groups: int,
    believed: Believed,
) -> Prior:
    """Returns the prior of every group from estimates (n,) with these variances.

    group: (n,) from 0 to groups; `groups` itself stands for an unknown one.
    """
    within = _between(estimate, variance, group, groups + 1, believed.between**2)
    weight = 1.0 / (variance + within)
    whole = np.bincount(group, weight, minlength=groups + 1)
    some = whole > 0
    means = np.zeros(groups + 1)
    np.divide(
        np.bincount(group, weight * estimate, minlength=groups + 1), whole, out=means, where=some
    )
    own = np.divide(1.0, whole, out=np.full(groups + 1, np.inf), where=some)
    found, of = means[some], own[some]
    apart = _between(found, of, np.zeros(len(found), np.intp), 1, within / 2)
    overall, sure = _mean(found, of + apart, believed)
    # A group's mean is itself drawn to the mean of all; a group without estimates is that mean.
    kept = np.where(some, apart / (apart + np.where(some, own, 1.0)), 0.0)
    mean = overall + kept * (means - overall)
    of_mean = (1 - kept) * apart + (1 - kept) ** 2 * sure
    return Prior(mean, within + of_mean, overall, float(np.sqrt(within)))


def _mean(
    found: NDArray[np.float64], variance: NDArray[np.float64], believed: Believed
) -> tuple[float, float]:
    """Returns the mean and its variance, what was believed being one estimate more."""
    weight = np.append(1.0 / variance, believed.sd**-2)
    return float(weight @ np.append(found, believed.mean) / weight.sum()), float(1 / weight.sum())


def _between(
    estimate: NDArray[np.float64],
    variance: NDArray[np.float64],
    group: NDArray[np.integer],
    groups: int,
    believed: float,
) -> float:
    """Returns the variance between true values of one group, by which the estimates scatter so.

    It is where the sum of (estimate - group's mean)^2 / (variance + between) is what is left of
    their number; `believed` counts for _FEW estimates more.
    """
    free = len(estimate) - len(np.unique(group))

    def excess(between: float) -> float:
        weight = 1.0 / (variance + between)
        whole = np.bincount(group, weight, minlength=groups)
        means = np.bincount(group, weight * estimate, minlength=groups) / np.maximum(whole, 1e-300)
        scatter = float(weight @ (estimate - means[group]) ** 2)
        return scatter + _FEW * believed / max(between, 1e-12) - free - _FEW

    low, high = 1e-9, max(believed, float(np.var(estimate)) if free > 0 else believed, 1e-6) * 16
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return math.sqrt(low * high)
