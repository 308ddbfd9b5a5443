"""The largest orders of a list as pictures: what may sell, and what will be on the shelf."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.decide.order_rows import Part
from grandtotal.decide.orders import Demand as Paths
from grandtotal.decide.orders import Numbers
from grandtotal.tasks.demand import Demand


@dataclass(frozen=True)
class Course:
    """The largest orders as a picture: (orders, periods) each, and the day that each begins.

    sold: the periods before. low, middle, high: what may sell, in four cases of five between low
    and high. stock, without: what will be left on average at the end of each period, with the order
    and without it. arrives: (orders,) the period in which the order comes, from 0.
    """

    product: tuple[str, ...]
    store: tuple[str, ...]
    starts: tuple[str, ...]
    sold: Numbers
    low: Numbers
    middle: Numbers
    high: Numbers
    stock: Numbers
    without: Numbers
    arrives: NDArray[np.int64]


def courses_of(task: Demand, part: Part, demand: Paths, most: int = 6) -> Course:
    """Returns what may happen on the shelves of the largest orders."""
    worth = part.made.units * np.maximum(part.shelf.unit_cost, 1e-6)
    chosen = np.argsort(-worth, kind="stable")[:most]
    chosen = chosen[part.made.units[chosen] > 0]
    paths, shelf = demand.paths[chosen], part.shelf
    horizon, level = paths.shape[2], part.places.recent.shape[1]
    comes = np.minimum(np.ceil(shelf.lead_time[chosen] - 1e-9), horizon).astype(np.int64)
    low, middle, high = np.quantile(paths, (0.1, 0.5, 0.9), axis=1)
    there, ordered = shelf.position[chosen], part.made.units[chosen]
    first = task.history - level
    starts = [task.periods.start(first + t).isoformat() for t in range(level + horizon)]
    store = part.places.store[chosen]
    return Course(
        product=tuple(task.common.catalogue[i] for i in part.places.product[chosen]),
        store=tuple(str(name) for name in store),
        starts=tuple(starts),
        sold=part.places.recent[chosen],
        low=low,
        middle=middle,
        high=high,
        stock=_left_over(paths, there, ordered, comes),
        without=_left_over(paths, there, 0 * ordered, comes),
        arrives=comes,
    )


def _left_over(
    paths: Numbers, there: Numbers, ordered: Numbers, comes: NDArray[np.int64]
) -> Numbers:
    """Returns (places, periods) what is left on average; what is on its way comes at once."""
    left = np.repeat(there[:, None], paths.shape[1], axis=1)
    found = np.empty((len(paths), paths.shape[2]))
    for t in range(paths.shape[2]):
        left = left + np.where(comes == t, ordered, 0.0)[:, None]
        left = np.maximum(left - paths[:, :, t], 0.0)
        found[:, t] = left.mean(axis=1)
    return found
