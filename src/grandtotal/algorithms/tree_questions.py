"""The questions of one ensemble, in the order in which they are asked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.quantiles import Quantiles
from grandtotal.algorithms.tree_bins import Bins
from grandtotal.algorithms.tree_growth import Growth, Node, Sapling
from grandtotal.algorithms.tree_histograms import (
    MOST_LOSS_BITS,
    TreeHistograms,
    TreeProgress,
    TreeResiduals,
    layout,
)
from grandtotal.algorithms.tree_objectives import Objective, largest
from grandtotal.algorithms.tree_rows import chained
from grandtotal.algorithms.tree_search import Limits
from grandtotal.algorithms.tree_segments import WORDS
from grandtotal.algorithms.tree_shape import Trees
from grandtotal.consortium.totals import Totals
from grandtotal.privacy.fixedpoint import Arrays

_SIGHT = 2.0**-20  # of the largest residual: smaller ones count as none


@dataclass(frozen=True)
class Data:
    """What is learned from: columns of the rows of a split, see `Columns`.

    target: the number to predict. numbers, categories: the features. watched: the split whose loss
    stops the training, "" for none.
    """

    target: str
    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    split: str = "train"
    watched: str = ""


@dataclass(frozen=True)
class Sample:
    """sampling: share of the rows that a tree sees. bootstrap: Poisson draws instead. seed."""

    sampling: float
    bootstrap: bool
    seed: int


class Questions:
    """Asks about the trees of one ensemble: `begin`, then for each stage `scale`, `stage`, `ask`,
    `link`.

    count: questions asked. answered: loss and magnitudes that came with the last stage, if any.
    """

    def __init__(
        self, totals: Totals, data: Data, aim: Objective, sample: Sample, rows: int
    ) -> None:
        self._totals, self._aim = totals, aim
        self._layout = layout(rows, aim, sample.bootstrap)
        self._about: dict[str, Any] = {
            "target": data.target,
            "split": data.split,
            "objective": aim.name,
            "shape": aim.shape,
            "watched": data.watched,
            "loss_scale": 0,
        }
        self._sample: dict[str, Any] = {
            "sampling": sample.sampling,
            "bootstrap": sample.bootstrap,
            "seed": sample.seed,
        }
        self._everyone = rows
        self._scaled = False
        self.count = 0
        self.answered: tuple[float, NDArray[np.int64]] | None = None

    def begin(self, bins: Bins, base: float) -> None:
        """Starts the chain of trees with the features and the score of no tree."""
        self._link, self._chain = chained(None, {**bins.arrays, "base": np.asarray(base)})

    def link(self, trees: Trees) -> None:
        """Adds finished trees to the chain: the next question carries them."""
        before: NDArray[np.uint8] = self._chain["before"]
        self._link, self._chain = chained(before, trees.arrays)

    def progress(self) -> tuple[float, NDArray[np.int64]]:
        """Returns the mean loss, and the magnitudes (3, 256) of gradient, hessian and loss."""
        found = self._total(TreeProgress(**self._about))
        if not self._scaled:
            # The first look finds the scale, the second one the loss.
            self._scaled = True
            highest = largest(found["magnitudes"][2])
            self._about["loss_scale"] = MOST_LOSS_BITS - 4 - (highest or 0)
            found = self._total(TreeProgress(**self._about))
        return self._read(found)

    def _read(self, found: Arrays) -> tuple[float, NDArray[np.int64]]:
        rows = int(found["rows"])
        loss = float(found["loss"]) * 2.0 ** -self._about["loss_scale"]
        return (loss / rows if rows else 0.0), found["magnitudes"]

    def scale(self, exponents: tuple[int, int, int], slack: int) -> None:
        """Chooses the steps of gradients and hessians for these largest magnitudes."""
        self._gradient_scale = self._layout.gradient_bits - exponents[0] - slack
        self._hessian_scale = self._layout.hessian_bits - exponents[1] - slack
        if not self._aim.varies:
            self._hessian_scale = 0

    def limits(self, growth: Growth) -> Limits:
        """Returns what splits have to keep in this stage."""
        return Limits(
            growth.rows,
            growth.hessian,
            growth.l2,
            self._layout,
            2.0**-self._gradient_scale,
            2.0**-self._hessian_scale,
        )

    def stage(self, saplings: list[Sapling], first: int, progress: bool) -> None:
        """Begins trees that grow together; the first of them is tree number `first` of all."""
        self._saplings, self._first, self._report = saplings, first, progress
        self.answered = None

    def ask(self, nodes: list[tuple[Sapling, Node]]) -> None:
        """Gives these nodes, of the trees of this stage, their histograms. One question."""
        nodes = sorted(nodes, key=lambda pair: pair[0].number)
        channels = self._layout.channels
        sizes = [sapling.size * channels for sapling, _ in nodes]
        query = TreeHistograms(
            **self._about,
            **self._sample,
            first=self._first,
            everyone=self._everyone,
            words=sum(sizes),
            gradient_scale=self._gradient_scale,
            hessian_scale=self._hessian_scale,
            progress=self._report,
        )
        found = self._total(query, self._asked(nodes))
        at = 0
        for (sapling, node), size in zip(nodes, sizes, strict=True):
            node.sums = found["sums"][at : at + size].reshape(sapling.size, channels)
            at += size
        if self._report:
            self.answered, self._report = self._read(found), False

    def _asked(self, nodes: list[tuple[Sapling, Node]]) -> Arrays:
        made = b"".join(split for sapling in self._saplings for split in sapling.made)
        return {
            "splits": np.frombuffer(made, np.int32).reshape(-1, 1 + WORDS),
            "asked": np.array([(s.number, node.id) for s, node in nodes], np.int32),
            "columns": np.array([s.columns for s in self._saplings], np.int32),
        }

    def residual_quantiles(
        self, sapling: Sapling, leaves: list[Node], level: float, alpha: float, most: float
    ) -> dict[int, float]:
        """Returns the quantile of target - score in each leaf, by node. One question."""
        query = TreeResiduals(
            **self._about,
            **self._sample,
            first=self._first,
            nodes=len(leaves),
            alpha=alpha,
            smallest=most * _SIGHT,
            largest=most,
        )
        counts = self._total(query, self._asked([(sapling, leaf) for leaf in leaves]))["counts"]
        found = (
            Quantiles(query.buckets, "", row.astype(np.int64), 0).quantile(level) for row in counts
        )
        return {
            leaf.id: float(np.clip(np.nan_to_num(value), -most, most))
            for leaf, value in zip(leaves, found, strict=True)
        }

    def _total(
        self, query: TreeHistograms | TreeProgress | TreeResiduals, broadcast: Arrays | None = None
    ) -> Arrays:
        self.count += 1
        return self._totals.total(query, {**self._chain, **(broadcast or {})})
