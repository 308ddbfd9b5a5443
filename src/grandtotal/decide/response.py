"""What a price does to sales: units, revenue and margin, and how sure that is.

A product's log units move by its elasticity times the change of its log price, and the elasticity
is known as a mean and a standard deviation: units at a price are lognormal, so that all that a
decision needs has a closed form. Elasticities to the other prices of a category count as known.

Dolan and Simon, "Power Pricing", 1996, for the mark-up c e / (e + 1) that a constant elasticity
makes best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

GOALS = ("margin", "revenue", "units")


@dataclass(frozen=True)
class Responses:
    """What one retailer knows of its P products when it decides on prices; arrays are (P,).

    price: what one unit sells for now; nan where that is not known.
    units: expected a period at the prices of now, in all stores together.
    cost: of one unit; nan where it is not known.
    own, own_sd: elasticity of units to the product's own price, below 0, and how unsure it is.
    cross: elasticity to the log price of all other products of its category together.
    lowest, highest: of the prices that were seen.
    unknown: why the rows tell nothing of a product's own elasticity; "" where they do.
    noise: standard deviation of the log units of one store in one period, prices accounted for.
    stores: how many sell them. currency: of the prices. period: "week" or "day".
    """

    product: tuple[str, ...]
    title: tuple[str, ...]
    category: tuple[str, ...]
    price: Floats
    units: Floats
    cost: Floats
    own: Floats
    own_sd: Floats
    cross: Floats
    lowest: Floats
    highest: Floats
    unknown: tuple[str, ...]
    noise: Floats
    stores: int = 1
    currency: str = ""
    period: str = "week"

    def __len__(self) -> int:
        return len(self.product)

    @property
    def groups(self) -> NDArray[np.intp]:
        """The number of each product's category, (P,)."""
        return np.unique(np.array(self.category, dtype=str), return_inverse=True)[1]

    def worth(self, goal: str, price: Floats, cost: Floats) -> Floats:
        """Returns what one unit at a price adds to the goal: 1, the price, or price - cost."""
        if goal == "units":
            return np.ones_like(price)
        return price.copy() if goal == "revenue" else price - cost

    @property
    def weight(self) -> Floats:
        """What each product counts for in the mean price of its category: its revenue of now."""
        return np.maximum(np.nan_to_num(self.units * self.price), 1e-9)

    def others(self, weight: Floats) -> Floats:
        """Returns the sum of weights of the other products of each product's category, (P,)."""
        groups = self.groups
        left: Floats = np.bincount(groups, weight)[groups] - weight
        return left

    def pull(self, price: Floats) -> Floats:
        """Returns by what the units of each product are multiplied by the other prices, (P,).

        Who leaves a product goes to the others by their share of sales: a mean over the others'
        prices weighted by revenue (Epstein and Rubinfeld, "Merger simulation", 2002).
        """
        weight, whole = self.weight, self.others(self.weight)
        alone = whole < 1e-6 * weight
        mean = self.others(weight * self.moved(price)) / np.where(alone, 1.0, whole)
        pulled: Floats = np.exp(self.cross * np.where(alone, 0.0, mean))
        return pulled

    def moved(self, price: Floats) -> Floats:
        """Returns log(price / price of now), 0 where there is no price now."""
        known = np.isfinite(self.price) & (self.price > 0)
        return np.log(np.where(known, price, 1.0) / np.where(known, self.price, 1.0))

    def expected(self, price: Floats) -> Floats:
        """Returns the expected units of each product where the prices are these, (P,)."""
        return self.units * self.pull(price) * mean_factor(self.own, self.own_sd, self.moved(price))


def mean_factor(own: Floats, own_sd: Floats, moved: Floats) -> Floats:
    """Returns E exp(e moved) for e normal: what the units are multiplied by, in the mean."""
    return np.exp(own * moved + (own_sd * moved) ** 2 / 2)


def sd_factor(own: Floats, own_sd: Floats, moved: Floats) -> Floats:
    """Returns the standard deviation of exp(e moved)."""
    return mean_factor(own, own_sd, moved) * np.sqrt(np.expm1((own_sd * moved) ** 2))


def chance_of_less(
    own: Floats, own_sd: Floats, moved: Floats, worth_now: Floats, worth: Floats
) -> Floats:
    """Returns the probability that units x worth falls when the log price moves by so much.

    It falls where e moved < log(worth_now / worth). A price that stays has 0, one whose unit is
    worth nothing any more 1.
    """
    still = moved == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.log(np.maximum(worth_now, 0) / np.maximum(worth, 0))
        unsure = own_sd * np.abs(moved)
        z = np.where(unsure > 0, (needed - own * moved) / unsure, needed - own * moved)
        chance = np.where(unsure > 0, ndtr(z), np.where(z > 0, 1.0, 0.0))
    chance = np.where(worth_now <= 0, np.where(worth < worth_now, 1.0, 0.0), chance)
    lost: Floats = np.where(worth_now > 0, np.where(worth <= 0, 1.0, chance), chance)
    return np.where(still, 0.0, np.nan_to_num(lost, nan=1.0))
