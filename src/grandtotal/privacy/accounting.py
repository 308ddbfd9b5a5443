"""What releases cost: from (epsilon, delta) of a plan to the noise of each release, and back.

The currency is zero-concentrated differential privacy, rho: a release of integers that one unit
moves by at most a norm, with discrete Gaussian noise of variance sigma^2, is
rho = norm^2 / (2 sigma^2), and the rho of releases chosen one after another, each in the light of
the totals before, add up (Bun and Steinke, 2016, https://arxiv.org/abs/1605.02065; that a filter
may stop at a sum: Feldman and Zrnic, "Individual Privacy Accounting via a Renyi Filter", 2021,
https://arxiv.org/abs/2008.11193). rho is (epsilon, delta) for every pair of

    delta = min over a > 1 of exp((a - 1)(a rho - epsilon)) / (a - 1) * (1 - 1/a)^a

(Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020, Corollary 13,
https://arxiv.org/abs/2004.00010). Everybody computes the same numbers from the plan alone.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from grandtotal.errors import AnswerError, Code, PlanError, RefusedError
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import CUSTOMER, Bound, Release

_HELD_BACK = 2.0**-60  # of delta: how far all draws of a run are from exact, and float rounding
_SLACK = 1 + 1e-9  # of sigma: rounding on the way never makes it too small
MOST_EPSILON = 20.0


def delta_of(rho: float, epsilon: float) -> float:
    """Returns the least delta for which rho-zCDP implies (epsilon, delta)."""
    if rho == 0:
        return 0.0

    def log_delta(a: float) -> float:
        return (a - 1) * (a * rho - epsilon) - math.log(a - 1) + a * math.log1p(-1 / a)

    def slope(a: float) -> float:
        return (2 * a - 1) * rho - epsilon + math.log1p(-1 / a)

    # The slope rises from -infinity: its zero is the minimum.
    least, most = 1 + 1e-12, 2.0
    while slope(most) < 0:
        most *= 2
    return min(1.0, math.exp(min(0.0, log_delta(_root(slope, least, most)))))


def epsilon_of(rho: float, delta: float) -> float:
    """Returns the least epsilon for which rho-zCDP implies (epsilon, delta), 0 for rho = 0."""
    if delta_of(rho, 0.0) <= delta:
        return 0.0
    # The classic bound is never below the tight one.
    most = rho + 2 * math.sqrt(rho * math.log(1 / delta)) + 1e-9
    return _root(lambda epsilon: delta - delta_of(rho, epsilon), 0.0, most)


@cache
def rho_within(epsilon: float, delta: float) -> float:
    """Returns the largest rho for which rho-zCDP implies (epsilon, delta)."""
    target = delta - _HELD_BACK
    if target <= 0:
        raise PlanError(f"delta = {delta}, expected more than {_HELD_BACK:.0e}")
    rho = _root(lambda rho: delta_of(rho, epsilon) - target, 0.0, epsilon)
    return rho / _SLACK


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Returns where a rising function passes 0, to the last digits, by halving."""
    for _ in range(200):
        middle = (low + high) / 2
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def rho_of(norm: float, share: float, shares: int, entries: int) -> float:
    """Returns the rho of a total to which at least so many shares of noise were added.

    norm: of the total, in steps. share: the sigma of each share. entries: numbers in the total.
    """
    return norm**2 / (2 * shares * share**2) + correction(share, shares, entries)


def correction(share: float, shares: int, entries: int) -> float:
    """Returns what is added to rho since a sum of discrete Gaussians is not exactly one.

    entries / 4 * 10 * sum over k < shares of exp(-2 pi^2 share^2 k / (k + 1)): Kairouz, Liu,
    Steinke 2021, Theorem 1 with epsilon^2 = 2 rho. Below 1e-30 from a share of 3 steps on.
    """
    return (
        entries
        / 4
        * 10
        * sum(math.exp(-2 * (math.pi * share) ** 2 * k / (k + 1)) for k in range(1, shares))
    )


@dataclass(frozen=True)
class Scheduled:
    """What the plan spends on one query of one task: rho of one release, and how often."""

    rho: float
    times: int


