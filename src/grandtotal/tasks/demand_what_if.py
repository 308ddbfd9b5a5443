"""A forecast of trees as if the coming days were in a promotion, or in none, or at a reduction.

What trees know of the price of a day to come is the plan of promotions. So a lower price is asked
for as a promotion of that reduction, and a higher one cannot be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from grandtotal.errors import DataError, PlanError
from grandtotal.tasks.demand_families import FAMILIES
from grandtotal.tasks.demand_model import DemandModel
from grandtotal.tasks.demand_trees import TreesOfDemand
from grandtotal.tasks.sales import Panel, Sales

_WORDS = {"yes": True, "no": False}


@dataclass(frozen=True)
class WhatIf:
    """promotion: whether the coming days are in one. price: of now, such as 0.9; None where it is
    not said, and a promotion has the mean reduction of the retailer's past ones."""

    promotion: bool
    price: float | None = None

    @staticmethod
    def of(text: str) -> WhatIf:
        """Returns what "price=0.9,promotion=yes" asks; PlanError for what it cannot."""
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
        word = given.get("promotion", "no" if price == 1 else "yes")
        if word not in _WORDS:
            raise PlanError(f"what if promotion={word}: expected yes or no")
        if price is not None and price < 1 and not _WORDS[word]:
            raise PlanError(
                f"what if price={price:g} without a promotion: trees know reductions of promotions "
                f"only; leave promotion=no out"
            )
        return WhatIf(_WORDS[word], price)

    def applied(self, model: DemandModel, panel: Panel) -> Panel:
        """Returns the panel with the coming periods as asked.

        PlanError where the chosen model reads no promotions, DataError where the retailer has
        planned none that a model could have learned from.
        """
        if not isinstance(FAMILIES[model.meta["model"]], TreesOfDemand):
            raise PlanError(
                f"what if: the model that was chosen, {model.meta['model']}, reads no prices or "
                f"promotions of coming days; only trees do, see `models` in the plan"
            )
        parts = tuple(self._changed(sales) for sales in panel.parts)
        return replace(panel, parts=parts, kept={})

    def _changed(self, sales: Sales) -> Sales:
        known, now = sales.known, sales.periods.count
        if known is None or not (known.promotion[:, :now] > 0).any():
            raise DataError(
                "promotions: none in the past, so that no model knows what one does; add the past "
                "promotions to the table"
            )
        usual = known.depth[:, :now][known.promotion[:, :now] > 0]
        if self.price is not None and self.price < 1 and not usual.any():
            raise DataError(
                "promotions: no 'depth' of any past promotion, so that no model knows what a "
                "reduction does; add it, or ask for promotion=yes without a price"
            )
        depth = float(usual.mean()) if self.price is None else 1.0 - self.price
        promotion, depths = known.promotion.copy(), known.depth.copy()
        promotion[:, now:] = float(self.promotion)
        depths[:, now:] = depth if self.promotion else 0.0
        return replace(sales, known=replace(known, promotion=promotion, depth=depths))


def _price(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = np.nan
    if not 0 < found <= 1:
        raise PlanError(
            f"what if price={text}: expected a share of the price of now above 0 and up to 1, such "
            f"as 0.9; no table plans higher prices, so no model has learned from them"
        )
    return found
