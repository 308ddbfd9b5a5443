"""From elasticities to prices: what each product should cost, under a retailer's own rules.

Each product has a ladder of prices. The value of a rung is its expected gain over the price of now
less `risk` standard deviations, and the choice over all products is a mixed-integer programme. The
effect on other products of the category is linear around the prices chosen last, and chosen again
until nothing changes; the best choice of all, counted exactly, is the one that is taken.

Nothing here knows another retailer: a decision is a function of one retailer's own prices, costs
and rules, and of elasticities. See docs/competition.md.
"""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from grandtotal.decide.choice import ClashError, Condition, choose
from grandtotal.decide.response import Floats, Responses, chance_of_less, sd_factor
from grandtotal.decide.rules import Limits, PriceRules, ladder, limits
from grandtotal.decide.trial import PriceTest, price_test
from grandtotal.errors import DataError, PlanError

_ITERATIONS = 10
_DRAWS = 1001  # equally likely elasticities of a product: what a draw is one of
_SAME = 1e-6  # prices this near are the same
_FLAT = 0.005  # a range of prices this narrow, as a share, is one price


@dataclass(frozen=True)
class Decided:
    """The prices of P products and what they are expected to do; arrays are (P,).

    verdict: "new price", "keep", or why there is no choice: "test", "stop", "clash", "no cost",
    "no price". limits, ladder: of those that had a choice. propensity: the probability with which
    this price was drawn; 1 where nothing is drawn. proven: no other choice is better, as far as the
    linear programme sees; expected: units, at these prices together.
    """

    of: Responses
    rules: PriceRules
    price: Floats
    expected: Floats
    verdict: tuple[str, ...]
    reason: tuple[str, ...]
    limits: tuple[Limits | None, ...]
    ladders: tuple[Floats, ...]
    tests: tuple[PriceTest | None, ...]
    propensity: Floats
    proven: bool = True

    def total(self, goal: str) -> tuple[float, float]:
        """Returns the goal a period: at the prices of now, and at these."""
        of, new = self.of, self.expected
        worth_now, worth = (of.worth(goal, price, of.cost) for price in (of.price, self.price))
        return float(np.nansum(worth_now * of.units)), float(np.nansum(worth * new))

    @property
    def chance(self) -> Floats:
        """The probability that what a product earns, at its own price, falls: margin or revenue."""
        return self.less("revenue") if np.isnan(self.of.cost).all() else self.less("margin")

    def less(self, goal: str) -> Floats:
        """Returns the probability that a goal falls, product by product; nan where unknown."""
        of = self.of
        worth_now, worth = (of.worth(goal, price, of.cost) for price in (of.price, self.price))
        chance = chance_of_less(of.own, of.own_sd, of.moved(self.price), worth_now, worth)
        return np.where(np.isnan(worth_now) & (self.price != of.price), np.nan, chance)


def decide_prices(of: Responses, rules: PriceRules) -> Decided:
    """Returns a price for every product; those without a choice keep theirs, with the reason.

    PlanError where rules name no product or clash with each other, DataError where no product has a
    cost and the objective is the margin, or there is no product.
    """
    _refuse_nothing(of, rules)
    found = [_standing(of, rules, i) for i in range(len(of))]
    ladders = tuple(
        each.ladder if each.verdict == "open" else of.price[i : i + 1]
        for i, each in enumerate(found)
    )
    chosen, propensity, proven = _chosen(of, rules, ladders)
    price = _at(ladders, chosen)
    same = (np.abs(price - of.price) <= _SAME) | np.isnan(price)
    return Decided(
        of=of,
        rules=rules,
        price=np.where(same, of.price, price),
        expected=of.expected(np.where(np.isnan(price), 1.0, price)),
        verdict=tuple(
            ("keep" if same[i] else "new price") if each.verdict == "open" else each.verdict
            for i, each in enumerate(found)
        ),
        reason=tuple(each.reason for each in found),
        limits=tuple(each.limits for each in found),
        ladders=ladders,
        tests=tuple(each.test for each in found),
        propensity=propensity,
        proven=proven,
    )


# --- which products have a choice ---


