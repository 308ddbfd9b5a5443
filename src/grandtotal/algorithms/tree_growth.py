"""How trees grow at the coordinator: from histograms to splits, by level or by the best leaf.

Level by level: Chen and Guestrin, "XGBoost", 2016. Best leaf first, and one child's histogram
as the difference of the parent's and the other's: Ke et al., "LightGBM", 2017.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms import inner_loops
from grandtotal.algorithms.tree_bins import CATEGORY, Bins
from grandtotal.algorithms.tree_histograms import starts_of
from grandtotal.algorithms.tree_search import Best, Limits, best_group, unpacked, weigh
from grandtotal.algorithms.tree_shape import Trees, packed
from grandtotal.errors import PlanError

_ROUNDING = 2.0**-36  # of a node's own gain: what is less than this is not a gain


@dataclass(frozen=True)
class Growth:
    """What a tree may look like.

    by: "level", one question for each, or "leaf", the best leaf first, one question for each batch.
    leaves: most leaves. depth: most splits between root and leaf, 0 for any number.
    rows: least rows in a leaf, of all retailers together; no leaf tells of fewer. hessian: least
    sum of hessians in a leaf. l2: penalty on a leaf's value.
    step: largest value of a leaf before the learning rate, 0 for any.
    smoothing: penalty that orders categories with few rows.
    rising, falling: numbers with which the prediction may only rise, or only fall.
    """

    by: Literal["level", "leaf"] = "level"
    leaves: int = 64
    depth: int = 0
    rows: int = 20
    hessian: float = 1e-3
    l2: float = 1.0
    step: float = 0.0
    smoothing: float = 10.0
    rising: tuple[str, ...] = ()
    falling: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.by not in ("level", "leaf"):
            raise PlanError(f"by = {self.by!r}, expected 'level' or 'leaf'")
        if self.leaves < 1 or self.rows < 1 or self.depth < 0 or self.hessian <= 0:
            raise PlanError(
                f"leaves = {self.leaves!r}, rows = {self.rows!r}, depth = {self.depth!r}, hessian "
                f"= {self.hessian!r}: expected at least 1, 1 and 0, and a positive hessian"
            )
        if min(self.l2, self.step, self.smoothing) < 0:
            raise PlanError("l2, step and smoothing are 0 or more")

    def directions(self, bins: Bins) -> NDArray[np.int64]:
        """Returns 1, -1 or 0 for each feature; PlanError if a name is no number among them."""
        numbers = [f.name for f in bins.features if f.kind != CATEGORY]
        wrong = [name for name in (*self.rising, *self.falling) if name not in numbers]
        wrong += [name for name in self.rising if name in self.falling]
        if wrong:
            raise PlanError(
                f"'{wrong[0]}' cannot be rising or falling: expected one of the numbers, in one of "
                f"the two: {', '.join(numbers)}"
            )
        names = [f.name for f in bins.features]
        return np.array([(n in self.rising) - (n in self.falling) for n in names], np.int64)


@dataclass(frozen=True)
class Split:
    """gain; feature; left: (256,) which bins go left; child: (3,) sums of the left child."""

    gain: float
    feature: int
    left: NDArray[np.bool_]
    child: NDArray[np.float64]


@dataclass(eq=False)
class Node:
    """total: (5,) gradient, rows, hessian, and the bounds of the value. sums: its histogram."""

    id: int
    depth: int
    total: NDArray[np.float64]
    sums: NDArray[np.int64] | None = None
    split: Split | None = None
    children: "tuple[Node, Node] | None" = None

    @property
    def gain(self) -> float:
        """Of its best split."""
        return self.split.gain if self.split else -np.inf


@dataclass(eq=False)
class Sapling:
    """One tree that grows.

    number: among those that grow together. columns: (columns,) the features that it sees.
    made: its splits as they travel, see `TreeHistograms`.
    """

    number: int
    columns: NDArray[np.int64]
    bins: Bins
    growth: Growth
    limits: Limits
    made: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        counts = self.bins.counts[self.columns]
        starts, self.size = starts_of(counts)
        self._directions = self.growth.directions(self.bins).tolist()
        directions = np.array(self._directions)[self.columns]
        self._spans = np.stack([starts, counts, directions], axis=1)
        kinds = np.array([self.bins.features[c].kind == CATEGORY for c in self.columns], np.bool_)
        self._numbers, self._groups = np.flatnonzero(~kinds).tolist(), np.flatnonzero(kinds)
        self._thresholds = self._spans[self._numbers]
        self.leaves = 1
        step = self.growth.step or np.inf
        self.root = Node(0, 0, np.array([0, 0, 0, -step, step]))

    def see_root(self) -> None:
        """Takes the totals of the root from its histogram."""
        assert self.root.sums is not None
        whole = self.root.sums[: self._spans[0, 1]].sum(axis=0)
        self.root.total[:3] = [float(part) for part in unpacked(whole, self.limits)]

    def may_split(self, node: Node) -> bool:
        """Returns whether both children could be large enough and not too deep."""
        deep = self.growth.depth and node.depth >= self.growth.depth
        return not deep and node.total[1] >= 2 * self.growth.rows

    def look(self, nodes: Sequence[Node]) -> None:
        """Finds the best split of each node that has a histogram."""
        nodes = [node for node in nodes if node.sums is not None and self.may_split(node)]
        if not nodes:
            return
        sums = np.stack([node.sums for node in nodes if node.sums is not None])
        totals = np.stack([node.total for node in nodes])
        best = inner_loops.of("tree").best_splits(sums, totals, self._thresholds, self.limits)
        G, _, H, low, high = totals.T
        least = _ROUNDING * np.abs(weigh(G, H, self.growth.l2, low, high)[0])
        for i, node in enumerate(nodes):
            node.split = self._threshold(best, i)
            for group in self._groups:
                self._group(node, int(group))
            if node.gain <= least[i]:
                node.split = None

    def _threshold(self, best: Best, i: int) -> Split | None:
        """Returns the best split of node i by a threshold, if there is one."""
        gain = float(best.gain[i])
        if gain == -np.inf:
            return None
        number = self._numbers[best.column[i]]
        left = np.zeros(256, np.bool_)
        left[1 : best.bin[i] + 1] = True
        left[0] = best.missing[i]
        return Split(gain, int(self.columns[number]), left, best.left[i])

    def _group(self, node: Node, number: int) -> None:
        assert node.sums is not None
        start, width, _ = self._spans[number]
        found = best_group(
            node.sums[start : start + width], node.total, self.growth.smoothing, self.limits
        )
        # Categories come after the numbers: of equal gains the first feature wins.
        if found is not None and found[0] > node.gain:
            node.split = Split(found[0], int(self.columns[number]), found[1], found[2])

    def cut(self, node: Node) -> tuple[Node, Node]:
        """Returns the children of a node, left and right, after its best split."""
        assert node.split is not None
        number, split = len(self.made), node.split
        numbers = np.array([self.number, node.id, split.feature], np.int32)
        self.made.append(numbers.tobytes() + packed(split.left).tobytes())
        totals = (node.total.copy(), node.total.copy())
        totals[0][:3] = split.child
        totals[1][:3] -= split.child
        direction = self._directions[split.feature]
        if direction:
            middle = float(np.mean([self.value(total) for total in totals]))
            totals[0][4 if direction > 0 else 3] = middle
            totals[1][3 if direction > 0 else 4] = middle
        left, right = (
            Node(2 * number + 1 + i, node.depth + 1, total) for i, total in enumerate(totals)
        )
        node.children = (left, right)
        self.leaves += 1
        return node.children

    def value(self, total: NDArray[np.float64]) -> float:
        """Returns the value of a leaf with these sums and bounds."""
        return float(weigh(total[0], total[2], self.limits.l2, total[3], total[4])[1])

    def tree(
        self, taken: Sequence[Node], rate: float, values: dict[int, float] | None = None
    ) -> Trees:
        """Returns the finished tree of the splits that were taken, in this order.

        values: of the leaves by their id, instead of those of the sums.
        """
        place, nodes = {self.root.id: 0}, [self.root]
        for i, node in enumerate(taken):
            assert node.children is not None
            for j, child in enumerate(node.children):
                place[child.id] = 2 * i + 1 + j
                nodes.append(child)
        G, rows, H, low, high = np.stack([node.total for node in nodes]).T
        leaf = weigh(G, H, self.limits.l2, low, high)[1]
        if values:
            leaf = np.array([values.get(n.id, usual) for n, usual in zip(nodes, leaf, strict=True)])
        splits = [node.split for node in taken if node.split]
        left = np.array([split.left for split in splits], np.bool_).reshape(-1, 256)
        return Trees(
            np.array([len(splits)], np.int64),
            np.array([place[node.id] for node in taken], np.int32),
            np.array([split.feature for split in splits], np.int32),
            packed(left),
            rate * leaf,
            rows.astype(np.int64),
        )


Ask = Callable[[list[tuple[Sapling, Node]]], None]
"""Gives these nodes their histograms: one question."""


def grow_levels(saplings: Sequence[Sapling], ask: Ask) -> list[list[Node]]:
    """Returns the nodes that were split, of each tree; all trees' levels are one question each."""
    ask([(sapling, sapling.root) for sapling in saplings])
    taken: list[list[Node]] = [[] for _ in saplings]
    level: list[list[Node]] = []
    for sapling in saplings:
        sapling.see_root()
        sapling.look([sapling.root])
        level.append([sapling.root])
    while any(level):
        cut: list[tuple[Sapling, list[Node]]] = []
        for i, sapling in enumerate(saplings):
            room = sapling.growth.leaves - sapling.leaves
            best = sorted((n for n in level[i] if n.split), key=lambda n: (-n.gain, n.id))[:room]
            nodes = sorted(best, key=lambda n: n.id)
            taken[i] += nodes
            level[i] = [child for node in nodes for child in sapling.cut(node)]
            if sapling.leaves >= sapling.growth.leaves:
                level[i] = []
            elif nodes:
                cut.append((sapling, nodes))
        _ask_children(cut, ask)
    return taken


