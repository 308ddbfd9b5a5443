"""What growing trees asks: sums of gradients, rows and hessians by node and bin. Exact.

Every row's numbers are whole steps before they are added, so a histogram is the same on any split
of the rows. All questions carry the latest trees as a link, see `tree_rows`.
"""

from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms import inner_loops
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.quantiles import LogBuckets
from grandtotal.algorithms.tree_bundles import Seen
from grandtotal.algorithms.tree_objectives import Objective, exponents, steps
from grandtotal.algorithms.tree_rows import Binned, Growing, Workspace, workspace
from grandtotal.algorithms.tree_sampling import MOST_DRAWS
from grandtotal.algorithms.tree_search import Layout
from grandtotal.algorithms.tree_segments import WORDS, Part
from grandtotal.consortium.query import Rows, State
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.threads import together, workers

MAGNITUDES = 256
MOST_LOSS_BITS = 32  # of one row's loss
BLOCK_BITS = 16  # of the rows in a block: 28 bits of a weighted gradient, their sum and its count


@dataclass(frozen=True)
class TreeTarget:
    """The sum of the target in steps of 2^-scale, its magnitudes, and how many rows there are.

    "wrong" counts the rows whose target the objective cannot use.
    """

    name: ClassVar[str] = "tree-target"
    bound: ClassVar[Stated] = None

    target: str
    split: str
    objective: str
    shape: float = 0.0
    scale: int | None = None

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns sum, rows, wrong and magnitudes (256,)."""
        return {
            "sum": Field(()),
            "rows": Field(()),
            "wrong": Field(()),
            "magnitudes": Field((MAGNITUDES,)),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; the sum is 0 where no scale is given."""
        columns: Columns = rows[self.split]
        y = columns.number(self.target)
        y = y[~np.isnan(y)]
        whole = np.zeros(1) if self.scale is None else np.rint(y * 2.0**self.scale)
        if np.abs(whole).sum() > 2.0**62:
            raise AnswerError(
                Code.OVERFLOW, f"the targets sum to {np.abs(y).sum():.1e}: too large a unit"
            )
        return {
            "sum": np.asarray(whole.astype(np.int64).sum()),
            "rows": np.asarray(len(y)),
            "wrong": np.asarray(int(Objective(self.objective, self.shape).wrong(y).sum())),
            "magnitudes": exponents(y),
        }


@dataclass(frozen=True)
class _AboutTrees:
    """What every question about growing trees says.

    target, split: of the rows that are learned from. watched: the split whose loss is watched,
    "" for the same rows. loss_scale: steps of a loss are 2^-loss_scale.
    """

    target: str
    split: str
    objective: str
    shape: float
    watched: str
    loss_scale: int

    @property
    def aim(self) -> Objective:
        """What the trees make small."""
        return Objective(self.objective, self.shape)

    def space(self, rows: Rows, state: State, broadcast: Arrays) -> Workspace:
        """Returns the rows as they stand after the trees in the broadcast."""
        return workspace(state, rows, broadcast, self.target, self.split, self.watched)


_PROGRESS = {"magnitudes": Field((3, MAGNITUDES)), "loss": Field(()), "rows": Field(())}


def _progress(aim: Objective, space: Workspace, scale: int) -> Arrays:
    g, h = aim.gradient(space.train.y, space.train.scores)
    rows = space.train if space.watched is None else space.watched
    loss = aim.loss(rows.y, rows.scores)
    magnitudes = [exponents(part) for part in (g, np.ones(0) if h is None else h, loss)]
    return {
        "magnitudes": np.stack(magnitudes),
        "loss": np.asarray(steps(loss, scale, MOST_LOSS_BITS).sum()),
        "rows": np.asarray(len(rows.y)),
    }