@dataclass(frozen=True)
class _Standing:
    verdict: str
    reason: str = ""
    limits: Limits | None = None
    ladder: Floats = field(default_factory=lambda: np.empty(0))
    test: PriceTest | None = None


def _standing(of: Responses, rules: PriceRules, i: int) -> _Standing:
    """Returns whether product i has a choice, and of which prices."""
    if rules.stop:
        return _Standing("stop", "stop = true: every price stays")
    price = float(of.price[i])
    if not (np.isfinite(price) and price > 0):
        return _Standing("no price", "no sale at a price above 0 in the last weeks")
    if rules.objective == "margin" and np.isnan(of.cost[i]):
        return _Standing("no cost", "add its cost to the products table")
    if unknown := _unknown(of, rules, i):
        test = price_test(rules, of, i)
        none = "" if test else "; the rules leave no price to test"
        return _Standing("test", unknown + none, test=test)
    within = limits(rules, of, i)
    if within.empty:
        return _Standing("clash", within.clash, within)
    steps = ladder(rules, of, i, within)
    if not len(steps):
        return _Standing("clash", f"{_between(within)} no price ends as `endings` says", within)
    return _Standing("open", "", within, steps)


def _unknown(of: Responses, rules: PriceRules, i: int) -> str:
    """Returns why product i should be tested rather than priced, "" where it should not."""
    if of.unknown[i]:
        return of.unknown[i]
    if not (np.isfinite(of.own[i]) and np.isfinite(of.own_sd[i])):
        return "nothing is known of how its sales follow its price"
    if of.own[i] >= 0:
        return "the rows do not show that it sells more when it is cheaper"
    if not rules.outside_range and of.highest[i] - of.lowest[i] < _FLAT * of.price[i]:
        return "it never had another price here"
    return ""


def _between(within: Limits) -> str:
    return f"between {within.low:,.2f} and {within.high:,.2f}"


# --- which rung of each ladder ---


def _chosen(
    of: Responses, rules: PriceRules, ladders: Sequence[Floats]
) -> tuple[NDArray[np.intp], Floats, bool]:
    """Returns the rung of each product, with which probability it was drawn, and if it is best."""
    if rules.explore:
        return (*_drawn(of, rules, ladders), True)
    links = _links(of, rules, ladders)
    around, seen = of.price.copy(), set[bytes]()
    best, found, all_proven = _unchanged(of, rules, links, ladders)
    for _ in range(_ITERATIONS):
        rungs, proven = _together(of, links, _values(of, rules, ladders, around))
        price = _at(ladders, rungs)
        if (worth := _worth(of, rules, price)) > best:
            best, found, all_proven = worth, rungs, proven
        if rungs.tobytes() in seen or not of.cross.any():
            break
        seen.add(rungs.tobytes())
        # Half of the way: a full step overshoots where each product answers all others.
        around = np.sqrt(around * price)
    return found, np.ones(len(of)), all_proven


def _unchanged(
    of: Responses, rules: PriceRules, links: Sequence[_Link], ladders: Sequence[Floats]
) -> tuple[float, NDArray[np.intp], bool]:
    """Returns the worth of the prices of now and their rungs; -inf where the rules forbid them."""
    near = [np.abs(steps - of.price[i]) for i, steps in enumerate(ladders)]
    rungs = np.array([int(np.argmin(each)) if len(each) > 1 else 0 for each in near], np.intp)
    same = all(not each[k] > _SAME for each, k in zip(near, rungs, strict=True))
    kept = all(
        sum(adds[rungs[i]] for i, adds in link.adds.items()) <= link.most + _SAME for link in links
    )
    return (_worth(of, rules, of.price) if same and kept else -np.inf), rungs, True


def _at(ladders: Sequence[Floats], rungs: NDArray[np.intp]) -> Floats:
    return np.array([steps[k] for steps, k in zip(ladders, rungs, strict=True)])


