"""Ratings as records: who gave which product how much."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class RatingRecords:
    """Records of one retailer. customers: how many it has.

    customer: (records,) its own number of each, from 0. product: place in the catalogue. rating:
    from 0. later: (records,) which came after the cut, and are judged by.
    """

    customers: int
    customer: Integers
    product: Integers
    rating: Integers
    later: NDArray[np.bool_]
