"""How often what sold lay inside the intervals, by period ahead and by volume class.

A count y is spread evenly over the unit from y - 1/2 to y + 1/2, and an interval holds the part of
it that lies inside, see tasks/intervals.py: else no interval that holds 0 could be right for a
product that sells nothing in nine weeks of ten. The class is a product's mean of recent periods, as
it was known when the forecast was made.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row
from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.intervals import at, inside
from grandtotal.tasks.sales import Panel

ROOM = 0.02
ENOUGH = 1000  # observations from which a class is judged
VOLUMES = (0.25, 1.0, 4.0, 16.0, 64.0)  # units a period: where one class ends


@dataclass(frozen=True)
class Covered:
    """ahead, volume: (cases,) which class. within: (2, cases) in the 80 and the 95 % interval."""

    ahead: NDArray[np.int64]
    volume: NDArray[np.int64]
    within: NDArray[np.float64]


def covered(models: Iterable[tuple[DemandModel, Panel]]) -> Covered:
    """Returns the test cases of every retailer, each under its own model."""
    ahead, volume, within = [], [], []
    for model, panel in models:
        for sales, cases in zip(panel.parts, cases_of(model, panel), strict=True):
            found = model.quantiles(model.forecast(cases), cases.ahead)
            whole = sales.whole[cases.series]
            ends = ((at(0.1), at(0.9)), (at(0.025), at(0.975)))
            within.append([inside(cases.sold, whole, found[:, a], found[:, b]) for a, b in ends])
            ahead.append(cases.ahead)
            volume.append(np.searchsorted(VOLUMES, cases.mean))
    return Covered(*map(np.concatenate, (ahead, volume)), np.concatenate(within, axis=1))


def coverage_rows(found: Covered) -> list[Row]:
    """Returns the coverage of every horizon, of every volume class, and of both together."""
    rows = []
    steps = range(1, int(found.ahead.max()) + 1)
    by_step = [(f"{a} ahead", found.ahead == a) for a in steps]
    by_class = [(_class(c), found.volume == c) for c in range(len(VOLUMES) + 1)]
    for name, chosen in [("all", np.ones(len(found.ahead), bool)), *by_step, *by_class]:
        rows += _judged(name, found, chosen)
    cells = [a & c for _, a in by_step for _, c in by_class if (a & c).sum() >= ENOUGH]
    return [*rows, *(_in_cells(found, cells) if cells else ())]


def _judged(name: str, found: Covered, chosen: NDArray[np.bool_]) -> Iterator[Row]:
    if (count := int(chosen.sum())) < ENOUGH:
        return
    for level, within in zip((0.8, 0.95), found.within, strict=True):
        value = float(within[chosen].mean())
        bar = f"{level - ROOM:.2f} .. {level + ROOM:.2f}"
        label = f"inside {100 * level:.0f} %, {name} ({count:,})"
        yield Row(label, value, "", bar, bool(abs(value - level) <= ROOM))


def _in_cells(found: Covered, cells: list[NDArray[np.bool_]]) -> Iterator[Row]:
    for level, within in zip((0.8, 0.95), found.within, strict=True):
        missed = np.array([abs(within[cell].mean() - level) for cell in cells])
        name = f"inside {100 * level:.0f} %: horizon x class within 2 points, of {len(cells)}"
        yield Row(name, float((missed <= ROOM).sum()))
        yield Row(f"inside {100 * level:.0f} %: farthest off of these", float(missed.max()))


def _class(c: int) -> str:
    if c == len(VOLUMES):
        return f"above {VOLUMES[-1]:g} units"
    return f"{VOLUMES[c - 1]:g} to {VOLUMES[c]:g} units" if c else f"up to {VOLUMES[0]:g} units"
