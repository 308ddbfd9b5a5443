"""Rows in the order of the nodes of a tree: each node has a range, and its children cut it."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms import tree_engine
from grandtotal.algorithms.tree_shape import Trees, spread
from grandtotal.errors import AnswerError, Code
from grandtotal.threads import together, workers

_FEW = 32768  # rows: moving fewer is not worth waking a thread

_BYTES = 40  # of a split: parent and feature, 4 each, and a bit for each bin

Rowset = NDArray[np.uint32]
Work = tuple[int, int, int]  # what it is for, and the rows of it, from and to
Splits = NDArray[np.uint8]  # (splits, _BYTES)


def in_parts(work: list[Work], few: int) -> list[list[Work]]:
    """Returns the work cut into a list for each thread, with equal numbers of rows.

    few: rows that one thread does alone.
    """
    rows = sum(end - begin for _, begin, end in work)
    count = workers() if rows > few else 1
    if count == 1:
        return [work]
    parts: list[list[Work]] = [[] for _ in range(count)]
    done = 0
    for what, begin, end in work:
        while begin < end:
            at = min(done * count // rows, count - 1)
            stop = min(end, begin + -(-rows * (at + 1) // count) - done)
            parts[at].append((what, begin, stop))
            done, begin = done + stop - begin, stop
    return parts


def pieces(part: list[Work]) -> NDArray[np.int64]:
    """Returns work as the inner loops take it, (pieces, 3)."""
    return np.array(part, np.int64).reshape(-1, 3)


def split_words(
    parent: NDArray[np.int32], feature: NDArray[np.int32], left: NDArray[np.uint8]
) -> Splits:
    """Returns splits of these nodes by these features as bytes, left (splits, 32)."""
    numbers = np.stack([parent, feature], axis=1).view(np.uint8)
    return np.concatenate([numbers, left], axis=1)


class Segments:
    """Rows in the order of the nodes that they are in.

    codes: (features, all rows) bins, column by column. rows: which of them.
    """

    def __init__(self, codes: NDArray[np.uint8], rows: Rowset) -> None:
        self._codes = codes
        self.rows = rows
        self._scratch = np.empty_like(rows)
        self.ranges: dict[int, tuple[int, int]] = {0: (0, len(rows))}
        self.split_at: dict[int, int] = {}
        self.made = np.empty((0, _BYTES), np.uint8)

    def follow(self, splits: Splits) -> None:
        """Makes the splits that come after those that were made."""
        made = first = last = len(self.made)
        if made == len(splits):
            return
        if splits.shape[1] != _BYTES or splits.dtype != np.uint8:
            raise AnswerError(Code.MALFORMED, f"a split of {splits[0].nbytes} bytes, not {_BYTES}")
        nodes, feature = np.ascontiguousarray(splits[:, :8].copy().view(np.int32).T)
        if not 0 <= feature.min() <= feature.max() < len(self._codes):
            raise AnswerError(Code.MALFORMED, f"a split by none of {len(self._codes)} features")
        parent, tables = nodes.tolist(), spread(splits[made:, 8:])
        while first < len(parent):
            while last < len(parent) and parent[last] in self.ranges:
                self.split_at[parent[last]] = last
                last += 1
            if first == last:
                raise AnswerError(Code.MALFORMED, f"split {last} is of a node that is not there")
            self._cut(first, parent[first:last], feature[first:last], tables[first - made :])
            first = last
        self.made = splits

    def follows(self, splits: Splits) -> bool:
        """Returns whether what was done so far is the beginning of these splits."""
        return np.array_equal(self.made, splits[: len(self.made)])

    def complete(self, tree: Trees) -> bool:
        """Makes the splits of a finished tree; False if another split was made in one's place.

        The nodes of a finished tree are numbered without the splits that were tried in vain.
        """
        mine, last = {0: 0}, len(self.made)
        parent: list[int] = []
        new: list[int] = []
        # Without the number of the parent, which may be another one.
        had = [split[4:].tobytes() for split in self.made]
        splits = split_words(tree.parent, tree.feature, tree.left)
        for i, above in enumerate(tree.parent.tolist()):
            node = mine[above]
            j = self.split_at.get(node, last + len(parent))
            if j >= last:
                parent.append(node)
                new.append(i)
            elif had[j] != splits[i, 4:].tobytes():
                return False
            mine[2 * i + 1], mine[2 * i + 2] = 2 * j + 1, 2 * j + 2
        if new:
            more = split_words(np.array(parent, np.int32), tree.feature[new], tree.left[new])
            self.follow(np.concatenate([self.made, more]))
        return True

    def _cut(
        self, first: int, nodes: list[int], feature: NDArray[np.int32], left: NDArray[np.bool_]
    ) -> None:
        """Cuts the ranges of nodes by splits that are numbered from `first`."""
        parts = in_parts([(i, *self.ranges[node]) for i, node in enumerate(nodes)], _FEW)

        def cut(part: list[Work]) -> Any:
            loop = tree_engine.loops().partition
            return loop(self._codes, feature, left, pieces(part), self.rows, self._scratch).tolist()

        done = together([partial(cut, part) for part in parts])
        middles = {i: self.ranges[node][0] for i, node in enumerate(nodes)}
        for part, counts in zip(parts, done, strict=True):
            for (i, begin, _), lefts in zip(part, counts, strict=True):
                self._join(middles[i], begin, lefts)
                middles[i] += lefts
        for i, node in enumerate(nodes):
            (begin, end), middle = self.ranges[node], middles[i]
            split = first + i
            self.ranges[2 * split + 1], self.ranges[2 * split + 2] = (begin, middle), (middle, end)

    def _join(self, middle: int, begin: int, lefts: int) -> None:
        """Puts the left rows of a later piece before the right rows of the earlier ones."""
        if middle < begin:
            right = self.rows[middle:begin].copy()
            self.rows[middle : middle + lefts] = self.rows[begin : begin + lefts]
            self.rows[middle + lefts : begin + lefts] = right

    def add(self, tree: Trees, scores: NDArray[np.float64]) -> None:
        """Adds the value of its leaf to the score of each row; some splits may be in vain."""
        made = {parent: i for i, parent in enumerate(tree.parent.tolist())}
        leaves, nodes = [], [(0, 0)]
        while nodes:
            node, mine = nodes.pop()
            if node in made:
                i, j = made[node], self.split_at[mine]
                nodes += [(2 * i + 1, 2 * j + 1), (2 * i + 2, 2 * j + 2)]
            else:
                leaves.append((node, *self.ranges[mine]))

        def give(part: list[Work]) -> None:
            tree_engine.loops().add_values(self.rows, pieces(part), tree.values, scores)

        together([partial(give, part) for part in in_parts(leaves, _FEW)])
