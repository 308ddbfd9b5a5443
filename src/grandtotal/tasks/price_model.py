"""A retailer's model of prices: the consortium's elasticities, and its own prices, at home only.

Nothing of `Prices` is ever part of a question's answer: a member's current price, the range in
which it moved and what a unit costs stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elasticity_model import Elasticities
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays


@dataclass(frozen=True)
class Prices:
    """What one retailer knows of its own prices as of a cut, over all of its stores.

    Each (products,) float64 in the retailer's currency, nan where nothing is known.

    current: mean price of the last weeks in which the product sold. lowest, highest: the range of
    the weekly prices that were observed. base_units: units a week at the current price, the mean of
    those last weeks; 0 where nothing sold. cost: of one unit, from `products` or `prices`; it may
    be above the price. category: (products,) the retailer's own number of the category, int32, -1
    where the table says none. free: lines at a price of zero, as of gifts, which are not used.
    """

    current: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    base_units: NDArray[np.float64]
    cost: NDArray[np.float64]
    category: NDArray[np.int32]
    free: int = 0

    @staticmethod
    def unknown(products: int) -> Prices:
        """Returns the prices of a retailer of which nothing is known."""
        nothing, none = np.full(products, np.nan), np.full(products, -1, np.int32)
        return Prices(nothing, nothing, nothing, np.zeros(products), nothing, none)


@dataclass(frozen=True)
class PriceModel:
    """The elasticities that were delivered, and at home those that the retailer uses.

    shared: what travelled. own, own_sd, cross, promotion: (products,) what this retailer goes by:
    the shared ones, or its own, shrunk towards them, where that was better on its validation.
    prices: of this retailer; they never leave. at_home: what was chosen, for the report.
    """

    shared: Elasticities
    own: NDArray[np.float64]
    own_sd: NDArray[np.float64]
    cross: NDArray[np.float64]
    promotion: NDArray[np.float64]
    prices: Prices
    at_home: Json = field(default_factory=dict)

    @staticmethod
    def delivered(shared: Elasticities) -> PriceModel:
        """Returns the model as it travels: nothing of a retailer's own is in it."""
        return PriceModel(
            shared,
            shared.own,
            shared.own_sd,
            shared.cross,
            shared.promotion,
            Prices.unknown(len(shared.own)),
        )

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved: those of the elasticities."""
        return self.shared.arrays

    @property
    def meta(self) -> Json:
        """What travels beside them."""
        return self.shared.meta

    @property
    def observations(self) -> NDArray[np.int64]:
        """Rows (store, week) that the shared elasticity is made of, (products,)."""
        return self.shared.observations

    @property
    def variation(self) -> NDArray[np.float64]:
        """Standard deviation of the log price within a series, (products,)."""
        return self.shared.variation

    @property
    def coefficients(self) -> NDArray[np.float64]:
        """(products, 3) of log price, others' log price and promotion on log units."""
        return np.stack([self.own, self.cross, self.promotion], axis=1)
