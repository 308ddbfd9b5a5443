"""What a retailer allows a price to be: its rules, and the ladder of prices that they leave.

A file of rules, every line of which may be left out:

    objective = "margin"                  # or "revenue", "units"
    risk = 0.5                            # standard deviations taken off an uncertain gain
    largest_change = 0.1                  # of a price, in one decision: a decision a period
    endings = [0.99, 0.49]                # of a price; [] is every `step`
    step = 0.01
    margin_floor = 0.0                    # least (price - cost) / price, where a cost is known
    outside_range = false                 # true: also prices that were never seen, which is said
    never_cheaper = [["brand", "own label"]]   # the first is never cheaper than the second
    most_changes = 50                     # budget: so many new prices
    most_given_away = 1000.0              # budget: (price now - price) x units now, of what falls
    dearer_basket = 0.0                   # what is bought now costs at most so much more, a share
    explore = false                       # true: Thompson sampling, with its probability logged
    seed = 7                              # of the draws; left out, they are new every time
    stop = false                          # true: every price stays

    [floor]                               # no price below, whatever else is said
    "P01" = 2.50
    [ceiling]
    "P01" = 4.00

    [test]                                # of a price test, where the rows tell nothing
    change = 0.1
    power = 0.8
    most_periods = 26
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grandtotal.decide.response import GOALS, Floats, Responses
from grandtotal.errors import PlanError

_RUNGS = 200  # prices of a ladder at most: thinned evenly beyond
_CENT = 1e-9
_BUDGETS = {"most_changes": 1e9, "most_given_away": 1e15, "dearer_basket": 10.0}


@dataclass(frozen=True)
class PriceTestRules:
    """How a price test is laid out.

    change: of the price in the test arm, as a share. power: the probability that the test finds
    what is expected, at a two-sided level of 5 %. most_periods: no test is longer.
    """

    change: float = 0.1
    power: float = 0.8
    most_periods: int = 26

    def __post_init__(self) -> None:
        _between("test.change", self.change, 0.005, 0.5)
        _between("test.power", self.power, 0.5, 0.99)
        _between("test.most_periods", self.most_periods, 1, 520)


@dataclass(frozen=True)
class PriceRules:
    """The rules of one decision; see the module for each. None: no such budget."""

    objective: str = "margin"
    risk: float = 0.5
    largest_change: float = 0.1
    endings: tuple[float, ...] = ()
    step: float = 0.01
    margin_floor: float = 0.0
    outside_range: bool = False
    never_cheaper: tuple[tuple[str, str], ...] = ()
    most_changes: int | None = None
    most_given_away: float | None = None
    dearer_basket: float | None = None
    explore: bool = False
    seed: int | None = None
    stop: bool = False
    floor: Mapping[str, float] = field(default_factory=dict)
    ceiling: Mapping[str, float] = field(default_factory=dict)
    test: PriceTestRules = field(default_factory=PriceTestRules)

    def __post_init__(self) -> None:
        if self.objective not in GOALS:
            raise PlanError(f"objective = {self.objective!r}, expected one of {', '.join(GOALS)}")
        _between("risk", self.risk, 0, 10)
        _between("largest_change", self.largest_change, 0, 0.9)
        _between("step", self.step, 0.0001, 1e6)
        _between("margin_floor", self.margin_floor, -1e6, 0.99)
        for name, most in _BUDGETS.items():
            if getattr(self, name) is not None:
                _between(name, getattr(self, name), 0, most)
        for ending in self.endings:
            _between("endings", ending, 0, 0.9999)
        for name in ("explore", "stop", "outside_range"):
            if not isinstance(getattr(self, name), bool):
                raise PlanError(f"{name} = {getattr(self, name)!r}, expected true or false")
        self._check_limits()
        self._check_exploring()

    def _check_limits(self) -> None:
        for name in ("floor", "ceiling"):
            for product, price in getattr(self, name).items():
                _between(f"[{name}] {product}", price, 0, 1e15)
        for product in self.floor.keys() & self.ceiling.keys():
            if self.floor[product] > self.ceiling[product]:
                raise PlanError(
                    f"{product}: floor {self.floor[product]:g} is above its ceiling "
                    f"{self.ceiling[product]:g}; correct one of the two"
                )
        for pair in self.never_cheaper:
            if not isinstance(pair, tuple) or len(pair) != 2 or pair[0] == pair[1]:
                raise PlanError(
                    f"never_cheaper: {pair!r}, expected two products: the first is never cheaper "
                    f"than the second"
                )

    def _check_exploring(self) -> None:
        tying = [name for name in _BUDGETS if getattr(self, name) is not None]
        tying += ["never_cheaper"] if self.never_cheaper else []
        if self.explore and tying:
            raise PlanError(
                f"explore = true together with {tying[0]}: prices then depend on each other and "
                f"nobody can say with which probability each was drawn; take one of the two out"
            )

    @staticmethod
    def of(values: Mapping[str, Any]) -> PriceRules:
        """Returns the rules of a file's table; PlanError names what is unknown or wrong."""
        known = set(PriceRules.__dataclass_fields__)
        for key in values:
            if key not in known:
                raise PlanError(f"unknown key '{key}', expected {', '.join(sorted(known))}")
        given = {key: _frozen(value) for key, value in values.items()}
        for name in ("floor", "ceiling", "test"):
            if name in given and not isinstance(given[name], Mapping):
                raise PlanError(f"{name} = {given[name]!r}, expected a table: [{name}]")
        try:
            if "test" in given:
                given["test"] = PriceTestRules(**given["test"])
            return PriceRules(**given)
        except TypeError as error:
            raise PlanError(str(error)) from error


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value


