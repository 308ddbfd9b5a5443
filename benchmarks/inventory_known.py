"""Textbook optima of Snyder & Shen, "Fundamentals of Supply Chain Theory", against what we find.

The known values were computed with stockpyl 1.0.2 on NumPy 1.26, the serial system's are the
book's. Shown is the relative error of the cost; levels are compared in tests/decide.
"""

from pathlib import Path

from scipy import stats

from benchmarks.rows import Row, at_most
from grandtotal.decide.inventory import (
    economic_order_quantity,
    lot_sizes,
    min_max,
    newsvendor,
    reorder_quantity,
)
from grandtotal.decide.network import Node, Stage, guaranteed_service, serial


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns the relative error of the cost of each example."""
    tree = {
        "1": Node(time=2, holding=1, supplied=1),
        "2": Node(time=1, holding=3, sd=1, promised=0),
        "3": Node(time=1, holding=2),
        "4": Node(time=1, holding=3, sd=1, promised=1),
    }
    stages = [Stage(3, 1), Stage(2, 1), Stage(2, 2)]
    found = {
        "newsvendor, normal (120, 10)": (newsvendor(stats.norm(120, 10), 2, 18).cost, 35.0997),
        "newsvendor, normal (50, 8)": (newsvendor(stats.norm(50, 8), 0.18, 0.70).cost, 1.99761),
        "newsvendor, Poisson (6)": (newsvendor(stats.poisson(6), 1, 4).cost, 3.57011),
        "economic order quantity": (economic_order_quantity(8, 0.225, 1300).cost, 68.41053),
        "(s, S), Poisson (6)": (min_max(stats.poisson(6), 1, 4, 5).cost, 8.03411),
        "(r, Q), Poisson (1.5)": (reorder_quantity(1.5, 2, 20, 150, 100).cost, 107.92358),
        "Wagner-Whitin, four periods": (lot_sizes([90, 120, 80, 70], 0.4, 500)[1], 696.0),
        "three stages in series": (serial(stages, stats.norm(5, 1), 37.12)[1], 47.65),
        "guaranteed service, four nodes": (
            guaranteed_service(tree, [("1", "3"), ("3", "2"), ("3", "4")])[1],
            8.277917,
        ),
    }
    return [at_most(0.001, name, abs(ours / known - 1)) for name, (ours, known) in found.items()]
