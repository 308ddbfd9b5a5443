"""Discounts by segment beside one price for all: what each earns, and who pays how much.

A segment is a column of the customers table that the retailer names, such as the tier of its
loyalty programme. What the law protects, or what stands for it, is no such column unless the rules
say so, and then every page that comes out says it too. Gaps between groups of customers are
measured whatever the segments are, where a group has enough customers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from grandtotal.decide.response import Floats, Responses, mean_factor, sd_factor
from grandtotal.decide.rules import PriceRules
from grandtotal.errors import DataError, PlanError

PROTECTED = (
    *("age", "age_band", "birth", "birthday", "disability", "ethnicity", "gender", "marital"),
    *("nationality", "postcode", "region", "religion", "sex", "zip"),
)


@dataclass(frozen=True)
class SegmentRules:
    """Which segments there are, and what they may be offered.

    by: a column of the customers table. discounts: shares taken off, ascending, 0 among them.
    least: customers below whom a segment has no discount of its own, and a group no figure.
    allow_protected: columns of PROTECTED that may be segments after all.
    """

    by: str
    discounts: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2)
    least: int = 50
    allow_protected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.by.lower() in PROTECTED and self.by not in self.allow_protected:
            raise PlanError(
                f"by = '{self.by}': a price by what the law protects, or by what stands for it, is "
                f"refused; name a column such as 'tier'. Where your lawyers say yes, write "
                f"allow_protected = ['{self.by}']: it is then said on everything that comes out"
            )
        given = self.discounts
        if not given or given[0] != 0 or sorted(set(given)) != list(given) or given[-1] >= 1:
            raise PlanError(f"discounts = {given}, expected shares from 0.0, ascending, below 1")
        if self.least < 10:
            raise PlanError(f"least = {self.least}, expected 10 customers or more")


@dataclass(frozen=True)
class Segments:
    """What a retailer knows of its segments.

    customers: (segments,). units: (segments, products) a period at the prices of now. shift,
    shift_sd: (segments,) what is added to the elasticity of every product.
    """

    names: tuple[str, ...]
    customers: Floats
    units: Floats
    shift: Floats
    shift_sd: Floats


@dataclass(frozen=True)
class SegmentDecision:
    """One discount a segment, and the best one for all. Goals are (segments,) a period.

    discount, uniform: shares off. now, at_discount, at_uniform: the goal. few: segments that have
    too few customers for a discount of their own, and have the one for all.
    """

    of: Segments
    rules: PriceRules
    how: SegmentRules
    discount: Floats
    uniform: float
    now: Floats
    at_discount: Floats
    at_uniform: Floats
    few: tuple[bool, ...]

    @property
    def gain(self) -> tuple[float, float]:
        """What discounts by segment, and the best one for all, add to the goal, as shares."""
        now = float(self.now.sum())
        shares = [float(each.sum()) / now - 1 for each in (self.at_discount, self.at_uniform)]
        return shares[0], shares[1]


def decide_segments(
    of: Responses, segments: Segments, rules: PriceRules, how: SegmentRules
) -> SegmentDecision:
    """Returns the best discount of each segment and of all; no product below its margin floor.

    A product whose own elasticity is not known has no discount. DataError without segments, or
    without a cost where the objective is the margin.
    """
    if not len(segments.names):
        raise DataError(f"no customer has a '{how.by}': there is no segment to decide on")
    if rules.objective == "margin" and np.isnan(of.cost).all():
        raise DataError("margin cannot be computed: add the column 'cost' to the products table")
    offered = tuple(d for d in how.discounts if d <= rules.largest_change and not rules.stop) or (
        0.0,
    )
    means = np.empty((len(segments.names), len(offered)))
    values = np.empty_like(means)
    for k, off in enumerate(offered):
        means[:, k], values[:, k] = _goal(of, segments, rules, off)
    uniform = int(np.argmax(values.sum(axis=0)))
    few = segments.customers < how.least
    own = np.where(few, uniform, values.argmax(axis=1))
    every = np.arange(len(few))
    return SegmentDecision(
        of=segments,
        rules=rules,
        how=how,
        discount=np.array(offered)[own],
        uniform=offered[uniform],
        now=means[:, 0],
        at_discount=means[every, own],
        at_uniform=means[:, uniform],
        few=tuple(few.tolist()),
    )


def _goal(
    of: Responses, segments: Segments, rules: PriceRules, off: float
) -> tuple[Floats, Floats]:
    """Returns the expected goal of each segment at a discount, and less what risk takes off."""
    price = _discounted(of, rules, off)
    moved = of.moved(price)
    own = of.own + segments.shift[:, None]
    own_sd = np.hypot(of.own_sd, segments.shift_sd[:, None])
    worth = np.nan_to_num(segments.units * of.worth(rules.objective, price, of.cost))
    mean = (worth * mean_factor(own, own_sd, moved)).sum(axis=1)
    sd = (np.abs(worth) * sd_factor(own, own_sd, moved)).sum(axis=1)
    return mean, mean - rules.risk * sd


def _discounted(of: Responses, rules: PriceRules, off: float) -> Floats:
    """Returns the prices at a discount; of products that may have none, those of now."""
    price = of.price * (1 - off)
    least = np.nan_to_num(of.cost / (1 - rules.margin_floor), nan=0.0)
    unknown = np.array([bool(reason) for reason in of.unknown]) | ~(of.own < 0)
    floor = np.array([rules.floor.get(product, 0.0) for product in of.product])
    keeps = unknown | (price < least) | (price < floor) | ~np.isfinite(price)
    return np.where(keeps, of.price, price)


def gaps(
    decision: SegmentDecision, groups: dict[str, tuple[float, Floats]]
) -> list[dict[str, Any]]:
    """Returns for each group of customers by how much what it pays changes, beside all.

    groups: name -> how many customers, and (segments,) what they spend in each segment. A group
    with fewer than `least` customers has no figure: it would be about single persons.
    """
    everybody = np.sum([spent for _, spent in groups.values()], axis=0) if groups else np.zeros(1)
    mean = _paid(decision, everybody)
    found = []
    for name, (customers, spent) in sorted(groups.items()):
        enough = customers >= decision.how.least and float(spent.sum()) > 0
        paid = _paid(decision, spent) if enough else None
        found.append(
            {
                "group": name,
                "customers": round(customers) if enough else f"fewer than {decision.how.least}",
                "price_change": paid,
                "beside_all": None if paid is None else round(paid - mean, 9) + 0.0,
            }
        )
    return found


def _paid(decision: SegmentDecision, spent: Floats) -> float:
    whole = float(spent.sum())
    return 0.0 - float(spent @ decision.discount) / whole if whole > 0 else 0.0


def table(decision: SegmentDecision) -> list[dict[str, Any]]:
    """Returns a row for each segment: its discount, what it and the one for all earn, how sure."""
    of = decision.of
    columns = {
        "customers": of.customers,
        "discount": decision.discount,
        "discount_for_all": np.full(len(of.names), decision.uniform),
        "now": decision.now,
        "at_discount": decision.at_discount,
        "at_discount_for_all": decision.at_uniform,
        "shift": of.shift,
        "shift_sd": of.shift_sd,
        "propensity": np.ones(len(of.names)),
    }
    return [
        {
            "segment": name,
            **{key: round(float(values[s]), 6) for key, values in columns.items()},
            "few": decision.few[s],
        }
        for s, name in enumerate(of.names)
    ]


def words(decision: SegmentDecision) -> str:
    """Returns the decision as lines that a category manager reads."""
    of, (gain, uniform) = decision.of, decision.gain
    goal = decision.rules.objective
    lines = [
        f"{name}: {'the one for all, ' if few else ''}{off:.0%} off ({n:,.0f} customers)"
        for name, few, off, n in zip(
            of.names, decision.few, decision.discount, of.customers, strict=True
        )
    ]
    lines.append(f"discounts by {decision.how.by}: {goal} {gain:+.1%}")
    lines.append(f"one discount for all, {decision.uniform:.0%}: {goal} {uniform:+.1%}")
    if decision.how.by.lower() in PROTECTED:
        lines.append(
            f"'{decision.how.by}' is protected or stands for what is; the rules allow it explicitly"
        )
    return "\n".join(lines)
