"""Segments that follow prices more than others are found, from totals."""

import numpy as np
import pytest

from grandtotal.algorithms.segment_response import (
    SegmentLines,
    SegmentMoments,
    SegmentResponse,
)
from grandtotal.consortium.totals import Local

SHIFTS = np.array([0.6, 0.0, -0.8])


def lines(seed, customers=300, first=0, series=8, weeks=40):
    """Returns 12 lines a customer, whose weeks follow prices by -2 and the segment's shift."""
    rng = np.random.default_rng(seed)
    moved = np.log(rng.choice([0.7, 0.8, 1.0, 1.0, 1.1], (series, weeks)))
    weight = np.exp(-2.0 * moved) * rng.uniform(0.5, 2.0, (1, weeks))
    segment = rng.integers(0, 3, customers)
    of, each = np.repeat(segment, 12), rng.integers(0, series, 12 * customers)
    week = np.empty(len(each), int)
    for s in range(3):
        for k in range(series):
            here = (of == s) & (each == k)
            odds = weight[k] * np.exp(SHIFTS[s] * moved[k])
            week[here] = rng.choice(weeks, here.sum(), p=odds / odds.sum())
    return SegmentLines(of, first + np.repeat(np.arange(customers), 12), each, week, moved, weight)


def test_planted_shifts_are_found():
    found = SegmentResponse(between=1.0).fit(Local({"now": lines(1, 3000)}), 3, "now")
    assert (np.abs(found.shift - SHIFTS) < 4 * found.sd).all()
    assert found.sd.max() < 0.15
    assert found.customers.sum() == pytest.approx(3000)


def test_the_totals_of_retailers_are_those_of_pooled_lines():
    parts = [lines(seed, 40 + seed, 1000 * seed) for seed in range(3)]
    query, given = SegmentMoments(3, "now"), {"shift": np.array([0.5, 0.0, -0.25])}
    apart = sum(Local({"now": part}).total(query, given)["sums"] for part in parts)
    pooled = Local({"now": SegmentLines.pooled(parts)}).total(query, given)["sums"]
    assert (apart == pooled).all()


def test_noise_and_few_lines_make_less_sure_and_draw_to_no_difference():
    few = SegmentResponse().fit(Local({"now": lines(2, 9)}), 3, "now")
    many = SegmentResponse().fit(Local({"now": lines(2, 900)}), 3, "now")
    assert (few.sd > many.sd).all()
    noisy = SegmentResponse(noise=50.0).fit(Local({"now": lines(2, 900)}), 3, "now")
    assert (noisy.sd > many.sd).all()


def test_cut_contributions_say_the_same_direction():
    found = SegmentResponse(between=1.0, largest=0.5).fit(Local({"now": lines(3, 2000)}), 3, "now")
    assert found.shift[0] > found.shift[1] > found.shift[2]
