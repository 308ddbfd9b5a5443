"""A category as a number: the mean of the target over its rows, from totals. Exact.

Categories that the consortium has few rows of, and those it never saw, count together as "other".
A row that is trained on gets a mean without its own fold, so its own target is never in it.

Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes in classification
and prediction problems", 2001, https://doi.org/10.1145/507533.507538
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns, rows_bound
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code, PlanError
from grandtotal.privacy.bound import Bound, Stated
from grandtotal.privacy.clipping import scale_of
from grandtotal.privacy.fixedpoint import Arrays, Field

TARGET_STEPS = 2**16  # of a target, per unit
BUCKET_BITS = 16  # of a fingerprint: two categories in one bucket share their mean


def buckets(categories: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns the bucket of each fingerprint, its first BUCKET_BITS bits."""
    return (categories >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)


@dataclass(frozen=True)
class CategoryCounts:
    """How many rows each bucket of a column of categories has.

    most: rows of one customer that count, its last ones; 0 is all, and then nothing bounds it.
    """

    name: ClassVar[str] = "category-counts"

    column: str
    split: str
    most: int = 0

    @property
    def bound(self) -> Stated:
        """`most` rows of a customer move to other buckets: sqrt(2) most, if all were in one."""
        return rows_bound(self.most)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (2 ** BUCKET_BITS,)."""
        return {"counts": Field((2**BUCKET_BITS,), modulus=2**32)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's counts."""
        columns: Columns = rows[self.split]
        found = buckets(columns.category(self.column)[columns.counted(self.most)])
        return {"counts": np.bincount(found, minlength=2**BUCKET_BITS)}


@dataclass(frozen=True)
class TargetSums:
    """Sums and counts of the target by fold and category, for the dictionary in the broadcast.

    The broadcast holds "dictionary" (categories,), the increasing buckets of the known ones. The
    last category is "other". Rows without a target are in neither.

    most: rows of one customer that count, its last ones; largest: magnitude beyond which a target
    is cut. Both or neither; 0 is no limit, and then nothing bounds it. With limits a row's count
    weighs as many steps as the largest target, so that the same noise harms neither.
    """

    name: ClassVar[str] = "target-sums"

    column: str
    target: str
    split: str
    folds: int
    most: int = 0
    largest: float = 0.0

    def __post_init__(self) -> None:
        if (self.most > 0) != (self.largest > 0) or min(self.most, self.largest) < 0:
            raise PlanError(
                f"most = {self.most!r}, largest = {self.largest!r}: a bound needs both above 0, "
                f"and 0 for both is none"
            )

    @property
    def bound(self) -> Stated:
        """With L steps for the largest target: sqrt(6) most L.

        A customer's sums are within most L, of either sign, and its counts within most L, none
        negative. If it becomes another, the sums move by up to 2 most L, the counts by sqrt(2) of
        it, and sqrt(4 + 2) is both together.
        """
        if not self.most:
            return None
        return Bound(math.sqrt(6.0) * self.most * self._steps_of_one)

    @property
    def _scale(self) -> int:
        return scale_of(self.largest) if self.largest else TARGET_STEPS

    @property
    def _steps_of_one(self) -> int:
        """What one row counts: 1, or the steps of the largest target."""
        return math.ceil(self.largest * self._scale) if self.largest else 1

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns sums and counts, both (folds, categories + 1)."""
        shape = (self.folds, len(broadcast["dictionary"]) + 1)
        return {
            "sums": Field(shape, scale=self._scale),
            "counts": Field(shape, scale=self._steps_of_one),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each target is rounded before it is added."""
        columns: Columns = rows[self.split]
        target = columns.number(self.target)
        known = ~np.isnan(target) & columns.counted(self.most)
        if self.largest:
            target = np.clip(target, -self.largest, self.largest)
        shape = (self.folds, len(broadcast["dictionary"]) + 1)
        cells = (
            folds(columns.keys, self.folds)[known],
            codes(columns.category(self.column), broadcast["dictionary"])[known],
        )
        sums, counts = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        np.add.at(sums, cells, _steps(target[known], self._scale))
        np.add.at(counts, cells, self._steps_of_one)
        return {"sums": sums, "counts": counts}


