"""Features of few bins as one: a row adds once for a whole bundle, each feature's sums follow.

Ke et al., "LightGBM", 2017, bundle features that are hardly ever set together, whose code is the
sum of their bins. Here it is the pair of their bins, or triple, so any features can be together, at
most 256 codes; the sum of a bin is that of the codes that hold it, exactly.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import AnswerError, Code

_CODES = 256  # of a bundle: a code is a byte


@dataclass(frozen=True)
class Seen:
    """What of the bundles a tree with some of the features needs.

    bundles: those with one of the features. starts: where the codes of each begin in their sums.
    size: codes in all. bins: those of the features in all.
    places: (features, 4) where the codes of its bundle begin, and their number as a product: of
    the features before it in the bundle, its own bins, of those after it.
    """

    bundles: NDArray[np.int64]
    starts: NDArray[np.int64]
    size: int
    bins: int
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Bundles:
    """members: the features of each bundle. counts: the bins of each feature."""

    members: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]

    @staticmethod
    def of(counts: NDArray[np.int64]) -> "Bundles":
        """Returns few bundles: a feature joins the fullest one that has room, the largest first."""
        members: list[list[int]] = []
        sizes: list[int] = []
        for feature in np.argsort(-counts, kind="stable").tolist():
            room = [(n, k) for k, n in enumerate(sizes) if n * int(counts[feature]) <= _CODES]
            if not room:
                members.append([])
                sizes.append(1)
            k = max(room)[1] if room else -1
            members[k].append(feature)
            sizes[k] *= int(counts[feature])
        return Bundles(tuple(tuple(each) for each in members), tuple(counts.tolist()))

    def codes(self, bins: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the codes (rows, bundles) row by row, of bins (features, rows)."""
        found = np.empty((bins.shape[1], len(self.members)), np.uint8)
        for k, (first, *others) in enumerate(self.members):
            code = bins[first]
            for feature in others:
                code = code * np.uint8(self.counts[feature]) + bins[feature]
            found[:, k] = code
        return found

    def seen(self, columns: NDArray[np.int64]) -> Seen:
        """Returns what a tree needs that sees these features; AnswerError if one is none."""
        return _seen(self, tuple(columns.tolist()))


@lru_cache(maxsize=128)
def _seen(of: Bundles, columns: tuple[int, ...]) -> Seen:
    if not set(columns) <= set(range(len(of.counts))):
        raise AnswerError(Code.MALFORMED, f"columns that are none of {len(of.counts)} features")
    wanted, places, ends = set(columns), {}, [0]
    bundles = [k for k, members in enumerate(of.members) if wanted.intersection(members)]
    for k in bundles:
        counts = [of.counts[feature] for feature in of.members[k]]
        for i, feature in enumerate(of.members[k]):
            above, below = math.prod(counts[:i]), math.prod(counts[i + 1 :])
            places[feature] = (ends[-1], above, counts[i], below)
        ends.append(ends[-1] + math.prod(counts))
    return Seen(
        np.array(bundles, np.int64),
        np.array(ends[:-1], np.int64),
        ends[-1],
        sum(of.counts[feature] for feature in columns),
        np.array([places[feature] for feature in columns], np.int64),
    )
