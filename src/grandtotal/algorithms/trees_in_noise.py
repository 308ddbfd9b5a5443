"""Boosted trees under epsilon: splits are drawn, and only the sums in their leaves are asked.

A split that is found in histograms spends epsilon on where to cut; one that is drawn costs nothing,
and many shallow trees that are drawn together say as much (Geurts, Ernst and Wehenkel, "Extremely
randomized trees", 2006; Fletcher and Islam, "Differentially private random decision forests using
smooth sensitivity", 2017, https://arxiv.org/abs/1606.03572). All splits of one depth of a tree are
the same cut. With one feature a tree and every cut in it, a tree is a histogram, and the ensemble
adds up one curve a feature: Nori et al., "Accuracy, interpretability, and differential privacy via
explainable boosting", 2021, https://arxiv.org/abs/2106.09680.

What a unit, by default a customer, adds to all leaves of all trees of one question is one row that
is clipped, rounded and added, see `privacy/clipping.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.tree_bins import NUMBER, Bins, Feature
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_objectives import Objective
from grandtotal.algorithms.tree_sampling import mixed, salt
from grandtotal.algorithms.tree_shape import Trees, packed
from grandtotal.consortium.query import Rows, State, shared_rows
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.bound import Release, Stated
from grandtotal.privacy.clipping import bound_by_group, by_unit, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field, over, under

_AT_ONCE = 2**16  # rows whose contributions are in memory together, and the rest of the last unit's


@dataclass(frozen=True)
class TreeLeaves:
    """Sums of gradients and hessians by node of trees whose splits are given; a row is in one leaf.

    The broadcast holds the features as "bins NAME", the trees before, whose score it is, as "trees
    NAME", and those asked about as "asked NAME". Inner nodes get nothing: their totals are noise.

    target, split: a column of the rows, and which rows. largest: norm to which the sums of one unit
    over all these trees are cut. per_customer, group: as in GLMMoments.
    """

    name: ClassVar[str] = "tree-leaves"

    target: str
    split: str
    objective: str
    shape: float
    largest: float
    per_customer: int = 0
    group: str = "customer"

    @property
    def bound(self) -> Stated:
        """A unit's contribution may become any other of norm `largest`, its opposite too."""
        return bound_by_group(self.largest, self.group, self.per_customer)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns gradient and hessian, each (nodes of all trees asked about,)."""
        one = Field((len(broadcast["asked values"]),), scale_of(self.largest))
        return {"gradient": one, "hessian": one}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each unit's are cut and rounded before they are added."""
        shared = shared_rows(rows, self.split, self.per_customer, self.group)
        bins = Bins.of(under("bins ", broadcast))
        before, asked = (
            Trees.of(under(start, broadcast)).checked(len(bins.features))
            for start in ("trees ", "asked ")
        )
        y = shared.number(self.target)
        matrix = bins.matrix(shared)
        scores = np.zeros(len(y))
        before.add_scores(matrix, scores)
        total = np.zeros(2 * len(asked.values), np.int64)
        for part in _whole_units(shared.keys, np.flatnonzero(~np.isnan(y))):
            g, h = Objective(self.objective, self.shape).gradient(y[part], scores[part])
            total += self._sums(shared.keys[part], asked, matrix[part], g, h)
        return dict(zip(("gradient", "hessian"), np.split(total, 2), strict=True))

    def _sums(
        self,
        units: NDArray[Any],
        asked: Trees,
        matrix: NDArray[np.uint8],
        g: NDArray[np.float64],
        h: NDArray[np.float64] | None,
    ) -> NDArray[np.int64]:
        nodes, trees = asked.leaves(matrix), len(asked)
        cells = np.concatenate([nodes, nodes + len(asked.values)], axis=1)
        each = np.stack([g, np.ones(len(g)) if h is None else h], axis=1)
        values = np.repeat(each, trees, axis=1)
        found = by_unit(
            np.repeat(units, 2 * trees), cells.ravel(), values.ravel(), 2 * len(asked.values)
        )
        return sum_of_clipped(found, self.largest)


