"""Stock at several stages of a supply chain: in series, in a tree, and shared out to stores.

Clark & Scarf, "Optimal policies for a multi-echelon inventory problem", 1960. Graves & Willems,
"Optimizing strategic safety stock placement in supply chains", 2000.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import PlanError

_POINTS = 801  # of the demand of a lead time
_SPREAD = 6.0  # standard deviations that they cover
_GRID = 4001  # inventory positions


@dataclass(frozen=True)
class Stage:
    """A stage in series: what a unit costs there or further on, and how long it takes to arrive.

    holding: added by this stage, per unit and period ("echelon"). lead_time: periods.
    """

    holding: float
    lead_time: float


def serial(stages: Sequence[Stage], demand: Any, shortage: float) -> tuple[list[float], float]:
    """Returns the echelon base-stock level of each stage, and the cost per period.

    stages: the one that meets the customers first. demand: of one period, normal. shortage: of a
    unit that customers wait for, per period. The recursion of Chen & Zheng 1994, on a grid.
    """
    mean, sd = float(demand.mean()), float(demand.std())
    reach = sum(stage.lead_time for stage in stages)
    wide = _SPREAD * sd * math.sqrt(reach + 1)
    grid = np.linspace(-wide, mean * reach + 2 * wide, _GRID)
    everything = sum(stage.holding for stage in stages)
    induced = (shortage + everything) * np.maximum(-grid, 0.0)
    slope = -(shortage + everything)  # of the induced cost, left of the grid
    levels: list[float] = []
    cost = 0.0
    for stage in stages:
        now = stage.holding * grid + induced
        z = np.linspace(-_SPREAD, _SPREAD, _POINTS)
        weights = np.exp(-(z**2) / 2)
        weights /= weights.sum()
        arrives = stage.lead_time * mean + math.sqrt(stage.lead_time) * sd * z
        expected = np.zeros_like(grid)
        for weight, arrived in zip(weights, arrives, strict=True):
            expected += weight * _along(grid - arrived, grid, now, slope + stage.holding)
        best = int(expected.argmin())
        levels.append(_lowest(grid, expected, best))
        cost = float(expected[best])
        induced = np.where(grid < levels[-1], expected, cost)
        slope = slope + stage.holding
    return levels, cost


def _along(
    at: NDArray[np.float64], grid: NDArray[np.float64], values: NDArray[np.float64], slope: float
) -> NDArray[np.float64]:
    """Returns the function at places; left of the grid it is a line."""
    inside = np.interp(at, grid, values)
    return np.where(at < grid[0], values[0] + slope * (at - grid[0]), inside)


def _lowest(grid: NDArray[np.float64], values: NDArray[np.float64], at: int) -> float:
    """Returns where the parabola through the lowest point and its neighbours is lowest."""
    before, here, after = values[at - 1 : at + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(grid[at] + shift * (grid[1] - grid[0]))


@dataclass(frozen=True)
class Node:
    """A place that holds stock and promises a time of service.

    time: periods from having everything it needs to having it done. holding: of one unit and
    period. sd: of a period's demand, where customers are met. promised: the longest time customers
    may be promised; None where there are none. supplied: what its outside supplier promises.
    """

    time: int
    holding: float
    sd: float = 0.0
    promised: int | None = None
    supplied: int = 0


def guaranteed_service(
    nodes: Mapping[str, Node], edges: Sequence[tuple[str, str]], service: float = 1.0
) -> tuple[dict[str, int], float]:
    """Returns the time that each node promises those it supplies, and the cost of safety stock.

    edges: (supplier, supplied), a tree. service: standard deviations that safety stock covers.
    Demand of a node is what it supplies in all; a net time t needs service * sd * sqrt(t) of stock.
    """
    order = _from_the_leaves(nodes, edges)
    sd = _spread(nodes, edges)
    longest = sum(node.time + node.supplied for node in nodes.values())
    search = _Tree(nodes, edges, sd, longest, service)
    for name, parent in order:
        search.visit(name, parent)
    return search.promises(order)


class _Tree:
    """The dynamic program over service times, from the leaves of the tree to its root."""

    def __init__(
        self,
        nodes: Mapping[str, Node],
        edges: Sequence[tuple[str, str]],
        sd: Mapping[str, float],
        longest: int,
        service: float,
    ) -> None:
        self._nodes, self._edges, self._sd = nodes, set(edges), sd
        self._times = range(longest + 1)
        self._service = service
        self._children: dict[str, list[str]] = {name: [] for name in nodes}
        # What a node and all behind it cost, by the time on the edge towards its parent.
        self._least: dict[str, list[float]] = {}
        self._chosen: dict[str, list[tuple[int, int]]] = {}

    def visit(self, name: str, parent: str | None) -> None:
        if parent is not None:
            self._children[parent].append(name)
        costs = {(s, r): self._cost(name, s, r) for s in self._times for r in self._times}
        least, chosen = [], []
        for time in self._times:
            fits = [
                (cost, s, r)
                for (s, r), cost in costs.items()
                if self._fits(name, parent, time, s, r)
            ]
            best = min(fits, default=(math.inf, 0, 0))
            least.append(best[0])
            chosen.append((best[1], best[2]))
        self._least[name], self._chosen[name] = least, chosen

    def _fits(self, name: str, parent: str | None, time: int, s: int, r: int) -> bool:
        if parent is None:
            return time == 0
        # Towards a supplied parent it is the promise, towards a supplier the time of the supply.
        return s == time if (name, parent) in self._edges else r == time

    def _cost(self, name: str, promise: int, supplied: int) -> float:
        node = self._nodes[name]
        net = supplied + node.time - promise
        late = node.promised is not None and promise > node.promised
        if net < 0 or late or supplied < node.supplied:
            return math.inf
        own = node.holding * self._service * self._sd[name] * math.sqrt(net)
        return own + sum(
            self._behind(name, child, promise, supplied) for child in self._children[name]
        )

    def _behind(self, name: str, child: str, promise: int, supplied: int) -> float:
        if (child, name) in self._edges:  # the child supplies: any promise that is early enough
            return min(self._least[child][: supplied + 1])
        return self._least[child][promise]

    def promises(self, order: Sequence[tuple[str, str | None]]) -> tuple[dict[str, int], float]:
        root = order[-1][0]
        found: dict[str, int] = {}
        waiting = [(root, 0)]
        while waiting:
            name, time = waiting.pop()
            promise, supplied = self._chosen[name][time]
            found[name] = promise
            for child in self._children[name]:
                if (child, name) in self._edges:
                    options = self._least[child][: supplied + 1]
                    waiting.append((child, options.index(min(options))))
                else:
                    waiting.append((child, promise))
        return dict(sorted(found.items())), self._least[root][0]


def _from_the_leaves(
    nodes: Mapping[str, Node], edges: Sequence[tuple[str, str]]
) -> list[tuple[str, str | None]]:
    """Returns (node, parent) so that every node comes after all but one of its neighbours."""
    if len(edges) != len(nodes) - 1:
        raise PlanError(f"{len(nodes)} nodes and {len(edges)} edges, expected a tree")
    near: dict[str, set[str]] = {name: set() for name in nodes}
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    order: list[tuple[str, str | None]] = []
    while near:
        leaf = next((name for name in sorted(near) if len(near[name]) <= 1), None)
        if leaf is None:
            raise PlanError("the edges go round in a circle, expected a tree")
        parent = next(iter(near.pop(leaf)), None)
        if parent is not None:
            near[parent].discard(leaf)
        order.append((leaf, parent))
    return order


def _spread(nodes: Mapping[str, Node], edges: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Returns the standard deviation of what each node supplies in all, demands independent."""
    supplied: dict[str, list[str]] = {name: [] for name in nodes}
    for supplier, to in edges:
        supplied[supplier].append(to)

    def variance(name: str) -> float:
        return nodes[name].sd ** 2 + sum(variance(to) for to in supplied[name])

    return {name: math.sqrt(variance(name)) for name in nodes}