def _values(
    of: Responses, rules: PriceRules, ladders: Sequence[Floats], price: Floats
) -> list[Floats]:
    """Returns for each rung of each product the value of moving there from the price of now.

    price: of all products, around which the effect on the others is linear.
    """
    pull, others = of.pull(price), _others(of, rules, price)
    return [
        pull[i] * _gain(of, rules, i, steps) + others[i] * _moved(of, i, steps)
        for i, steps in enumerate(ladders)
    ]


def _gain(of: Responses, rules: PriceRules, i: int, steps: Floats) -> Floats:
    """Returns the expected goal of product i at each price, less risk, over that of now."""
    one = slice(i, i + 1)
    own, sd, moved = of.own[one], of.own_sd[one], _moved(of, i, steps)
    worth = of.units[i] * of.worth(rules.objective, steps, of.cost[one])
    mean = worth * np.exp(own * moved + (sd * moved) ** 2 / 2)
    now = of.units[i] * of.worth(rules.objective, of.price[one], of.cost[one])
    gain: Floats = mean - rules.risk * np.abs(worth) * sd_factor(own, sd, moved) - now
    return np.nan_to_num(gain)


def _others(of: Responses, rules: PriceRules, price: Floats) -> Floats:
    """Returns what the others of its category gain per log price of each product, (P,)."""
    worth = of.worth(rules.objective, price, of.cost) * of.expected(_known(price))
    weight, whole = of.weight, of.others(of.weight)
    alone = whole < 1e-6 * weight
    gained = np.where(alone, 0.0, np.nan_to_num(worth * of.cross) / np.where(alone, 1.0, whole))
    found: Floats = weight * of.others(gained)
    return found


def _moved(of: Responses, i: int, steps: Floats) -> Floats:
    """Returns the log change of product i's price at each rung; 0 where it has no price."""
    now = float(of.price[i])
    return np.log(steps / now) if now > 0 else np.zeros(len(steps))


def _known(price: Floats) -> Floats:
    return np.where(price > 0, price, 1.0)


def _worth(of: Responses, rules: PriceRules, price: Floats) -> float:
    """Returns what all prices together are worth, exactly: the mean less risk."""
    units = of.units * of.pull(_known(price))
    worth = units * of.worth(rules.objective, price, of.cost)
    moved = of.moved(_known(price))
    mean = worth * np.exp(of.own * moved + (of.own_sd * moved) ** 2 / 2)
    sd = np.abs(worth) * sd_factor(of.own, of.own_sd, moved)
    return float(np.nansum(mean - rules.risk * sd))


# --- conditions that tie products together ---


@dataclass(frozen=True)
class _Link:
    """A condition over the rungs of all products: the sum of what each adds is at most `most`."""

    name: str
    adds: dict[int, Floats]
    most: float


def _links(of: Responses, rules: PriceRules, ladders: Sequence[Floats]) -> list[_Link]:
    places = {product: i for i, product in enumerate(of.product)}
    links = []
    for dear, cheap in rules.never_cheaper:
        a, b = (_place(name, places, "never_cheaper") for name in (dear, cheap))
        for i in (a, b):
            if not of.price[i] > 0:
                raise PlanError(f"never_cheaper names {of.product[i]}, whose price is not known")
        links.append(
            _Link(f"{dear} never cheaper than {cheap}", {a: -ladders[a], b: ladders[b]}, 0.0)
        )
    moving = {i: s for i, s in enumerate(ladders) if (np.abs(s - of.price[i]) > _SAME).any()}
    if rules.most_changes is not None:
        moves = {i: 1.0 * (np.abs(s - of.price[i]) > _SAME) for i, s in moving.items()}
        links.append(_Link(f"most_changes = {rules.most_changes}", moves, rules.most_changes))
    if rules.most_given_away is not None:
        given = {i: np.maximum(of.price[i] - s, 0) * of.units[i] for i, s in moving.items()}
        name = f"most_given_away = {rules.most_given_away:g}"
        links.append(_Link(name, given, rules.most_given_away))
    if rules.dearer_basket is not None:
        dearer = {i: (s - of.price[i]) * of.units[i] for i, s in moving.items()}
        now = float(np.nansum(of.price * of.units))
        links.append(
            _Link(f"dearer_basket = {rules.dearer_basket:g}", dearer, rules.dearer_basket * now)
        )
    return [link for link in links if link.adds]


