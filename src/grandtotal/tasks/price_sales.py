"""A retailer's sales and prices by product, store and week, and what elasticities are made of them.

A week without a sale has no price of its own: the series' last one, moved as the product's price
moved in the retailer's other stores. A product that has not sold in a store for weeks is not there
any more. Nothing after a cut changes what is made of the weeks before it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp
from grandtotal.algorithms.price_rows import (
    CROSS,
    EFFECTS,
    OWN,
    PROMOTION,
    PricePanel,
    PriceRows,
    of_year,
    whole,
)
from grandtotal.tasks.price_model import Prices
from grandtotal.tasks.price_weekly import Weekly

Made = TypeVar("Made")
GONE = 13  # weeks without a sale after which a product is taken to be no longer in the store
CHANGED = 0.05  # of a log price against the recent one: a price change that is scored
COLUMNS = EFFECTS + 2  # with the year's season


@dataclass(frozen=True, eq=False)
class Cases:
    """Weeks after a cut in which a series has another price than before, by one retailer.

    x: (cases, columns) differences from a row of the series before the cut. sold: (cases,) units.
    series: (cases,). product, store: (series,). past, units, of: (past rows, columns), (past rows,)
    and (past rows,): the recent rows before the cut that a forecast is relative to, and their
    series.
    """

    x: NDArray[np.float64]
    sold: NDArray[np.float64]
    series: NDArray[np.intp]
    product: NDArray[np.intp]
    past: NDArray[np.float64]
    units: NDArray[np.float64]
    of: NDArray[np.intp]

    def recent(self) -> NDArray[np.float64]:
        """Returns the mean units of the recent weeks, (cases,)."""
        return self.forecast(np.zeros((int(self.product.max(initial=0)) + 1, EFFECTS)))

    def forecast(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns units at the case's prices, (cases,), by (products, columns) coefficients.

        The level is what the recent weeks sold over what the coefficients say of their prices.
        """
        count = len(self.product)
        whole = np.bincount(self.of, self.units, minlength=count)
        said = np.bincount(
            self.of, _effect(self.past, coefficients[self.product[self.of]]), minlength=count
        )
        level = np.divide(whole, said, out=np.zeros(count), where=said > 0)
        effect = _effect(self.x, coefficients[self.product[self.series]])
        return np.asarray(level[self.series] * effect)