def grow_leaves(sapling: Sapling, ask: Ask, eager: float) -> list[Node]:
    """Returns the nodes that were split, the best first.

    eager: nodes with this gain are split before their turn, so that fewer questions are asked, but
    no more than may still be taken; the tree is the same with any number.
    """
    ask([(sapling, sapling.root)])
    sapling.see_root()
    sapling.look([sapling.root])
    taken: list[Node] = []
    number = count()
    leaves = [(-sapling.root.gain, next(number), sapling.root)]  # the best is first
    early: list[Node] = []  # whose children could be asked for before their turn
    while leaves and len(taken) + 1 < sapling.growth.leaves:
        node = heappop(leaves)[-1]
        if not node.split:
            break
        taken.append(node)
        if node.children is None:
            room = sapling.growth.leaves - 1 - len(taken)
            waiting = len(sapling.made) + 1 - len(taken)
            others = sorted((n for n in early if n is not node), key=lambda n: (-n.gain, n.id))
            batch = [node, *others[: max(0, room - waiting)]]
            for each in batch:
                sapling.cut(each)
            if room:
                _ask_children([(sapling, batch)], ask)
            early += [child for each in batch for child in each.children or ()]
            early = [n for n in early if n.children is None and n.split and n.gain >= eager]
        for child in node.children or ():
            heappush(leaves, (-child.gain, next(number), child))
    return taken


