"""A market to try prices in: Dominick's orange juice as a nested logit of every store.

Of another class than the elasticities that are judged: which juice is bought is a logit in the
price itself, its coefficients differ between stores by their customers' demographics and beyond;
whether any is bought depends on what all of them offer. Fitted on the last 60 weeks by least
squares on logs, the two stages of Berry, "Estimating discrete-choice models of product
differentiation", 1994, https://doi.org/10.2307/2555829; store coefficients drawn to their
regression on demographics by the variance that sampling leaves. Prices are in cents an ounce.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.rows import need

Floats = NDArray[np.float64]

SOURCE = "github.com/cran/bayesm, data/orangeJuice.rda, as csv"
EARLY, LATE = slice(0, 61), slice(61, 121)  # weeks 40-100, to learn from, and 101-160
_FIRST = 40
_SIZE = 1.5  # of a store's market, in its own best weeks
_SERIAL = 2.0  # how much less than they seem weeks that follow each other tell
_SMALL = 0.05  # sd that a demographic's coefficient is believed to have


@dataclass(frozen=True)
class Juice:
    """units, price, deal, feat, cost: (stores, brands, weeks), nan where a row is missing.

    about: (stores, 11) demographics and distances to competitors, each of mean 0 and sd 1.
    """

    units: Floats
    price: Floats
    deal: Floats
    feat: Floats
    cost: Floats
    about: Floats


def juice(data: Path) -> Juice:
    """Returns the 83 stores, 11 brands and 121 weeks of the full table; units are ounces."""
    folder = data / "dominicks-orange-juice"
    rows = pl.read_csv(need(folder / "yx.csv.gz", SOURCE))
    about = pl.read_csv(need(folder / "storedemo.csv", SOURCE)).sort("STORE")
    store = np.searchsorted(about["STORE"].to_numpy(), rows["store"].to_numpy())
    brand, week = rows["brand"].to_numpy() - 1, rows["week"].to_numpy() - _FIRST
    prices = np.stack([rows[f"price{j + 1}"].to_numpy() for j in range(11)], axis=1)
    price = 100 * prices[np.arange(len(rows)), brand]

    def cube(values: Any) -> Floats:
        filled = np.full((len(about), 11, 121), np.nan)
        filled[store, brand, week] = values
        return filled

    demographics = about.drop("STORE").to_numpy()
    return Juice(
        units=cube(np.exp(rows["logmove"].to_numpy())),
        price=cube(price),
        deal=cube(rows["deal"].to_numpy()),
        feat=cube(rows["feat"].to_numpy()),
        cost=cube(price * (1 - rows["profit"].to_numpy() / 100)),
        about=(demographics - demographics.mean(axis=0)) / demographics.std(axis=0),
    )


@dataclass(frozen=True)
class Market:
    """Units of every store at any prices, without promotions. Arrays are (stores, brands).

    level, slope: of the logit among juices. size, draw: (stores,) how many ounces could be sold,
    and the log odds that any is, at an inclusive value of 0. depends: how much of it counts.
    price, cost: of the fitted weeks. noise: sd of the log units of one store and week.
    """

    level: Floats
    slope: Floats
    size: Floats
    draw: Floats
    depends: float
    price: Floats
    cost: Floats
    noise: float

    @property
    def usual(self) -> Floats:
        """The mean price of each brand, one for all stores, (brands,)."""
        return self.price.mean(axis=0)

    def units(self, price: Floats, store: Any = slice(None)) -> Floats:
        """Returns ounces a week at prices (stores, brands) or (brands,), of some stores."""
        value = self.level[store] + self.slope[store] * price
        most = value.max(axis=-1, keepdims=True)
        each = np.exp(value - most)
        inclusive = np.log(each.sum(axis=-1)) + most[..., 0]
        bought = 1 / (1 + np.exp(-(self.draw[store] + self.depends * inclusive)))
        whole = self.size[store] * bought
        units: Floats = whole[..., None] * each / each.sum(axis=-1, keepdims=True)
        return units

    def profit(self, price: Floats, store: Any = slice(None)) -> Floats:
        """Returns profit a week by store."""
        earned: Floats = (self.units(price, store) * (price - self.cost[store])).sum(axis=-1)
        return earned

    def best(self, change: float, dearer: float | None, store: Any = slice(None)) -> Floats:
        """Returns the prices that earn most in some stores, one for all of them, (brands,).

        change: of the usual price at most. dearer: by which share what is bought now may cost more.
        """
        usual, base = self.usual, self.units(np.broadcast_to(self.usual, self.level.shape))[store]
        bought = base if base.ndim == 1 else base.sum(axis=0)
        now = float(self.profit(usual, store).sum())
        limits = (
            []
            if dearer is None
            else [{"type": "ineq", "fun": lambda x: 1 + dearer - (x @ bought) / (usual @ bought)}]
        )
        found = minimize(
            lambda x: -float(self.profit(x, store).sum()) / now,
            usual,
            bounds=[(p * (1 - change), p * (1 + change)) for p in usual],
            constraints=limits,
            method="SLSQP",
        )
        prices: Floats = found.x
        return prices


def market(of: Juice, weeks: slice = LATE) -> Market:
    """Returns the market fitted on these weeks."""
    units, price, deal, feat, cost = (
        getattr(of, name)[:, :, weeks] for name in ("units", "price", "deal", "feat", "cost")
    )
    whole = (np.isfinite(units) & (units > 0)).all(axis=1)  # weeks in which a store has all brands
    slope, promoted, noise = _among(
        whole, np.log(np.where(units > 0, units, np.nan)), price, deal, feat, of.about
    )
    level = np.nanmean(
        np.log(np.where(units > 0, units, np.nan)) - slope[:, :, None] * price, axis=2
    )
    at = [v - np.nanmean(v, axis=2, keepdims=True) for v in (deal, feat)]
    value = level[:, :, None] + slope[:, :, None] * price
    value = value + sum(
        b[None, :, None] * np.nan_to_num(v) for b, v in zip(promoted, at, strict=True)
    )
    inclusive = np.log(np.where(whole, np.nansum(np.exp(value), axis=1), 1.0))
    sold = np.nansum(units, axis=1)
    size = _SIZE * np.nanquantile(np.where(whole, sold, np.nan), 0.98, axis=1)
    odds = np.log(
        np.where(whole, sold, 1.0) / np.maximum(size[:, None] - sold, 0.05 * size[:, None])
    )
    x, y = (_centred(np.where(whole, v, np.nan), 1) for v in (inclusive, odds))
    depends = float(np.nansum(x * y) / np.nansum(x * x))
    draw = np.nanmean(np.where(whole, odds - depends * inclusive, np.nan), axis=1)
    return Market(
        level,
        slope,
        size,
        draw,
        depends,
        np.nanmean(price, axis=2),
        np.nanmean(cost, axis=2),
        noise,
    )


def _among(
    whole: NDArray[np.bool_],
    log_units: Floats,
    price: Floats,
    deal: Floats,
    feat: Floats,
    about: Floats,
) -> tuple[Floats, list[Floats], float]:
    """Returns slopes (stores, brands), effects (brands,) of deal and feature, and the noise."""
    stores, brands = price.shape[:2]
    apart = np.eye(brands) - 1 / brands  # a logit knows differences between brands alone
    k = 3 * brands
    xx, xy, yy, free = np.zeros((stores, k, k)), np.zeros((stores, k)), 0.0, 0
    for s in range(stores):
        y = (apart @ _centred(log_units[s][:, whole[s]], 1)).ravel()
        parts = [_centred(v[s][:, whole[s]], 1) for v in (price, deal, feat)]
        x = np.stack(
            [np.outer(apart[:, j], part[j]).ravel() for part in parts for j in range(brands)],
            axis=1,
        )
        xx[s], xy[s], yy, free = x.T @ x, x.T @ y, yy + float(y @ y), free + len(y)
    pooled = np.linalg.solve(xx.sum(axis=0) + np.eye(k), xy.sum(axis=0))
    variance = (yy - float(pooled @ xy.sum(axis=0))) / free
    own = xx[:, :brands, :brands]
    left = xy[:, :brands] - xx[:, :brands, brands:] @ pooled[brands:]
    raw = np.linalg.solve(own, left[..., None])[..., 0]
    unsure = _SERIAL * variance * np.einsum("sjj->sj", np.linalg.inv(own))
    slopes = [_drawn(raw[:, j], unsure[:, j], about) for j in range(brands)]
    promoted = [pooled[brands : 2 * brands], pooled[2 * brands :]]
    return np.minimum(np.stack(slopes, axis=1), -0.05), promoted, float(np.sqrt(variance))


def _drawn(raw: Floats, unsure: Floats, about: Floats) -> Floats:
    """Returns store coefficients drawn to their regression on demographics."""
    x, between = np.column_stack([np.ones(len(raw)), about]), 0.01
    ridge = np.diag([0.0, *[_SMALL**-2] * about.shape[1]])
    for _ in range(50):
        weight = 1 / (unsure + between)
        fitted = x @ np.linalg.solve((x * weight[:, None]).T @ x + ridge, x.T @ (weight * raw))
        between = max(1e-5, float(np.average((raw - fitted) ** 2 - unsure, weights=weight)))
    return np.asarray(fitted + between / (between + unsure) * (raw - fitted))


def _centred(values: Floats, axis: int) -> Floats:
    return np.asarray(values - np.nanmean(values, axis=axis, keepdims=True))