def _whole_units(keys: NDArray[np.uint64], rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yields some of these rows at a time, all of one unit together."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    ordered, first = keys[order], 0
    while first < len(order):
        end = min(first + _AT_ONCE, len(order)) - 1
        last = int(np.searchsorted(ordered, ordered[end], "right"))
        yield order[first:last]
        first = last


@dataclass(frozen=True)
class TreesInNoise:
    """Trees whose splits are drawn from an agreed seed.

    releases: how many questions, one after the other. trees: of each question, each made smaller
    by their number. depth: cuts of a tree, each of another feature and value; 0 is one feature and
    every cut, feature after feature. rate: of a leaf's value that is added by each question.
    l2: least penalty on a leaf's value.
    lowest, highest, cuts: of features, agreed beforehand and not looked up: most values are there.
    row: norm of what a row may add to a tree; rows: of one unit. group: the unit.
    """

    objective: Objective = field(default_factory=lambda: Objective("logistic"))
    releases: int = 20
    trees: int = 10
    depth: int = 3
    rate: float = 1.5
    l2: float = 10.0
    lowest: float = -2.25
    highest: float = 3.5
    cuts: int = 24
    row: float = 0.9
    rows: int = 1
    per_customer: int = 0
    group: str = "customer"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.releases, self.trees, self.rows) < 1 or not 0 <= self.depth <= 8:
            raise PlanError(
                f"releases = {self.releases!r}, trees = {self.trees!r}, rows = {self.rows!r}, "
                f"depth = {self.depth!r}: expected 1 or more, and a depth of 0 to 8"
            )
        if not 2 <= self.cuts <= 254 or not self.lowest < self.highest:
            raise PlanError(
                f"cuts = {self.cuts!r} from {self.lowest!r} to {self.highest!r}: expected 2 to 254 "
                f"from a lower to a higher number"
            )
        if not self.rate > 0 or not 0 < self.row < math.inf:
            raise PlanError(f"rate = {self.rate!r}, row = {self.row!r}: expected more than 0")

    @property
    def largest(self) -> float:
        """Norm of what a unit adds to one question; its rows are in leaves of every tree.

        Of 13 rows, in part in different leaves and of both signs, few add up to more, as measured.
        """
        return self.row * math.pow(self.rows, 2 / 3) * math.sqrt(self.trees)

    def asked(self, weight: float = 1.0) -> Release:
        """Returns what is asked under epsilon; weight: of all questions together."""
        return Release(TreeLeaves.name, self.releases, weight / self.releases)

    def fit(
        self, totals: Totals, names: tuple[str, ...], target: str, split: str
    ) -> tuple[TreesModel, Json]:
        """Returns the model and {"trees", "rounds"}; names: the numbers that are features."""
        edges = np.linspace(self.lowest, self.highest, self.cuts)
        bins = Bins(tuple(Feature(name, NUMBER, edges) for name in names))
        aim, made = self.objective, Trees.joined([])
        query = TreeLeaves(
            target, split, aim.name, aim.shape, self.largest, self.per_customer, self.group
        )
        for number in range(self.releases):
            drawn = self._drawn(number, len(names))
            arrays = {**over("trees ", made.arrays), **over("asked ", drawn.arrays)}
            sums = totals.total(query, {**over("bins ", bins.arrays), **arrays})
            made = Trees.joined([made, self._grown(drawn, sums["gradient"], sums["hessian"])])
        return TreesModel(aim, bins, 0.0, made), {"trees": len(made), "rounds": self.releases}

    def _drawn(self, number: int, features: int) -> Trees:
        """Returns the trees of one question, without values."""
        first = number * self.trees
        if not self.depth:
            return Trees.joined([self._curve((first + i) % features) for i in range(self.trees)])
        return Trees.joined([self._table(first + i, features) for i in range(self.trees)])

    def _table(self, number: int, features: int) -> Trees:
        """Returns a tree whose splits of one depth are all the same, drawn from the seed."""
        words = np.arange(3 * self.depth, dtype=np.uint64)
        draws = mixed(words, salt("splits", self.seed, number)).reshape(self.depth, 3)
        splits = 2**self.depth - 1
        depths = np.log2(np.arange(1, splits + 1)).astype(np.int64)
        cuts = draws[:, 1] % np.uint64(self.cuts)
        left = np.arange(256)[None, :] <= cuts[:, None] + np.uint64(1)
        left[:, 0] = draws[:, 2] % np.uint64(2)
        feature = (draws[:, 0] % np.uint64(features)).astype(np.int32)
        return _empty(np.arange(splits), feature[depths], left[depths])

    def _curve(self, feature: int) -> Trees:
        """Returns a tree that parts the missing values, then each bin from those above it."""
        splits = self.cuts + 1
        left = np.arange(256)[None, :] <= np.arange(splits)[:, None]
        return _empty(2 * np.arange(splits), np.full(splits, feature), left)

    def _grown(
        self, drawn: Trees, gradient: NDArray[np.float64], hessian: NDArray[np.float64]
    ) -> Trees:
        """Returns the trees with the values of their leaves.

        The penalty is no less than the noise itself, as inner nodes show it: a leaf that does not
        stand out of it is drawn to 0.
        """
        inner = drawn.inner
        nothing = np.concatenate([gradient[inner], hessian[inner]])
        noise = float(np.sqrt(np.mean(nothing**2)))
        known = np.maximum(hessian, 0.0)
        values = -gradient / (known + max(noise, self.l2)) * (self.rate / self.trees)
        # What is told of a leaf's size besides: Shapley values weigh the ways by it.
        rows = np.maximum(np.rint(4.0 * known), 1.0).astype(np.int64)
        return drawn.with_leaves(np.where(inner, 0.0, values), rows)


def _empty(parent: NDArray[Any], feature: NDArray[Any], left: NDArray[np.bool_]) -> Trees:
    nodes = 2 * len(parent) + 1
    return Trees(
        np.array([len(parent)], np.int64),
        parent.astype(np.int32),
        feature.astype(np.int32),
        packed(left),
        np.zeros(nodes),
        np.zeros(nodes, np.int64),
    )
