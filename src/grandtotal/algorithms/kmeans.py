"""k-means from totals: each cluster's sum of points and number of points.

Exact: points are whole steps, so the centres are those of the pooled rows digit for digit. Several
numbers of clusters and several starts are tried side by side in the same rounds.

Starts. k-means++ draws rows, and a row is what must not leave. Here the box is cut into a grid of
cells and one total counts the customers of each; the coordinator draws and improves its starts on
the middles of the cells, weighted by their counts, as often as it likes. A count of 1 says that
somebody is in a cell, never where.

Under epsilon a customer counts as one point at most `radius` from the nearest centre, and what is
asked for is how far the points lie from their centre: a short vector needs little noise.

Lloyd, "Least squares quantization in PCM", 1982, https://doi.org/10.1109/TIT.1982.1056489
Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007
Su et al., "Differentially private k-means clustering", 2016, https://arxiv.org/abs/1504.05998
Diaa, Humphries and Kerschbaum, "FastLloyd", 2025, https://arxiv.org/abs/2405.02437
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns, rows_bound
from grandtotal.algorithms.points import (
    STEPS,
    Box,
    Points,
    apart,
    blocks,
    joined,
    nearest,
    squared_distances,
)
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.privacy import clipping
from grandtotal.privacy.bound import Bound, Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

CELLS = 4096  # of the grid at most; under epsilon FEW_CELLS, since each is noised
FEW_CELLS = 64
_STARTS = 24  # drawn by the coordinator for each number of clusters: no round is spent on them


def bins_of(features: int, cells: int) -> int:
    """Returns the parts of each feature for a grid of at most so many cells, from 2 on."""
    return max(2, math.floor(math.pow(cells, 1 / features) + 1e-9))


@dataclass(frozen=True)
class CellCounts:
    """How many customers are in each cell of a grid over the box, which is broadcast.

    bins: parts of each feature. most: 1 where a customer, who is one row, is to be hidden; else 0.
    """

    name: ClassVar[str] = "cell-counts"

    features: str  # joined
    split: str
    bins: int
    most: int = 0

    @property
    def bound(self) -> Stated:
        """A customer leaves one cell for another."""
        return rows_bound(self.most)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (bins ** features,)."""
        return {"counts": Field((self.bins ** len(apart(self.features)),))}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's counts."""
        columns: Columns = rows[self.split]
        points = Box.of(broadcast).points(columns, apart(self.features))[columns.counted(self.most)]
        places = np.minimum((points * self.bins // STEPS).astype(np.int64), self.bins - 1)
        shape = (self.bins,) * points.shape[1]
        cells = np.ravel_multi_index(tuple(places.T), shape)
        return {"counts": np.bincount(cells, minlength=self.bins ** len(apart(self.features)))}


@dataclass(frozen=True)
class LloydSums:
    """One step of Lloyd for several sets of centres: each cluster's sum of points, and its size.

    The broadcast holds the box, "centres" (all, features) in steps, set after set, and "ends"
    (sets,), where each set ends.

    radius: how far from its centre a customer counts at most, in steps; 0 is not at all. Sums are
        then of the differences from the centres, and there is one set.
    most: 1 where a customer, who is one row, is to be hidden; else 0.
    """

    name: ClassVar[str] = "lloyd-sums"

    features: str  # joined
    split: str
    radius: float = 0.0
    most: int = 0

    @property
    def bound(self) -> Stated:
        """A customer moves to the other side of a centre, or to another cluster.

        With its size, counted as `radius` steps, a contribution is sqrt(2) radius long; two of one
        cluster are 2 radius apart since their sizes cancel, two of different ones as much.
        """
        return Bound(2 * self.radius) if self.radius else None

    @property
    def _size(self) -> int:
        return math.floor(self.radius) if self.radius else 1

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns sums (all, features) in steps, counts (all,), and inertia (sets,)."""
        shape = broadcast["centres"].shape
        given = {"sums": Field(shape), "counts": Field(shape[:1], scale=self._size)}
        if self.radius:
            return given
        return {**given, "inertia": Field(broadcast["ends"].shape, scale=STEPS**2)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums."""
        columns: Columns = rows[self.split]
        points = Box.of(broadcast).points(columns, apart(self.features))
        centres, ends = broadcast["centres"], broadcast["ends"]
        if self.radius:
            return self._clipped(points[columns.counted(self.most)], centres)
        sums = np.zeros(centres.shape, np.int64)
        counts, inertia = np.zeros(len(centres), np.int64), np.zeros(len(ends), np.int64)
        for block in blocks(points):
            for number, end in enumerate(ends):
                chosen = slice(int(ends[number - 1]) if number else 0, int(end))
                distances = squared_distances(block, centres[chosen])
                found = distances.argmin(axis=1)
                inertia[number] += int(distances[np.arange(len(found)), found].sum())
                counts[chosen] += np.bincount(found, minlength=distances.shape[1])
                sums[chosen] += _sums(block, found, distances.shape[1])
        return {"sums": sums, "counts": counts, "inertia": inertia}

    def _clipped(self, points: Points, centres: Points) -> Arrays:
        found = nearest(points, centres)
        whole = clipping.clip(points - centres[found], self.radius)
        sums = [clipping.checked_sum(whole[found == k], self.radius) for k in range(len(centres))]
        counts = np.bincount(found, minlength=len(centres)) * self._size
        return {"sums": np.stack(sums), "counts": counts}


def _sums(points: NDArray[np.float64], cluster: NDArray[np.intp], count: int) -> NDArray[np.int64]:
    columns = [np.bincount(cluster, column, minlength=count) for column in points.T]
    return np.stack(columns, axis=1).astype(np.int64)


@dataclass(frozen=True)
class Clustering:
    """centres (clusters, features) in steps; sizes (clusters,); inertia, the sum of squared
    distances to the nearest centre in units of the box; rounds that were taken."""

    centres: Points
    sizes: NDArray[np.float64]
    inertia: float
    rounds: int


@dataclass(frozen=True)
class KMeans:
    """Lloyd's algorithm from several starts, for several numbers of clusters.

    starts: how many starts of each number of clusters are improved together. rounds: most steps.
    seed: of the starts. radius: as in LloydSums, in units of the box; all rounds are then taken.
    """

    starts: int = 3
    rounds: int = 25
    seed: int = 7
    radius: float = 0.0

    def fit(
        self, totals: Totals, features: Sequence[str], split: str, box: Box, clusters: Sequence[int]
    ) -> list[Clustering]:
        """Returns the best clustering for each number of clusters.

        Where customers differ in fewer ways than that, clusters are left empty; they are dropped.
        """
        names, most = joined(features), int(self.radius > 0)
        bins = bins_of(len(features), FEW_CELLS if self.radius else CELLS)
        counts = totals.total(CellCounts(names, split, bins, most), box.arrays)["counts"]
        grid = _middles(len(features), bins)
        weights = _above_noise(np.asarray(counts, np.float64))
        draw = np.random.default_rng(self.seed)
        sets = [s for k in clusters for s in _starts(grid, weights, k, self.starts, draw)]
        if self.radius:
            query = LloydSums(names, split, self.radius * STEPS, most)
            return [self._in_noise(totals, query, box, sets[0])]
        found = self._lloyd(totals, LloydSums(names, split), box, sets)
        each = [found[i : i + self.starts] for i in range(0, len(found), self.starts)]
        return [min(several, key=lambda one: one.inertia) for several in each]

    def _lloyd(
        self, totals: Totals, query: LloydSums, box: Box, sets: list[Points]
    ) -> list[Clustering]:
        found: list[Clustering | None] = [None] * len(sets)
        active = dict(enumerate(sets))
        for done in range(1, self.rounds + 1):
            places = list(active)
            sums = totals.total(query, {**box.arrays, **together([active[i] for i in places])})
            ends = np.cumsum([len(active[i]) for i in places])[:-1]
            parts = (np.split(sums[name], ends) for name in ("sums", "counts"))
            for i, part, size, inertia in zip(places, *parts, sums["inertia"], strict=True):
                moved = _means(active[i], part, size)
                if done == self.rounds or np.array_equal(moved, active[i]):
                    kept = size > 0
                    found[i] = Clustering(active[i][kept], size[kept] * 1.0, float(inertia), done)
                    del active[i]
                else:
                    active[i] = moved
            if not active:
                break
        return [one for one in found if one is not None]

    def _in_noise(self, totals: Totals, query: LloydSums, box: Box, centres: Points) -> Clustering:
        for _ in range(self.rounds):
            sums = totals.total(query, {**box.arrays, **together([centres])})
            # A size in noise may be near 0 or below it: such a centre stays nearly where it was.
            sizes = np.maximum(sums["counts"], 1.0)
            moved = np.clip(sums["sums"] / sizes[:, None], -query.radius, query.radius)
            centres = np.rint(np.clip(centres + moved, 0, STEPS))
        return Clustering(centres, sizes, math.nan, self.rounds)


def together(sets: list[Points]) -> Arrays:
    """Returns the broadcast of several sets of centres."""
    return {"centres": np.concatenate(sets), "ends": np.cumsum([len(each) for each in sets])}


def _means(centres: Points, sums: NDArray[np.int64], sizes: NDArray[np.int64]) -> Points:
    """Returns the mean of each cluster; one without points stays where it is."""
    means = np.rint(sums / np.maximum(sizes, 1)[:, None])
    return np.where(sizes[:, None] > 0, means, centres)


def _above_noise(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns what of each count noise is unlikely to have made; exact counts as they are.

    Most cells are empty, and those that noise put below 0 show how large it is.
    """
    below = counts[counts < 0]
    noise = 2 * float(np.sqrt((below**2).mean())) if len(below) else 0.0
    return np.maximum(counts - noise, 0.0)


def _middles(features: int, bins: int) -> Points:
    middle = np.rint((np.arange(bins) + 0.5) * STEPS / bins)
    return np.stack(np.meshgrid(*[middle] * features, indexing="ij"), axis=-1).reshape(-1, features)


def _starts(
    grid: Points, weights: NDArray[np.float64], clusters: int, count: int, draw: np.random.Generator
) -> list[Points]:
    """Returns the best so many of _STARTS starts, each improved on the cells."""
    held = weights > 0
    cells, weight = (grid[held], weights[held]) if held.any() else (grid, np.ones(len(grid)))
    drawn = [_plus_plus(cells, weight, clusters, draw) for _ in range(_STARTS)]
    inertia, tried = _lloyd_on_cells(cells, weight, np.stack(drawn))
    return [*tried[np.argsort(inertia, kind="stable")[:count]]]


def _plus_plus(
    cells: Points, weight: NDArray[np.float64], clusters: int, draw: np.random.Generator
) -> Points:
    """Returns centres drawn one after the other, by weight times squared distance to the nearest.

    Where cells are fewer than clusters, some are drawn twice: their cluster stays empty.
    """
    chosen = [int(draw.choice(len(cells), p=weight / weight.sum()))]
    for _ in range(clusters - 1):
        far = squared_distances(cells, cells[chosen]).min(axis=1) * weight
        share = far / far.sum() if far.sum() > 0 else weight / weight.sum()
        chosen.append(int(draw.choice(len(cells), p=share)))
    return cells[chosen]


def _lloyd_on_cells(
    cells: Points, weight: NDArray[np.float64], centres: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the weighted inertia (starts,) and the centres after some steps of Lloyd on cells.

    centres: (starts, clusters, features). All starts go together; one that has arrived stays.
    """
    starts, clusters, features = centres.shape
    own = clusters * np.arange(starts)  # the first cluster of each start
    for _ in range(20):
        flat = squared_distances(cells, centres.reshape(-1, features))
        distances = flat.reshape(len(cells), starts, clusters)
        inertia = (distances.min(axis=2).T * weight).sum(axis=1)
        found = (distances.argmin(axis=2) + own).ravel()
        sizes, *sums = (
            np.bincount(found, np.repeat(values, starts), starts * clusters)
            for values in (weight, *(cells.T * weight))
        )
        mean = np.stack(sums, axis=1) / np.where(sizes > 0, sizes, 1)[:, None]
        kept = np.where(sizes[:, None] > 0, mean, centres.reshape(-1, features))
        moved = np.rint(kept).reshape(centres.shape)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return inertia, centres
