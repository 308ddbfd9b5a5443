"""What a price model of a run says to a decision: only here are the two worlds joined."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.decide.response import Floats, Responses
from grandtotal.errors import DataError

if TYPE_CHECKING:
    from grandtotal.tables.read import Tables
    from grandtotal.tasks.price import Price
    from grandtotal.tasks.price_model import PriceModel
    from grandtotal.tasks.price_sales import PriceHistory

_NOISE = 0.5  # of log units in a store and week, where a product has too few weeks to tell
_FEW = 10  # weeks
_REASONS = (
    "",
    "too few retailers have prices of it for a shared elasticity",
    "its price hardly ever changed",
    "its price changed only together with promotions",
)
"""By the `basis` of an elasticity: see algorithms/elasticity_model.py."""


def responses(task: Price, model: PriceModel, rows: Any, tables: Tables) -> Responses:
    """Returns what one retailer knows of the products that it sells, as of now.

    DataError where nothing of the catalogue was sold in the last weeks.
    """
    from grandtotal.tasks.lines import titles

    history: PriceHistory = rows["now"]
    prices = model.prices
    sold = np.flatnonzero(prices.base_units > 0)
    if not len(sold):
        raise DataError("no product of the catalogue was sold in the last weeks: nothing to price")
    noise, stores = _of_rows(model, history, len(prices.current))
    named = _categories(tables, task)
    whole = Responses(
        product=task.common.catalogue,
        title=tuple(titles(tables, task.common).astype(str)),
        category=tuple(named),
        price=prices.current,
        units=prices.base_units,
        cost=prices.cost,
        own=model.own,
        own_sd=model.own_sd,
        cross=model.cross,
        lowest=prices.lowest,
        highest=prices.highest,
        unknown=tuple(_unknown(model)),
        noise=noise,
        stores=stores,
        currency=tables.config.currency,
    )
    here = chosen(whole, sold)
    return replace(here, cross=category_cross(here.own, here.cross, here.groups, here.weight))


def category_cross(own: Floats, cross: Floats, group: NDArray[np.intp], weight: Floats) -> Floats:
    """Returns each product's cross elasticity: its category's mean, at most 3/4 of its own.

    In a logit all products of a category gain alike from dearer others, and estimates of prices
    that move together differ by little but noise: in a market of another class, prices chosen by
    the mean earned more (`python -m benchmarks price-decisions`). More than own would sell more of
    a product when every price rises, which no shopper does; below 0 others would be complements.
    weight: (products,) of the mean, such as revenue.
    """
    whole = np.bincount(group, weight)
    mean = np.bincount(group, weight * np.nan_to_num(cross)) / np.where(whole > 0, whole, 1.0)
    return np.clip(mean[group], 0.0, 0.75 * np.maximum(-own, 0.0))


def chosen(of: Responses, places: NDArray[np.intp]) -> Responses:
    """Returns some of the products."""
    parts: dict[str, Any] = {}
    for name in Responses.__dataclass_fields__:
        values = getattr(of, name)
        if isinstance(values, tuple):
            parts[name] = tuple(values[i] for i in places)
        elif isinstance(values, np.ndarray):
            parts[name] = values[places]
    return replace(of, **parts)


def _unknown(model: PriceModel) -> list[str]:
    """Returns why nothing is known of each product; "" where the retailer's own rows tell."""
    own = model.own_sd < model.shared.own_sd - 1e-12
    return ["" if known else _REASONS[b] for known, b in zip(own, model.shared.basis, strict=True)]


def _of_rows(model: PriceModel, history: PriceHistory, products: int) -> tuple[Floats, int]:
    """Returns the noise of each product's log units, and in how many stores there are sales."""
    spread, weeks, stores = np.zeros(products), np.zeros(products), 1
    for part in history.parts:
        rows = part.sold
        if not len(rows.y):
            continue
        product = rows.product[rows.series]
        effects = model.coefficients[product]
        explained = (rows.within[:, : effects.shape[1]] * effects).sum(axis=1)
        left = rows.centred(np.log(rows.y)) - explained
        spread += np.bincount(product, left**2, minlength=products)
        levels = np.bincount(rows.product[rows.series_of], minlength=products)
        weeks += np.bincount(product, minlength=products) - levels
        series = np.unique(rows.series)
        stores = max(stores, int(np.bincount(rows.product[series]).max()))
    known = weeks >= _FEW
    usual = np.sqrt(spread.sum() / weeks.sum()) if weeks.sum() >= _FEW else _NOISE
    own = np.sqrt(spread / np.maximum(weeks, 1))
    return np.where(known, own, usual), stores


def _categories(tables: Tables, task: Price) -> list[str]:
    """Returns each product's category as the retailer calls it; "" where it says none."""
    key = task.common.key
    if "products" not in tables or not {"category", key} <= set(tables.columns("products")):
        return [""] * len(task.common.catalogue)
    products = tables["products"]
    names = dict(zip(products[key], products["category"], strict=True))
    return [names.get(product) or "" for product in task.common.catalogue]
