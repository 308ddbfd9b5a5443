"""Gradient boosting and random forests from totals: the trees of the pooled rows, bit for bit.

Friedman, "Greedy function approximation: a gradient boosting machine", 2001. Chen and Guestrin,
"XGBoost: A Scalable Tree Boosting System", 2016, https://arxiv.org/abs/1603.02754. Ke et al.,
"LightGBM: A Highly Efficient Gradient Boosting Decision Tree", 2017. Breiman, "Random Forests",
2001. Every decision is made from sums of integers, and what is added to a row's score is sent as it
is, so that all retailers compute the same scores.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.tree_bins import Binning, Bins
from grandtotal.algorithms.tree_growth import (
    Growth,
    Node,
    Sapling,
    eager_gain,
    grow_leaves,
    grow_levels,
)
from grandtotal.algorithms.tree_histograms import TreeTarget
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_objectives import Objective, largest
from grandtotal.algorithms.tree_questions import Data, Questions, Sample
from grandtotal.algorithms.tree_sampling import columns_of
from grandtotal.algorithms.tree_shape import Trees
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError

_MAGNITUDES_EVERY = 32  # trees: how often the scale of the gradients is measured, and at 1, 2, 4 …
_RESIDUAL_ERROR = 0.02  # of a leaf's quantile, relatively


@dataclass(frozen=True)
class Boosting:
    """Trees one after the other, each on the gradients that the earlier ones left.

    objective: what is made small. trees: most trees. rate: share of a leaf's value that is added.
    growth: what a tree may look like. binning: how features are cut.
    sampling: share of the rows, columns: share of the features that a tree sees; seed decides.
    patience: trees without a lower loss on the watched rows after which it stops; 0 never stops.
    """

    objective: Objective = field(default_factory=Objective)
    trees: int = 300
    rate: float = 0.1
    growth: Growth = field(default_factory=Growth)
    binning: Binning = field(default_factory=Binning)
    sampling: float = 1.0
    columns: float = 1.0
    seed: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        _refuse(self.trees, self.sampling, self.columns)
        if not 0 < self.rate <= 1 or self.patience < 0:
            raise PlanError(
                f"rate = {self.rate!r}, patience = {self.patience!r}: expected a rate in (0, 1] "
                f"and 0 or more trees"
            )

    def fit(self, totals: Totals, data: Data, bins: Bins | None = None) -> tuple[TreesModel, Json]:
        """Returns the model and {"losses", "questions", "rows"}.

        bins: of an earlier fit on the same columns; made here if there are none. losses: of the
        watched rows, or else of the training rows, by the number of trees, where it was asked.
        """
        bins = bins or self.binning.fit(
            totals, data.numbers, data.categories, data.target, data.split
        )
        self.growth.directions(bins)
        base, rows = _base(totals, data, self.objective, self.binning)
        sample = Sample(self.sampling, False, self.seed)
        asked = Questions(totals, data, self.objective, sample, rows)
        asked.begin(bins, base)
        progress = _Progress(self.patience)
        progress.add(0, asked.progress())
        made: list[Trees] = []
        eager = np.inf
        for number in range(self.trees):
            if not progress.gradient.any():
                break  # every row is met exactly
            asked.scale(progress.exponents, slack=int(number > 0))
            columns = columns_of(len(bins.features), self.columns, self.seed, number)
            sapling = Sapling(0, columns, bins, self.growth, asked.limits(self.growth))
            report = number > 0 and (self.patience > 0 or _measured(number))
            asked.stage([sapling], number, report)
            taken = self._grown(sapling, asked, eager)
            if asked.answered is not None:
                progress.add(number, asked.answered)
            if progress.stopped or not (taken or self._chance):
                break
            eager = eager_gain(taken)
            made.append(
                sapling.tree(taken, self.rate, self._quantiles(sapling, taken, asked, progress))
            )
            asked.link(made[-1])
        else:
            if self.trees:
                progress.add(self.trees, asked.progress())
        trees = Trees.joined(made)
        kept = progress.best if self.patience else len(trees)
        losses = {str(number): loss for number, loss in progress.losses.items()}
        report_ = {"losses": losses, "questions": asked.count, "rows": rows}
        return TreesModel(self.objective, bins, base, trees.first(min(kept, len(trees)))), report_

    @property
    def _chance(self) -> bool:
        """Whether the next tree may find a split where this one did not."""
        return self.sampling < 1 or self.columns < 1

    def _grown(self, sapling: Sapling, asked: Questions, eager: float) -> list[Node]:
        if self.growth.by == "leaf":
            return grow_leaves(sapling, asked.ask, eager)
        return grow_levels([sapling], asked.ask)[0]

    def _quantiles(
        self, sapling: Sapling, taken: list[Node], asked: Questions, progress: "_Progress"
    ) -> dict[int, float] | None:
        """Returns the quantile of the residuals in each leaf: where the objective has no curvature,
        its gradient says which rows belong together, not how far they are off."""
        if self.objective.name != "quantile":
            return None
        split = {node.id for node in taken}
        children = [child for node in taken for child in node.children or ()]
        leaves = [node for node in (sapling.root, *children) if node.id not in split]
        level = self.objective.shape
        most = 2.0 ** (progress.exponents[2] + 1) / min(level, 1 - level)
        return asked.residual_quantiles(sapling, leaves, level, _RESIDUAL_ERROR, most)


@dataclass(frozen=True)
class Forest:
    """The mean of trees that each see a bootstrap sample of the rows and a share of the features.

    For squared errors: of a target of 0 and 1 it predicts the probability.

    bootstrap: draws every row as often as Poisson says; else a share `sampling` of them.
    together: trees whose levels are asked in one question, 0 for all. Their histograms are in
    memory together: trees x leaves / 2 x bins x 16 bytes at most.
    """

    trees: int = 100
    growth: Growth = field(default_factory=lambda: Growth(leaves=1024, rows=5, l2=0.0))
    binning: Binning = field(default_factory=Binning)
    bootstrap: bool = True
    sampling: float = 1.0
    columns: float = 0.33
    seed: int = 0
    together: int = 0

    def __post_init__(self) -> None:
        _refuse(self.trees, self.sampling, self.columns)
        if self.growth.by != "level" or self.together < 0:
            raise PlanError("a forest grows by 'level', and together is 0 or more trees")
        if self.bootstrap and self.sampling < 1:
            raise PlanError(
                "a bootstrap draws from all rows: give bootstrap = False or sampling = 1"
            )

    def fit(self, totals: Totals, data: Data, bins: Bins | None = None) -> tuple[TreesModel, Json]:
        """Returns the model and {"losses", "questions", "rows"}; bins as for `Boosting`."""
        aim = Objective("squared")
        bins = bins or self.binning.fit(
            totals, data.numbers, data.categories, data.target, data.split
        )
        self.growth.directions(bins)
        base, rows = _base(totals, data, aim, self.binning)
        asked = Questions(totals, data, aim, Sample(self.sampling, self.bootstrap, self.seed), rows)
        asked.begin(bins, base)
        progress = _Progress(0)
        progress.add(0, asked.progress())
        made: list[Trees] = []
        if self.trees and progress.gradient.any():
            asked.scale(progress.exponents, slack=0)
            for first in range(0, self.trees, self.together or self.trees):
                last = min(self.trees, first + (self.together or self.trees))
                saplings = [
                    Sapling(
                        number - first,
                        columns_of(len(bins.features), self.columns, self.seed, number),
                        bins,
                        self.growth,
                        asked.limits(self.growth),
                    )
                    for number in range(first, last)
                ]
                asked.stage(saplings, first, progress=False)
                grown = zip(saplings, grow_levels(saplings, asked.ask), strict=True)
                made += [sapling.tree(taken, 1 / self.trees) for sapling, taken in grown]
        trees = Trees.joined(made)
        asked.link(trees)
        progress.add(len(made), asked.progress())
        losses = {str(number): loss for number, loss in progress.losses.items()}
        return (
            TreesModel(aim, bins, base, trees),
            {"losses": losses, "questions": asked.count, "rows": rows},
        )


@dataclass
class _Progress:
    """What is known of losses and magnitudes after so many trees."""

    patience: int
    losses: dict[int, float] = field(default_factory=dict)
    magnitudes: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, trees: int, found: tuple[float, NDArray[np.int64]]) -> None:
        """Takes the loss and the magnitudes after so many trees."""
        self.losses[trees], self.magnitudes = found[0], list(found[1])

    @property
    def gradient(self) -> NDArray[np.int64]:
        """Counts of the gradients by magnitude."""
        return self.magnitudes[0]

    @property
    def exponents(self) -> tuple[int, int, int]:
        """Powers of two above every gradient, hessian and loss."""
        g, h, loss = (largest(counts) for counts in self.magnitudes)
        return g or 0, h or 0, loss or 0

    @property
    def best(self) -> int:
        """The number of trees with the lowest loss."""
        return min(self.losses, key=lambda trees: (self.losses[trees], trees))

    @property
    def stopped(self) -> bool:
        """Whether the loss has not been lower for `patience` trees."""
        return self.patience > 0 and max(self.losses) - self.best >= self.patience


def _measured(number: int) -> bool:
    return number & (number - 1) == 0 or number % _MAGNITUDES_EVERY == 0


def _refuse(trees: int, sampling: float, columns: float) -> None:
    if trees < 0 or not 0 < sampling <= 1 or not 0 < columns <= 1:
        raise PlanError(
            f"trees = {trees!r}, sampling = {sampling!r}, columns = {columns!r}: expected 0 or "
            f"more trees and shares in (0, 1]"
        )


def _base(totals: Totals, data: Data, aim: Objective, binning: Binning) -> tuple[float, int]:
    """Returns the score that boosting begins with, and the number of rows. Two rounds."""
    query = TreeTarget(data.target, data.split, aim.name, aim.shape)
    found = totals.total(query)
    rows, wrong = int(found["rows"]), int(found["wrong"])
    if not rows:
        raise PlanError(
            f"no row of '{data.split}' has a value of '{data.target}': nothing to learn"
        )
    if wrong:
        raise PlanError(
            f"{wrong} of {rows} values of '{data.target}' cannot be used for {aim.name}: expected "
            f"{aim.accepted}"
        )
    if aim.name == "quantile":
        level = binning.sketch.fit(totals, data.target, data.split).quantile(aim.shape)
        return (level if np.isfinite(level) else 0.0), rows
    highest = largest(found["magnitudes"])
    if highest is None:
        return aim.score(0.0), rows
    scale = min(52, 60 - rows.bit_length()) - highest
    total = totals.total(replace(query, scale=scale))["sum"]
    return aim.score(float(total) / rows / 2.0**scale), rows
