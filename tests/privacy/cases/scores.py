"""The test: units with any score, and a customer who is part of several."""

import numpy as np
from hypothesis import strategies as st

from grandtotal.tasks.scores import Metric, Scored, TestScores, UnitScores, save_delivered

METRICS = (Metric("ndcg", True, "first"), Metric("recall", True, "not shared"))
STEPS = METRICS[0].steps
PARTS = st.sampled_from([0, 1, STEPS // 3, STEPS, 40 * STEPS, 2**62, -STEPS, -(2**62)])
LARGEST = st.sampled_from([2**0.5 * STEPS, 3.0, 500.0 * STEPS])


def kept(folder, units, scored):
    parts = np.array(units, np.int64).reshape(-1, 2, 2)
    scores = UnitScores(METRICS, parts[:, 0], parts[:, 1], np.empty(0, np.int64))
    save_delivered(folder, "task", scored, scores)
    return {}


def units(draw, count):
    return [[draw(PARTS) for _ in range(4)] for _ in range(count)]


def of_customers(draw, folder):
    others = units(draw, 3)
    sides = [
        kept(folder / side, others + units(draw, draw(st.integers(0, 1))), Scored("test", 1.0))
        for side in SIDES
    ]
    return TestScores("task", 1, 0, draw(LARGEST)), {}, *sides


def of_products(draw, folder):
    """A customer moves from two products to two others."""
    others, few = units(draw, 3), 2
    scored = Scored("test", 1.0, "product", few)
    sides = [kept(folder / side, others + units(draw, 2 * few), scored) for side in SIDES]
    return TestScores("task", 1, 0, draw(LARGEST), "product", few), {}, *sides


SIDES = ("before", "after")
CASES = {"test-scores": of_customers, "test-scores: products of a customer": of_products}
