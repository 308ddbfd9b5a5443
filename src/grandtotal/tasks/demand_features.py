"""What trees know of a case at its origin: FEATURES, each by the words that a reader sees.

A feature of origin t is a function of the periods before t, and of what was known at t of the
periods after it: the calendar as it was known then, and the plan of promotions. Units are compared
with the level of the series: the mean of the logarithm in the last year, in periods of the same
weekday that were in a promotion if the target is. What is missing is nan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp, log
from grandtotal.algorithms.tree_sampling import mixed
from grandtotal.tasks.along_periods import changes, divided, run
from grandtotal.tasks.demand_origins import Origin, Past

if TYPE_CHECKING:
    from grandtotal.tasks.sales import Sales

Floats = NDArray[np.float64]
LIST_PRICE = "list price to its usual"
LITTLE = 0.1  # units: how small a usual sale may be


@dataclass(frozen=True)
class At:
    """Cases of one origin. s, u, a: (cases,) series, target period, periods ahead from 1."""

    origin: Origin
    s: NDArray[np.intp]
    u: NDArray[np.int64]
    a: NDArray[np.int64]

    @property
    def past(self) -> Past:
        """The sales of all periods, of which those before the origin are looked at."""
        return self.origin.past

    @cached_property
    def level(self) -> Floats:
        """The logarithm that sales are compared with, see above."""
        found: Floats = self.origin.like[self.s, self.past.kind(self.s, self.u)]
        return found

    @cached_property
    def scale(self) -> Floats:
        """The units that sales are a multiple of: the mean of like periods, and a little."""
        found: Floats = self.origin.like_units[self.s, self.past.kind(self.s, self.u)] + LITTLE
        return found

    def multiple(self, window: int) -> Floats:
        """The logarithm of the units of the last open periods, as a multiple of the usual ones."""
        usual = self.origin.mean_units(self.past.year)[self.s] + LITTLE
        return log((self.origin.mean_units(window)[self.s] + LITTLE) / usual)

    def drift(self, window: int) -> Floats:
        """How the last open periods lay above their levels, in the mean."""
        return self.origin.drift(window)[self.s]

    def lag(self, back: int) -> Floats:
        """How one period before the origin lay above its level; nan where closed or too early."""
        return self.origin.lag(back)[self.s]

    def last_year(self, half: int, together: bool = False) -> Floats:
        """How sales lay above their level a year before the target, in periods +- half."""
        return self.origin.around(self.s, self.u - self.past.year, half, together)

    def before_last_year(self, together: bool = False) -> Floats:
        """The same of the periods that ended a year before the origin."""
        half = self.past.periods.level // 2
        there = np.full(len(self.s), self.origin.t - self.past.year - half - 1)
        return self.origin.around(self.s, there, half, together)

    def together(self, window: int) -> Floats:
        """How the last periods of all series lay above their levels, in the mean."""
        there = np.full(len(self.s), self.origin.t)
        return self.origin.around(self.s, there, window, together=True)

    def promotion(self, shift: int) -> Floats:
        """The planned share of a promotion, so many periods after the target; nan if unplanned."""
        return self._planned(self.past.promotion, shift)

    def depth(self) -> Floats:
        """The planned reduction."""
        return self._planned(self.past.depth, 0)

    def list_price(self) -> Floats:
        """The list price at the target over its mean in the year before the origin."""
        if not self.past.list_price.size:
            return np.full(len(self.s), np.nan)
        coming = self._within(self.past.list_price, 0)
        return divided(coming, self.origin.usual_list_price[self.s])

    def _planned(self, values: Floats, shift: int) -> Floats:
        if not self.past.planned:
            return np.full(len(self.s), np.nan)
        return self._within(values, shift)

    def _within(self, values: Floats, shift: int) -> Floats:
        """Returns values (series, periods) at the target + shift; nan beyond the horizon."""
        u = self.u + shift
        last = self.origin.t + self.past.horizon
        inside = (u >= 0) & (u < last)
        return np.where(inside, values[self.s, np.where(inside, u, 0)], np.nan)

    def calendar(self, kind: str, shift: int) -> Floats:
        """The share of days of a kind, so many periods after the target, as known at the origin."""
        return self._within(self.origin.shares(kind), shift)

    def past_holidays(self) -> Floats:
        """How sales lay above their level on past holidays, where the target is one.

        Or on periods before or after one, where it is such a period; nan elsewhere.
        """
        found = np.full(len(self.s), np.nan)
        for shift in (-1, 1, 0):
            such = self.calendar("holiday", shift) > 0
            found[such] = self.origin.near_holidays(shift)[self.s[such]]
        return found

    def run(self, of: str, step: int) -> Floats:
        """Periods from the target back (-1) or on (1) to the next of a kind, 0 if it is one."""
        return run(self.origin.marks(of), self.s, self.u, step, self._last)

    def changed(self, of: str, step: int) -> Floats:
        """Periods for which the target's state has lasted (-1), or will (1)."""
        return changes(self.origin.marks(of), self.s, self.u, step, self._last)

    @property
    def _last(self) -> int:
        return self.origin.t + self.past.horizon

    def number(self, name: str) -> Floats:
        """A number of the calendar at the target, as known at the origin."""
        found: Floats = self.origin.number(name)[self.past.group[self.s], self.u]
        return found

    @property
    def weekday(self) -> NDArray[np.int64]:
        """The weekday of the target."""
        return self.past.dates["weekday"][self.u]

    def day(self, part: str) -> Floats:
        """A part of the target's date."""
        values = self.past.dates[part][self.u]
        return values.astype(np.float64)