def _between(name: str, value: Any, least: float, most: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (math.isfinite(value) and least <= value <= most):
        raise PlanError(f"{name} = {value!r}, expected a number from {least:g} to {most:g}")


@dataclass(frozen=True)
class Limits:
    """Between which prices one product may be, and which rule says so at either end."""

    low: float
    high: float
    low_rule: str
    high_rule: str

    @property
    def empty(self) -> bool:
        """No price is left."""
        return self.low > self.high + _CENT

    @property
    def clash(self) -> str:
        """The two rules that leave no price."""
        return f"{self.low_rule} {self.low:,.2f}, but {self.high_rule} {self.high:,.2f}"


def limits(rules: PriceRules, of: Responses, i: int, seen: bool = True) -> Limits:
    """Returns the limits of product i, of the rules that bind it most.

    seen: whether prices that were never seen are outside of them, where the rules say so.
    """
    price, cost, name = float(of.price[i]), float(of.cost[i]), of.product[i]
    change = rules.largest_change
    lows = [(price * (1 - change), f"the largest change of {change:.0%} allows no less than")]
    highs = [(price * (1 + change), f"the largest change of {change:.0%} allows no more than")]
    if math.isfinite(cost):
        least = cost / (1 - rules.margin_floor)
        lows.append((least, f"a margin of {rules.margin_floor:.0%} needs at least"))
    if name in rules.floor:
        lows.append((float(rules.floor[name]), "its floor is"))
    if name in rules.ceiling:
        highs.append((float(rules.ceiling[name]), "its ceiling is"))
    if seen and not rules.outside_range:
        # A price of now that is outside, such as a rounded mean, is no reason to leave it.
        lows.append((min(float(of.lowest[i]), price), "no price was seen below"))
        highs.append((max(float(of.highest[i]), price), "no price was seen above"))
    low, high = max(lows), min(highs)
    return Limits(low[0], high[0], low[1], high[1])


def ladder(rules: PriceRules, of: Responses, i: int, within: Limits) -> Floats:
    """Returns the prices that product i may have, ascending; with the price of now if allowed.

    Empty where the rules leave none.
    """
    price = float(of.price[i])
    if within.empty:
        return np.empty(0)
    if rules.endings:
        whole = np.arange(math.floor(within.low), math.floor(within.high) + 1)
        whole = whole[_thin(len(whole), _RUNGS // len(rules.endings))]
        found = np.add.outer(whole, np.asarray(rules.endings, float)).ravel()
    else:
        first, last = math.ceil(within.low / rules.step - _CENT), within.high / rules.step + _CENT
        steps = np.arange(first, math.floor(last) + 1)
        found = steps[_thin(len(steps), _RUNGS)] * rules.step
    inside = (found >= within.low - _CENT) & (found <= within.high + _CENT) & (found > 0)
    found = found[inside & ~np.isclose(found, price, rtol=0, atol=1e-6)]
    if within.low - _CENT <= price <= within.high + _CENT:
        found = np.append(found, price)
    return np.unique(found.round(6))


def _thin(count: int, most: int) -> np.ndarray:
    """Returns at most so many places of `count`, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, max(most, 2))).round().astype(int))
