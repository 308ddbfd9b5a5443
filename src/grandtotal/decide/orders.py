"""How much of each product to order now: order-up-to levels from sample paths of its demand.

Periodic review: what is ordered now arrives after the lead time and must last until the next order
arrives, a review period later. The demand of that time is the sum along each sample path, never a
sum of quantiles: weeks that sell well follow each other. Snyder & Shen 2019, sections 4.3 and 4.4.

Who finds an empty shelf buys elsewhere. What is wanted before the order is here and cannot be
served is therefore not ordered later: along each path, what will be there when the order arrives is
looked at, not what is there or on its way less all demand. van Jaarsveld & Arts, "Projected
inventory-level policies for lost sales inventory systems", 2024.

Arrays are per product, of length P; times are in periods of the forecast.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import LinearConstraint

from grandtotal.decide.solver import solved
from grandtotal.errors import PlanError

Numbers = NDArray[np.float64]
_STEPS = 24  # increments that a budget chooses among, at most, of one product
_HALVINGS = 48
_GAP = 1e-4  # of the best use of a budget, relative
_SECONDS = 30.0  # what is best so far is taken then


@dataclass(frozen=True)
class Target:
    """What the level is to reach.

    cycle: the share of review periods without a stock-out. fill: the share of units that are sold
    from the shelf. cost: the least of holding and missing, from the costs of each product.
    """

    kind: str
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.kind not in ("cycle", "fill", "cost"):
            raise PlanError(f'target = {self.kind!r}, expected "cycle", "fill" or "cost"')
        if not 0 < self.level < 1:
            raise PlanError(f"service = {self.level!r}, expected a share between 0 and 1")


@dataclass(frozen=True)
class Shelf:
    """What is there and how more of it comes.

    on_hand, on_order: units; on_hand below 0 is owed to customers. lead_time: until an order is
    here. pack: an order is whole packs. minimum: the least that may be ordered. shelf_life: how
    long a unit can be sold, inf for ever. space: how many fit, inf for any number. unit_cost: what
    a unit costs. missing: what a unit costs that is not there when wanted, such as its margin.
    """

    on_hand: Numbers
    on_order: Numbers
    lead_time: Numbers
    pack: Numbers
    minimum: Numbers
    shelf_life: Numbers
    space: Numbers
    unit_cost: Numbers
    missing: Numbers

    def __post_init__(self) -> None:
        for name, least in (("lead_time", 0.0), ("pack", 1.0), ("minimum", 0.0), ("unit_cost", 0)):
            values = getattr(self, name)
            if not (np.isfinite(values) & (values >= least)).all():
                at = int(np.flatnonzero(~(np.isfinite(values) & (values >= least)))[0])
                raise PlanError(
                    f"{name} = {values[at]:g} of product {at}, expected a number from {least:g} on"
                )

    @property
    def position(self) -> Numbers:
        """What is there or on its way, less what is owed."""
        return self.on_hand + self.on_order


@dataclass(frozen=True)
class Orders:
    """What to order, and what follows if it is.

    units: whole packs. level: the order-up-to level that was aimed at. held_back: units that the
    level asked for and something forbade; limit: which of LIMITS did, by its place.
    expected: demand until the next order arrives. enough: the probability that nothing is missing
    until then. missing, left: expected units short in the review period, and over at its end.
    """

    units: Numbers
    level: Numbers
    held_back: Numbers
    limit: NDArray[np.int64]
    expected: Numbers
    enough: Numbers
    missing: Numbers
    left: Numbers
    before: Numbers


LIMITS = ("", "space", "shelf life", "budget", "minimum order", "warehouse")


@dataclass(frozen=True)
class Terms:
    """What orders cost beside their units, and whether customers wait.

    holding: what keeping a unit for a period costs, as a share of its unit cost. line: what placing
    the order of one product costs; above 0, a product is ordered less often and more of it: when
    its level is passed, up to the level and an economic order quantity, an (s, S) policy. budget:
    the most that all orders together may cost. waits: customers wait for what is missing.
    """

    holding: float = 0.005
    line: float = 0.0
    budget: float = math.inf
    waits: bool = False

    def __post_init__(self) -> None:
        for name in ("holding", "line", "budget"):
            if not getattr(self, name) >= 0:
                raise PlanError(f"{name} = {getattr(self, name)!r}, expected a number from 0 on")


@dataclass(frozen=True)
class Demand:
    """Sample paths of demand: (products, draws, periods), none below 0."""

    paths: Numbers

    def until(self, time: Numbers) -> Numbers:
        """Returns (products, draws) sold from now until a time of each product; PlanError beyond.

        A part of a period sells its share.
        """
        periods = self.paths.shape[2]
        if time.max(initial=0) > periods + 1e-9:
            most = int(time.argmax())
            raise PlanError(
                f"product {most} needs a forecast of {time[most]:g} periods, there are {periods}; "
                f"train with a longer horizon, or order more often"
            )
        whole = np.minimum(np.floor(time + 1e-9).astype(np.int64), periods)
        rest = np.maximum(time - whole, 0.0)[:, None]
        found, running = np.zeros(self.paths.shape[:2]), np.zeros(self.paths.shape[:2])
        # Period after period: all running sums at once would be as large as the paths again.
        for period in range(int(whole.max(initial=0)) + 1):
            at = np.flatnonzero(whole == period)
            found[at] = running[at]
            if period < periods:
                then = running + self.paths[:, :, period]
                found[at] += rest[at] * (then[at] - running[at])
                running = then
        return found


@dataclass(frozen=True)
class _Reach:
    """The demand that an order meets: (products, draws) until it is here, and until the next is.

    before: what is wanted until it is here and is lost; it is in neither of the two.
    """

    early: Numbers
    until: Numbers
    before: Numbers

    @staticmethod
    def of(demand: Demand, shelf: Shelf, review: float, waits: bool) -> "_Reach":
        early, until = demand.until(shelf.lead_time), demand.until(shelf.lead_time + review)
        short = np.maximum(early - np.maximum(shelf.position, 0.0)[:, None], 0.0)
        lost = np.zeros_like(short) if waits else short
        return _Reach(early - lost, until - lost, lost)


def orders(
    demand: Demand, shelf: Shelf, review: float, target: Target, terms: Terms = Terms()
) -> Orders:
    """Returns what to order now; review: periods until the next order."""
    reach = _Reach.of(demand, shelf, review, terms.waits)
    level = _levels(reach, shelf, review * terms.holding, target)
    missing = level - shelf.position
    more = _economic(demand, shelf, terms) if terms.line else np.zeros_like(level)
    wanted = _packs(np.where(missing > 1e-9, missing + more, 0.0), shelf)
    units, limit = _limited(wanted, demand, reach, shelf)
    if float((units * shelf.unit_cost).sum()) > terms.budget:
        within = _within(terms.budget, units, reach.until, shelf, review * terms.holding)
        limit = np.where(within < units, LIMITS.index("budget"), limit)
        units = within
    return _told(units, level, wanted, limit, reach, shelf)


def _economic(demand: Demand, shelf: Shelf, terms: Terms) -> Numbers:
    """Returns Harris's quantity for the mean demand; 0 where keeping a unit costs nothing."""
    rate = demand.paths.mean(axis=(1, 2))
    kept = terms.holding * shelf.unit_cost
    square = np.divide(2 * terms.line * rate, kept, out=np.zeros_like(rate), where=kept > 0)
    quantity: Numbers = np.sqrt(square)
    return quantity