Feature = Callable[[At], Floats]


def _rolling() -> dict[str, Feature]:
    made: dict[str, Feature] = {}
    for i, words in enumerate(("last", "second", "third", "fourth", "longest")):
        made[f"recent sales, {words} window"] = partial(
            lambda i, at: at.drift(at.past.windows[i]), i
        )
        made[f"recent units, {words} window"] = partial(
            lambda i, at: at.multiple(at.past.windows[i]), i
        )
    return made


FEATURES: dict[str, Feature] = {
    "usual sales": lambda at: exp(at.level),
    "usual sales of the series": lambda at: exp(
        at.origin.mean_log(at.origin.t, at.past.year)[at.s]
    ),
    **_rolling(),
    "last period": lambda at: at.lag(1),
    "the period before the last": lambda at: at.lag(2),
    "three periods ago": lambda at: at.lag(3),
    "spread of recent sales": lambda at: at.origin.spread(at.past.windows[2])[at.s],
    "spread of sales, long": lambda at: at.origin.spread(at.past.windows[4])[at.s],
    "most of recent sales": lambda at: at.origin.extreme(np.nanmax)[at.s],
    "least of recent sales": lambda at: at.origin.extreme(np.nanmin)[at.s],
    "share of periods without sales": lambda at: at.origin.zeros(at.past.windows[2])[at.s],
    "share of periods without sales, long": lambda at: at.origin.zeros(at.past.windows[4])[at.s],
    "periods since the first sale": lambda at: at.origin.age[at.s],
    "periods since the last sale": lambda at: at.origin.idle[at.s],
    "same time last year": lambda at: at.last_year(0),
    "around the same time last year": lambda at: at.last_year(at.past.near),
    "the weeks around it last year": lambda at: at.last_year(3 * at.past.near),
    "last year before this time": lambda at: at.before_last_year(),
    "all series: same time last year": lambda at: at.last_year(0, together=True),
    "all series: around the same time last year": lambda at: at.last_year(at.past.near, True),
    "all series: last year before this time": lambda at: at.before_last_year(together=True),
    "all series: recent sales": lambda at: at.together(at.past.windows[2]),
    "all series: last sales": lambda at: at.together(at.past.windows[1]),
    "against last year": lambda at: at.origin.growth[at.s],
    "promotions of the last periods": lambda at: at.origin.promoted[at.s],
    "promotion": lambda at: at.promotion(0),
    "reduction": lambda at: at.depth(),
    "promotion the period before": lambda at: at.promotion(-1),
    "promotion the period after": lambda at: at.promotion(1),
    "since the promotion began or ended": lambda at: at.changed("promotion", -1),
    "until the promotion ends or begins": lambda at: at.changed("promotion", 1),
    "holiday": lambda at: at.calendar("holiday", 0),
    "holiday the period before": lambda at: at.calendar("holiday", -1),
    "holiday the period after": lambda at: at.calendar("holiday", 1),
    "sales on past holidays": lambda at: at.past_holidays(),
    "since the last holiday": lambda at: at.run("holiday", -1),
    "until the next holiday": lambda at: at.run("holiday", 1),
    "school holidays": lambda at: at.calendar("school", 0),
    "since school holidays began or ended": lambda at: at.changed("school", -1),
    "share of closed days": lambda at: at.calendar("closed", 0),
    "closed the period before": lambda at: at.calendar("closed", -1),
    "closed the period after": lambda at: at.calendar("closed", 1),
    "share of closed days in the past": lambda at: at.origin.closed_long[at.s],
    "open since": lambda at: at.changed("closed", -1),
    "open until": lambda at: at.changed("closed", 1),
    "recent price to usual price": lambda at: at.origin.price_change[at.s],
    "price to the mean of the category": lambda at: at.origin.price_in_category[at.s],
    LIST_PRICE: lambda at: at.list_price(),
    "week of the year": lambda at: at.day("week"),
    "month": lambda at: at.day("month"),
    "day of the month": lambda at: at.day("day"),
    "periods ahead": lambda at: at.a.astype(np.float64),
    "weather": lambda at: at.number("weather"),
    "trend": lambda at: at.number("trend"),
    "since the store opened": lambda at: at.origin.open_for[at.s],
    "distance to the nearest competitor": lambda at: at.past.sales.facts.competitor[at.s],
}

