"""Features as at most 256 bins, on edges that everybody shares.

Bin 0 holds the missing values. A number goes into the bin of its quantile; a category that has few
fellows into a bin of its own, to be grouped by each split; one of many becomes a number, the mean
of the target, which for a training row leaves out the row's own fold.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.quantiles import QuantileSketch
from grandtotal.algorithms.target_statistics import CategoryCounts, TargetEncoder, codes, folds
from grandtotal.consortium.totals import Totals
from grandtotal.durable import canonical
from grandtotal.errors import PlanError
from grandtotal.privacy.fixedpoint import Arrays

NUMBER, CATEGORY, ENCODED = "number", "category", "encoded"
MOST_BINS = 255  # of values, besides the missing ones: a bin is a byte
_NONE = np.empty(0)


@dataclass(frozen=True)
class Feature:
    """A column and how its values become bins.

    kind: number, category (grouped by splits) or encoded (the mean of the target).
    edges: increasing; a value belongs to bin 1 + searchsorted(edges, value). Not for category.
    dictionary: the buckets of the known categories; one that is not there is "other".
    means: (folds + 1, categories + 1) of the target, for encoded.
    """

    name: str
    kind: str
    edges: NDArray[np.float64] = field(default_factory=lambda: _NONE)
    dictionary: NDArray[np.int64] = field(default_factory=lambda: _NONE.astype(np.int64))
    means: NDArray[np.float64] = field(default_factory=lambda: _NONE.reshape(0, 0))

    @property
    def bins(self) -> int:
        """The number of bins, with that of missing values."""
        return 2 + len(self.dictionary if self.kind == CATEGORY else self.edges)

    def values(self, columns: Columns, training: bool) -> NDArray[np.float64]:
        """Returns the column as numbers, nan where missing; a category as its code."""
        if self.kind == NUMBER:
            return columns.number(self.name)
        code = codes(columns.category(self.name), self.dictionary)
        if self.kind == CATEGORY:
            return code.astype(np.float64)
        fold = folds(columns.keys, len(self.means) - 1) if training else -1
        means: NDArray[np.float64] = self.means[fold, code]
        return means

    def bin(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Returns the bin of each of these values."""
        missing = np.isnan(values)
        if self.kind == CATEGORY:
            found = np.where(missing, 0.0, values).astype(np.uint8)
        else:
            found = np.searchsorted(self.edges, values, side="left").astype(np.uint8)
        found += 1
        found[missing] = 0
        return found


@dataclass(frozen=True)
class Bins:
    """The features of a model, in their order."""

    features: tuple[Feature, ...]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """The number of bins of each feature."""
        return np.array([feature.bins for feature in self.features], np.int64)

    def matrix(self, columns: Columns, training: bool = False) -> NDArray[np.uint8]:
        """Returns the bins of rows, (rows, features) row by row.

        training: whether the model is fitted on these rows, so that no target is in its own mean.
        """
        matrix = np.empty((columns.rows, len(self.features)), np.uint8)
        for number, feature in enumerate(self.features):
            matrix[:, number] = feature.bin(feature.values(columns, training))
        return matrix

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved, with the names in JSON."""
        described = [[feature.name, feature.kind] for feature in self.features]
        arrays: Arrays = {"features": np.frombuffer(canonical({"features": described}), np.uint8)}
        for what in ("edges", "dictionary", "means"):
            parts = [getattr(feature, what) for feature in self.features]
            arrays[what] = np.concatenate([part.reshape(-1) for part in parts])
            arrays[f"{what}_shape"] = np.array([[len(part), part.size] for part in parts])
        return arrays

    @staticmethod
    def of(arrays: Arrays) -> "Bins":
        """Returns the bins that these arrays describe."""
        described = json.loads(arrays["features"].tobytes())["features"]
        parts: dict[str, list[Any]] = {}
        for what in ("edges", "dictionary", "means"):
            shapes = arrays[f"{what}_shape"]
            cuts = np.split(arrays[what], np.cumsum(shapes[:, 1])[:-1])
            parts[what] = list(cuts)
        means = [
            part.reshape(rows, -1) if rows else part.reshape(0, 0)
            for part, (rows, _) in zip(parts["means"], arrays["means_shape"], strict=True)
        ]
        return Bins(
            tuple(
                Feature(name, kind, edges, dictionary, mean)
                for (name, kind), edges, dictionary, mean in zip(
                    described, parts["edges"], parts["dictionary"], means, strict=True
                )
            )
        )


@dataclass(frozen=True)
class Binning:
    """How the features of everybody are cut.

    bins: most bins of a number, in [2, 255], besides that of missing values.
    sketch: of the quantiles.
    grouped: most categories of a column whose splits group them; one with more is encoded.
    encoder: of the others.
    """

    bins: int = 255
    sketch: QuantileSketch = field(default_factory=lambda: QuantileSketch(alpha=0.005))
    grouped: int = 32
    encoder: TargetEncoder = field(default_factory=TargetEncoder)

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= MOST_BINS or not 0 <= self.grouped < MOST_BINS:
            raise PlanError(
                f"bins = {self.bins!r}, grouped = {self.grouped!r}: expected 2 to {MOST_BINS} bins "
                f"and fewer than {MOST_BINS} grouped categories"
            )

    def fit(
        self,
        totals: Totals,
        numbers: tuple[str, ...],
        categories: tuple[str, ...],
        target: str,
        split: str,
    ) -> Bins:
        """Returns the bins. A round for each number, one or two for each column of categories."""
        found = [
            Feature(name, NUMBER, self.sketch.fit(totals, name, split).edges(self.bins))
            for name in numbers
        ]
        found += [self._category(totals, name, target, split) for name in categories]
        if not found:
            raise PlanError("no feature to learn from: name at least one column")
        return Bins(tuple(found))

    def _category(self, totals: Totals, name: str, target: str, split: str) -> Feature:
        counts = totals.total(CategoryCounts(name, split))["counts"]
        dictionary = np.flatnonzero(counts >= self.encoder.least).astype(np.int64)
        if len(dictionary) <= self.grouped:
            return Feature(name, CATEGORY, dictionary=dictionary)
        statistics = self.encoder.fit(totals, name, target, split)
        means = statistics.means
        edges = _edges(means[:-1].reshape(-1), statistics.counts.reshape(-1), self.bins)
        return Feature(name, ENCODED, edges, statistics.dictionary, means)


def _edges(
    values: NDArray[np.float64], counts: NDArray[np.int64], bins: int
) -> NDArray[np.float64]:
    """Returns at most bins - 1 values that cut the rows into nearly equal parts."""
    there = counts > 0
    order = np.argsort(values[there], kind="stable")
    values, upto = values[there][order], np.cumsum(counts[there][order])
    ranks = np.arange(1, bins) * (upto[-1] if len(upto) else 0) / bins
    edges = np.unique(values[np.searchsorted(upto, ranks, side="left")]) if len(upto) else _NONE
    return edges[edges < values[-1]] if len(edges) else edges
