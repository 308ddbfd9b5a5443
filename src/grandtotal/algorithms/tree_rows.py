"""A retailer's rows while trees grow: their bins, their scores, and which node each is in.

A finished tree travels once. Each question names all earlier ones by a chain of digests, and a
retailer keeps every link of it on its disk: what is in memory only can be lost at any moment.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from grandtotal.algorithms.tree_bins import Bins
from grandtotal.algorithms.tree_bundles import Bundles
from grandtotal.algorithms.tree_sampling import drawn, draws, mixed, salt
from grandtotal.algorithms.tree_segments import Rowset, Segments
from grandtotal.algorithms.tree_shape import Trees
from grandtotal.consortium.query import Rows, State
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import Arrays

_FIRST = np.zeros(32, np.uint8)


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


@dataclass
class Binned:
    """The rows of one split. codes: (features, rows) bins; y, scores: (rows,); keys: (rows,)."""

    codes: NDArray[np.uint8]
    bundles: Bundles
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
        codes = np.ascontiguousarray(matrix.T)
        return Binned(codes, Bundles.of(bins.counts), y, keys, np.zeros(len(y)))

    @cached_property
    def bundled(self) -> NDArray[np.uint8]:
        """The same bins row by row, as codes of bundles: (rows, bundles)."""
        return self.bundles.codes(self.codes)

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
            if not self._grown(tree):
                self.train.everyone().add(tree, self.train.scores)
            if self.watched is not None:
                self.watched.everyone().add(tree, self.watched.scores)
        self.at, self.growing, self.words = _name(link).tobytes(), {}, None

    def _grown(self, tree: Trees) -> bool:
        """Returns whether the rows were in the nodes of a finished tree: then it is added."""
        if len(self.growing) != 1:
            return False
        (growing,) = self.growing.values()
        if not growing.segments.add(tree, self.train.scores):
            return False
        if len(growing.rest):
            Segments(self.train.codes, growing.rest).add(tree, self.train.scores)
        return True

    def grow(self, first: int, number: int, sampling: float, bootstrap: bool, seed: int) -> Growing:
        """Returns a tree that grows; `number` counts all trees and decides what is drawn.

        Trees before the first one are forgotten.
        """
        if number not in self.growing:
            self.growing = {n: grown for n, grown in self.growing.items() if n >= first}
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