@dataclass(frozen=True)
class Budget:
    """The noise of every release of a plan, which all members derive alike.

    rho: of the whole run. scheduled: by task and query; what is not in it may not be asked.
    members: n. Noise is made for the worst case: a customer known to S_max retailers moves the
    total by S_max * norm (other units are of one retailer); c colluders know their own noise and d
    members are missing, so that n - c - d shares must have the whole variance: each has
    sigma^2 / (n - c - d).
    """

    agreement: Agreement
    members: int
    rho: float
    scheduled: Mapping[tuple[str, str], Scheduled]

    @staticmethod
    def of(
        agreement: Agreement, releases: Mapping[str, tuple[Release, ...]], members: int
    ) -> "Budget":
        """Returns the budget of a plan: equal parts for its tasks, theirs by weight and times.

        releases: what each task will ask. PlanError, RefusedError where that cannot be.
        """
        if agreement.epsilon is None or agreement.delta is None:
            raise PlanError("no epsilon and delta in [privacy]: there is no budget to divide")
        if agreement.epsilon > MOST_EPSILON:
            raise RefusedError(
                f"epsilon = {agreement.epsilon}: above {MOST_EPSILON:g} it promises nothing; take "
                f"the line out or make it smaller"
            )
        if members - agreement.colluders - agreement.dropouts < 1:
            raise PlanError(
                f"{members} members, {agreement.colluders} colluders and {agreement.dropouts} "
                f"dropouts: nobody is left to add noise"
            )
        rho = rho_within(agreement.epsilon, agreement.delta)
        scheduled: dict[tuple[str, str], Scheduled] = {}
        for task, asked in releases.items():
            scheduled |= _divided(task, asked, rho / len(releases))
        return Budget(agreement, members, rho, scheduled)

    @property
    def shares(self) -> int:
        """How many shares have the whole variance between them: n - c - d."""
        return self.members - self.agreement.colluders - self.agreement.dropouts

    def asked(self, task: str, query: str) -> Scheduled:
        """Returns what one query of one task may spend; AnswerError if it is not scheduled."""
        found = self.scheduled.get((task, query))
        if found is None:
            known = ", ".join(q for t, q in self.scheduled if t == task) or "nothing"
            raise AnswerError(
                Code.BUDGET,
                f"'{query}' of '{task}' is not among what the task said it would ask: {known}",
            )
        return found

    def moves(self, bound: Bound) -> float:
        """Returns by how many steps one unit moves the total: a customer is known to S_max."""
        known_to = self.agreement.known_to(self.members) if bound.unit == CUSTOMER else 1
        return bound.norm * known_to

    def share(self, task: str, query: str, bound: Bound, entries: int) -> float:
        """Returns the sigma, in steps, of the noise that each retailer adds to its summand.

        entries: numbers in the summand.
        """
        return share_for(self.asked(task, query).rho, self.moves(bound), self.shares, entries)

    def sigma(self, task: str, query: str, bound: Bound, entries: int) -> float:
        """Returns the sigma of the total, in steps, that is promised: of n - c - d shares."""
        return math.sqrt(self.shares) * self.share(task, query, bound, entries)

    def planned(self, task: str) -> float:
        """Returns the rho that one task may spend."""
        return sum(item.rho * item.times for (t, _), item in self.scheduled.items() if t == task)


def share_for(rho: float, norm: float, shares: int, entries: int) -> float:
    """Returns the least sigma of a share for which `rho_of` is at most rho."""
    least = norm / math.sqrt(2 * rho * shares)
    if correction(least, shares, entries) <= rho * 1e-12:
        return least * _SLACK
    # Only below three steps: there a little more noise pays for the sum's shape.
    spare = _root(lambda share: rho - rho_of(norm, share, shares, entries), least, least + 3)
    return spare * _SLACK


def _divided(task: str, asked: tuple[Release, ...], rho: float) -> dict[tuple[str, str], Scheduled]:
    names = [release.query for release in asked]
    if len(set(names)) < len(names):
        raise PlanError(f"'{task}' states the same query twice: {', '.join(names)}")
    for release in asked:
        if release.times < 1 or not 0 < release.weight < math.inf:
            raise PlanError(f"'{task}' states {release}: times and weight must be above 0")
    whole = sum(release.times * release.weight for release in asked)
    return {
        (task, release.query): Scheduled(rho * release.weight / whole, release.times)
        for release in asked
    }


def as_gaussian(releases: Mapping[float, int], delta: float) -> float:
    """Returns the epsilon at delta of so many continuous Gaussian releases of each rho.

    By privacy loss distributions (dp-accounting), which compose without loss: what an auditor
    compares. What is enforced is `epsilon_of` the sum, which is never smaller.
    """
    # Imported where it is needed: it takes seconds.
    from dp_accounting import GaussianDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    for rho, times in releases.items():
        accountant.compose(GaussianDpEvent(1 / math.sqrt(2 * rho)), times)
    return float(accountant.get_epsilon(delta))