@dataclass(frozen=True)
class TreeProgress(_AboutTrees):
    """The loss after these trees, and the magnitudes of gradient, hessian and loss."""

    name: ClassVar[str] = "tree-progress"
    bound: ClassVar[Stated] = None

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns magnitudes (3, 256), loss and rows."""
        return dict(_PROGRESS)

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:
        """Returns this retailer's sums; each row's loss is rounded before it is added."""
        return _progress(self.aim, self.space(rows, state, broadcast), self.loss_scale)


@dataclass(frozen=True)
class _AboutNodes(_AboutTrees):
    """sampling: share of the rows that a tree sees. bootstrap: whether each is drawn as often as
    Poisson says instead. seed, first: decide which rows; the first tree asked about is that number.
    """

    sampling: float
    bootstrap: bool
    seed: int
    first: int

    def growing(self, space: Workspace, broadcast: Arrays, tree: int) -> Growing:
        """Returns a tree that follows its splits."""
        made, number = broadcast["splits"], self.first + tree
        if made.dtype != np.int32 or made.shape[1:] != (1 + WORDS,):
            raise AnswerError(
                Code.MALFORMED,
                f"splits {made.shape} of {made.dtype}, expected (splits, {1 + WORDS}) of int32",
            )
        begin, end = np.searchsorted(made[:, 0], (tree, tree + 1))
        splits = made[begin:end, 1:]
        growing = space.grow(self.first, number, self.sampling, self.bootstrap, self.seed)
        if not growing.segments.follow(splits):
            del space.growing[number]
            growing = space.grow(self.first, number, self.sampling, self.bootstrap, self.seed)
            growing.segments.follow(splits)
        return growing


@dataclass(frozen=True)
class TreeHistograms(_AboutNodes):
    """Sums by bin for some nodes of the trees that grow.

    The broadcast holds the latest link; "splits" (splits, 11) int32, all splits so far, tree after
    tree: tree, parent, feature and a bit for each bin, set where it goes left; "asked" (nodes, 2)
    int32 tree and node; "columns" (trees, columns) int32, the features that each tree sees.

    everyone: rows of all retailers. words: of the answer: for each node asked, for each column and
    bin, for each channel of `Layout`. gradient_scale, hessian_scale: steps are 2^-scale.
    progress: whether the fields of `TreeProgress` come along.
    """

    name: ClassVar[str] = "tree-histograms"
    bound: ClassVar[Stated] = None

    everyone: int
    words: int
    gradient_scale: int
    hessian_scale: int
    progress: bool

    @property
    def layout(self) -> Layout:
        """How the sums lie in words."""
        return layout(self.everyone, self.aim, self.bootstrap)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns sums (words,), and those of `TreeProgress` where asked for."""
        return {"sums": Field((self.words,)), **(_PROGRESS if self.progress else {})}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:
        """Returns this retailer's sums."""
        space = self.space(rows, state, broadcast)
        layout, bundles = self.layout, space.train.bundles
        asked = [
            (tree, nodes, bundles.seen(broadcast["columns"][tree]))
            for tree, nodes in _by_tree(broadcast["asked"])
        ]
        self._refuse_other_size(sum(len(nodes) * seen.bins for _, nodes, seen in asked))
        sums = []
        for tree, nodes, seen in asked:
            growing = self.growing(space, broadcast, tree)
            growing.segments.refuse_others(nodes)
            words = self._words(space, tree, growing.weights)
            add = partial(_histograms, space.train.bundled, words, layout, seen, nodes)
            sums.append(reduce(np.add, growing.segments.each(add)).reshape(-1))
        more = _progress(self.aim, space, self.loss_scale) if self.progress else {}
        return {"sums": np.concatenate(sums), **more}

    def _refuse_other_size(self, bins: int) -> None:
        # The inner loops do not look whether a place is in their arrays.
        words = bins * self.layout.channels
        if words != self.words:
            raise AnswerError(
                Code.MALFORMED, f"{self.words} words were asked for {words} bins of these nodes"
            )

    def _words(
        self, space: Workspace, tree: int, weights: NDArray[np.uint8] | None
    ) -> NDArray[np.int64]:
        """Returns what each row adds, see `_write`; they change with the scores."""
        key = (
            self.everyone,
            self.gradient_scale,
            self.hessian_scale,
            self.first + tree if self.bootstrap else 0,
        )
        if space.words is None or space.words[0] != key:
            rows = space.train
            words = np.empty((len(rows.y), 1 + self.layout.varies), np.int64)
            cuts = np.linspace(0, len(words), workers() + 1).astype(int)
            parts = [slice(*cut) for cut in pairwise(cuts)]
            together([partial(self._write, rows, part, weights, words[part]) for part in parts])
            space.words = (key, words)
        return space.words[1]

    def _write(
        self,
        rows: Binned,
        part: slice,
        weights: NDArray[np.uint8] | None,
        words: NDArray[np.int64],
    ) -> None:
        """Writes gradient and count as one word, and the hessian as another where it varies."""
        shape, scales = self.layout, (self.gradient_scale, self.hessian_scale)
        most = (shape.gradient_bits, shape.hessian_bits)
        g, h = self.aim.gradient_steps(rows.y[part], rows.scores[part], scales, most)
        if weights is not None:
            weight = weights[part].astype(np.int64)
            g, h = g * weight, weight if h is None else h * weight
        np.left_shift(g, shape.count_bits if shape.packed else BLOCK_BITS + 1, out=words[:, 0])
        words[:, 0] += 1
        if h is not None:
            words[:, -1] = h