DAILY: dict[str, Feature] = {
    "weekday": lambda at: at.day("weekday"),
    "same weekday of the last 4 weeks": lambda at: at.origin.same_day(4)[at.s, at.weekday],
    "same weekday of the last 12 weeks": lambda at: at.origin.same_day(12)[at.s, at.weekday],
}


def feature_names(days: int) -> tuple[str, ...]:
    """Returns the names of the features of periods of so many days."""
    return (*FEATURES, *DAILY) if days == 1 else tuple(FEATURES)


class Seen:
    """Cases as columns, made when they are asked for: the rows that trees learn from and score.

    series, origin, ahead: (cases,) as in `Cases`.
    """

    def __init__(self, sales: Sales, series: Any, origin: Any, ahead: Any) -> None:
        self._past = sales.past
        self._at = [
            (
                rows,
                At(
                    sales.past.origin(int(t)), series[rows], (origin + ahead - 1)[rows], ahead[rows]
                ),
            )
            for t in np.unique(origin)
            for rows in [np.flatnonzero(origin == t)]
        ]
        self.rows = len(series)
        self._case = (series, origin, ahead)

    def gathered(self, feature: Feature) -> Floats:
        """Returns a feature of all cases, (cases,)."""
        found = np.empty(self.rows)
        for rows, at in self._at:
            found[rows] = feature(at)
        return found

    def number(self, name: str) -> Floats:
        """Returns a column by its name."""
        return self.gathered(FEATURES.get(name) or DAILY[name])

    def category(self, name: str) -> NDArray[np.uint64]:
        """Returns what is told in words of each case's series, as a hash."""
        found: NDArray[np.uint64] = self._past.sales.facts.hashed(name)[self._case[0]]
        return found

    @cached_property
    def level(self) -> Floats:
        """The logarithm of the level that each case is relative to."""
        return self.gathered(lambda at: at.level)

    @cached_property
    def scale(self) -> Floats:
        """The units that each case is a multiple of."""
        return self.gathered(lambda at: at.scale)

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """A hash of series, origin and target: which trees see a case depends on nothing else."""
        series, origin, ahead = self._case
        place = (np.asarray(origin).astype(np.uint64) << np.uint64(16)) + ahead.astype(np.uint64)
        return mixed(self._past.keys[series] ^ mixed(place, 1), 2)
