"""What is known of all series at one origin: means, spreads and levels of the periods before it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.privacy.fingerprint import fingerprints
from grandtotal.tasks.along_periods import (
    divided,
    mean_of,
    mean_of_columns,
    mean_of_rows,
    running,
)
from grandtotal.tasks.shelf import LEARNED

if TYPE_CHECKING:
    from grandtotal.tasks.sales import Sales

Floats = NDArray[np.float64]
_PRIOR = 0.5  # periods: how much a kind of period leans on the mean of all


class Past:
    """Running sums of a retailer's sales, and what is planned. `Origin` says what may be seen."""

    def __init__(self, sales: Sales) -> None:
        self.sales, self.periods, self.horizon = sales, sales.periods, sales.horizon
        self.windows, self.year = sales.periods.windows, sales.periods.year
        count = self.periods.count
        self.open_now = ~sales.closed[:, :count]
        if sales.shelf.size:
            self.open_now &= sales.shelf >= LEARNED
        self.units = np.where(self.open_now, sales.capped(), 0.0)
        self.log_units = np.where(self.open_now, log(self.units + 1.0), 0.0)
        self.logs, self.sold = running(self.log_units), running(self.units)
        self.open = running(self.open_now.astype(np.float64))
        self.nothing = running((self.open_now & (self.units == 0)).astype(np.float64))
        self.promoted = running(sales.promoted)

    @lru_cache(maxsize=64)  # noqa: B019 - lives as long as the sales
    def origin(self, t: int) -> Origin:
        """Returns what is known before period t."""
        return Origin(self, t)

    @property
    def planned(self) -> bool:
        """Whether promotions are planned in a table."""
        return self.sales.known is not None and self.sales.known.planned

    @property
    def near(self) -> int:
        """Periods that are about the same time: a week of days, three weeks of weeks; its half."""
        return 1 if self.periods.days == 7 else 3

    @cached_property
    def promotion(self) -> Floats:
        """Planned share of days in a promotion, (series, periods + horizon); 0 if unplanned."""
        if self.sales.known is None:
            return np.zeros((len(self.units), self.periods.count + self.horizon))
        return self.sales.known.promotion

    @cached_property
    def depth(self) -> Floats:
        """Planned reductions, (series, periods + horizon)."""
        return self.promotion if self.sales.known is None else self.sales.known.depth

    @property
    def list_price(self) -> Floats:
        """List prices, (series, periods + horizon); empty where none is known."""
        none = np.empty((0, 0))
        return none if self.sales.known is None else self.sales.known.price

    @cached_property
    def group(self) -> NDArray[np.intp]:
        """Which calendar each series follows."""
        none = np.zeros(len(self.units), np.intp)
        return none if self.sales.known is None else self.sales.known.group

    @cached_property
    def kinds(self) -> NDArray[np.int64]:
        """The kind of each period, (series, periods + horizon): weekday, and promotion or not."""
        length = self.periods.count + self.horizon
        weekday = self.dates["weekday"] if self.periods.days == 1 else np.zeros(length, np.int64)
        kinds: NDArray[np.int64] = 2 * weekday[None] + (self.promotion > 0.5)
        return kinds

    def kind(self, s: NDArray[np.intp], u: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the kinds of some periods."""
        return self.kinds[s, u]

    @cached_property
    def dates(self) -> dict[str, NDArray[np.int64]]:
        """Parts of the first day of each period, of a week those of its fourth."""
        middle = timedelta(days=self.periods.days // 2)
        days = [self.periods.start(t) + middle for t in range(self.periods.count + self.horizon)]
        return {
            "weekday": np.array([day.weekday() for day in days]),
            "week": np.array([day.isocalendar().week for day in days]),
            "month": np.array([day.month for day in days]),
            "day": np.array([day.day for day in days]),
        }

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """A hash of each series' place and store."""
        names = self.sales.names
        if names is None:
            texts = [str(i) for i in range(len(self.units))]
        else:
            stores = names.store or ("",) * len(names.product)
            texts = [f"{i} {store}" for i, store in zip(names.product, stores, strict=True)]
        return fingerprints(bytes(32), "series", texts)


class Origin:
    """What is known of all series before period t: arrays (series,) unless said otherwise."""

    def __init__(self, past: Past, t: int) -> None:
        self.past, self.t = past, t
        self.first = max(t - past.year - past.periods.level, 0)

    def mean_log(self, t: int, window: int) -> Floats:
        """The mean logarithm of the open periods before t."""
        every = np.arange(len(self.past.units))
        first, last = np.full(len(every), max(t - window, 0)), np.full(len(every), t)
        return mean_of(self.past.logs, self.past.open, every, first, last)

    @cached_property
    def like(self) -> Floats:
        """The mean logarithm of each kind of period in the last year, (series, kinds)."""
        return self._by_kind(self.past.log_units, self.mean_log(self.t, self.past.year))

    @cached_property
    def like_units(self) -> Floats:
        """The mean units of each kind of period in the last year, (series, kinds)."""
        return self._by_kind(self.past.units, self.mean_units(self.past.year))

    def _by_kind(self, values: Floats, usual: Floats) -> Floats:
        past = self.past
        window = slice(max(self.t - past.year, 0), self.t)
        kinds = past.kinds[:, window]
        count = 14 if past.periods.days == 1 else 2
        cell = kinds + count * np.arange(len(kinds))[:, None]
        weights = past.open_now[:, window].astype(np.float64)
        size = count * len(kinds)
        sums = np.bincount(cell.ravel(), values[:, window].ravel(), size)
        many = np.bincount(cell.ravel(), weights.ravel(), size)
        found: Floats = (sums.reshape(-1, count) + _PRIOR * np.nan_to_num(usual)[:, None]) / (
            many.reshape(-1, count) + _PRIOR
        )
        return found

    def mean_units(self, window: int) -> Floats:
        """The mean units of the open periods of the last ones."""
        first = max(self.t - window, 0)
        total = self.past.sold[:, self.t] - self.past.sold[:, first]
        return divided(total, self.past.open[:, self.t] - self.past.open[:, first])

    @cached_property
    def _above(self) -> Floats:
        """How open periods lay above their level, (series, periods from `first` on); nan if closed.

        Those of the last year, and before it as many as make a level.
        """
        past = self.past
        window = slice(self.first, self.t)
        level = np.take_along_axis(self.like, past.kinds[:, window], axis=1)
        return np.where(past.open_now[:, window], past.log_units[:, window] - level, np.nan)

    @cached_property
    def _running(self) -> tuple[Floats, Floats, Floats]:
        return self._sums(self._above)

    @cached_property
    def _together(self) -> tuple[Floats, Floats, Floats]:
        """The same of the mean of all series."""
        return self._sums(mean_of_columns(self._above)[None])

    @staticmethod
    def _sums(above: Floats) -> tuple[Floats, Floats, Floats]:
        there = ~np.isnan(above)
        values = np.where(there, above, 0.0)
        return running(values), running(values**2), running(there.astype(np.float64))

    def _last(self, sums: Floats, window: int) -> Floats:
        found: Floats = sums[:, -1] - sums[:, max(sums.shape[1] - 1 - window, 0)]
        return found

    def drift(self, window: int) -> Floats:
        """The mean of how the last periods lay above their level."""
        values, _, there = self._running
        return divided(self._last(values, window), self._last(there, window))

    def around(self, s: Any, u: Any, half: int, together: bool) -> Floats:
        """The mean of it in the periods u +- half before the origin, of each case.

        together: of the mean of all series of the retailer.
        """
        values, _, there = self._together if together else self._running
        s = np.zeros_like(s) if together else s
        first = np.clip(u - half - self.first, 0, self.t - self.first)
        last = np.clip(u + half + 1 - self.first, 0, self.t - self.first)
        return mean_of(values, there, s, first, last)

    def spread(self, window: int) -> Floats:
        """The standard deviation of it."""
        _, squares, there = self._running
        variance = divided(self._last(squares, window), self._last(there, window))
        found: Floats = np.sqrt(np.maximum(variance - self.drift(window) ** 2, 0.0))
        return found

    def lag(self, back: int) -> Floats:
        """How one period lay above its level."""
        if back > self._above.shape[1]:
            return np.full(len(self._above), np.nan)
        found: Floats = self._above[:, -back]
        return found

    def extreme(self, which: Callable[..., Any]) -> Floats:
        """The largest or least of it in the periods of the level."""
        recent = self._above[:, -self.past.periods.level :]
        known = ~np.isnan(recent).all(axis=1)
        found = np.full(len(recent), np.nan)
        found[known] = which(recent[known], axis=1)
        return found

    def same_day(self, weeks: int) -> Floats:
        """The mean of it on each weekday of the last weeks, (series, 7)."""
        above = self._above[:, -7 * weeks :]
        days = self.past.dates["weekday"][self.t - above.shape[1] : self.t]
        columns = []
        for day in range(7):
            there = above[:, days == day]
            known = ~np.isnan(there)
            columns.append(divided(np.where(known, there, 0.0).sum(axis=1), known.sum(axis=1)))
        return np.stack(columns, axis=1)

    def zeros(self, window: int) -> Floats:
        """The share of open periods without sales."""
        first = max(self.t - window, 0)
        zeros = self.past.nothing[:, self.t] - self.past.nothing[:, first]
        return divided(zeros, self.past.open[:, self.t] - self.past.open[:, first])

    @cached_property
    def age(self) -> Floats:
        """Periods since the first sale, nan where it is as old as the history."""
        sold = self.past.units[:, : self.t] > 0
        first = sold.argmax(axis=1)
        return np.where(sold.any(axis=1) & (first > self.past.windows[1]), self.t - first, np.nan)

    @cached_property
    def idle(self) -> Floats:
        """Open periods since the last sale."""
        sold = self.past.units[:, : self.t] > 0
        last = self.t - 1 - sold[:, ::-1].argmax(axis=1)
        every = np.arange(len(sold))
        return np.where(
            sold.any(axis=1), self.past.open[:, self.t] - self.past.open[every, last + 1], np.nan
        )

    @cached_property
    def growth(self) -> Floats:
        """How the last quarter lay above the same one of the year before."""
        window, then = self.past.windows[3], self.t - self.past.year
        if then < window:
            return np.full(len(self.past.units), np.nan)
        return self.mean_log(self.t, window) - self.mean_log(then, window)

    @cached_property
    def closed_long(self) -> Floats:
        """The share of closed periods in the longest window."""
        first = max(self.t - self.past.windows[-1], 0)
        found: Floats = 1 - (self.past.open[:, self.t] - self.past.open[:, first]) / max(
            self.t - first, 1
        )
        return found

    @cached_property
    def promoted(self) -> Floats:
        """The share of lines in a promotion in the periods of the level."""
        level = self.past.periods.level
        first = max(self.t - level, 0)
        found: Floats = (self.past.promoted[:, self.t] - self.past.promoted[:, first]) / max(
            self.t - first, 1
        )
        return found

    def _price(self, window: int) -> Floats:
        return mean_of_rows(self.past.sales.price[:, max(self.t - window, 0) : self.t])

    @cached_property
    def price_change(self) -> Floats:
        """The recent price over the usual one."""
        usual = self._price(self.past.windows[-1])
        return divided(self._price(self.past.windows[1]), usual)

    @cached_property
    def price_in_category(self) -> Floats:
        """The recent price over the mean of the category."""
        names = self.past.sales.names
        price = self._price(self.past.windows[2])
        if names is None or not (names.category >= 0).any():
            return np.full(len(price), np.nan)
        known = np.isfinite(price) & (names.category >= 0)
        of = names.category[known]
        mean = divided(
            np.bincount(of, price[known], names.category.max() + 1),
            np.bincount(of, minlength=names.category.max() + 1),
        )
        found = np.full(len(price), np.nan)
        found[known] = divided(price[known], mean[of])
        return found

    @cached_property
    def usual_list_price(self) -> Floats:
        """The mean list price of the last year."""
        return mean_of_rows(self.past.list_price[:, max(self.t - self.past.year, 0) : self.t])

    @cached_property
    def open_for(self) -> Floats:
        """Periods since the store opened, nan where that is not known."""
        days = self.past.sales.facts.open_for(self.past.periods.start(self.t))
        return days / self.past.periods.days

    @lru_cache(maxsize=8)  # noqa: B019 - lives as long as the origin
    def shares(self, kind: str) -> Floats:
        """The share of days of a kind of KINDS, (series, periods + horizon), as known before t."""
        known = self.past.sales.known
        if known is None:
            return np.zeros((len(self.past.units), self.past.periods.count + self.past.horizon))
        seen = np.where(known.since[kind] <= self.t, known.shares[kind], 0.0)
        found: Floats = seen[self.past.group]
        return found

    @lru_cache(maxsize=8)  # noqa: B019 - lives as long as the origin
    def marks(self, kind: str) -> NDArray[np.bool_]:
        """Which periods are of a kind of KINDS or in a promotion, as known before t."""
        if kind == "promotion":
            return self.past.promotion > 0
        return self.shares(kind) > 0

    @lru_cache(maxsize=4)  # noqa: B019 - lives as long as the origin
    def near_holidays(self, shift: int) -> Floats:
        """The mean of how periods lay above their level that are so many before a holiday."""
        marks = self.shares("holiday") > 0
        early = max(-self.first - shift, 0)  # periods before the first have no mark
        near = np.zeros(self._above.shape, np.bool_)
        near[:, early:] = marks[:, self.first + early + shift : self.t + shift]
        near &= ~np.isnan(self._above)
        return divided(np.where(near, self._above, 0.0).sum(axis=1), near.sum(axis=1))

    @lru_cache(maxsize=2)  # noqa: B019 - lives as long as the origin
    def number(self, name: str) -> Floats:
        """Weather or trend by calendar and period, (groups, periods + horizon), as known then."""
        known, periods = self.past.sales.known, self.past.periods
        groups = int(self.past.group.max(initial=0)) + 1
        length = periods.count + self.past.horizon
        if known is None or not len(known.numbers[name].value):
            return np.full((groups, length), np.nan)
        return known.numbers[name].as_of(self.t, groups, length, periods.days)
