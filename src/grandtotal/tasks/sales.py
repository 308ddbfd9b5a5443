"""A retailer's sales by product and period, and the features of a forecast as of an origin.

A feature of origin t is a function of the periods before t, of the calendar as it was known, and
of the consortium's total series before t. Nothing else: a test moves what comes after and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.glm import UNIT_STEPS, Design, features
from grandtotal.durable import arrays_digest
from grandtotal.errors import DataError
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.along_periods import running
from grandtotal.tasks.covariates import Covariates
from grandtotal.tasks.demand_facts import Facts
from grandtotal.tasks.demand_features import Seen
from grandtotal.tasks.demand_origins import Past
from grandtotal.tasks.periods import Periods
from grandtotal.tasks.shelf import LEARNED
from grandtotal.threads import each

__all__ = ["Cases", "Panel", "Periods", "Sales", "SeriesNames", "build_cases"]

Made = TypeVar("Made")
_LITTLE = 0.1  # units: what log() sees of a product that did not sell
_ROOM = 12.0  # units that are never an outlier


@dataclass(frozen=True, eq=False)
class SeriesNames:
    """What each series is: product, (series,) its place in the catalogue, -1 for all products;
    store, one for each series, or none where series are of all stores; category, (series,) a
    number for each, -1 where it is not known."""

    product: NDArray[np.intp]
    store: tuple[str, ...]
    category: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Sales:
    """One retailer's panel over the catalogue.

    units: (products, periods) sold less returned in the period, not below 0, in whole steps.
    price: (products, periods) mean unit price, nan where nothing was sold.
    promoted: (products, periods) share of units sold in a promotion.
    holidays: for each of periods + horizon, from which period on each holiday in it was known.
    cap: how many times the mean of the last windows[-1] periods is still believed; what is above
        is cut before it becomes a feature, a target of training or a summand.
    names: what each series is; without, a series is a product of all stores.
    known: what else is known of each series, which trees look at.
    shelf: (products, periods) which share of the period it was there to be bought, see shelf.py;
        units hold what was missing. Empty where nobody counted: then all is taken for demand.
    told: what does not change of each series, which trees look at.
    """

    periods: Periods
    horizon: int
    units: NDArray[np.float64]
    price: NDArray[np.float64]
    promoted: NDArray[np.float64]
    holidays: tuple[tuple[int, ...], ...]
    cap: float
    names: SeriesNames | None = None
    known: Covariates | None = None
    shelf: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    told: Facts | None = None

    @cached_property
    def facts(self) -> Facts:
        """What does not change of each series; unknown where no table tells it."""
        return self.told or Facts.unknown(len(self.units))

    @cached_property
    def past(self) -> Past:
        """What the features of trees are made of."""
        return Past(self)

    @cached_property
    def closed(self) -> NDArray[np.bool_]:
        """Which periods are closed on all days, (series, periods + horizon): nothing can sell."""
        if self.known is None:
            return np.zeros((len(self.units), self.periods.count + self.horizon), np.bool_)
        return self.known.closed

    def of_products(self, products: int) -> NDArray[np.float64]:
        """Returns capped units by product of the catalogue; of all together, where there is one."""
        capped = self.capped()
        if self.names is None or (products == len(capped) and not self.names.store):
            return capped
        place = self.names.product if products > 1 else np.zeros(len(capped), np.intp)
        sums = np.zeros((products, capped.shape[1]))
        np.add.at(sums, place, capped)
        return sums

    def of_consortium(self, series: NDArray[Any]) -> NDArray[np.float64]:
        """Returns for each series the consortium's units of its product, (series, periods)."""
        if self.names is not None and len(series) > 1:
            series = np.asarray(series)[self.names.product]
        return np.broadcast_to(series, self.units.shape).astype(np.float64)

    @cached_property
    def whole(self) -> NDArray[np.bool_]:
        """Which products, (products,), are sold by the piece: never a part of a unit."""
        pieces = self.units % 1 == 0
        return np.asarray((pieces | (self.shelf < 1) if self.shelf.size else pieces).all(axis=1))

    def on_shelf(self, series: NDArray[np.intp], period: int) -> NDArray[np.float64]:
        """Returns the share of a period, (series,), that these were there; 1 where unknown."""
        if not self.shelf.size or period >= self.shelf.shape[1]:
            return np.ones(len(series))
        share: NDArray[np.float64] = self.shelf[series, period]
        return share

    def capped(self) -> NDArray[np.float64]:
        """Returns units without outliers; period t is judged by the periods before it only.

        Closed periods say nothing of what is usual: after months of them it is what sold before.
        """
        return self._capped

    @cached_property
    def _capped(self) -> NDArray[np.float64]:
        # Every panel of a task, its totals and its trees ask for the same: it is made once.
        sums = running(self.units)
        count = self.units.shape[1]
        open_ = running((~self.closed[:, :count]).astype(np.float64))
        capped = np.empty_like(self.units)
        capped[:, 0] = np.minimum(self.units[:, 0], self.cap * self.units[:, 0] + _ROOM)
        for t in range(1, count):
            first = max(t - self.periods.windows[-1], 0)
            many = open_[:, t] - open_[:, first]
            recent = sums[:, t] - sums[:, first]
            total = np.where(many > 0, recent, sums[:, t])
            usual = total / np.maximum(np.where(many > 0, many, open_[:, t]), 1.0)
            most = np.where(open_[:, t] > 0, self.cap * usual + _ROOM, np.inf)
            capped[:, t] = np.minimum(self.units[:, t], most)
        return np.rint(capped * UNIT_STEPS) / UNIT_STEPS