def _together(
    of: Responses, links: Sequence[_Link], values: Sequence[Floats]
) -> tuple[NDArray[np.intp], bool]:
    """Returns the best rungs: category by category, those that a condition links together."""
    rungs, all_proven = np.zeros(len(values), np.intp), True
    for members in _parts(of.groups, links):
        here = [link for link in links if not members.isdisjoint(link.adds)]
        order = sorted(members)
        conditions = [_condition(link, order, values) for link in here]
        try:
            rungs[order], proven = choose([values[i] for i in order], conditions)
        except ClashError as clash:
            raise PlanError(
                f"the rules clash: within the limits of each product no prices keep: {clash}. Take "
                f"one of these out, or allow a larger change"
            ) from clash
        all_proven &= proven
    return rungs, all_proven


def _condition(link: _Link, order: Sequence[int], values: Sequence[Floats]) -> Condition:
    entries = [link.adds.get(i, np.zeros(len(values[i]))) for i in order]
    return Condition(link.name, np.concatenate(entries), link.most)


def _parts(groups: NDArray[np.intp], links: Sequence[_Link]) -> list[set[int]]:
    """Returns the categories, those joined that a condition links."""
    parts = [set(np.flatnonzero(groups == g).tolist()) for g in range(int(groups.max()) + 1)]
    for link in links:
        joined = [part for part in parts if not part.isdisjoint(link.adds)]
        parts = [part for part in parts if part.isdisjoint(link.adds)] + [set().union(*joined)]
    return parts


# --- drawing a price ---


def _drawn(
    of: Responses, rules: PriceRules, ladders: Sequence[Floats]
) -> tuple[NDArray[np.intp], Floats]:
    """Returns Thompson's choice: the best rung for an elasticity that is drawn, and its chance.

    The draw is one of equally likely quantiles of what is known, so the probability that a rung is
    chosen is a count of them, and exact. Thompson, "On the likelihood that one unknown probability
    exceeds another in view of the evidence of two samples", 1933.
    """
    seed = secrets.randbits(64) if rules.seed is None else rules.seed
    draws = np.random.default_rng(seed).integers(0, _DRAWS, len(of))
    at = ndtri((np.arange(_DRAWS) + 0.5) / _DRAWS)
    others = _others(of, rules, of.price)
    rungs, chance = np.zeros(len(of), np.intp), np.ones(len(of))
    for i, steps in enumerate(ladders):
        if len(steps) > 1:
            values = _worth_if(of, rules, i, steps, of.own[i] + of.own_sd[i] * at)
            best = np.argmax(values + others[i] * _moved(of, i, steps), axis=1)
            rungs[i] = best[draws[i]]
            chance[i] = np.mean(best == rungs[i])
    return rungs, chance


def _worth_if(
    of: Responses, rules: PriceRules, i: int, steps: Floats, elasticity: Floats
) -> Floats:
    """Returns the goal of product i for each elasticity and rung, (draws, rungs)."""
    units = of.units[i] * np.exp(np.outer(elasticity, _moved(of, i, steps)))
    worth: Floats = units * of.worth(rules.objective, steps, of.cost[i : i + 1])
    return worth


# --- rules that cannot be ---


def _refuse_nothing(of: Responses, rules: PriceRules) -> None:
    if not len(of):
        raise DataError("no product to decide on: the category, or the catalogue, is empty")
    places = {product: i for i, product in enumerate(of.product)}
    for name in ("floor", "ceiling"):
        for product in getattr(rules, name):
            _place(product, places, f"[{name}]")
    if rules.objective == "margin" and np.isnan(of.cost).all():
        raise DataError(
            "margin cannot be computed: no product has a cost; add the column 'cost' to the "
            'products table (what one unit costs you), or decide by objective = "revenue"'
        )


def _place(product: str, places: dict[str, int], where: str) -> int:
    if product not in places:
        near = difflib.get_close_matches(str(product), places, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise PlanError(f"{where} names '{product}', which is no product of this decision{hint}")
    return places[product]
