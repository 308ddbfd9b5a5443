"""A price test for a product whose past prices tell nothing: which price, where, how long.

Half of the stores sell at the test price, or every other period where there is one store. The log
units of the two halves then differ by elasticity x log price change, and the noise of a mean of n
store-periods is sigma / sqrt(n): a two-sided test at 5 % finds the difference with probability
    Phi(|effect| / (sigma sqrt(2 / n)) - 1.96).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtr, ndtri

from grandtotal.decide.response import Responses
from grandtotal.decide.rules import PriceRules, limits

_LEVEL = 0.05
_ASSUMED = 1.0  # size of an elasticity of which not even the category tells anything


@dataclass(frozen=True)
class PriceTest:
    """The test of one product; power is what `periods` give, `enough` whether it is what is asked.

    price: in the test arm. stores: of the test arm; as many keep the price of now. 0: the one store
    has the test price in every other period.
    """

    price: float
    stores: int
    periods: int
    power: float
    expected: float
    enough: bool

    def words(self, of: Responses) -> str:
        """Returns the test as a sentence."""
        unit = f"{of.period}{'s' if self.periods != 1 else ''}"
        where = (
            f"in {self.stores} of {of.stores} stores for {self.periods} {unit}"
            if self.stores
            else f"every other {of.period}, {self.periods} {unit} in all"
        )
        short = "" if self.enough else ", which is less than asked: take a larger change"
        return (
            f"test {self.price:,.2f} {where}; if 1 % dearer sells {self.expected:.1f} % less, the "
            f"test sees it with {self.power:.0%}{short}"
        )


def price_test(rules: PriceRules, of: Responses, i: int) -> PriceTest | None:
    """Returns the test of product i; None where the rules leave no price to test."""
    price = _test_price(rules, of, i)
    if price is None:
        return None
    expected = -float(of.own[i]) if of.own[i] < 0 else _ASSUMED
    effect = abs(expected * math.log(price / float(of.price[i])))
    arm = max(of.stores // 2, 1)
    z = ndtri(1 - _LEVEL / 2) + ndtri(rules.test.power)
    needed = 2 * (z * float(of.noise[i]) / effect) ** 2
    alternating = 2 if of.stores < 2 else 1
    wanted = max(math.ceil(needed / arm), 1) * alternating
    periods = min(wanted, rules.test.most_periods)
    each = arm * periods / alternating
    return PriceTest(
        price=price,
        stores=arm if of.stores > 1 else 0,
        periods=periods,
        power=power(effect, float(of.noise[i]), each),
        expected=expected,
        enough=wanted <= periods,
    )


def power(effect: float, noise: float, each: float) -> float:
    """Returns with which probability a test of `each` store-periods an arm sees the effect."""
    if noise <= 0:
        return 1.0
    return float(ndtr(effect / (noise * math.sqrt(2 / each)) - ndtri(1 - _LEVEL / 2)))


def _test_price(rules: PriceRules, of: Responses, i: int) -> float | None:
    """Returns the lower price if the rules allow it, else the higher; seen prices do not count."""
    price = float(of.price[i])
    change = min(rules.test.change, rules.largest_change)
    within = limits(rules, of, i, seen=False)
    for wanted in (price * (1 - change), price * (1 + change)):
        found = _nearest(wanted, rules)
        if found and within.low - 1e-9 <= found <= within.high + 1e-9 and found != price:
            return found
    return None


def _nearest(price: float, rules: PriceRules) -> float:
    """Returns the price of the ladder nearest to a price, not farther than 3 % away, or itself."""
    if not rules.endings:
        return round(round(price / rules.step) * rules.step, 6)
    near = [
        whole + e for whole in (math.floor(price) + d for d in (-1, 0, 1)) for e in rules.endings
    ]
    best = min((p for p in near if p > 0), key=lambda p: abs(p - price), default=price)
    return round(best if abs(best - price) <= 0.03 * price else price, 2)
