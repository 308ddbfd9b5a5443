"""How much to order, where demand is known up to chance: the textbook models, exactly.

Costs are per unit and period: `holding` of a unit left over, `shortage` of a unit missing (it is
backordered), `fixed` of an order. Demand is a frozen distribution of scipy.stats.

Snyder & Shen, "Fundamentals of Supply Chain Theory", 2nd edition, 2019, chapters 3 to 6.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from grandtotal.errors import PlanError

_TAIL = 1e-10  # probability that the tables below leave out


@dataclass(frozen=True)
class Policy:
    """Two numbers and what they cost in the long run.

    low: reorder point s or r, or the level S of a base-stock policy. high: order-up-to level S, or
    the quantity Q; None where there is one number only. cost: expected, per period.
    """

    low: float
    high: float | None
    cost: float


def economic_order_quantity(fixed: float, holding: float, demand: float) -> Policy:
    """Returns the quantity for a steady demand per period; Harris 1913."""
    _positive(fixed=fixed, holding=holding, demand=demand)
    quantity = math.sqrt(2 * fixed * demand / holding)
    return Policy(0.0, quantity, math.sqrt(2 * fixed * demand * holding))


def newsvendor(demand: Any, holding: float, shortage: float) -> Policy:
    """Returns the level whose probability of enough is shortage / (shortage + holding).

    demand: of one period; of a discrete one, the smallest such level. Edgeworth 1888.
    """
    _positive(holding=holding, shortage=shortage)
    level = float(demand.ppf(shortage / (shortage + holding)))
    return Policy(level, None, expected_cost(demand, level, holding, shortage))


def expected_cost(demand: Any, level: float, holding: float, shortage: float) -> float:
    """Returns holding * E[(level - D)+] + shortage * E[(D - level)+]."""
    missing = expected_shortage(demand, level)
    return holding * (level - float(demand.mean()) + missing) + shortage * missing


def expected_shortage(demand: Any, level: float) -> float:
    """Returns E[(D - level)+], the loss function."""
    if isinstance(demand.dist, stats.rv_discrete):
        top = max(int(demand.ppf(1 - _TAIL)) + 1, math.ceil(level))
        return float(demand.sf(np.arange(math.floor(level), top)).sum()) - (
            level - math.floor(level)
        ) * float(demand.sf(math.floor(level)))
    if demand.dist.name == "norm":
        mean, sd = float(demand.mean()), float(demand.std())
        z = (level - mean) / sd
        return sd * float(stats.norm.pdf(z) - z * stats.norm.sf(z))
    return float(demand.expect(lambda d: d - level, lb=level, epsrel=1e-9))


def min_max(demand: Any, holding: float, shortage: float, fixed: float) -> Policy:
    """Returns the (s, S) policy of periodic review without lead time, for whole units.

    The renewal form of the cost, and a search in which every step lowers it: Zheng & Federgruen,
    "Finding optimal (s, S) policies is about as simple as evaluating a single policy", 1991.
    demand: of one period, discrete.
    """
    _positive(holding=holding, shortage=shortage, fixed=fixed)
    top = int(demand.ppf(1 - _TAIL)) + 1
    single = _Kept(lambda y: expected_cost(demand, y, holding, shortage))
    renewal = _renewal(demand.pmf(np.arange(top + 1)))

    def cost(s: int, big: int) -> float:
        """Returns (fixed + sum m(j) G(S - j)) / sum m(j), j < S - s."""
        weights = renewal(big - s)
        levels = np.array([single(big - j) for j in range(big - s)])
        return float((fixed + weights @ levels) / weights.sum())

    best = int(demand.ppf(shortage / (shortage + holding)))
    s = best - 1
    while cost(s, best) > single(s):
        s -= 1
    chosen, lowest, level = best, cost(s, best), best + 1
    while single(level) <= lowest:
        if cost(s, level) < lowest:
            chosen = level
            while cost(s, chosen) <= single(s + 1):
                s += 1
            lowest = cost(s, chosen)
        level += 1
    return Policy(s, chosen, lowest)


def _renewal(pmf: NDArray[np.float64]) -> Callable[[int], NDArray[np.float64]]:
    """Returns a function of n: m(0..n-1), the expected visits at each distance below S."""
    found = [1.0 / (1.0 - pmf[0])]

    def upto(count: int) -> NDArray[np.float64]:
        while len(found) < count:
            j = len(found)
            reach = min(j, len(pmf) - 1)
            later = sum(pmf[i] * found[j - i] for i in range(1, reach + 1))
            found.append(later / (1.0 - pmf[0]))
        return np.array(found[:count])

    return upto


def reorder_quantity(
    rate: float, lead_time: float, holding: float, shortage: float, fixed: float
) -> Policy:
    """Returns the (r, Q) policy of continuous review and Poisson demand of `rate` per period.

    Federgruen & Zheng, "An efficient algorithm for computing an optimal (r, Q) policy in continuous
    review stochastic inventory systems", 1992.
    """
    _positive(rate=rate, lead_time=lead_time, holding=holding, shortage=shortage, fixed=fixed)
    demand = stats.poisson(rate * lead_time)
    single = _Kept(lambda y: expected_cost(demand, y, holding, shortage))
    top = int(demand.ppf(shortage / (shortage + holding)))
    below, above, total = top - 1, top + 1, fixed * rate + single(top)
    while min(single(below), single(above)) < total / (above - below - 1):
        if single(below) <= single(above):
            total, below = total + single(below), below - 1
        else:
            total, above = total + single(above), above + 1
    quantity = above - below - 1
    return Policy(below, quantity, total / quantity)


def lot_sizes(demand: Sequence[float], holding: float, fixed: float) -> tuple[list[float], float]:
    """Returns what to order in each period for a known demand, and the cost; Wagner & Whitin 1958.

    holding: of a unit from one period to the next.
    """
    _positive(holding=holding, fixed=fixed)
    periods = len(demand)
    least, after = [0.0] * (periods + 1), [0] * periods
    for first in reversed(range(periods)):
        carried, options = 0.0, []
        for end in range(first + 1, periods + 1):
            carried += holding * (end - 1 - first) * demand[end - 1]
            options.append((fixed + carried + least[end], end))
        least[first], after[first] = min(options)
    orders, first = [0.0] * periods, 0
    while first < periods:
        orders[first] = float(sum(demand[first : after[first]]))
        first = after[first]
    return orders, least[0]


class _Kept:
    """A function of a whole number that is computed once for each."""

    def __init__(self, function: Callable[[int], float]) -> None:
        self._function = function
        self._found: dict[int, float] = {}

    def __call__(self, level: int) -> float:
        if level not in self._found:
            self._found[level] = self._function(level)
        return self._found[level]


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise PlanError(f"{name} = {value!r}, expected a number above 0")
