"""Churn and purchase intent: one customer's lines change, or one visit's events do.

A customer is in three of the groups, and may add to one: that is what has to be clipped.
"""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import strategies as st

from builders.outcomes import drawn_trees
from grandtotal.algorithms.glm import GLMMoments
from grandtotal.algorithms.trees_in_noise import TreeLeaves
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks.churn import Churn
from grandtotal.tasks.intent import PurchaseIntent
from grandtotal.tasks.outcome_queries import GroupGaps
from grandtotal.tasks.outcomes import OUTCOME
from grandtotal.tasks.task import Common

COMMON = Common(date(2024, 7, 15), ("P0",), privacy=Agreement(epsilon=4.0, delta=1e-6))
GROUPS = ("tier = gold", "age_band = 60+", "region = city")
TASKS = {
    "customer": Churn(COMMON, horizon_days=28, history_days=200, origins=3, groups=GROUPS),
    "session": PurchaseIntent(COMMON, test_days=28, history_days=112, groups=GROUPS),
}
LARGEST = st.sampled_from([0.05, 1.0, 30.0])
QUERIES = {
    "glm-moments": lambda draw, unit: GLMMoments(
        "logistic", len(TASKS[unit].names), "test", draw(LARGEST), 0, unit
    ),
    "tree-leaves": lambda draw, unit: TreeLeaves(
        OUTCOME, "test", "logistic", 0.0, draw(LARGEST), 0, unit
    ),
    "group-gaps": lambda _, unit: GroupGaps("logistic", "test", GROUPS, 1, 1, unit),
}
FACTS = pl.DataFrame(
    {
        "customer": ["C0", "C1", "the one"],
        "tier": ["gold"] * 3,
        "region": ["city"] * 3,
        "age_band": ["60+"] * 3,
    }
)


def moments(rng, count, days):
    back = rng.integers(1, days, count)
    return [datetime(2024, 7, 15) - timedelta(days=int(d), minutes=i) for i, d in enumerate(back)]


def lines(draw, rng, customer, count):
    size = draw(st.sampled_from([1.0, 30.0, 1e9, 1e100]))
    return {
        "customer": [customer] * count,
        "product": [f"P{i}" for i in rng.integers(0, 5, count)],
        "time": moments(rng, count, 220),
        "quantity": size * rng.choice([1.0, 2.0, -1.0], count),
        "price": rng.uniform(0.01, 1e6, count),
        "promotion": rng.choice([None, "offer"], count).tolist(),
    }


def events(draw, rng, session, count):
    customer = draw(st.sampled_from(["C0", "C1", "the one", None]))
    begun = datetime(2024, 7, 15) - timedelta(days=int(rng.integers(1, 110)), minutes=99)
    kinds = rng.choice(["view", "cart", "search", "purchase"], count, p=[0.6, 0.2, 0.1, 0.1])
    return {
        "session": [session] * count,
        "customer": [customer] * count,
        "product": [f"P{i}" for i in rng.integers(0, 5, count)],
        "time": [begun + timedelta(minutes=i) for i in range(count)],
        "type": kinds.tolist(),
    }


SCHEMAS = {
    "customer": {
        "customer": pl.String,
        "product": pl.String,
        "time": pl.Datetime("us"),
        "quantity": pl.Float64,
        "price": pl.Float64,
        "promotion": pl.String,
    },
    "session": {
        "session": pl.String,
        "customer": pl.String,
        "product": pl.String,
        "time": pl.Datetime("us"),
        "type": pl.String,
    },
}
MADE = {"customer": ("transactions", lines, 12), "session": ("events", events, 6)}


def of_a_customer(name, unit):
    def case(draw, folder):  # noqa: ARG001
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        table, made, usual = MADE[unit]
        width = len(TASKS[unit].names)
        size = draw(st.sampled_from([0.0, 0.3, 1e6]))
        # Sometimes everybody is sure to leave: a customer who does adds as much as one can.
        constant = draw(st.sampled_from([0.0, 100.0])) * (np.arange(width) == 0)
        broadcast = {"coefficients": rng.normal(0, 1, width) * size + constant * max(size, 1.0)}
        if name == "tree-leaves":
            depth = draw(st.sampled_from([0, 2]))
            broadcast = drawn_trees(TASKS[unit].names[1:], releases=1, trees=4, depth=depth)
            # What was grown before says anything: a customer adds as much as one can.
            before = broadcast["asked values"]
            broadcast |= {key.replace("asked", "trees"): broadcast[key] for key in list(broadcast)}
            broadcast["trees values"] = rng.normal(0, 1, len(before)) * size
        others = [made(draw, rng, f"{unit} {i}", usual) for i in range(4)]
        # Somebody is there at every cut, so that there is something to learn.
        others.append(steady(unit))
        sides = []
        for _ in range(2):
            own = made(draw, rng, "the one", draw(st.sampled_from([0, 1, 5, 40])))
            parts = [pl.DataFrame(part, schema=SCHEMAS[unit]) for part in (*others, own)]
            frames = {table: pl.concat(parts), "customers": FACTS}
            sides.append(TASKS[unit].rows(frames))
        return QUERIES[name](draw, unit), broadcast, *sides

    return case


def steady(unit):
    days = range(1, 220, 7) if unit == "customer" else range(1, 110, 5)
    if unit == "customer":
        return {
            "customer": ["C0"] * len(days),
            "product": ["P0"] * len(days),
            "time": [datetime(2024, 7, 15) - timedelta(days=d) for d in days],
            "quantity": [1.0] * len(days),
            "price": [2.0] * len(days),
            "promotion": [None] * len(days),
        }
    each = [
        (f"S{d}", datetime(2024, 7, 15) - timedelta(days=d, minutes=-i))
        for d in days
        for i in range(4)
    ]
    return {
        "session": [session for session, _ in each],
        "customer": [None] * len(each),
        "product": ["P0"] * len(each),
        "time": [time for _, time in each],
        "type": ["view"] * len(each),
    }


CASES = {f"{name}: {unit}": of_a_customer(name, unit) for name in QUERIES for unit in TASKS}
