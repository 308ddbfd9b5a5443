"""The best split of a node from its histogram.

Gain and leaf value: Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System", 2016,
https://arxiv.org/abs/1603.02754, equations 5 to 7. Categories in the order of their means: Fisher,
"On Grouping for Maximum Homogeneity", 1958, as in Ke et al., "LightGBM: A Highly Efficient Gradient
Boosting Decision Tree", 2017.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """How the sums of a bin lie in words of 64 bits.

    A row adds g, its gradient in whole steps, h, its hessian, and 1 to the count. Gradient and
    count share a word where there are bits for both; h has its own, unless it is 1 for every row.

    rows: of everyone together. varies: whether h differs from row to row. most: what the sums of
    one row may be multiplied with, its largest weight.
    """

    rows: int
    varies: bool
    most: int = 1

    @property
    def count_bits(self) -> int:
        """Bits that hold the number of rows."""
        return max(1, int(self.rows).bit_length())

    @property
    def gradient_bits(self) -> int:
        """Bits of one row's gradient, besides its sign; 2^56 leaves room for 127 retailers."""
        room = 56 - self.count_bits * (2 if self.packed else 1) - (self.most.bit_length() - 1)
        return min(24, room)

    @property
    def hessian_bits(self) -> int:
        """Bits of one row's hessian: the sums of all rows are exact in float64."""
        return min(24, 52 - self.count_bits - (self.most.bit_length() - 1))

    @property
    def packed(self) -> bool:
        """Whether gradient and count share a word: up to two million rows."""
        return self.count_bits <= 21

    @property
    def channels(self) -> int:
        """Words of a bin."""
        return (1 if self.packed else 2) + self.varies


@dataclass(frozen=True)
class Limits:
    """What a split has to keep, and how its sums are read.

    rows, hessian: least of each in a child. l2: penalty on a leaf's value. layout: of the sums.
    gradient, hessian_step: what one whole step is worth, powers of two.
    """

    rows: int
    hessian: float
    l2: float
    layout: Layout
    gradient: float
    hessian_step: float


def unpacked(sums: NDArray[np.int64], limits: Limits) -> tuple[Floats, Floats, Floats]:
    """Returns gradient, rows and hessian of sums (..., channels), each (...)."""
    layout, word = limits.layout, sums[..., 0]
    if layout.packed:
        count = word & (2**layout.count_bits - 1)
        g = (word - count) >> layout.count_bits
    else:
        g, count = word, sums[..., 1]
    n = count.astype(np.float64)
    h = (sums[..., -1] * limits.hessian_step).astype(np.float64) if layout.varies else n
    return (g * limits.gradient).astype(np.float64), n, h


def weigh(g: Any, h: Any, l2: float, low: Any, high: Any) -> tuple[Any, Any]:
    """Returns by how much a leaf lowers the loss, twice, and its value -g / (h + l2) in bounds."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.minimum(np.maximum(-g / (h + l2), low), high)
        return -((2.0 * g) * value + ((h + l2) * value) * value), value


@dataclass
class Best:
    """The best split of each node so far, each (nodes,); gain is -inf where there is none.

    column: its place among the columns asked. bin: the last one on the left. missing: whether the
    missing values go left. left: (nodes, 3) gradient, rows and hessian of the left child.
    """

    gain: Floats
    column: NDArray[np.int64]
    bin: NDArray[np.int64]
    missing: NDArray[np.int64]
    left: Floats

    @staticmethod
    def none(nodes: int) -> "Best":
        """Returns no split for so many nodes."""
        column, last, missing = np.zeros((3, nodes), np.int64)
        return Best(np.full(nodes, -np.inf), column, last, missing, np.zeros((nodes, 3)))

    def consider(
        self, column: int, missing: int, gain: Floats, left: tuple[Floats, Floats, Floats]
    ) -> None:
        """Takes the best bin of a column where it beats what there is; gain (nodes, bins).

        Of equal gains the first column wins, then the first bin, then missing values right.
        """
        if not gain.shape[1]:
            return
        at = np.argmax(gain, axis=1)
        nodes = np.arange(len(gain))
        found, last = gain[nodes, at], at + 1
        same = (self.column == column) & (found == self.gain) & (last < self.bin)
        won = (found > self.gain) | (same & np.isfinite(found))
        self.gain[won], self.column[won], self.bin[won] = found[won], column, last[won]
        self.missing[won] = missing
        for place, part in enumerate(left):
            self.left[won, place] = part[nodes, at][won]


def best_group(
    sums: NDArray[np.int64], total: Floats, smoothing: float, limits: Limits
) -> tuple[float, NDArray[np.bool_], Floats] | None:
    """Returns gain, left (256,) and the left sums of the best cut of categories in two groups.

    sums: (bins, channels) of one node and column. total: (5,) as for `best_splits`. Categories are
    in the order of their values under a penalty of `smoothing`; the best cut of that order is the
    best of all (Fisher, 1958). Categories without a row in the node go right, as unseen ones do.
    """
    g, n, h = unpacked(sums, limits)
    there = np.flatnonzero(n > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        order = there[np.argsort((-g / (h + smoothing))[there], kind="stable")]
    G, N, H, low, high = total
    gl, nl, hl = (np.cumsum(part[order]) for part in (g, n, h))
    gain = weigh(gl, hl, limits.l2, low, high)[0] + weigh(G - gl, H - hl, limits.l2, low, high)[0]
    gain -= weigh(G, H, limits.l2, low, high)[0]
    wrong = (nl < limits.rows) | (N - nl < limits.rows)
    wrong |= (hl < limits.hessian) | (H - hl < limits.hessian)
    gain = np.where(wrong, -np.inf, gain)
    if not len(gain) or gain.max() == -np.inf:
        return None
    at = int(np.argmax(gain))
    left = np.zeros(256, np.bool_)
    left[order[: at + 1]] = True
    return float(gain[at]), left, np.array([gl[at], nl[at], hl[at]])
