"""Maximum likelihood from totals: the sums over customers of log-likelihood and derivatives.

Exact: each customer's terms are rounded to whole steps before they are added, so the totals and
the parameters are equal digit for digit on any split of the customers. The parameters are positive
and are looked for by their logarithms. One question a round; the sums of second derivatives ride in
it, which makes it about ten rounds instead of the thirty to sixty of L-BFGS.

Nothing bounds what one customer adds to a likelihood, and cutting it off would find another maximum
than that of the model: these sums have no private form and are refused under epsilon.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.bgnbd import BG_NBD, NBD, Repeats, bgnbd_terms, nbd_terms
from grandtotal.algorithms.elementary import exp, log
from grandtotal.algorithms.gamma_gamma import GAMMA_GAMMA, Spending, gamma_gamma_terms
from grandtotal.algorithms.newton import Sums, maximise
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

Values = NDArray[np.float64]
STEPS = 2**30  # of a term: a million customers of a log-likelihood of 1,000 each stay below 2^62
_BLOCK = 2**14  # customers whose curvatures lie in memory at once
_LEAST = 1e-4  # of a parameter


@dataclass(frozen=True)
class Family:
    """A model of customers.

    parameters: their names. of: what of a split's rows, given the broadcast, it is about. terms:
    each customer's log-likelihood and derivatives. start: the parameters to begin with. most: where
    they end: a likelihood that rises for ever is flat there, as of customers who are all alike.
    """

    parameters: tuple[str, ...]
    of: Callable[[Any, Arrays], Any]
    terms: Callable[[Any, Values], tuple[Values, Values, Values]]
    start: tuple[float, ...]
    most: tuple[float, ...]


def _repeats(rows: Any, broadcast: Arrays) -> Repeats:
    found: Repeats = rows.on(broadcast["clock"]) if "clock" in broadcast else rows.repeats
    return found


def _spending(rows: Any, broadcast: Arrays) -> Spending:  # noqa: ARG001
    found: Spending = rows.spending
    return found


FAMILIES: Mapping[str, Family] = {
    "bg-nbd": Family(
        BG_NBD,
        _repeats,
        bgnbd_terms,
        start=(1.0, 50.0, 1.0, 2.0),
        most=(100.0, 1e6, 50.0, 5e3),
    ),
    "nbd": Family(NBD, _repeats, nbd_terms, (1.0, 50.0), (100.0, 1e6)),
    "gamma-gamma": Family(
        GAMMA_GAMMA,
        _spending,
        gamma_gamma_terms,
        start=(4.0, 4.0, 30.0),
        most=(1e3, 1e3, 1e8),
    ),
}


@dataclass(frozen=True)
class LikelihoodSums:
    """Sums over the customers of a split of log-likelihood, gradient and curvature.

    family: of FAMILIES. The broadcast holds the logarithms of its "parameters" (p,), and the
    derivatives are with respect to these; with a "clock" time is measured on it and not in days.
    """

    name: ClassVar[str] = "likelihood-sums"
    bound: ClassVar[Stated] = None

    family: str
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns likelihood, gradient (p,), curvature (p, p) and how many customers there are."""
        p = len(broadcast["parameters"])
        return {
            "likelihood": Field((), STEPS),
            "gradient": Field((p,), STEPS),
            "curvature": Field((p, p), STEPS, symmetric=True),
            "customers": Field(()),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums in whole steps."""
        family = FAMILIES[self.family]
        known, parameters = family.of(rows[self.split], broadcast), exp(broadcast["parameters"])
        p = len(parameters)
        upper = np.triu_indices(p)
        sums = np.zeros(1 + p + len(upper[0]), np.int64)
        for start in range(0, len(known), _BLOCK):
            block = known.taken(slice(start, start + _BLOCK))
            value, gradient, curvature = family.terms(block, parameters)
            slope = gradient * parameters
            bend = curvature * np.outer(parameters, parameters)
            bend[:, np.arange(p), np.arange(p)] += slope
            terms = np.hstack([value[:, None], slope, bend[:, upper[0], upper[1]]])
            sums += np.rint(terms * STEPS).astype(np.int64).sum(axis=0)
        return {
            "likelihood": sums[0],
            "gradient": sums[1 : 1 + p],
            "curvature": sums[1 + p :],
            "customers": np.asarray(len(known)),
        }


@dataclass(frozen=True)
class MaximumLikelihood:
    """The parameters of a family under which the customers' purchases are the likeliest.

    rounds: most steps. tolerance: it has converged when the next step is predicted to raise the
    log-likelihood by less than this share of it.
    """

    family: str
    rounds: int = 60
    tolerance: float = 1e-13

    def fit(self, totals: Totals, split: str, given: Arrays | None = None) -> tuple[Values, Json]:
        """Returns the parameters (p,) and {"rounds", "converged", "likelihood", "customers", ...}.

        given: what is broadcast beside the parameters: a "clock", or nothing. A sum without
        customers has no maximum: the parameters are then those of the start. Where the likelihood
        rises for ever, as if nobody ever came back, they are at the ends of a range that is wider
        than any shop's customers.
        """
        query, seen = LikelihoodSums(self.family, split), {}

        def sums_at(point: Values) -> Sums:
            found = totals.total(query, {**(given or {}), "parameters": point})
            rounding = 3 * np.sqrt(float(found["customers"]) / 12) / STEPS
            seen["likelihood"] = float(found["likelihood"])
            seen["customers"] = int(found["customers"])
            value = float(found["likelihood"])
            return Sums(value, found["gradient"], found["curvature"], float(rounding))

        family = FAMILIES[self.family]
        start, most = log(np.array(family.start)), log(np.array(family.most))
        box = np.stack([np.full(len(most), np.log(_LEAST)), most])
        point, fit = maximise(sums_at, start, box, self.rounds, self.tolerance)
        return exp(point), {**fit, **seen}
