"""A retailer's rows while trees grow: their bins, their scores, and which node each is in.

A finished tree travels once. Each question names all earlier ones by a chain of digests, and a
retailer keeps every link of it on its disk: what is in memory only can be lost at any moment.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from grandtotal.algorithms import tree_engine
from grandtotal.algorithms.tree_bins import Bins
from grandtotal.algorithms.tree_sampling import drawn, draws, mixed, salt
from grandtotal.algorithms.tree_shape import Trees, spread
from grandtotal.consortium.query import Rows, State
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.threads import together, workers

_FEW = 8192  # rows: fewer are not worth waking a thread
_FIRST = np.zeros(32, np.uint8)
_WORD = 40  # bytes of a split: parent, feature, and a bit for each bin

Rowset = NDArray[np.uint32]
Work = tuple[int, int, int]  # what it is for, and the rows of it, from and to


def chained(previous: NDArray[np.uint8] | None, arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Returns the next link of a chain, and what every question after it says: before and link."""
    link = {**arrays, "previous": _FIRST if previous is None else previous}
    asked = {f"link {name}": array for name, array in link.items()}
    return link, {"before": _name(link), **asked}


def _name(link: Arrays) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(arrays_digest(link)), np.uint8)


def _carried(state: State, broadcast: Arrays) -> Arrays:
    """Returns the link that a question carries, which is kept on the disk first."""
    start = len("link ")
    link = {name[start:]: a for name, a in broadcast.items() if name.startswith("link ")}
    if _name(link).tobytes() != broadcast["before"].tobytes():
        raise AnswerError(Code.MALFORMED, "the trees before are not those that their digest names")
    state.keep(f"trees/{_hex(broadcast['before'])}.safetensors", lambda: save(link))
    return link


def _hex(name: NDArray[np.uint8]) -> str:
    """Returns a digest as text."""
    return name.tobytes().hex()


def _whole_chain(state: State, links: list[Arrays]) -> list[Arrays]:
    while links[0]["previous"].any():
        name = _hex(links[0]["previous"])
        content = state.kept(f"trees/{name}.safetensors")
        link = load(content) if content is not None else {}
        if not link or _hex(_name(link)) != name:
            raise AnswerError(
                Code.MALFORMED,
                f"the trees before {name[:12]} are not in this retailer's folder: start a new run",
            )
        links.insert(0, link)
    return links


