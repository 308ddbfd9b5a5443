"""What is known of a customer when a day begins: the columns of churn.

All of it is of the customer's own rows before that day, and none of it depends on another customer.
Times are relative to the horizon, so that retailers whose customers come weekly and those whose
customers come twice a year can share a model; money is relative to the customer's own, so that it
has no currency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.tasks.histories import Histories
from grandtotal.tasks.outcomes import ONE

Floats = NDArray[np.float64]

WINDOWS = ((0, 1 / 3), (1 / 3, 1), (1, 2), (2, 4))  # before the day, in horizons
COLUMNS = (
    "recency",
    "tenure",
    "visits",
    "once",
    "usual gap",
    "gap spread",
    "longest gap",
    "overdue",
    "visits now",
    "visits before",
    "visits earlier",
    "visits long ago",
    "spend trend",
    "last basket",
    "lines",
    "products",
    "returns",
    "promotions",
)
NAMES = (ONE, *COLUMNS)


@dataclass(frozen=True, eq=False)
class Seen:
    """Plain numbers of the customers who bought before a day, each (active,).

    active: their places. recency, tenure: days since the last and the first purchase. visits: days
    with a purchase. gap, longest: mean and longest days between two, nan of those with one purchase
    only. spread: standard deviation of the gaps over their mean, nan below three purchases.
    windows: (4, active) visits in WINDOWS. spend, before: in the last horizon and in the one before
    it, last: on the last day, mean: of a visit; in minor units of currency. lines, products: bought
    and how many different. returned, promoted: shares of the spend and of the lines, in [0, 1].
    """

    active: NDArray[np.int64]
    recency: Floats
    tenure: Floats
    visits: Floats
    gap: Floats
    longest: Floats
    spread: Floats
    windows: Floats
    spend: Floats
    before: Floats
    last: Floats
    mean: Floats
    lines: Floats
    products: Floats
    returned: Floats
    promoted: Floats


def seen(histories: Histories, cut: int, horizon: int) -> Seen:
    """Returns what is known of each customer when day `cut` begins."""
    known = histories.until(cut)
    bought, n = known.purchases, len(histories.customers)
    of, ago = bought.customer, cut - bought.day
    visits = np.bincount(of, minlength=n)
    active = np.flatnonzero(visits)

    def total(values: Any, rows: Any = slice(None)) -> Floats:
        return _summed(of[rows], values[rows], n)[active]

    ends = np.cumsum(visits)[active] - 1  # rows are sorted by customer and day
    starts = ends - visits[active] + 1
    recency, tenure = ago[ends].astype(np.float64), ago[starts].astype(np.float64)
    count = visits[active].astype(np.float64)
    gaps = np.where(np.append(-1, of)[:-1] == of, -np.diff(ago, prepend=0), 0)
    squares, spend = total(gaps.astype(np.float64) ** 2), total(bought.spend)
    longest = np.zeros(n)
    np.maximum.at(longest, of, gaps)
    lines = total(bought.lines)
    returned = _summed(known.customer, known.returned, n)[active]
    gap = _share(tenure - recency, count - 1, np.nan)
    variance = np.maximum(_share(squares, count - 1, 0.0) - np.nan_to_num(gap) ** 2, 0.0)
    everyone = np.ones(len(of))
    return Seen(
        active,
        recency,
        tenure,
        count,
        gap,
        np.where(count > 1, longest[active], np.nan),
        np.where(count > 2, np.sqrt(variance) / (np.nan_to_num(gap) + 1), np.nan),
        np.stack([total(everyone, _within(ago, w, horizon)) for w in WINDOWS]),
        total(bought.spend, ago <= horizon),
        total(bought.spend, (ago > horizon) & (ago <= 2 * horizon)),
        bought.spend[ends].astype(np.float64),
        spend / count,
        lines,
        total(bought.new_products),
        np.minimum(_share(returned, spend, 0.0), 1.0),
        _share(total(bought.promoted), lines, 0.0),
    )


def _summed(places: NDArray[np.int64], values: Any, size: int) -> Floats:
    return np.bincount(places, values, minlength=size).astype(np.float64)


def _within(ago: NDArray[np.int64], window: tuple[float, float], horizon: int) -> Any:
    return (ago > window[0] * horizon) & (ago <= window[1] * horizon)


def _share(part: Floats, whole: Floats, empty: float) -> Floats:
    found = np.full(len(whole), empty)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def columns_of(known: Seen, horizon: int) -> dict[str, Floats]:
    """Returns COLUMNS, each (active,); nan where a customer has too few purchases to tell."""

    def relative(days: Floats) -> Floats:
        return log((days + 1) / (horizon + 1))

    now, before, earlier, long_ago = (log(1 + visits) for visits in known.windows)
    found = (
        relative(known.recency),
        relative(known.tenure),
        log(known.visits),
        (known.visits == 1) * 1.0,
        relative(known.gap),
        np.minimum(known.spread, 4.0),
        relative(known.longest),
        log((known.recency + 1) / (known.gap + 1)),
        now,
        before,
        earlier,
        long_ago,
        log((known.spend + known.mean + 1) / (known.before + known.mean + 1)),
        np.clip(log((known.last + 1) / (known.mean + 1)), -3.0, 3.0),
        log(known.lines / known.visits),
        log(1 + known.products),
        known.returned,
        known.promoted,
    )
    return dict(zip(COLUMNS, found, strict=True))