@dataclass(frozen=True)
class Cases:
    """Forecast cases (series, origin, step ahead) with what happened.

    design: features, target and offset; y of the design is capped, `sold` is not.
    series, origin, ahead: (cases,) product index, origin period, periods ahead from 1.
    mean, seasonal: (cases,) the two baselines: mean of the last level periods, last season.
    closed: (cases,) whether it is known that nothing can sell.
    of: the panel that the cases are of.
    shelf: (cases,) which share of the target period the product was there to be bought.
    """

    design: Design
    series: NDArray[np.intp]
    origin: NDArray[np.int64]
    ahead: NDArray[np.int64]
    sold: NDArray[np.float64]
    mean: NDArray[np.float64]
    seasonal: NDArray[np.float64]
    shelf: NDArray[np.float64]
    closed: NDArray[np.bool_]
    of: Sales

    @property
    def open(self) -> NDArray[np.bool_]:
        """Which cases may sell, as far as is known."""
        return ~self.closed

    @cached_property
    def seen(self) -> Seen:
        """What else is known of each case at its origin."""
        return Seen(self.of, self.series, self.origin, self.ahead)

    def chosen(self, which: NDArray[np.bool_]) -> Cases:
        """Returns some of the cases; all of them as they are."""
        if which.all():
            return self
        columns = [f.name for f in fields(self) if f.name not in ("design", "of")]
        rest = {name: getattr(self, name)[which] for name in columns}
        return Cases(design=self.design.chosen(which), of=self.of, **rest)