def _levels(reach: _Reach, shelf: Shelf, holding: float, target: Target) -> Numbers:
    until = reach.until
    if target.kind == "cycle":
        return np.quantile(until, target.level, axis=1, method="inverted_cdf")
    if target.kind == "fill":
        return _fill_levels(reach.early, until, target.level)
    kept = holding * shelf.unit_cost
    share = np.divide(
        shelf.missing, shelf.missing + kept, out=np.zeros_like(kept), where=shelf.missing > 0
    )
    rank = np.ceil(share * until.shape[1]).astype(np.int64) - 1
    sorted_ = np.sort(until, axis=1)
    chosen = np.take_along_axis(sorted_, np.maximum(rank, 0)[:, None], axis=1)[:, 0]
    levels: Numbers = np.where(share > 0, chosen, 0.0)
    return levels


def _fill_levels(early: Numbers, until: Numbers, share: float) -> Numbers:
    """Returns the least level at which the units missing in a review period are few enough."""
    allowed = (1 - share) * (until - early).mean(axis=1)
    low, high = np.zeros(len(until)), until.max(axis=1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        many = _missing(early, until, middle) > allowed
        low, high = np.where(many, middle, low), np.where(many, high, middle)
    found: Numbers = high
    return found


def _missing(early: Numbers, until: Numbers, level: Numbers) -> Numbers:
    """Returns the expected units that are short in the review period, once each."""
    at = level[:, None]
    short = np.maximum(until - at, 0) - np.maximum(early - at, 0)
    found: Numbers = short.mean(axis=1)
    return found


def _packs(units: Numbers, shelf: Shelf) -> Numbers:
    """Returns the least order of whole packs that has so many units, and the minimum if any."""
    return whole_packs(np.where(units > 1e-9, np.maximum(units, shelf.minimum), 0.0), shelf.pack)


def whole_packs(units: Numbers, pack: Numbers) -> Numbers:
    """Returns the least number of units that is whole packs and not fewer."""
    packs: Numbers = np.ceil(np.maximum(units / pack - 1e-9, 0.0))
    return packs * pack


def instead(
    made: Orders, units: Numbers, limit: str, demand: Demand, shelf: Shelf, review: float
) -> Orders:
    """Returns what follows if other units are ordered, no more than before: what forbade the rest.

    Sales that nobody waits for, as in `Terms` by default.
    """
    reach = _Reach.of(demand, shelf, review, waits=False)
    which = np.where(units < made.units, LIMITS.index(limit), made.limit)
    wanted = made.units + made.held_back
    return _told(units, made.level, wanted, which, reach, shelf)


def needed(demand: Demand, shelf: Shelf, review: float) -> Numbers:
    """Returns (products, draws) what stock and order must last for: lost sales are not in it."""
    return _Reach.of(demand, shelf, review, waits=False).until


def outcome(demand: Demand, shelf: Shelf, review: float, units: Numbers) -> tuple[Numbers, Numbers]:
    """Returns, if so much is ordered, the units expected missing in the review period, and left."""
    reach = _Reach.of(demand, shelf, review, waits=False)
    after = shelf.position + units
    return _missing(reach.early, reach.until, after), _left(reach.until, after)


def _left(until: Numbers, level: Numbers) -> Numbers:
    left: Numbers = np.maximum(level[:, None] - until, 0).mean(axis=1)
    return left


def _limited(
    wanted: Numbers, demand: Demand, reach: _Reach, shelf: Shelf
) -> tuple[Numbers, NDArray[np.int64]]:
    """Returns orders that fit on the shelf and will be sold in time; an order too small is none."""
    periods = demand.paths.shape[2]
    # On average so much is still there when the order arrives.
    room = shelf.space - _left(reach.early, shelf.position)
    # What is ordered now must go before it spoils: half of the paths sell what lies there by then.
    spoils = np.minimum(shelf.lead_time + shelf.shelf_life, periods)
    sold = np.median(demand.until(spoils) - reach.before, axis=1)
    keeps = np.where(np.isinf(shelf.shelf_life), np.inf, sold - shelf.position)
    units, limit = wanted, np.zeros(len(wanted), np.int64)
    for name, most in (("space", room), ("shelf life", keeps)):
        fits = np.maximum(np.floor(np.minimum(most, wanted) / shelf.pack + 1e-9), 0) * shelf.pack
        limit = np.where(fits < units, LIMITS.index(name), limit)
        units = np.minimum(units, fits)
    small = (units > 0) & (units < shelf.minimum)
    return np.where(small, 0.0, units), np.where(small, LIMITS.index("minimum order"), limit)


def _within(budget: float, units: Numbers, until: Numbers, shelf: Shelf, holding: float) -> Numbers:
    """Returns the orders of the highest expected value that the budget pays for.

    Each product's order is cut into increments of whole packs; a later one is worth less, so that
    the best of all of them is a knapsack, which HiGHS solves. An increment is worth the missing
    units that it avoids, less the units that it leaves over.
    """
    product, upto = _increments(units, shelf)
    if not len(product):
        return np.zeros_like(units)
    before = np.where(np.r_[False, product[1:] == product[:-1]], np.r_[0.0, upto[:-1]], 0.0)
    value = _worth(upto, product, until, shelf, holding) - _worth(
        before, product, until, shelf, holding
    )
    cost = (upto - before) * shelf.unit_cost[product]
    later = np.flatnonzero(before > 0)
    rows = np.repeat(np.arange(len(later)), 2)
    columns = np.column_stack([later, later - 1]).ravel()
    order = sparse.csr_array(
        (np.tile([1.0, -1.0], len(later)), (rows, columns)), shape=(len(later), len(product))
    )
    conditions = [LinearConstraint(cost[None, :], -np.inf, budget)]
    if len(later):
        conditions.append(LinearConstraint(order, -np.inf, 0))
    found = solved(-value, conditions, _GAP, _SECONDS)
    if found.x is None:
        raise PlanError(f"budget = {budget:g}: no choice of orders was found: {found.message}")
    taken = np.rint(found.x) > 0
    bought = (upto - before)[taken]
    return np.bincount(product[taken], bought, minlength=len(units)).astype(np.float64)


def _increments(units: Numbers, shelf: Shelf) -> tuple[NDArray[np.int64], Numbers]:
    """Returns (product, units up to and with the increment), the minimum order in one piece."""
    products, places = [], []
    for i in np.flatnonzero(units > 0):
        first = min(max(math.ceil(shelf.minimum[i] / shelf.pack[i] - 1e-9), 1), units[i])
        packs = round(units[i] / shelf.pack[i])
        count = min(_STEPS, packs - int(first) + 1)
        ends = np.unique(np.rint(np.linspace(first, packs, count)))
        products.append(np.full(len(ends), i, np.int64))
        places.append(ends * shelf.pack[i])
    if not products:
        return np.empty(0, np.int64), np.empty(0)
    return np.concatenate(products), np.concatenate(places)


def _worth(
    ordered: Numbers, product: NDArray[np.int64], until: Numbers, shelf: Shelf, holding: float
) -> Numbers:
    """Returns the expected value of an order: less missing, more left over."""
    level = (shelf.position[product] + ordered)[:, None]
    paths = until[product]
    missing = np.maximum(paths - level, 0).mean(axis=1)
    left = np.maximum(level - paths, 0).mean(axis=1)
    worth: Numbers = -(shelf.missing[product] * missing + holding * shelf.unit_cost[product] * left)
    return worth


def _told(
    units: Numbers,
    level: Numbers,
    wanted: Numbers,
    limit: NDArray[np.int64],
    reach: _Reach,
    shelf: Shelf,
) -> Orders:
    after = shelf.position + units
    return Orders(
        units=units,
        level=level,
        held_back=np.maximum(wanted - units, 0.0),
        limit=np.where(wanted > units, limit, 0),
        expected=(reach.until + reach.before).mean(axis=1),
        enough=(reach.until <= after[:, None] + 1e-9).mean(axis=1),
        missing=_missing(reach.early, reach.until, after),
        left=_left(reach.until, after),
        before=reach.before.mean(axis=1),
    )
