"""A decision on prices as a table, and in words that a category manager reads."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from grandtotal.decide.prices import Decided
from grandtotal.decide.response import Floats

_95 = 1.959964
_NEAR = 0.02  # two prices no farther apart: an order of prices holds them

VERDICTS = {
    "new price": "get a new price",
    "keep": "keep their price, which is the best that the rules allow",
    "test": "need a price test: their past prices tell nothing",
    "clash": "have no price that keeps all rules, and keep theirs",
    "no cost": "have no cost, and keep their price",
    "no price": "did not sell, and have no price",
    "stop": "are stopped, and keep their price",
}


def rows(decided: Decided) -> list[dict[str, Any]]:
    """Returns a row for each product: prices, what they do, how sure that is, and why.

    Money is in the retailer's currency a period; None where something is not known.
    risk: the probability that what the product earns (its margin, or its revenue where no product
    has a cost) falls. sure: that the objective does not. propensity: that this price was drawn.
    """
    of, price = decided.of, decided.price
    columns: dict[str, Any] = {
        "price_now": of.price,
        "price": price,
        "change": np.expm1(of.moved(price)),
        "units_now": of.units,
        "units": decided.expected,
        "revenue_now": of.units * of.price,
        "revenue": decided.expected * price,
        "margin_now": of.units * (of.price - of.cost),
        "margin": decided.expected * (price - of.cost),
        "risk": decided.chance,
        "sure": 1 - decided.less(decided.rules.objective),
        "elasticity": of.own,
        "elasticity_low": of.own - _95 * of.own_sd,
        "elasticity_high": of.own + _95 * of.own_sd,
        "propensity": decided.propensity,
    }
    return [
        {
            "product": of.product[i],
            "title": of.title[i],
            "category": of.category[i],
            "decision": decided.verdict[i],
            **{name: _number(values[i]) for name, values in columns.items()},
            "outside_range": _outside(decided, i),
            "why": why(decided, i),
        }
        for i in range(len(of))
    ]


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _outside(decided: Decided, i: int) -> bool:
    of, price = decided.of, decided.price[i]
    return bool(price < of.lowest[i] - 1e-6 or price > of.highest[i] + 1e-6)


def why(decided: Decided, i: int) -> str:
    """Returns the reason of product i's price, in a sentence or two."""
    verdict, test = decided.verdict[i], decided.tests[i]
    if verdict == "test":
        return f"{decided.reason[i]}: {test.words(decided.of)}" if test else decided.reason[i]
    if verdict == "clash":
        return f"no price keeps all rules: {decided.reason[i]}"
    if verdict not in ("new price", "keep"):
        return decided.reason[i]
    said = [say(decided, i) for say in (_reaction, _drawn, _others, _end, _tied, _unseen)]
    return "; ".join(part for part in said if part)


def _reaction(decided: Decided, i: int) -> str:
    of = decided.of
    low, high = (-(of.own[i] + side * _95 * of.own_sd[i]) for side in (1, -1))
    known = f"1 % dearer sells {-of.own[i]:.1f} % less ({low:.1f} to {high:.1f})"
    if decided.verdict[i] == "keep":
        rungs = len(decided.ladders[i])
        if rungs == 1:
            return f"{known}; the rules leave it no other price"
        return f"{known}; the best of {rungs} prices is that of now"
    units = decided.expected[i] / of.units[i] - 1 if of.units[i] else 0.0
    money = _money(decided, i)
    return f"{known}: {units:+.0%} units{money}"


def _money(decided: Decided, i: int) -> str:
    of = decided.of
    goal = "revenue" if math.isnan(of.cost[i]) else "margin"
    now, new = (
        float(units[i] * of.worth(goal, price[i : i + 1], of.cost[i : i + 1])[0])
        for units, price in ((of.units, of.price), (decided.expected, decided.price))
    )
    return f", {new - now:+,.2f} {of.currency} {goal} a {of.period}".replace("  ", " ")


def _drawn(decided: Decided, i: int) -> str:
    if not decided.rules.explore or len(decided.ladders[i]) < 2:
        return ""
    return f"drawn, to learn, with a probability of {decided.propensity[i]:.1%}"


def _others(decided: Decided, i: int) -> str:
    """Returns for whose sake a price is taken that its own product is likely to lose by."""
    less = decided.less(decided.rules.objective)[i]
    if decided.verdict[i] != "new price" or decided.rules.explore or not less > 0.5:
        return ""
    return f"the others of its category gain what it may lose ({less:.0%})"


def _end(decided: Decided, i: int) -> str:
    """Returns which rule stopped a price that would have gone farther."""
    steps, within, price = decided.ladders[i], decided.limits[i], decided.price[i]
    if decided.verdict[i] != "new price" or within is None or decided.rules.explore:
        return ""
    if price == steps[-1] > decided.of.price[i]:
        return f"no higher: {within.high_rule} {within.high:,.2f}"
    if price == steps[0] < decided.of.price[i]:
        return f"no lower: {within.low_rule} {within.low:,.2f}"
    return ""


def _tied(decided: Decided, i: int) -> str:
    """Returns which order of prices holds this one where it is."""
    prices = dict(zip(decided.of.product, decided.price, strict=True))
    tight = [
        f"{dear} never cheaper than {cheap}"
        for dear, cheap in decided.rules.never_cheaper
        if decided.of.product[i] in (dear, cheap) and prices[dear] <= prices[cheap] * (1 + _NEAR)
    ]
    return f"as far as the order allows: {', '.join(tight)}" if tight else ""


def _unseen(decided: Decided, i: int) -> str:
    if not _outside(decided, i) or decided.verdict[i] != "new price":
        return ""
    of = decided.of
    return (
        f"outside of the prices seen so far, {of.lowest[i]:,.2f} to {of.highest[i]:,.2f}: what it "
        f"does there is a guess"
    )


def summary(decided: Decided) -> str:
    """Returns what the decision does in all, and how many products have no choice."""
    of, lines = decided.of, []
    for goal in ("margin", "revenue", "units"):
        if goal == "margin" and np.isnan(of.cost).all():
            lines.append("margin: not known; add the column 'cost' to the products table")
            continue
        now, new = decided.total(goal)
        unit = "" if goal == "units" else f" {of.currency}"
        share = f" ({new / now - 1:+.1%})" if now > 0 else ""
        lines.append(f"{goal} a {of.period}: {now:,.0f} -> {new:,.0f}{unit}{share}")
    lines += [_without_cost(of.cost)] if np.isnan(of.cost).any() else []
    lines += [f"{n:,} {VERDICTS[verdict]}" for verdict, n in Counter(decided.verdict).items()]
    if not decided.proven:
        lines.append("the choice is good but not proven to be the best: time was up")
    lines.append("Expected by a model of past sales: associations, not an experiment.")
    return "\n".join(line for line in lines if line)


def _without_cost(cost: Floats) -> str:
    missing = int(np.isnan(cost).sum())
    return "" if missing == len(cost) else f"{missing:,} products without a cost are in no margin"
