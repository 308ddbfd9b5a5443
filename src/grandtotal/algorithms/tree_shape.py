"""Trees as arrays: splits in the order in which they were made, and what each node holds."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms import inner_loops
from grandtotal.errors import RunError
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.threads import together, workers

_FEW = 4096  # rows: fewer are not worth waking a thread
_FIELDS = ("splits", "parent", "feature", "left", "values", "rows")


@dataclass(frozen=True)
class Trees:
    """One tree after the other.

    Split i of a tree cuts node parent[i] into 2 i + 1, left, and 2 i + 2; node 0 is the root.

    splits: (trees,) how many each has. parent, feature: (all splits,) int32. left: (all splits, 32)
    uint8, bit b % 8 of byte b // 8 is set where bin b goes left. values: (all nodes,) what a row in
    that node gets, 2 splits + 1 nodes a tree. rows: (all nodes,) training rows in it.
    """

    splits: NDArray[np.int64]
    parent: NDArray[np.int32]
    feature: NDArray[np.int32]
    left: NDArray[np.uint8]
    values: NDArray[np.float64]
    rows: NDArray[np.int64]

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {name: getattr(self, name) for name in _FIELDS}

    @staticmethod
    def of(arrays: Arrays) -> "Trees":
        """Returns the trees of these arrays."""
        return Trees(**{name: arrays[name] for name in _FIELDS})

    @staticmethod
    def joined(parts: "list[Trees]") -> "Trees":
        """Returns all trees, in this order."""
        parts = [*parts, _NO_TREE]
        return Trees(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS}
        )

    def __len__(self) -> int:
        return len(self.splits)

    def __iter__(self) -> Any:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> "Trees":
        """Returns one tree."""
        count = int(self.splits[number])
        first = int(self.splits[:number].sum())
        made, nodes = slice(first, first + count), slice(2 * first + number, None)
        return Trees(
            self.splits[number : number + 1],
            self.parent[made],
            self.feature[made],
            self.left[made],
            self.values[nodes][: 2 * count + 1],
            self.rows[nodes][: 2 * count + 1],
        )

    def checked(self, features: int) -> "Trees":
        """Returns these trees; RunError if they are none, over so many features.

        The inner loops do not look whether a place is in their arrays.
        """
        numbers = np.concatenate([np.arange(count) for count in self.splits] or [self.splits])
        count, nodes = len(numbers), len(self.values)
        right = len(self.parent) == len(self.feature) == count
        right = right and self.left.shape == (count, 32) and self.values.dtype == np.float64
        right = right and nodes == len(self.rows) == 2 * count + len(self.splits)
        right = right and bool(((self.parent >= 0) & (self.parent <= 2 * numbers)).all())
        right = right and bool(((self.feature >= 0) & (self.feature < features)).all())
        if not right:
            raise RunError("a model of trees whose arrays do not fit together: it is damaged")
        return self

    def first(self, count: int) -> "Trees":
        """Returns the first so many trees."""
        return Trees.joined([self[number] for number in range(count)])

    def flat(self) -> dict[str, NDArray[Any]]:
        """Returns what the inner loop of prediction walks through, see `tree_numpy.walk`."""
        nodes = 2 * self.splits + 1
        roots = np.cumsum(nodes) - nodes
        made = np.repeat(roots, self.splits)
        first = np.repeat(np.cumsum(self.splits) - self.splits, self.splits)
        at = made + self.parent
        feature = np.full(int(nodes.sum()), -1, np.int32)
        feature[at] = self.feature
        child = np.zeros(len(feature), np.int32)
        child[at] = made + 2 * (np.arange(len(at)) - first) + 1
        left = np.zeros((len(feature), 32), np.uint8)
        left[at] = self.left
        return {
            "feature": feature,
            "left": left,
            "child": child,
            "values": self.values,
            "roots": roots,
        }

    @property
    def inner(self) -> NDArray[np.bool_]:
        """Which nodes are no leaf, (all nodes,)."""
        return np.asarray(self.flat()["feature"] >= 0)

    def leaves(self, bins: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Returns in which node of each tree, of all nodes, each row ends: (rows, trees)."""
        found = np.empty((len(bins), len(self)), np.int64)
        first = 0
        for number, tree in enumerate(self):
            place = np.zeros(len(bins))
            nodes = np.arange(first, first + len(tree.values))
            replace(tree, values=nodes.astype(np.float64)).add_scores(bins, place)
            found[:, number], first = place, first + len(nodes)
        return found

    def with_leaves(self, values: NDArray[np.float64], rows: NDArray[np.int64]) -> "Trees":
        """Returns these trees with these values, and the rows of their leaves added up."""
        rows, flat = rows.copy(), self.flat()
        for node in np.flatnonzero(flat["feature"] >= 0)[::-1]:
            child = flat["child"][node]
            rows[node] = rows[child] + rows[child + 1]
        return replace(self, values=values, rows=rows)

    def add_scores(self, bins: NDArray[np.uint8], scores: NDArray[np.float64]) -> None:
        """Adds to the scores (rows,) what each tree gives to rows of bins (rows, features)."""
        flat = self.flat()
        count = workers() if len(bins) > _FEW else 1
        cuts = np.linspace(0, len(bins), count + 1).astype(int)
        walk = inner_loops.of("tree").walk
        together(
            [
                partial(walk, bins[start:stop], **flat, scores=scores[start:stop])
                for start, stop in pairwise(cuts)
            ]
        )


_NO_TREE = Trees(
    np.zeros(0, np.int64),
    np.zeros(0, np.int32),
    np.zeros(0, np.int32),
    np.zeros((0, 32), np.uint8),
    np.zeros(0),
    np.zeros(0, np.int64),
)


def packed(goes_left: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns which bins go left, (..., 256), as bits (..., 32)."""
    return np.packbits(goes_left, axis=-1, bitorder="little")


def spread(left: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns which bins go left, (..., 256), from bits (..., 32)."""
    return np.unpackbits(left, axis=-1, bitorder="little").astype(np.bool_)
