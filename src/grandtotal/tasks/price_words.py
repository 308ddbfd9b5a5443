"""Elasticities in words and curves, for those who set prices. Only at a retailer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elasticity_model import (
    ESTIMATED,
    FEW_RETAILERS,
    NO_VARIATION,
    WITH_PROMOTIONS,
)
from grandtotal.durable import Json
from grandtotal.tasks.price_model import PriceModel

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tasks.task import Common

_SHOWN = 3  # demand curves
_POINTS = 9
_WORDS = {
    FEW_RETAILERS: "too few retailers have its prices: no number is shared; try prices in a test",
    NO_VARIATION: "its price hardly changed: nobody can tell; try two prices in a few stores",
    WITH_PROMOTIONS: "its price moved only with promotions: the two cannot be told apart; try "
    "another price without a promotion",
}


def predictions(model: PriceModel, common: Common, titles: NDArray[Any]) -> pl.DataFrame:
    """Returns one row for each product with a price: elasticity, 95 % interval, words.

    A product whose own prices say nothing has no number, nan, and a test is proposed.
    """
    import polars as pl

    prices = model.prices
    sold = np.isfinite(prices.current)
    known = _known(model)
    low, high = model.own - 1.96 * model.own_sd, model.own + 1.96 * model.own_sd

    def number(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(known, values, np.nan).round(3)[sold]

    return pl.DataFrame(
        {
            "product": np.array(common.catalogue)[sold],
            "title": titles[sold].astype(str),
            "elasticity": number(model.own),
            "low": number(low),
            "high": number(high),
            "observations": model.observations[sold],
            "price": prices.current.round(2)[sold],
            "lowest": prices.lowest.round(2)[sold],
            "highest": prices.highest.round(2)[sold],
            "says": [says(model, int(i)) for i in np.flatnonzero(sold)],
        }
    ).sort("product")


def _known(model: PriceModel) -> NDArray[np.bool_]:
    """Returns which products have a number: the consortium's, or the retailer's own."""
    own = model.own_sd < model.shared.own_sd - 1e-12
    known: NDArray[np.bool_] = model.shared.estimated | own
    return known


def says(model: PriceModel, product: int) -> str:
    """Returns what a person may take from the number, or why there is none."""
    prices = model.prices
    below = prices.cost[product] > prices.current[product]
    cost = "; sold below its cost" if below else ""
    if not _known(model)[product]:
        return _WORDS[int(model.shared.basis[product])] + cost
    own, sd = float(model.own[product]), float(model.own_sd[product])
    if own + 1.96 * sd >= 0:
        return "not sure that sales follow the price at all" + cost
    less = 100 * (1 - 1.01**own)
    return f"1 % dearer sells about {less:.1f} % fewer" + cost


def curves(model: PriceModel, common: Common) -> Json:
    """Returns on what the elasticities rest, and the curves of the products that sell most."""
    basis = model.shared.basis
    known = _known(model) & np.isfinite(model.prices.current)
    order = np.argsort(-model.prices.base_units * known, kind="stable")
    return {
        "products": {
            name: int((basis == value).sum())
            for name, value in (
                ("estimated", ESTIMATED),
                ("few_retailers", FEW_RETAILERS),
                ("no_variation", NO_VARIATION),
                ("with_promotions", WITH_PROMOTIONS),
            )
        },
        "mean": round(float(model.shared.means[0]), 4),
        "between": round(float(model.shared.sds[0]), 4),
        "curves": [_curve(model, common, int(i)) for i in order[:_SHOWN] if known[i]],
    }


def _curve(model: PriceModel, common: Common, product: int) -> Json:
    """Returns units a week over the prices that were seen, with the 95 % interval."""
    prices = model.prices
    lowest, highest = float(prices.lowest[product]), float(prices.highest[product])
    grid = np.linspace(lowest, highest, _POINTS)
    change = np.log(grid / prices.current[product])
    own, sd = float(model.own[product]), float(model.own_sd[product])
    bounds = [np.exp(change * (own + side * 1.96 * sd)) for side in (-1, 0, 1)]
    base = float(prices.base_units[product])
    return {
        "product": common.catalogue[product],
        "elasticity": round(own, 3),
        "sd": round(sd, 3),
        "price": round(float(prices.current[product]), 2),
        "prices": grid.round(2).tolist(),
        "units": (base * bounds[1]).round(2).tolist(),
        "low": (base * np.minimum(bounds[0], bounds[2])).round(2).tolist(),
        "high": (base * np.maximum(bounds[0], bounds[2])).round(2).tolist(),
    }
