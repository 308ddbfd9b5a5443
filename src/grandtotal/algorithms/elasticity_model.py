"""What is known of how sales follow prices: one elasticity per product, and how sure it is.

An elasticity is d log units / d log price: at -2 a price that is 1 % higher sells about 2 % fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays

ESTIMATED, FEW_RETAILERS, NO_VARIATION, WITH_PROMOTIONS = 0, 1, 2, 3
"""What an elasticity rests on: the product's own prices, or its category's because too few
retailers have such prices, none changes, or every change comes with a promotion."""


@dataclass(frozen=True)
class Elasticities:
    """One entry per product of the catalogue, (products,) each, unless something else is said.

    own, own_sd: d log units / d log own price after shrinkage, and its standard deviation; of a
        product whose `basis` is not ESTIMATED, what the others of its category say of such a one.
    cross, cross_sd: d log units / d mean log price of the other products of the category.
    promotion, promotion_sd: log units gained in a promotion at an unchanged price.
    raw, raw_sd: own before shrinkage, nan where there is none.
    observations: rows (store, week) that the estimate is made of.
    variation: within-series standard deviation of the log price.
    basis: (products,) int32, one of the constants above.
    category: (products,) int32, a number of the category that means nothing more; -1 is unknown.
    means, sds: (3,) the consortium's mean of own, cross and promotion, and the standard deviation
        between products of one category.
    """

    meta: Json
    own: NDArray[np.float64]
    own_sd: NDArray[np.float64]
    cross: NDArray[np.float64]
    cross_sd: NDArray[np.float64]
    promotion: NDArray[np.float64]
    promotion_sd: NDArray[np.float64]
    raw: NDArray[np.float64]
    raw_sd: NDArray[np.float64]
    observations: NDArray[np.int64]
    variation: NDArray[np.float64]
    basis: NDArray[np.int32]
    category: NDArray[np.int32]
    means: NDArray[np.float64]
    sds: NDArray[np.float64]

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {name: np.asarray(getattr(self, name)) for name in _ARRAYS}

    @staticmethod
    def of(arrays: Arrays, meta: Json) -> Elasticities:
        """Returns the model of what `arrays` and `meta` held."""
        return Elasticities(meta, **{name: np.asarray(arrays[name]) for name in _ARRAYS})

    @property
    def estimated(self) -> NDArray[np.bool_]:
        """Which products have an elasticity made of their own prices, (products,)."""
        known: NDArray[np.bool_] = self.basis == ESTIMATED
        return known

    def interval(self, width: float = 1.959964) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns the low and the high end of own, each (products,): 95 % unless said."""
        return self.own - width * self.own_sd, self.own + width * self.own_sd


_ARRAYS = tuple(name for name in Elasticities.__dataclass_fields__ if name != "meta")
