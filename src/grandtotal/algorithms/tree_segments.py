"""Rows in the order of the nodes of a tree: each node has a range, and its children cut it."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms import inner_loops
from grandtotal.algorithms.tree_shape import Trees
from grandtotal.errors import AnswerError, Code
from grandtotal.threads import together, workers

_PART = 65536  # rows: fewer are not worth a thread of their own
_FEW = 16384  # rows of a part: moving and summing fewer is not worth waking its thread
_BLOCK = 64  # rows that stay together: neighbours are often in the same nodes
WORDS = 10  # of a split: parent, feature, and a bit for each bin

Made = TypeVar("Made")
Rowset = NDArray[np.uint32]
Splits = NDArray[np.int32]  # (splits, WORDS)


def split_words(tree: Trees) -> Splits:
    """Returns the splits of a finished tree as they travel while it grows."""
    numbers = np.stack([tree.parent, tree.feature], axis=1)
    return np.concatenate([numbers, tree.left.view(np.int32)], axis=1)


class Part:
    """Rows that one thread moves and sums.

    rows: in the order of the nodes. ranges: (nodes, 2) where those of each begin and end.
    """

    def __init__(self, rows: Rowset) -> None:
        self.rows = rows
        self.ranges = np.array([[0, len(rows)]])
        self._scratch = np.empty_like(rows)

    def waiting(self, splits: Splits) -> int:
        """Returns how many rows are in the nodes that new splits cut, all where there is none.

        A node that such a split makes has none that are not counted with the node above it.
        """
        parents = splits[len(self.ranges) // 2 :, 0]
        begin, end = self.ranges[parents[parents < len(self.ranges)]].T
        return int((end - begin).sum()) if len(parents) else len(self.rows)

    def cut(self, codes: NDArray[np.uint8], splits: Splits) -> None:
        """Makes the splits that come after those that were made."""
        made = len(self.ranges) // 2
        if made < len(splits):
            ranges = np.empty((2 * len(splits) + 1, 2), np.int64)
            ranges[: len(self.ranges)] = self.ranges
            inner_loops.of("tree").cut(codes, splits, made, self.rows, self._scratch, ranges)
            self.ranges = ranges

    def add(
        self, leaves: NDArray[np.int64], values: NDArray[np.float64], scores: NDArray[np.float64]
    ) -> None:
        """Adds the value of its leaf to the score of each row."""
        inner_loops.of("tree").add_values(self.rows, self.ranges[leaves], values, scores)


class Segments:
    """Rows in the order of the nodes that they are in, a part of them for each thread.

    codes: (features, all rows) bins, column by column. rows: which of them.
    """

    def __init__(self, codes: NDArray[np.uint8], rows: Rowset) -> None:
        self._codes = codes
        self._parts = [Part(some) for some in _dealt(rows)]
        self._splits = np.empty((0, WORDS), np.int32)
        self._made = b""  # the same splits

    def follow(self, splits: Splits) -> bool:
        """Takes all splits so far; False if those that it has are not the first of them."""
        made = splits.tobytes()
        if not made.startswith(self._made):
            return False
        before, features = len(self._splits), len(self._codes)
        for number, (parent, feature) in enumerate(splits[before:, :2].tolist(), before):
            if not 0 <= feature < features:
                raise AnswerError(Code.MALFORMED, f"a split by none of {features} features")
            if not 0 <= parent <= 2 * number:
                raise AnswerError(Code.MALFORMED, f"split {number} of a node that is not there")
        self._splits, self._made = np.frombuffer(made, np.int32).reshape(-1, WORDS), made
        return True

    def each(self, work: Callable[[Part], Made]) -> list[Made]:
        """Returns what the work on each part returns, after all splits are made there."""

        def done(part: Part) -> Made:
            part.cut(self._codes, self._splits)
            return work(part)

        first, *others = self._parts
        if not others or first.waiting(self._splits) < _FEW:
            return [done(part) for part in self._parts]
        return together([partial(done, part) for part in self._parts])

    def rows_of(self, node: int) -> Rowset:
        """Returns the rows of a node, in any order."""
        return np.concatenate(self.each(lambda part: part.rows[slice(*part.ranges[node])]))

    def refuse_others(self, nodes: list[int]) -> None:
        """Raises AnswerError where one of the nodes is none of the tree."""
        if not 0 <= min(nodes) <= max(nodes) <= 2 * len(self._splits):
            raise AnswerError(Code.MALFORMED, "asked about a node that is not there")

    def add(self, tree: Trees, scores: NDArray[np.float64]) -> bool:
        """Adds a finished tree to the scores; False if another split was made in one's place.

        The nodes of a finished tree are numbered without the splits that were tried in vain.
        """
        splits, had = split_words(tree), len(self._splits)
        split_at = {node: i for i, node in enumerate(self._splits[:, 0].tolist())}
        nodes, made, total = [0], [], had
        for parent in splits[:, 0].tolist():
            made.append(split_at.get(nodes[parent], total))
            total += made[-1] == total
            nodes += (2 * made[-1] + 1, 2 * made[-1] + 2)
        here, at = np.array(nodes), np.array(made, np.int64)
        splits[:, 0] = here[splits[:, 0]]
        new = at >= had
        if not np.array_equal(self._splits[at[~new]], splits[~new]):
            return False
        self.follow(np.concatenate([self._splits, splits[new]]))
        leaf = np.ones(len(here), np.bool_)
        leaf[tree.parent] = False
        self.each(partial(Part.add, leaves=here[leaf], values=tree.values[leaf], scores=scores))
        return True


def _dealt(rows: Rowset) -> list[Rowset]:
    """Returns the rows dealt block by block to as many threads as they are worth."""
    count = max(1, min(workers(), len(rows) // _PART))
    whole = len(rows) - len(rows) % (count * _BLOCK)
    *parts, last = np.moveaxis(rows[:whole].reshape(-1, count, _BLOCK), 1, 0)
    rest = np.concatenate([last.reshape(-1), rows[whole:]])
    return [*(part.reshape(-1) for part in parts), rest]