def eager_gain(taken: Sequence[Node]) -> float:
    """Returns from which gain on most nodes are split, if the next tree is like this one.

    It is between the least gain that was split, for a child may gain more, and the best that was
    not: at the first many nodes are split in vain, at the second many questions are asked.
    """
    if not taken:
        return np.inf
    split = {node.id for node in taken}
    children = [child for node in taken for child in node.children or ()]
    left = [child.gain for child in children if child.split and child.id not in split]
    least = min(node.gain for node in taken)
    return float(np.sqrt(least * max(left, default=least)))


def _ask_children(cut: list[tuple[Sapling, list[Node]]], ask: Ask) -> None:
    """Gives the children of these nodes their histograms and looks for their splits."""
    wanted, pairs = [], []
    for sapling, nodes in cut:
        for node in nodes:
            assert node.children is not None
            left, right = node.children
            if any(sapling.may_split(child) for child in node.children):
                small, large = (
                    (left, right) if 2 * left.total[1] <= node.total[1] else (right, left)
                )
                wanted.append((sapling, small))
                pairs.append((node, small, large))
    if wanted:
        ask(wanted)
    for node, small, large in pairs:
        assert node.sums is not None
        assert small.sums is not None
        large.sums = node.sums - small.sums
    for sapling, nodes in cut:
        sapling.look([child for node in nodes for child in node.children or ()])
        for node in nodes:
            node.sums = None
