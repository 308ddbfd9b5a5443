"""Discounts by segment in a made-up market whose segments' elasticities are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.segment_response import SegmentLines, SegmentResponse, Shifts
from grandtotal.decide.response import Responses
from grandtotal.decide.rules import PriceRules
from grandtotal.decide.segments import SegmentRules, Segments, decide_segments
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Release

Floats = NDArray[np.float64]

SHIFTS = np.array([0.9, 0.0, -1.5])  # of the elasticity, by tier
_OWN, _COST, _PRODUCTS, _WEEKS, _LINES = -2.6, 0.6, 6, 52, 15
_LARGEST = 1.0  # norm of a customer's contribution
_DISCOUNTS = (0.0, 0.05, 0.1, 0.15, 0.2)


def by_segment(customers: int, draws: int) -> list[Row]:
    """Returns what discounts by segment earn over none and over the best one for all."""
    parts = [_lines(seed, customers) for seed in range(3)]
    exact = _gains(_learnt(parts, None))
    noisy = np.mean([_gains(_learnt(parts, 1.0)) for _ in range(draws)], axis=0)
    label = f"segments, 3 retailers of {customers:,} customers: margin by"
    return [
        Row(f"{label} one discount for all, over none", exact[1], "%"),
        Row(f"{label} segment, over none", exact[0], "%"),
        Row(f"{label} segment at epsilon 1, over none", float(noisy[0]), "%"),
        Row(f"{label} the planted shifts, over none", _gains(_known(SHIFTS))[0], "%"),
        Row("segments: largest difference of what groups pay, by segment", exact[2], "points"),
    ]


def _learnt(parts: list[SegmentLines], epsilon: float | None) -> Shifts:
    """Returns the shifts, from totals of the retailers."""
    holders = {f"retailer {i}": {"now": part} for i, part in enumerate(parts)}
    algorithm = SegmentResponse(between=1.0, largest=_LARGEST if epsilon else 0.0, rounds=4)
    budget = None
    if epsilon:
        releases = {TASK: (Release("segment-moments", algorithm.rounds),)}
        budget = Budget.of(Agreement(epsilon=epsilon, delta=1e-6), releases, len(parts))
    with federated(holders, budget=budget) as consortium:
        return algorithm.fit(consortium.of(TASK), len(SHIFTS), "now")


def _known(shift: Floats) -> Shifts:
    return Shifts(shift, np.full(len(shift), 1e-3), np.full(len(shift), 1e4))


def _gains(shifts: Shifts) -> tuple[float, float, float]:
    """Returns what the decision truly earns by segment and for all, %, and the gap it makes."""
    rules = PriceRules(largest_change=0.2, risk=0.0)
    of, units = _products(), np.full((len(SHIFTS), _PRODUCTS), 100.0)
    names = ("basic", "silver", "gold")
    known = Segments(names, np.full(3, 1e4), units, shifts.shift, shifts.sd)
    decided = decide_segments(of, known, rules, SegmentRules("tier", _DISCOUNTS))
    earned = [_earned(off) for off in (decided.discount, np.full(3, decided.uniform))]
    now, gap = _earned(np.zeros(3)), 100 * float(np.ptp(decided.discount))
    return 100 * (earned[0] / now - 1), 100 * (earned[1] / now - 1), gap


def _earned(off: Floats) -> float:
    """Returns the true margin of the segments at their discounts."""
    return float(((1 - off - _COST) * (1 - off) ** (_OWN + SHIFTS)).sum())


def _products() -> Responses:
    names, one = tuple(f"P{i}" for i in range(_PRODUCTS)), np.ones(_PRODUCTS)
    return Responses(
        product=names,
        title=names,
        category=names,
        price=one,
        units=300 * one,
        cost=_COST * one,
        own=_OWN * one,
        own_sd=0.05 * one,
        cross=0 * one,
        lowest=0.5 * one,
        highest=1.5 * one,
        unknown=("",) * _PRODUCTS,
        noise=0.5 * one,
    )


def _lines(seed: int, customers: int) -> SegmentLines:
    """Returns a retailer's lines, whose weeks follow prices as their segment does."""
    rng = np.random.default_rng(seed)
    moved = np.log(rng.choice([0.75, 0.85, 1.0, 1.0, 1.0, 1.1], (_PRODUCTS, _WEEKS)))
    weight = np.exp(_OWN * moved)
    of = np.repeat(rng.choice(3, customers, p=[0.6, 0.3, 0.1]), _LINES)
    product = rng.integers(0, _PRODUCTS, len(of))
    week = np.empty(len(of), np.intp)
    for s, shift in enumerate(SHIFTS):
        for p in range(_PRODUCTS):
            here = (of == s) & (product == p)
            odds = weight[p] * np.exp(shift * moved[p])
            week[here] = rng.choice(_WEEKS, int(here.sum()), p=odds / odds.sum())
    customer = np.repeat(np.arange(customers), _LINES)
    return SegmentLines(of, customer, product, week, moved, weight)