def _effect(x: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    effect = (x[:, :EFFECTS] * coefficients).sum(axis=1)
    return exp(np.clip(effect, -5.0, 5.0))


@dataclass(frozen=True, eq=False)
class PriceHistory(PricePanel):
    """The panel of one cut, with what came after it.

    cases: of each retailer; scored only. prices: as of the cut, of each retailer. kept: what was
    made of these rows: it can be made again.
    """

    cases: tuple[Cases, ...] = ()
    prices: tuple[Prices, ...] = ()
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Returns what was made of these rows under the key, made when first asked for."""
        if key not in self.kept:
            self.kept[key] = make()
        made: Made = self.kept[key]
        return made

    @staticmethod
    def of(
        weekly: Weekly,
        cut: int,
        until: int,
        season: int,
        recent: int,
        per_customer: int = 0,
        apart: bool = False,
    ) -> PriceHistory:
        """Returns rows before the cut, and the cases from it on and before `until`.

        apart: whether a row may know of its own series alone: no prices of other stores or
        products are then in it.
        """
        x, there = _columns(weekly, cut, until, apart)
        # What a retailer lists is no customer's doing; what it sold is.
        rows = _rows(weekly, x, there, cut, season, weekly.listed if apart else weekly.buckets)
        cases = _cases(weekly, x, there, cut, until, recent)
        return PriceHistory((rows,), per_customer, (cases,), (_prices(weekly, cut, recent),))

    @staticmethod
    def joined(panels: list[PriceHistory]) -> PriceHistory:
        """Returns the histories of several retailers as one: for simulations."""
        return PriceHistory(
            tuple(part for panel in panels for part in panel.parts),
            panels[0].per_customer,
            tuple(cases for panel in panels for cases in panel.cases),
            tuple(prices for panel in panels for prices in panel.prices),
        )


def _columns(
    weekly: Weekly, cut: int, until: int, apart: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Returns x (series, weeks before until, columns), and where there is a row."""
    price, promoted = _filled(weekly, cut, until, apart)
    there = np.isfinite(price)
    x = np.zeros((*price.shape, COLUMNS))
    x[..., OWN] = price
    if not apart:
        x[..., CROSS] = _others(weekly, price, there, cut)
    x[..., PROMOTION] = promoted
    x[..., EFFECTS:] = of_year(weekly.price.shape[1] - np.arange(until))
    return x, there


def _filled(
    weekly: Weekly, cut: int, until: int, apart: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns log price and share promoted, also of weeks without a sale; nan: not in the store.

    Of such a week the price is that of the series' nearest week with a sale, moved as the product's
    mean over all stores moved between the two.
    """
    price, promoted = weekly.price[:, :until], weekly.promoted[:, :until]
    known = np.isfinite(price)
    nearest, gone = _nearest(known, cut)
    row = np.arange(len(price))[:, None]
    filled, offered = price[row, nearest], promoted[row, nearest]
    if not apart:
        chain, offers = _chain(weekly, until)
        at, _ = _nearest(np.isfinite(chain), cut)
        every = np.arange(len(chain))[:, None]
        level, share = chain[every, at][weekly.product], offers[every, at][weekly.product]
        filled = whole(filled + np.where(known, 0.0, level - level[row, nearest]))
        offered = np.where(known, promoted, share)
    return np.where(gone, np.nan, filled), np.where(gone, 0.0, offered)


def _nearest(known: NDArray[np.bool_], cut: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Returns the nearest known week of each, (n, weeks), and where none lies shortly before.

    From the cut on it is the last one: what comes later is not known yet.
    """
    weeks = np.arange(known.shape[1])
    before = np.maximum.accumulate(np.where(known, weeks, -1), axis=1)
    after = np.full(known.shape, 2 * known.shape[1])
    backwards = np.where(known, weeks, 2 * known.shape[1])[:, :cut][:, ::-1]
    after[:, :cut] = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    later = (before < 0) | (after - weeks < weeks - before)
    nearest = np.minimum(np.where(later, after, before), known.shape[1] - 1)
    return nearest, (before < 0) | (weeks - before > GONE)


def _chain(weekly: Weekly, until: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns mean log price and mean promoted of a product over the stores, (products, weeks)."""
    price = weekly.price[:, :until]
    known = np.isfinite(price)
    shape = (len(weekly.category), until)
    sums = [np.zeros(shape) for _ in range(3)]
    for total, values in zip(
        sums, (known, np.nan_to_num(price), weekly.promoted[:, :until] * known), strict=True
    ):
        np.add.at(total, weekly.product, values)
    count = np.where(sums[0] > 0, sums[0], np.nan)
    return sums[1] / count, np.nan_to_num(sums[2] / count)


def _others(
    weekly: Weekly, price: NDArray[np.float64], there: NDArray[np.bool_], cut: int
) -> NDArray[np.float64]:
    """Returns how far the others of a category in the store are from their usual log price.

    Usual is a series' mean before the cut, so that a product that comes or goes changes nothing.
    """
    first = np.argmax(there, axis=1)
    relative = np.where(there, price - price[np.arange(len(price)), first][:, None], 0.0)
    before = there[:, :cut].sum(axis=1)
    usual = relative[:, :cut].sum(axis=1) / np.maximum(before, 1)
    counted = there & (before > 0)[:, None] & (weekly.category[weekly.product] >= 0)[:, None]
    apart = np.where(counted, relative - usual[:, None], 0.0)
    keys = (
        weekly.store * (int(weekly.category.max(initial=0)) + 2) + weekly.category[weekly.product]
    )
    group = np.unique(keys, return_inverse=True)[1]
    total, count = (np.zeros((group.max(initial=0) + 1, price.shape[1])) for _ in range(2))
    np.add.at(total, group, apart)
    np.add.at(count, group, counted)
    others = count[group] - counted
    mean = np.divide(
        total[group] - apart, others, out=np.zeros_like(apart), where=counted & (others > 0)
    )
    return whole(mean)


def _rows(
    weekly: Weekly,
    x: NDArray[Any],
    there: NDArray[np.bool_],
    cut: int,
    season: int,
    buckets: NDArray[np.int16],
) -> PriceRows:
    series, week = np.nonzero(there[:, :cut])
    present, number = np.unique(series, return_inverse=True)
    return PriceRows(
        x[series, week],
        weekly.units[series, week],
        number.astype(np.intp),
        # A season ends with the cut.
        week + (-cut) % season,
        weekly.product[present],
        season,
        buckets,
    )


def _cases(
    weekly: Weekly, x: NDArray[Any], there: NDArray[np.bool_], cut: int, until: int, recent: int
) -> Cases:
    from_ = max(cut - recent, 0)
    of, ago = np.nonzero(there[:, from_:cut])
    any_past = np.bincount(of, minlength=len(x)) > 0
    last = cut - 1 - np.argmax(there[:, from_:cut][:, ::-1], axis=1)
    reference = x[np.arange(len(x)), last]
    past = x[of, ago + from_] - reference[of]
    count = np.maximum(np.bincount(of, minlength=len(x)), 1)
    usual = np.bincount(of, past[:, OWN], minlength=len(x)) / count
    sold = np.bincount(of, weekly.units[of, ago + from_], minlength=len(x)) > 0
    series, ahead = np.nonzero(there[:, cut:until] & (any_past & sold)[:, None])
    found = x[series, ahead + cut] - reference[series]
    changed = np.abs(found[:, OWN] - usual[series]) > CHANGED
    return Cases(
        found[changed],
        weekly.units[series, ahead + cut][changed],
        series[changed],
        weekly.product,
        past,
        weekly.units[of, ago + from_],
        of,
    )


def _prices(weekly: Weekly, cut: int, recent: int) -> Prices:
    """Returns what the retailer knows of its prices as of the cut; it stays at home."""
    products = len(weekly.category)
    price, units = np.exp(weekly.price[:, :cut]), weekly.units[:, :cut]
    known = np.isfinite(price)

    def per_product(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(weekly.product, values.sum(axis=1), minlength=products)
        return sums.astype(np.float64)

    late = slice(max(cut - recent, 0), cut)
    weight = np.where(known, np.maximum(units, 1e-9), 0.0)[:, late]
    whole_ = per_product(weight)
    spent = per_product(weight * np.nan_to_num(price[:, late]))
    lowest, highest = np.full(products, np.inf), np.full(products, -np.inf)
    np.minimum.at(
        lowest, weekly.product, np.where(known, price, np.inf).min(axis=1, initial=np.inf)
    )
    np.maximum.at(
        highest, weekly.product, np.where(known, price, -np.inf).max(axis=1, initial=-np.inf)
    )
    some = np.isfinite(lowest)
    return Prices(
        np.divide(spent, whole_, out=np.full(products, np.nan), where=whole_ > 0),
        np.where(some, lowest, np.nan),
        np.where(some, highest, np.nan),
        per_product(units[:, late]) / max(late.stop - late.start, 1),
        weekly.cost,
        weekly.category,
        weekly.free,
    )
