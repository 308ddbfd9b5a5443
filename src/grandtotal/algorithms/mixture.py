"""Gaussian mixtures with diagonal covariances by EM from totals.

Exact: a customer's shares in the components are rounded to whole steps before they are multiplied
and added, so the mixture is that of the pooled rows digit for digit. Several mixtures are improved
side by side in the same rounds. There is no private form: these sums are refused under epsilon.

Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via the EM algorithm", 1977,
https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp, log
from grandtotal.algorithms.points import STEPS, Box, Points, apart, blocks, joined
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field, quantise

Values = NDArray[np.float64]
SHARE_STEPS = 2**12  # of a customer's share in a component
_LOG_STEPS = 2**24  # of a log-likelihood, and of the parameters that are broadcast
_LEAST_VARIANCE = 1e-4  # in units of the box: a component is never a single point
_LEAST_SHARE = 1e-6
_LOG_2PI = float.fromhex("0x1.d67f1c864beb5p+0")


@dataclass(frozen=True)
class Mixture:
    """shares (components,); centres, variances (components, features) in units of the box.

    customers: how many it was fitted to; likelihood: its logarithm, of the last but one step.
    """

    shares: Values
    centres: Values
    variances: Values
    customers: int = 0
    likelihood: float = float("nan")
    rounds: int = 0

    def log_densities(self, points: Points) -> Values:
        """Returns log(share x density) of each component, (customers, components)."""
        x = points / STEPS
        # One feature after the other, and no matrix product: the order of additions is fixed.
        found = np.repeat(log(self.shares)[None], len(x), axis=0)
        for j in range(x.shape[1]):
            centre, variance = self.centres[:, j], self.variances[:, j]
            apart = x[:, j, None] - centre
            found -= 0.5 * (apart * apart / variance + log(variance) + _LOG_2PI)
        return found

    def memberships(self, points: Points) -> tuple[Values, Values]:
        """Returns each customer's shares (customers, components), and its log-likelihood."""
        logs = self.log_densities(points)
        most = logs.max(axis=1)
        shares = exp(np.maximum(logs - most[:, None], -60.0))
        total = np.zeros(len(shares))
        for column in shares.T:
            total += column
        return shares / total[:, None], most + log(total)

    @property
    def bic(self) -> float:
        """Returns -2 log-likelihood + parameters x log customers: lower is better."""
        k, d = self.centres.shape
        penalty = (2 * k * d + k - 1) * float(np.log(max(self.customers, 1)))
        return float(penalty - 2 * self.likelihood)


@dataclass(frozen=True)
class MixtureSums:
    """One E-step: the components' sums of shares, of shares x points and x squared points.

    The broadcast holds the box, "shares" (all,), "centres" and "variances" (all, features), mixture
    after mixture, and "ends" (mixtures,), where each ends.
    """

    name: ClassVar[str] = "mixture-sums"
    bound: ClassVar[Stated] = None

    features: str  # joined
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns sizes (all,), sums and squares (all, features), likelihood (mixtures,), rows."""
        shape = broadcast["centres"].shape
        return {
            "sizes": Field(shape[:1], SHARE_STEPS),
            "sums": Field(shape, SHARE_STEPS * STEPS),
            "squares": Field(shape, SHARE_STEPS * STEPS**2),
            "likelihood": Field(broadcast["ends"].shape, _LOG_STEPS),
            "customers": Field(()),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums."""
        points = Box.of(broadcast).points(rows[self.split], apart(self.features))
        mixtures = _mixtures(broadcast)
        found = {name: np.zeros(f.shape, np.int64) for name, f in self.fields(broadcast).items()}
        found["customers"] += len(points)
        for block in blocks(points):
            for number, (mixture, chosen) in enumerate(mixtures):
                shares, likelihood = mixture.memberships(block)
                steps = np.rint(shares * SHARE_STEPS)
                found["sizes"][chosen] += steps.sum(axis=0).astype(np.int64)
                found["sums"][chosen] += (steps.T @ block).astype(np.int64)
                found["squares"][chosen] += (steps.T @ block**2).astype(np.int64)
                rounded = np.rint(likelihood * _LOG_STEPS)
                found["likelihood"][number] += int(rounded.sum())
        return found


def _mixtures(broadcast: Arrays) -> list[tuple[Mixture, slice]]:
    ends = broadcast["ends"].tolist()
    places = [slice(*both) for both in zip([0, *ends], ends, strict=False)]
    shares, centres, variances = (broadcast[p] for p in ("shares", "centres", "variances"))
    return [(Mixture(shares[at], centres[at], variances[at]), at) for at in places]


@dataclass(frozen=True)
class GaussianMixture:
    """EM from given centres. rounds: most steps; tolerance: it has converged when no step raises
    the log-likelihood of any of the mixtures by so much a customer."""

    rounds: int = 40
    tolerance: float = 1e-4

    def fit(
        self, totals: Totals, features: Sequence[str], split: str, box: Box, starts: list[Points]
    ) -> list[Mixture]:
        """Returns a mixture of as many components as each start (components, features) has."""
        query = MixtureSums(joined(features), split)
        found = [_start(start) for start in starts]
        before = np.full(len(starts), -np.inf)
        for done in range(1, self.rounds + 1):
            sums = totals.total(query, {**box.arrays, **_together(found)})
            ends = np.cumsum([len(each.shares) for each in found])[:-1]
            parts = (np.split(sums[name], ends) for name in ("sizes", "sums", "squares"))
            customers, likelihood = int(sums["customers"]), sums["likelihood"]
            found = [
                replace(
                    _improved(size, sum_, square, customers), likelihood=float(value), rounds=done
                )
                for size, sum_, square, value in zip(*parts, likelihood, strict=True)
            ]
            if (likelihood - before <= self.tolerance * max(customers, 1)).all():
                break
            before = likelihood
        return found


def _start(centres: Points) -> Mixture:
    k = len(centres)
    spread = np.full(centres.shape, 1 / (12 * k))
    return Mixture(np.full(k, 1 / k), centres / STEPS, _whole(spread))


def _improved(sizes: Values, sums: Values, squares: Values, customers: int) -> Mixture:
    """Returns the mixture after the M-step; a component without customers keeps a least share."""
    held = np.maximum(sizes, _LEAST_SHARE)[:, None]
    centres = _whole(sums / held)
    variances = _whole(np.maximum(squares / held - centres**2, _LEAST_VARIANCE))
    shares = _whole(np.maximum(sizes / max(customers, 1), _LEAST_SHARE))
    return Mixture(shares, centres, variances, customers)


def _together(mixtures: list[Mixture]) -> Arrays:
    sizes = [len(each.shares) for each in mixtures]
    return {
        "shares": np.concatenate([each.shares for each in mixtures]),
        "centres": np.concatenate([each.centres for each in mixtures]),
        "variances": np.concatenate([each.variances for each in mixtures]),
        "ends": np.cumsum(sizes),
    }


def _whole(values: Values) -> Values:
    return quantise(values, _LOG_STEPS) / _LOG_STEPS