def layout(rows: int, aim: Objective, bootstrap: bool) -> Layout:
    """Returns how the sums of this question lie in words."""
    return Layout(rows, aim.varies or bootstrap, MOST_DRAWS + 1 if bootstrap else 1)


def starts_of(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Returns where the bins of each column begin, one after the other, and how many there are."""
    ends = np.cumsum(counts)
    return ends - counts, int(ends[-1])


def _by_tree(asked: NDArray[np.int32]) -> list[tuple[int, list[int]]]:
    """Returns each tree that is asked about with its nodes."""
    found: dict[int, list[int]] = {}
    for tree, node in asked.tolist():
        found.setdefault(tree, []).append(node)
    return sorted(found.items())


def _histograms(
    codes: NDArray[np.uint8],
    words: NDArray[np.int64],
    layout: Layout,
    seen: Seen,
    nodes: list[int],
    part: Part,
) -> NDArray[np.int64]:
    """Returns the sums (nodes, bins, channels) of a part of the rows.

    Gradient and count of a block share a word even where those of all rows do not.
    """
    add = partial(inner_loops.of("tree").add_histograms, codes, words, part.rows)
    ranges = part.ranges[nodes]
    out = np.zeros((len(nodes), seen.bins, layout.channels), np.int64)
    if layout.packed:
        add(ranges, seen, out)
        return out
    for node, (begin, end) in enumerate(ranges.tolist()):
        for start in range(begin, end, 2**BLOCK_BITS):
            block = np.zeros((1, seen.bins, words.shape[1]), np.int64)
            add(np.array([[start, min(end, start + 2**BLOCK_BITS)]]), seen, block)
            out[node, :, 0] += block[0, :, 0] >> (BLOCK_BITS + 1)
            out[node, :, 1] += block[0, :, 0] & (2 ** (BLOCK_BITS + 1) - 1)
            out[node, :, 2:] += block[0, :, 1:]
    return out


@dataclass(frozen=True)
class TreeResiduals(_AboutNodes):
    """How the rows of some nodes lie around their scores: counts of target - score by size.

    The broadcast is that of `TreeHistograms`. alpha, smallest, largest: of the `LogBuckets`.
    """

    name: ClassVar[str] = "tree-residuals"
    bound: ClassVar[Stated] = None

    nodes: int
    alpha: float
    smallest: float
    largest: float

    @property
    def buckets(self) -> LogBuckets:
        """The buckets that all retailers count in."""
        return LogBuckets(self.alpha, self.smallest, self.largest)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (nodes, buckets)."""
        return {"counts": Field((self.nodes, len(self.buckets.values)), modulus=2**32)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:
        """Returns this retailer's counts."""
        space = self.space(rows, state, broadcast)
        left = space.train.y - space.train.scores
        places = self.buckets.places(left)
        size = len(self.buckets.values)
        counts = np.zeros((self.nodes, size), np.int64)
        for number, (tree, node) in enumerate(broadcast["asked"]):
            segments = self.growing(space, broadcast, int(tree)).segments
            segments.refuse_others([int(node)])
            counts[number] = np.bincount(places[segments.rows_of(int(node))], minlength=size)
        return {"counts": counts}