def folds(keys: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Returns the fold of each row, in [0, count): equal keys are together, whoever holds them."""
    return (keys % np.uint64(count)).astype(np.int64)


def codes(categories: NDArray[np.uint64], dictionary: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns each category's place in the dictionary, or len(dictionary), which is "other"."""
    found = buckets(categories)
    places = np.searchsorted(dictionary, found)
    known = np.append(dictionary, -1)[places] == found
    return np.where(known, places, len(dictionary)).astype(np.int64)


def _steps(target: NDArray[np.float64], scale: int) -> NDArray[np.int64]:
    steps = np.rint(target * scale)
    if np.abs(steps).sum() > 2.0**62:
        raise AnswerError(
            Code.OVERFLOW,
            f"the targets sum to {np.abs(target).sum():.1e}, expected at most "
            f"{2.0**62 / scale:.1e}: give the target in a larger unit",
        )
    return steps.astype(np.int64)


@dataclass(frozen=True)
class TargetEncoder:
    """Means of the target by category, drawn towards the mean of all rows.

    least: rows that a bucket of categories needs in all, not to be "other".
    smoothing: weight of the mean of all rows, in rows; 0 is the plain mean of the category.
    folds: into how many parts the rows are dealt; a row's mean leaves out one of them.
    """

    least: int = 50
    smoothing: float = 20.0
    folds: int = 5

    def __post_init__(self) -> None:
        if self.folds < 2 or self.least < 1 or not 0 <= self.smoothing < np.inf:
            raise PlanError(
                f"least = {self.least!r}, smoothing = {self.smoothing!r}, folds = {self.folds!r}: "
                f"expected at least 1 row, 0 rows and 2 folds"
            )

    def fit(self, totals: Totals, column: str, target: str, split: str) -> "TargetStatistics":
        """Returns the statistics of one column. Two rounds."""
        counts = totals.total(CategoryCounts(column, split))["counts"]
        dictionary = np.flatnonzero(counts >= self.least).astype(np.int64)
        query = TargetSums(column, target, split, self.folds)
        sums = totals.total(query, {"dictionary": dictionary})
        meta = {"model": "target-statistics", "column": column, "target": target}
        return TargetStatistics(
            dictionary, sums["sums"], sums["counts"], {**meta, "smoothing": self.smoothing}
        )


@dataclass(frozen=True)
class TargetStatistics:
    """dictionary: (categories,) buckets; sums, counts: (folds, categories + 1), the last "other".

    meta: column, target, and the smoothing in rows.
    """

    dictionary: NDArray[np.int64]
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    meta: Json

    @property
    def arrays(self) -> Arrays:
        """The arrays that are saved."""
        return {"dictionary": self.dictionary, "sums": self.sums, "counts": self.counts}

    @property
    def means(self) -> NDArray[np.float64]:
        """The smoothed means (folds + 1, categories + 1).

        Row f leaves fold f out, the last leaves nothing out: (sum + m mean) / (count + m) with m
        the smoothing and mean that of all rows used; nan if there are none.
        """
        sums = _without_each(self.sums)
        counts = _without_each(self.counts)
        smoothing = float(self.meta["smoothing"])
        with np.errstate(invalid="ignore"):
            mean = sums.sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
            smoothed = (sums + smoothing * mean) / (counts + smoothing)
        means: NDArray[np.float64] = np.where(counts + smoothing > 0, smoothed, mean)
        return means

    def of_new_rows(self, categories: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Returns the mean of each category, for rows that were not trained on."""
        means: NDArray[np.float64] = self.means[-1, codes(categories, self.dictionary)]
        return means

    def of_training_rows(
        self, categories: NDArray[np.uint64], keys: NDArray[np.uint64]
    ) -> NDArray[np.float64]:
        """Returns the mean of each category without the fold that the row itself is in."""
        fold = folds(keys, len(self.counts))
        means: NDArray[np.float64] = self.means[fold, codes(categories, self.dictionary)]
        return means


def _without_each(parts: NDArray[np.generic]) -> NDArray[np.float64]:
    """Returns the sums over all folds but one, for each, and over all: (folds + 1, ...)."""
    total = parts.sum(axis=0)
    return np.concatenate([total - parts, total[None]]).astype(np.float64)
