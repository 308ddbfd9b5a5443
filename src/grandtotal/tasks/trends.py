"""What grows and what falls among loyal customers, in words for whoever plans promotions.

The weekly totals of a group are regressed on time, and on a trend index as it was known where a
retailer has one. A rate that few customers leave uncertain is moved to that of the consortium. With
less than two years a season cannot be told from a trend, and the sentence says so. Rates describe
what happened, and are no forecast: carried on, they were further off than the mean of the last
eight weeks on the generated example, whose only trend is its season.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.growth import NOTHING, YEAR, Growth, growth, shrunk
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.loyalty import MEASURES, OFTEN, Loyalty
from grandtotal.tasks.visits import STEPS

Floats = NDArray[np.float64]
SPREAD = 0.01  # standard deviation of log growth a week from one retailer to another
_RECENT = 8  # weeks
_SAME = 1.645  # standard errors from which the others' trend is one, in the same direction


@dataclass(frozen=True)
class Trend:
    """The growth of one measure of one group.

    weeks: with data. level: mean of the last eight weeks. own, others: the retailer's growth, and
    the consortium's, without anything where it is not shared. rate: the own one, moved to it.
    """

    tier: str
    category: str
    measure: str
    weeks: int
    span: int
    level: float
    own: Growth
    others: Growth

    @property
    def rate(self) -> float:
        """Log growth a week that is believed."""
        return shrunk(self.own, self.others, SPREAD)

    @property
    def likewise(self) -> str:
        """Whether the consortium's trend has the same direction."""
        if not np.isfinite(self.others.error):
            return "not shared"
        ahead = np.sign(self.own.rate) * self.others.rate / self.others.error
        return "yes" if ahead > _SAME else "no"

    def words(self, found: bool) -> str:
        """Returns the trend as a sentence, and what follows for a promotion."""
        whose = "customers who come often" if self.tier == OFTEN else f"the tier {self.tier}"
        what = self.measure + ("" if self.category == "all" else f" of {self.category}")
        low, high = self.own.interval()
        size = f"{np.expm1(self.own.rate):+.1%} a week ({low:+.1%} to {high:+.1%})"
        if not found:
            return f"No clear trend of {what} among {whose}: {size}; no reason to change a plan."
        season = "; less than two years: this may be a season" if self.span < 2 * YEAR else ""
        if self.own.rate > 0:
            advice = "see to stock and space before a promotion is added"
        else:
            advice = "a promotion to them is worth a test; look at prices and range first"
        grows = "grow" if self.own.rate > 0 else "fall"
        plural = grows if self.measure != "spend" else f"{grows}s"
        return f"{what[0].upper()}{what[1:]} {plural} among {whose}: {size}{season}; {advice}."


def trends_of(part: Loyalty, consortium: Arrays, least: int) -> list[Trend]:
    """Returns the trend of every group and measure of one retailer that has one.

    consortium: "loyal_happened" and "loyal_exposed" (measures, groups, weeks), or nothing.
    least: customers that a group has in its mean week, or it is not told.
    """
    totals = (consortium.get("loyal_happened"), consortium.get("loyal_exposed"))
    column = part.column()
    known = part.exposed > 0
    found = []
    for group, (tier, category) in enumerate(part.groups):
        if part.totals[1, group][known].sum() < least * STEPS * max(int(known.sum()), 1):
            continue
        for m, measure in enumerate(MEASURES):
            y = part.totals[m, group] / STEPS
            own = growth(y, part.exposed, column)
            others = NOTHING
            if totals[0] is not None and totals[1] is not None and group < part.shared:
                others = growth(totals[0][m, group], totals[1][m, group])
            weeks = int(((y > 0) & known).sum())
            level = _level(y, part.exposed)
            if np.isfinite(own.error):
                given = (weeks, len(y), level, own, others)
                found.append(Trend(tier, category, measure, *given))
    return found


def _level(y: Floats, e: Floats) -> float:
    exposed = float(e[-_RECENT:].sum())
    return float(y[-_RECENT:].sum()) / exposed if exposed > 0 else 0.0
