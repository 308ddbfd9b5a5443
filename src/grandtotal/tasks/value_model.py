"""A forecast of customers' purchases and spend: shared parameters, and intervals made at home."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.bgnbd import Repeats, expected_purchases, probability_alive
from grandtotal.algorithms.gamma_gamma import Spending, expected_spend
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.value_rows import Known, places

Values = NDArray[np.float64]
MODELS = ("bg-nbd", "nbd")
BASELINES: Mapping[str, str] = {
    "recent": "as much as in the last {days} days",
    "rate": "at the rate since the first purchase",
    "mean": "as much as the customers' mean of the last {days} days",
}
_CLASSES = 6  # of expected spend, each with its own interval
INTERVAL = (0.1, 0.9)


@dataclass(frozen=True)
class ValueModel:
    """purchases: (4,) or (2,) of BG/NBD or NBD; spend: (3,) of Gamma-Gamma; empty in a baseline.
    clock: (DAYS + days + 1,) on which times are read; empty where it is the calendar.

    At home only: edges, (classes - 1,) expected spends; ratios, (classes, 2) of spent / expected.
    """

    meta: Json
    purchases: Values
    spend: Values
    clock: Values = field(default_factory=lambda: np.empty(0))
    edges: Values = field(default_factory=lambda: np.empty(0))
    ratios: Values = field(default_factory=lambda: np.empty((0, 2)))

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {"purchases": self.purchases, "spend": self.spend, "clock": self.clock}

    def forecast(self, rows: Known) -> tuple[Values, Values]:
        """Returns the expected purchases and spend of each customer in the days that are forecast.

        Without anybody who ever spent anything there is nothing to say of spend: it is 0.
        """
        name = self.meta["model"]
        if name in BASELINES:
            return _as_before(name, rows, self.meta["days"])
        purchases = self.expected_within(rows, self.meta["days"])
        if not self.meta["spend"]["customers"]:
            return purchases, np.zeros(len(rows))
        return purchases, purchases * self.expected_spend(rows.spends)

    def expected_within(self, rows: Known, days: int) -> Values:
        """Returns the expected purchases of each customer within so many days, at most "days"."""
        ahead = float(days)
        if self.clock.size:
            ahead = float(self.clock[places(rows.cut + days)] - self.clock[places(rows.cut)])
        return expected_purchases(self.repeats(rows), self.purchases, ahead)

    def repeats(self, rows: Known) -> Repeats:
        """Returns what is known of each customer's purchases, on the model's clock."""
        return rows.on(self.clock) if self.clock.size else rows.repeats

    def expected_spend(self, spends: Spending) -> Values:
        """Returns the expected spend of each customer at a purchase."""
        return expected_spend(spends, self.spend)

    def alive(self, rows: Known) -> Values:
        """Returns the probability of each customer's being active still."""
        return probability_alive(self.repeats(rows), self.purchases)

    def interval(self, spend: Values) -> Values:
        """Returns (customers, 2): what four customers in five of such an expected spend spent."""
        return spend[:, None] * self.ratios[np.searchsorted(self.edges, spend)]


def _as_before(name: str, rows: Known, days: int) -> tuple[Values, Values]:
    if name == "recent":
        return rows.recent, rows.recent_spent
    if name == "mean":
        customers = max(len(rows), 1)
        sums = rows.recent.sum() / customers, rows.recent_spent.sum() / customers
        return np.full(len(rows), sums[0]), np.full(len(rows), sums[1])
    # Whoever first came yesterday would come every day: none is known for less than the horizon.
    share = days / np.maximum(rows.repeats.age, days)
    return rows.purchases * share, rows.spent * share


def baseline_model(name: str, days: int) -> ValueModel:
    """Returns a model of BASELINES, which needs no totals."""
    return ValueModel({"model": name, "days": days}, np.empty(0), np.empty(0))


def squared_errors(model: ValueModel, rows: Known) -> Values:
    """Returns (purchases - expected)^2 of each customer."""
    found: Values = (model.forecast(rows)[0] - rows.bought) ** 2
    return found


def with_intervals(model: ValueModel, rows: Known) -> ValueModel:
    """Returns the model with the retailer's own past ratios of spent / expected, by class."""
    expected = model.forecast(rows)[1]
    ratio = rows.bought_spent / np.maximum(expected, 1e-6)
    if not len(rows):
        return replace(model, ratios=np.array([[0.0, 1.0]]))
    edges = np.unique(np.quantile(expected, np.arange(1, _CLASSES) / _CLASSES))
    which = np.searchsorted(edges, expected)
    every = np.quantile(ratio, INTERVAL)
    ratios = [
        np.quantile(ratio[which == c], INTERVAL) if (which == c).any() else every
        for c in range(len(edges) + 1)
    ]
    return replace(model, edges=edges, ratios=np.stack(ratios))
