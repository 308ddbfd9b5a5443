"""A forecast of trees as if the coming days had other list prices, or were in a promotion or none.

Of a coming day trees know its list price, over the usual one of the series, and the plan of
promotions. A price alone is a list price; with "promotion=yes" it is what a promotion reduces to.
Nothing sells more for a higher list price: the trees are grown so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import DataError, PlanError
from grandtotal.tasks.along_periods import divided, mean_of_rows
from grandtotal.tasks.demand_families import FAMILIES
from grandtotal.tasks.demand_model import DemandModel
from grandtotal.tasks.demand_reasons import trees_of
from grandtotal.tasks.demand_trees import TreesOfDemand, knows_list_prices
from grandtotal.tasks.sales import Panel, Sales

_WORDS = {"yes": True, "no": False}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WhatIf:
    """promotion: whether the coming days are in one; None leaves them as they are planned.

    price: of now, such as 0.9 or 1.1; None where it is not said, and a promotion has the mean
    reduction of the retailer's past ones.
    """

    promotion: bool | None = None
    price: float | None = None

    @staticmethod
    def of(text: str) -> WhatIf:
        """Returns what "price=1.1" or "price=0.9,promotion=yes" asks; PlanError if it cannot be."""
        given = {}
        for part in text.split(","):
            name, _, value = (word.strip() for word in part.partition("="))
            if name not in ("price", "promotion") or name in given:
                raise PlanError(
                    f"what if '{part.strip()}': expected price=0.9, promotion=yes or promotion=no, "
                    f"each once, with a comma between"
                )
            given[name] = value
        price = _price(given["price"]) if "price" in given else None
        word = given.get("promotion")
        if word is not None and word not in _WORDS:
            raise PlanError(f"what if promotion={word}: expected yes or no")
        found = WhatIf(None if word is None else _WORDS[word], price)
        if found.reduces and price is not None and price > 1:
            raise PlanError(
                f"what if price={price:g} in a promotion: a promotion reduces; leave promotion=yes "
                f"out to ask for a higher list price"
            )
        return found

    @property
    def reduces(self) -> bool:
        """Whether the price is what a promotion reduces to, and not a list price."""
        return self.promotion is True

    def applied(self, model: DemandModel, panel: Panel) -> Panel:
        """Returns the panel with the coming periods as asked.

        PlanError where the chosen model reads no prices or promotions of coming days. DataError
        where the retailer has none from which a model could have learned what is asked.
        """
        if not isinstance(FAMILIES[model.meta["model"]], TreesOfDemand):
            raise PlanError(
                f"what if: the model that was chosen, {model.meta['model']}, reads no prices or "
                f"promotions of coming days; only trees do, see `models` in the plan"
            )
        parts = tuple(self._changed(sales) for sales in panel.parts)
        if self.price is not None and not self.reduces:
            _refuse_unpriced(model, self.price)
        return replace(panel, parts=parts, kept={})

    def _changed(self, sales: Sales) -> Sales:
        if self.price is not None and not self.reduces:
            sales = _with_list_price(sales, self.price)
        return sales if self.promotion is None else self._with_promotion(sales)

    def _with_promotion(self, sales: Sales) -> Sales:
        known, now = sales.known, sales.periods.count
        if known is None or not (known.promotion[:, :now] > 0).any():
            raise DataError(
                "promotions: none in the past, so that no model knows what one does; add the past "
                "promotions to the table"
            )
        usual = known.depth[:, :now][known.promotion[:, :now] > 0]
        if self.reduces and self.price is not None and self.price < 1 and not usual.any():
            raise DataError(
                "promotions: no 'depth' of any past promotion, so that no model knows what a "
                "reduction does; add it, or ask for promotion=yes without a price"
            )
        depth = float(usual.mean()) if self.price is None else 1.0 - self.price
        promotion, depths = known.promotion.copy(), known.depth.copy()
        promotion[:, now:] = float(self.reduces)
        depths[:, now:] = depth if self.reduces else 0.0
        return replace(sales, known=replace(known, promotion=promotion, depth=depths))


def _price(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = np.nan
    if not 0 < found < np.inf:
        raise PlanError(
            f"what if price={text}: expected a multiple of the price of now above 0, such as 0.9 "
            f"or 1.1"
        )
    return found


def _refuse_unpriced(model: DemandModel, price: float) -> None:
    """Raises PlanError where list prices are not among what the trees look at."""
    if not all(knows_list_prices(trees.bins) for _, trees in trees_of(model)):
        raise PlanError(
            f"what if price={price:g}: list prices are not among what the trees look at, since "
            f"there was no table of them in training; train again{_reduction(price)}"
        )


def _reduction(price: float) -> str:
    """Returns what else can be asked for where a list price cannot."""
    return f"; or ask for a promotion: price={price:g},promotion=yes" if price < 1 else ""


def _with_list_price(sales: Sales, price: float) -> Sales:
    """Returns the sales with other list prices from today on; DataError outside of what was."""
    known, now = sales.known, sales.periods.count
    if known is None or not known.priced or not np.isfinite(known.price[:, now:]).any():
        raise DataError(
            f"prices: no list price of the coming days, so that nobody knows what {price:g} times "
            f"it is; add [tables.prices] with product, start and list_price to retailer.toml"
            f"{_reduction(price)}"
        )
    low, high = _seen(known.price[:, :now], sales.periods.year)
    if not low <= price <= high:
        raise DataError(
            f"what if price={price:g}: outside of what was ever seen; past list prices were "
            f"{low:.2f} to {high:.2f} times the usual one of their product, and no model knows "
            f"what another one does"
        )
    prices = known.price.copy()
    prices[:, now:] *= price
    return replace(sales, known=replace(known, price=prices))


def _seen(prices: Floats, year: int) -> tuple[float, float]:
    """Returns the least and largest past list price over the usual one of the year before it."""
    low = high = 1.0
    for t in range(1, prices.shape[1]):
        ratio = divided(prices[:, t], mean_of_rows(prices[:, max(t - year, 0) : t]))
        if np.isfinite(ratio).any():
            low, high = min(low, float(np.nanmin(ratio))), max(high, float(np.nanmax(ratio)))
    return low, high
