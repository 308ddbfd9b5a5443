"""What a policy would have cost: real demand replayed, period after period, sales lost when short.

In each period: what was ordered a lead time ago arrives, demand takes the oldest units first, what
is left ages and spoils at the end of its shelf life, and the policy orders on what it sees then.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import PlanError

Numbers = NDArray[np.float64]
# (period that was just seen, units on hand and on order) -> units to order
Policy = Callable[[int, Numbers], Numbers]


@dataclass(frozen=True)
class Outcome:
    """Sums over the periods that were counted, by product.

    demand, sold, spoiled: units. held: units left over at the end of a period, summed over
    periods. ordered: units; lines: orders. short: periods in which somebody went without.
    """

    demand: Numbers
    sold: Numbers
    held: Numbers
    spoiled: Numbers
    ordered: Numbers
    lines: Numbers
    short: Numbers

    @property
    def fill(self) -> float:
        """Returns the share of the demand that was served."""
        return float(self.sold.sum() / max(self.demand.sum(), 1e-12))

    def cost(self, holding: Numbers, missing: Numbers, unit: Numbers, line: float = 0.0) -> Numbers:
        """Returns what each product cost: held and missing, spoiled at its unit cost, and lines."""
        lost = self.demand - self.sold
        return holding * self.held + missing * lost + unit * self.spoiled + line * self.lines


def replay(
    demand: Numbers,
    policy: Policy,
    lead_time: int,
    start: Numbers,
    shelf_life: float = math.inf,
    first: int = 0,
) -> Outcome:
    """Returns what happened to each product.

    demand: (products, periods) that customers wanted. lead_time: periods from an order at the end
    of one to the beginning of another; 0 is the next morning. start: units on hand at first, all
    fresh. first: the period from which on it is counted; what is before lets the stock settle.
    """
    if lead_time < 0 or (demand < 0).any():
        raise PlanError("a lead time or a demand is below 0, expected numbers from 0 on")
    products, periods = demand.shape
    ages = 1 if math.isinf(shelf_life) else max(int(shelf_life), 1)
    stock = np.zeros((products, ages))  # by age, fresh units last
    stock[:, -1] = start
    coming = np.zeros((products, lead_time + 1))
    sums = {name: np.zeros(products) for name in Outcome.__dataclass_fields__}
    for t in range(periods):
        stock[:, -1] += coming[:, 0]
        coming = np.concatenate([coming[:, 1:], np.zeros((products, 1))], axis=1)
        sold = _sell(stock, demand[:, t])
        spoiled = _age(stock) if not math.isinf(shelf_life) else np.zeros(products)
        on_hand = stock.sum(axis=1)
        order = np.maximum(policy(t, on_hand + coming.sum(axis=1)), 0.0)
        coming[:, lead_time] += order
        if t >= first:
            _count(sums, demand[:, t], sold, on_hand, spoiled, order)
    return Outcome(**sums)


def _sell(stock: Numbers, demand: Numbers) -> Numbers:
    """Takes the demand from the oldest units on; returns what was sold."""
    wanted = demand.copy()
    for age in range(stock.shape[1]):
        taken = np.minimum(stock[:, age], wanted)
        stock[:, age] -= taken
        wanted -= taken
    return demand - wanted


def _age(stock: Numbers) -> Numbers:
    """Lets a period pass; returns what spoiled."""
    spoiled = stock[:, 0].copy()
    stock[:, :-1] = stock[:, 1:]
    stock[:, -1] = 0.0
    return spoiled


def _count(
    sums: dict[str, Numbers],
    demand: Numbers,
    sold: Numbers,
    held: Numbers,
    spoiled: Numbers,
    order: Numbers,
) -> None:
    found = {
        "demand": demand,
        "sold": sold,
        "held": held,
        "spoiled": spoiled,
        "ordered": order,
        "lines": (order > 0).astype(np.float64),
        "short": (sold < demand).astype(np.float64),
    }
    for name, values in found.items():
        sums[name] += values


def clairvoyant(demand: Numbers, lead_time: int, pack: Numbers) -> Policy:
    """Returns the policy that knows what will be wanted: whole packs, as late as it can."""
    running = np.concatenate([np.zeros((len(demand), 1)), np.cumsum(demand, axis=1)], axis=1)
    periods = demand.shape[1]

    def order(t: int, position: Numbers) -> Numbers:
        until = min(t + lead_time + 2, periods)
        wanted = running[:, until] - running[:, t + 1] - position
        packs: Numbers = np.ceil(np.maximum(wanted, 0) / pack - 1e-9)
        return packs * pack

    return order