def in_parts(work: list[Work]) -> list[list[Work]]:
    """Returns the work cut into a list for each thread, with equal numbers of rows."""
    rows = sum(end - begin for _, begin, end in work)
    count = workers() if rows > _FEW else 1
    parts: list[list[Work]] = [[] for _ in range(count)]
    done = 0
    for what, begin, end in work:
        while begin < end:
            at = min(done * count // max(rows, 1), count - 1)
            stop = min(end, begin + -(-rows * (at + 1) // count) - done)
            parts[at].append((what, begin, stop))
            done, begin = done + stop - begin, stop
    return parts


class Segments:
    """Rows in the order of the nodes that they are in: each node has a range, its children cut it.

    codes: (features, all rows) bins, column by column. rows: which of them.
    """

    def __init__(self, codes: NDArray[np.uint8], rows: Rowset) -> None:
        self._codes = codes
        self.rows = rows
        self._scratch = np.empty_like(rows)
        self.ranges: dict[int, tuple[int, int]] = {0: (0, len(rows))}
        self.split_at: dict[int, int] = {}
        self.made = np.empty((0, _WORD), np.uint8)

    def follow(
        self, parent: NDArray[np.int32], feature: NDArray[np.int32], left: NDArray[np.uint8]
    ) -> None:
        """Makes the splits that come after those that were made."""
        made = first = last = len(self.made)
        if made == len(parent):
            return
        nodes, features, tables = parent.tolist(), feature.tolist(), spread(left[made:])
        while first < len(nodes):
            while last < len(nodes) and nodes[last] in self.ranges:
                self.split_at[nodes[last]] = last
                last += 1
            if first == last:
                raise AnswerError(Code.MALFORMED, f"split {last} is of a node that is not there")
            self._cut([(i, nodes[i], features[i], tables[i - made]) for i in range(first, last)])
            first = last
        new = _words(parent[made:], feature[made:], left[made:])
        self.made = np.concatenate([self.made, new])

    def complete(self, tree: Trees) -> bool:
        """Makes the splits of a finished tree; False if another split was made in one's place.

        The nodes of a finished tree are numbered without the splits that were tried in vain.
        """
        mine, last = {0: 0}, len(self.made)
        parent, new = [0] * last, []
        had = [word[4:].tobytes() for word in self.made]  # without the number of the parent
        splits = [word[4:].tobytes() for word in _words(tree.parent, tree.feature, tree.left)]
        for i, above in enumerate(tree.parent.tolist()):
            node = mine[above]
            j = self.split_at.get(node, len(parent))
            if j < last:
                if had[j] != splits[i]:
                    return False
            else:
                parent.append(node)
                new.append(i)
            mine[2 * i + 1], mine[2 * i + 2] = 2 * j + 1, 2 * j + 2
        skip = np.zeros(last, np.int64)
        at = np.concatenate([skip, np.array(new, np.int64)]).astype(np.int64)
        if new:
            self.follow(np.array(parent, np.int32), tree.feature[at], tree.left[at])
        return True

    def follows(
        self, parent: NDArray[np.int32], feature: NDArray[np.int32], left: NDArray[np.uint8]
    ) -> bool:
        """Returns whether what was done so far is the beginning of these splits."""
        made = len(self.made)
        same = _words(parent[:made], feature[:made], left[:made])
        return made <= len(parent) and np.array_equal(self.made, same)

    def _cut(self, splits: list[tuple[int, int, int, NDArray[np.bool_]]]) -> None:
        """Cuts the ranges of nodes: number of the split, node, feature and what goes left."""
        by_number = {i: (self._codes[feature], left) for i, _, feature, left in splits}
        work = [(i, *self.ranges[node]) for i, node, _, _ in splits]

        def cut(part: list[Work]) -> list[tuple[int, int, int, int]]:
            loop = tree_engine.loops().partition
            return [
                (
                    i,
                    begin,
                    end,
                    loop(
                        by_number[i][0],
                        self.rows[begin:end],
                        self._scratch[begin:end],
                        by_number[i][1],
                    ),
                )
                for i, begin, end in part
            ]

        done = together([partial(cut, part) for part in in_parts(work)])
        pieces: dict[int, list[tuple[int, int, int]]] = {i: [] for i, _, _, _ in splits}
        for part in done:
            for i, begin, end, lefts in part:
                pieces[i].append((begin, end, int(lefts)))
        for i, node, _, _ in splits:
            begin, end = self.ranges[node]
            at = begin
            for start, _, lefts in pieces[i]:
                if at != start:
                    self.rows[at : at + lefts] = self.rows[start : start + lefts]
                at += lefts
            self.ranges[2 * i + 1], self.ranges[2 * i + 2] = (begin, at), (at, end)
            for start, stop, lefts in pieces[i]:
                rights = stop - start - lefts
                self.rows[at : at + rights] = self._scratch[start : start + rights]
                at += rights

    def add(self, tree: Trees, scores: NDArray[np.float64]) -> None:
        """Adds the value of its leaf to the score of each row; some splits may be in vain."""
        made = {int(parent): i for i, parent in enumerate(tree.parent)}
        leaves, nodes = [], [(0, 0)]
        while nodes:
            node, mine = nodes.pop()
            if node in made:
                i, j = made[node], self.split_at[mine]
                nodes += [(2 * i + 1, 2 * j + 1), (2 * i + 2, 2 * j + 2)]
            elif self.ranges[mine][0] < self.ranges[mine][1]:
                leaves.append((*self.ranges[mine], tree.values[node]))
        leaves.sort()
        values = np.array([value for _, _, value in leaves])
        work = [(i, begin, end) for i, (begin, end, _) in enumerate(leaves)]

        def give(part: list[Work]) -> None:
            if part:
                ends = np.array([part[0][1], *(end for _, _, end in part)])
                tree_engine.loops().add_values(
                    self.rows, ends, values[[i for i, _, _ in part]], scores
                )

        together([partial(give, part) for part in in_parts(work)])


def _words(
    parent: NDArray[np.int32], feature: NDArray[np.int32], left: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Returns all that there is to say about each split, (splits, _WORD)."""
    parts = (part.view(np.uint8).reshape(-1, 4) for part in (parent, feature))
    return np.concatenate([*parts, left], axis=1)


@dataclass
class Binned:
    """The rows of one split. bins: (rows, features); y, scores: (rows,); keys: (rows,)."""

    bins: NDArray[np.uint8]
    codes: NDArray[np.uint8]
    y: NDArray[np.float64]
    keys: NDArray[np.uint64]
    scores: NDArray[np.float64]

    @staticmethod
    def of(columns: Any, target: str, bins: Bins, training: bool) -> "Binned":
        """Returns the rows that have a target."""
        y = columns.number(target)
        known = ~np.isnan(y)
        matrix = bins.matrix(columns, training)
        keys = columns.keys
        if not known.all():
            matrix, y, keys = matrix[known], y[known], keys[known] if len(keys) else keys
        return Binned(matrix, np.ascontiguousarray(matrix.T), y, keys, np.zeros(len(y)))

    def everyone(self) -> Segments:
        """Returns all rows in the root of a tree."""
        return Segments(self.codes, np.arange(len(self.y), dtype=np.uint32))


@dataclass
class Growing:
    """A tree that is not finished: the rows drawn for it, how often, and those that were not."""

    segments: Segments
    rest: Rowset
    weights: NDArray[np.uint8] | None


@dataclass
class Workspace:
    """What a retailer has in memory between two questions about the same trees."""

    setup: bytes
    bins: Bins
    base: float
    train: Binned
    watched: Binned | None
    at: bytes = b""
    growing: dict[int, Growing] = field(default_factory=dict)
    words: tuple[Any, NDArray[np.int64]] | None = None

    def reset(self) -> None:
        """Forgets all trees."""
        for rows in (self.train, self.watched):
            if rows is not None:
                rows.scores[:] = self.base
        self.at, self.growing, self.words = self.setup, {}, None

    def apply(self, link: Arrays) -> None:
        """Adds the finished trees of a link to the scores."""
        for tree in Trees.of(link):
            parts = [(rows, self.train) for rows in self._everyone(tree)]
            if self.watched is not None:
                beside = self.watched.everyone()
                beside.complete(tree)
                parts.append((beside, self.watched))
            for segments, rows in parts:
                segments.add(tree, rows.scores)
        self.at, self.growing, self.words = _name(link).tobytes(), {}, None

    def _everyone(self, tree: Trees) -> list[Segments]:
        """Returns all rows that are trained on, in the leaves of a finished tree."""
        if len(self.growing) == 1:
            (growing,) = self.growing.values()
            if growing.segments.complete(tree):
                rest = Segments(self.train.codes, growing.rest)
                rest.complete(tree)
                return [growing.segments, rest]
        whole = self.train.everyone()
        whole.complete(tree)
        return [whole]

    def grow(self, number: int, sampling: float, bootstrap: bool, seed: int) -> Growing:
        """Returns a tree that grows; `number` counts all trees and decides what is drawn."""
        if number not in self.growing:
            self.growing[number] = self._drawn(number, sampling, bootstrap, seed)
        return self.growing[number]

    def _drawn(self, number: int, sampling: float, bootstrap: bool, seed: int) -> Growing:
        rows = len(self.train.y)
        if sampling >= 1 and not bootstrap:
            return Growing(self.train.everyone(), np.empty(0, np.uint32), None)
        if len(self.train.keys) != rows:
            raise AnswerError(
                Code.DATA_UNUSABLE,
                f"{len(self.train.keys)} row keys for {rows} rows: needed to draw",
            )
        hashes = mixed(self.train.keys, salt("rows", seed, number))
        weights = draws(hashes) if bootstrap else None
        inside = drawn(hashes, sampling) if weights is None else weights > 0
        rows_of = (np.flatnonzero(which).astype(np.uint32) for which in (inside, ~inside))
        return Growing(Segments(self.train.codes, next(rows_of)), next(rows_of), weights)


def workspace(
    state: State, rows: Rows, broadcast: Arrays, target: str, split: str, watched: str
) -> Workspace:
    """Returns the rows as they stand after the trees that a question names."""
    before = broadcast["before"].tobytes()
    key = f"trees of {target} in {split} and {watched}"
    found: tuple[Rows, Workspace] | None = state.memory.get(key)
    holder, space = found or (None, None)
    if space is not None and holder is rows and space.at == before:
        return space  # the link was looked at and kept with an earlier question
    link = _carried(state, broadcast)
    if space is not None and holder is rows and space.at == link["previous"].tobytes():
        space.apply(link)
        return space
    first, *later = _whole_chain(state, [link])
    setup = _name(first).tobytes()
    if space is None or holder is not rows or space.setup != setup:
        bins = Bins.of(first)
        beside = Binned.of(rows[watched], target, bins, False) if watched else None
        train = Binned.of(rows[split], target, bins, True)
        space = Workspace(setup, bins, float(first["base"]), train, beside)
        state.memory[key] = (rows, space)
    space.reset()
    for each in later:
        space.apply(each)
    return space
