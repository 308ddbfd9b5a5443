"""When in the year customers buy: a clock that runs fast in the months in which they buy much.

A model of customers' rates takes them for constant, and forecasts the weeks before Christmas from
those of spring. On the clock of the season they are. The months are weighed by purchases between a
customer's first and last one: there it was active for certain, and on the right clock they are
spread evenly, however often it buys and whenever it leaves. So the season is found apart from all
parameters, and neither new customers nor lost ones are taken for one. Where the months are no
likelier to differ than by chance (by BIC) the clock is the calendar.

Iterative proportional fitting: Deming and Stephan, "On a least squares adjustment of a sampled
frequency table", 1940, https://doi.org/10.1214/aoms/1177731829
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field, quantise
from grandtotal.tasks.value_rows import DAYS, Known, places

Values = NDArray[np.float64]
MONTHS = 12
_STEPS = 2**20
_ROUNDS = 6
_PRIOR = 25.0  # purchases a month that are as expected: few real ones move a month little
_BLOCK = 2**16


def months(today: date, until: int) -> NDArray[np.int64]:
    """Returns the month, from 0 on, of each day from DAYS before today to `until` after it."""
    days = (today + timedelta(days=i) for i in range(-DAYS, until))
    return np.array([day.month - 1 for day in days])


def clock(season: Values, today: date, until: int) -> Values:
    """Returns what the clock shows when each day begins, (DAYS + until + 1,): see `Known.on`.

    season: (12,), how fast it runs in each month; 1 on average over a year.
    """
    return np.concatenate([[0.0], np.cumsum(season[months(today, until)])])


@dataclass(frozen=True)
class SeasonSums:
    """Purchases by month between each customer's first and last, made and expected.

    The broadcast holds the "months" of the days before today and the "season" (12,) so far, on
    whose clock a customer's purchases are expected to be spread evenly.
    """

    name: ClassVar[str] = "season-sums"
    bound: ClassVar[Stated] = None

    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns made and expected purchases (12,).

        And "faster": how much faster than the calendar the clock ran between each customer's first
        and last purchase, its logarithm, for each purchase between them.
        """
        expected = Field((MONTHS,), _STEPS)
        return {"made": Field((MONTHS,)), "expected": expected, "faster": Field((), _STEPS)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each customer's are rounded before they are added."""
        known: Known = rows[self.split]
        month, season = broadcast["months"], broadcast["season"]
        made = np.bincount(month, known.between, minlength=MONTHS).astype(np.int64)
        weights = (month[:, None] == np.arange(MONTHS)) * season
        before = np.vstack([np.zeros(MONTHS), np.cumsum(weights, axis=0)])
        sums = np.zeros(MONTHS + 1, np.int64)
        again = np.flatnonzero(known.repeats.repeats > 1)
        for start in range(0, len(again), _BLOCK):
            sums += _spread(known, again[start : start + _BLOCK], before)
        return {"made": made, "expected": sums[:MONTHS], "faster": sums[MONTHS]}


def _spread(known: Known, chosen: NDArray[np.intp], before: Values) -> NDArray[np.int64]:
    """Returns expected purchases by month, and the sum of `faster`, of some customers: (13,)."""
    first, last = places(known.first[chosen] + 1), places(known.last[chosen])
    room = before[last] - before[first]
    whole, days = room.sum(axis=1), np.maximum(last - first, 1)
    count = np.where(whole > 0, known.repeats.repeats[chosen] - 1, 0)
    whole = np.where(whole > 0, whole, 1.0)
    spread = room * (count / whole)[:, None]
    faster = count * log(whole / days)
    terms = np.rint(np.hstack([spread, faster[:, None]]) * _STEPS).astype(np.int64)
    found: NDArray[np.int64] = terms.sum(axis=0)
    return found


def season_of(totals: Totals, split: str, today: date) -> Values:
    """Returns how much faster customers buy in each month than over a year, (12,); 1 if in none."""
    season, month = np.ones(MONTHS), months(today, 0)
    for _ in range(_ROUNDS):
        sums = totals.total(SeasonSums(split), {"months": month, "season": season})
        found, made = season, sums["made"]
        season = season * (made + _PRIOR) / (sums["expected"] + _PRIOR)
        season = quantise(season / season.mean(), _STEPS) / _STEPS
    # The log-likelihood of the days between first and last, over that of the calendar.
    gain = float(made @ np.log(found) - sums["faster"])
    penalty = (MONTHS - 1) * np.log(max(int(made.sum()), 2)) / 2
    return found if gain > penalty else np.ones(MONTHS)
