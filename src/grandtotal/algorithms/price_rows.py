"""Weekly sales and prices of products in stores: what elasticities are estimated from.

Only differences within a series ever count: a series is relative to its own first row before
anything is computed, so that no total depends on how dear a retailer is. Log prices are whole
steps, which makes those differences exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOG_STEPS = 2**16  # of a log price: resolution 0.0015 %
OWN, CROSS, PROMOTION = 0, 1, 2  # the first columns; what follows is held constant
EFFECTS = 3  # columns that a forecast is made of
YEAR = 52.1786  # weeks


@dataclass(frozen=True, eq=False)
class PriceRows:
    """The rows of one retailer before a cut, sorted by series and week.

    x: (rows, columns) log price, mean log price of the others in the category against its usual,
        share of lines in a promotion, and what else is held constant, such as the year's season.
        y: (rows,) units, not below 0.
    series: (rows,) which series a row is of, from 0, without gaps. week: (rows,).
    product: (series,) place in the catalogue.
    season: weeks after which a series has a new level: store x product x season effects.
    categories: (products,) bucket of the category's name, -1 for a product that is not known here.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    series: NDArray[np.intp]
    week: NDArray[np.intp]
    product: NDArray[np.intp]
    season: int
    categories: NDArray[np.int16]

    def chosen(self, keep: NDArray[np.bool_]) -> PriceRows:
        """Returns some of the rows; a series may be left without any."""
        return PriceRows(
            self.x[keep],
            self.y[keep],
            self.series[keep],
            self.week[keep],
            self.product,
            self.season,
            self.categories,
        )

    @cached_property
    def sold(self) -> PriceRows:
        """The rows in which something was sold, whose units have a logarithm."""
        return self.chosen(self.y > 0)

    @cached_property
    def group(self) -> NDArray[np.intp]:
        """(rows,) which series and season a row is of: rows of one group share a level."""
        change = (np.diff(self.series) != 0) | (np.diff(self.week // self.season) != 0)
        found: NDArray[np.intp] = np.concatenate([[0], np.cumsum(change)])[: len(self.y)]
        return found

    @cached_property
    def series_of(self) -> NDArray[np.intp]:
        """(groups,) which series a group is of."""
        return self.series[self._first]

    @cached_property
    def within(self) -> NDArray[np.float64]:
        """(rows, columns) x less the mean of its group, from differences to the first row."""
        return self.centred(self.x)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.group[-1]) + 1 if len(self.group) else 0

    def centred(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns (rows,) or (rows, columns) less the mean of the group."""
        relative = values - values[self._first][self.group]
        count = self.per_group(np.ones(len(self.y)))
        means = self.per_group(relative) / (count if values.ndim == 1 else count[:, None])
        return np.asarray(relative - means[self.group])

    def per_group(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Returns sums over the rows of each group, row after row: (groups, ...)."""
        return _sums(self.group, values, self.groups)

    def per_series(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Returns sums (series, ...) of values of groups, group after group."""
        return _sums(self.series_of, values, len(self.product))

    @cached_property
    def _first(self) -> NDArray[np.intp]:
        return np.flatnonzero(np.diff(self.group, prepend=-1))


def _sums(index: NDArray[np.intp], values: NDArray[Any], length: int) -> NDArray[np.float64]:
    """Returns sums by index in the order of the rows, so that they have the same bits anywhere."""
    if values.ndim == 1:
        return np.bincount(index, values, minlength=length).astype(np.float64)
    columns = [np.bincount(index, column, minlength=length) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class PricePanel:
    """The rows of one retailer, or in a simulation of several, before one cut.

    per_customer: in how many rows a customer's lines count; 0 where the row itself is the unit.
    """

    parts: tuple[PriceRows, ...]
    per_customer: int = 0

    @staticmethod
    def pooled(panels: list[PricePanel]) -> PricePanel:
        """Returns the panels of several retailers as one: for simulations."""
        parts = tuple(part for panel in panels for part in panel.parts)
        return PricePanel(parts, panels[0].per_customer)


def of_year(week: NDArray[np.integer]) -> NDArray[np.float64]:
    """Returns two columns (weeks, 2) of which a yearly season is made."""
    angle = 2 * np.pi * week / YEAR
    return whole(np.stack([np.sin(angle), np.cos(angle)], axis=1))


def whole(log_price: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns log prices in whole steps of 1 / LOG_STEPS."""
    return np.asarray(np.rint(log_price * LOG_STEPS) / LOG_STEPS)
