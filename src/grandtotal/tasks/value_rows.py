"""What a customer's worth is forecast from: its purchases up to a cut, and, to score, those after.

Only in a retailer's process. A purchase is a day on which a customer bought something. What was
sent back is taken off the spend of the day on which it came back, never below nothing in all.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.bgnbd import Repeats
from grandtotal.algorithms.gamma_gamma import Spending
from grandtotal.tasks.histories import MONEY_STEPS, Histories

Values = NDArray[np.float64]
DAYS = 3650  # before today that a clock reaches back


@dataclass(frozen=True, eq=False)
class Known:
    """The customers with a purchase before a cut, all (customers,) but the last two.

    cut: the day from which on nothing is known, as all days counted from today.
    place: of the customer in the retailer's histories.
    repeats: what BG/NBD knows of them. spent: until the cut, in currency, returns taken off.
    recent, recent_spent: purchases and spend in as many days before the cut as are forecast.
    bought, bought_spent: the same in the days after it, to score alone.
    by_week: (weeks,) purchases of all of them in each week after the cut, to score alone; the last
        week may be a part of one.
    between: (DAYS,) purchases after a customer's first and before its last, by day.
    """

    cut: int
    place: NDArray[np.int64]
    repeats: Repeats
    spent: Values
    recent: Values
    recent_spent: Values
    bought: Values
    bought_spent: Values
    by_week: Values
    between: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.place)

    @property
    def purchases(self) -> NDArray[np.int64]:
        """How often each bought, the first time included."""
        return self.repeats.repeats + 1

    @property
    def spends(self) -> Spending:
        """What each spent at a purchase; 0 for one who sent everything back."""
        return Spending(self.purchases, self.spent / self.purchases)

    @property
    def spending(self) -> Spending:
        """The same of those who spent anything: Gamma-Gamma is about amounts above 0."""
        found = self.spends
        return found.taken(found.mean > 0)

    @property
    def first(self) -> NDArray[np.int64]:
        """The day of each customer's first purchase."""
        return self.cut - self.repeats.age.astype(np.int64)

    @property
    def last(self) -> NDArray[np.int64]:
        """The day of each customer's last purchase."""
        return self.first + self.repeats.last.astype(np.int64)

    def on(self, clock: Values) -> Repeats:
        """Returns what BG/NBD knows, times read from a clock (DAYS + any,) instead of the calendar.

        It begins DAYS before today; of an earlier first purchase nobody knows more.
        """
        first, last, now = (clock[places(day)] for day in (self.first, self.last, self.cut))
        return Repeats(self.repeats.repeats, last - first, now - first)

    @staticmethod
    def pooled(parts: "list[Known]") -> "Known":
        """Returns the customers of several retailers as if one company held them."""
        repeats = [part.repeats for part in parts]
        together = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Known)
            if field.name not in ("cut", "repeats", "by_week", "between")
        }
        joined = Repeats(
            *(np.concatenate([getattr(r, name) for r in repeats]) for name in _REPEATS)
        )
        by_week: Values = np.sum([part.by_week for part in parts], axis=0)
        between: NDArray[np.int64] = np.sum([part.between for part in parts], axis=0)
        return Known(parts[0].cut, repeats=joined, by_week=by_week, between=between, **together)


def places(days: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Returns where days stand on a clock, those before it at its beginning."""
    found: NDArray[np.int64] = np.maximum(np.asarray(days) + DAYS, 0)
    return found


_REPEATS = ("repeats", "last", "age")


def known_at(histories: Histories, cut: int, horizon: int) -> Known:
    """Returns the customers as of day `cut`; nothing from that day on is in what is forecast from.

    horizon: how many days are forecast, and looked back for the recent ones.
    """
    before = histories.until(cut).purchases
    count = np.bincount(before.customer, minlength=len(histories.customers))
    place = np.flatnonzero(count)
    # Rows are sorted by customer and day: a customer's first and last are at its ends.
    ends = np.cumsum(count)[place]
    last, first = before.day[ends - 1], before.day[ends - count[place]]
    repeats = Repeats(count[place] - 1, (last - first) * 1.0, (cut - first) * 1.0)
    inner = np.ones(len(before.day), np.bool_)
    inner[ends - 1] = inner[ends - count[place]] = False
    between = np.bincount(places(before.day[inner]), minlength=DAYS)
    recent = _between(histories, cut - horizon, cut)
    after = _between(histories, cut, cut + horizon)
    purchases = after.purchases.where(np.isin(after.purchases.customer, place))
    weeks = np.bincount((purchases.day - cut) // 7, minlength=-(-horizon // 7))
    return Known(
        cut,
        place,
        repeats,
        spent=_net(histories.until(cut), place),
        recent=_count(recent, place),
        recent_spent=_net(recent, place),
        bought=_count(after, place),
        bought_spent=_net(after, place),
        by_week=weeks.astype(np.float64),
        between=between,
    )


def _between(histories: Histories, first: int, end: int) -> Histories:
    return histories.where((histories.day >= first) & (histories.day < end))


def _count(histories: Histories, place: NDArray[np.int64]) -> Values:
    purchases = histories.purchases.customer
    return np.bincount(purchases, minlength=len(histories.customers))[place].astype(np.float64)


def _net(histories: Histories, place: NDArray[np.int64]) -> Values:
    """Returns what these customers spent in all, less what they sent back, from 0 on."""
    steps = np.zeros(len(histories.customers), np.int64)
    np.add.at(steps, histories.customer, histories.spend - histories.returned)
    net: Values = np.maximum(steps[place], 0) / MONEY_STEPS
    return net