@dataclass(frozen=True, eq=False)
class Panel:
    """The sales of one retailer, or in a simulation of several, seen from one cut.

    training: origins whose targets all lie before the cut. scoring: origins from the cut on.
    per_customer: how many products the lines of one customer count for; 0 is any number.
    kept: what was made of these rows: it can be made again.
    """

    parts: tuple[Sales, ...]
    origins: tuple[int, ...]
    scored: tuple[int, ...]
    cut: int
    until: int
    per_customer: int = 0
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @staticmethod
    def pooled(panels: list[Panel]) -> Panel:
        """Returns the panels of several retailers as one: for simulations."""
        parts = tuple(part for panel in panels for part in panel.parts)
        return replace(panels[0], parts=parts, kept={})

    def training(self, broadcast: Arrays) -> list[Design]:
        """Returns the design of every part, for the consortium's series in the broadcast."""
        return [cases.design for cases in self.learned(broadcast["series"])]

    def learned(self, series: NDArray[Any]) -> list[Cases]:
        """Returns the cases of training, of every part: those whose demand is mostly known."""
        built = self._built(series, self.origins, self.cut)
        return [cases.chosen(cases.open & (cases.shelf >= LEARNED)) for cases in built]

    def cases(self, series: NDArray[Any]) -> list[Cases]:
        """Returns the cases that are scored, of every part: those whose demand is known."""
        return [cases.chosen(cases.open & (cases.shelf >= 1.0)) for cases in self.whole(series)]

    def whole(self, series: NDArray[Any]) -> list[Cases]:
        """Returns the scored cases and those whose demand is not known, of every part."""
        return self._built(series, self.scored, self.until)

    def _built(self, series: NDArray[Any], origins: tuple[int, ...], until: int) -> list[Cases]:
        # A fit asks for the same rows in every round: they are built once for each series.
        key = (arrays_digest({"": np.asarray(series)}), origins)
        return self.once(
            key, lambda: [*each(lambda one: build_cases(one, series, origins, until), self.parts)]
        )

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Returns what was made of these rows under the key, made when first asked for."""
        if key not in self.kept:
            self.kept[key] = make()
        made: Made = self.kept[key]
        return made


def build_cases(sales: Sales, series: NDArray[Any], origins: tuple[int, ...], until: int) -> Cases:
    """Returns all cases of these origins whose target lies before `until` (none: future ones too).

    series: (products, periods) the consortium's capped units, or (1, periods) where all products
        have the same season; only columns before an origin count.
    """
    view = _View(sales, series)
    parts = [
        view.cases(seen, t, target)
        for t in origins
        for seen in [view.origin(t)]
        for target in range(t, min(t + sales.horizon, until))
    ]
    if not any(len(columns[0]) for columns in parts):
        raise DataError(
            f"transactions: no product sold in the {sales.periods.windows[-1]} periods before "
            f"{sales.periods.start(until)}: demand needs a history; see `history` in the plan"
        )
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    x, capped, offset, place, origin, ahead, sold, mean, seasonal, shelf, closed = joined
    design = Design(x, capped, offset, product=place)
    return Cases(design, place, origin, ahead, sold, mean, seasonal, shelf, closed, sales)


class _View:
    """Running sums of one retailer's sales and the consortium's, to look back from any origin."""

    def __init__(self, sales: Sales, series: NDArray[Any]) -> None:
        self.sales = sales
        self.periods = sales.periods
        self.capped = sales.capped()
        self.own = running(self.capped)
        self.all = running(sales.of_consortium(series))
        self.everything = self.all.sum(axis=0, keepdims=True)
        self.sold = running(sales.units)
        self.selling = running((sales.units > 0).astype(np.float64))
        self.promoted = running(sales.promoted)
        self.price = running(np.nan_to_num(sales.price))
        self.priced = running(np.isfinite(sales.price).astype(np.float64))

    def origin(self, t: int) -> tuple[Any, ...]:
        """Returns what all horizons of one origin share: active products, level, columns."""
        windows = self.periods.windows
        active = np.flatnonzero(self.own[:, t] - self.own[:, max(t - windows[-1], 0)] > 0)
        own = [_mean(self.own, t, w)[active] for w in windows]
        share = (own[-1] + 0.02) / (_mean(self.all, t, windows[-1])[active] + 0.1)
        shared = [share * _mean(self.all, t, w)[active] for w in windows]
        level = log((2 * own[2] + shared[2]) / 3 + _LITTLE)
        often = _mean(self.selling, t, windows[3])[active]
        columns = [
            np.ones(len(active)),
            *(log(o + _LITTLE) - level for o in own),
            *(log(s + _LITTLE) - level for s in shared),
            level / 3,
            often,
            often**2,
            _mean(self.promoted, t, windows[1])[active],
            self._price_change(t)[active],
        ]
        return active, share, level, columns

    def _price_change(self, t: int) -> NDArray[np.float64]:
        """Returns log(recent price / usual price), 0 where either is unknown."""
        recent = self._mean_price(t, self.periods.windows[1])
        usual = self._mean_price(t, self.periods.windows[-1])
        known = (recent > 0) & (usual > 0)
        ratio = np.divide(recent, usual, out=np.ones_like(recent), where=known)
        return np.clip(log(ratio), -2.0, 2.0)

    def _mean_price(self, t: int, window: int) -> NDArray[np.float64]:
        first = max(t - window, 0)
        total = self.price[:, t] - self.price[:, first]
        count = self.priced[:, t] - self.priced[:, first]
        return np.divide(total, count, out=np.zeros_like(total), where=count > 0)

    def cases(self, origin: tuple[Any, ...], t: int, target: int) -> tuple[Any, ...]:
        """Returns the columns of `Cases` for one origin, as seen from t, and one target period."""
        active, share, level, columns = origin
        ahead = target - t + 1
        x = features(
            [
                *columns,
                *self._season(t, target, share, level, active),
                np.full(len(active), ahead / self.sales.horizon),
                np.full(len(active), self._holidays(t, target)),
                *self._weekday(target, len(active)),
            ]
        )
        known = target < self.periods.count
        sold = self.sales.units[active, target] if known else np.full(len(active), np.nan)
        capped = self.capped[active, target] if known else np.zeros(len(active))
        last = target - self.periods.season * -(-ahead // self.periods.season)
        return (
            x,
            capped,
            np.rint(level * 2**16) / 2**16,
            active,
            np.full(len(active), t),
            np.full(len(active), ahead),
            sold,
            _mean(self.sold, t, self.periods.level)[active],
            self.sales.units[active, last] if last >= 0 else np.zeros(len(active)),
            self.sales.on_shelf(active, target),
            self.sales.closed[active, target],
        )

    def _season(
        self,
        t: int,
        target: int,
        share: NDArray[np.float64],
        level: NDArray[np.float64],
        active: NDArray[np.intp],
    ) -> list[NDArray[np.float64]]:
        """Returns how last year went on from here: the product, everything, and both levels."""
        last, then = target - self.periods.year, t - self.periods.year
        if last < 1 or then < self.periods.level or last + 2 > t:
            return [np.zeros(len(active))] * 4
        around = (self.all[active, last + 2] - self.all[active, last - 1]) / 3
        own = (self.own[active, last + 2] - self.own[active, last - 1]) / 3
        before = _mean(self.all, then, self.periods.level)[active]
        everything = self.everything[0, last + 1] - self.everything[0, last]
        usual = _mean(self.everything, then, self.periods.level)[0]
        return [
            log((around + 1) / (before + 1)),
            np.full(len(active), log((everything + 1) / (usual + 1))),
            log(share * around + _LITTLE) - level,
            log(own + _LITTLE) - level,
        ]

    def _holidays(self, t: int, target: int) -> float:
        return float(sum(known <= t for known in self.sales.holidays[target]))

    def _weekday(self, target: int, cases: int) -> list[NDArray[np.float64]]:
        if self.periods.days != 1:
            return []
        weekday = self.periods.start(target).weekday()
        return [np.full(cases, float(weekday == day)) for day in range(6)]


def _mean(cumulative: NDArray[np.float64], t: int, window: int) -> NDArray[np.float64]:
    """Returns the mean of the `window` periods before t, of all that there are at the start."""
    first = max(t - window, 0)
    means: NDArray[np.float64] = (cumulative[..., t] - cumulative[..., first]) / max(t - first, 1)
    return means
