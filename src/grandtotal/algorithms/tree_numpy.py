"""The inner loops of trees in NumPy: slower than `tree_kernels`, and the same bits.

Sums are of integers, so their order does not matter; every gain is made of the same additions,
multiplications and divisions in the same order as there.
"""

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.tree_bundles import Seen
from grandtotal.algorithms.tree_search import Best, Limits, unpacked, weigh

_LOW = 28  # bits: sums of the lower and of the upper bits of a word are exact in float64


def add_histograms(
    codes: NDArray[np.uint8],
    words: NDArray[np.int64],
    rows: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    seen: Seen,
    out: NDArray[np.int64],
) -> None:
    """Adds the words of ranges of the rows to the bins of each feature.

    codes: (all rows, bundles). words: (all rows, channels). rows: (n,), which rows.
    ranges: (nodes, 2) where the rows of each node begin and end. seen: the features' bundles.
    out: (nodes, bins, channels), feature after feature.
    """
    for number, (begin, end) in enumerate(ranges):
        some = rows[begin:end]
        for channel in range(words.shape[1]):
            word = words[some, channel]
            low = (word & (2**_LOW - 1)).astype(np.float64)
            high = (word >> _LOW).astype(np.float64)
            sums = np.zeros(seen.size, np.int64)
            for bundle, start in zip(seen.bundles, seen.starts, strict=True):
                found = codes[some, bundle]
                part = np.bincount(found, high).astype(np.int64) << _LOW
                part += np.bincount(found, low).astype(np.int64)
                sums[start : start + len(part)] = part
            out[number, :, channel] += _unbundled(sums, seen.places)


def _unbundled(sums: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the sums of bundles' codes as those of the bins of each feature, (bins,)."""
    return np.concatenate(
        [
            sums[start : start + above * width * below].reshape(above, width, below).sum((0, 2))
            for start, above, width, below in places
        ]
    )


def cut(
    codes: NDArray[np.uint8],
    splits: NDArray[np.int32],
    made: int,
    rows: NDArray[np.uint32],
    scratch: NDArray[np.uint32],  # noqa: ARG001
    ranges: NDArray[np.int64],
) -> None:
    """Moves the rows of each new split's node that go left before the others.

    codes: (features, all rows) bins. splits: (splits, 10) parent, feature, a bit for each bin.
    made: how many of them were made before. rows, scratch: (n,). ranges: (nodes, 2) where the rows
    of each node begin and end, written for the new children.
    """
    left = np.unpackbits(splits[:, 2:].copy().view(np.uint8), axis=1, bitorder="little") > 0
    for split in range(made, len(splits)):
        parent, feature = splits[split, :2]
        begin, end = ranges[parent]
        some = rows[begin:end]
        goes = left[split][codes[feature][some]]
        rows[begin:end] = np.concatenate([some[goes], some[~goes]])
        middle = begin + goes.sum()
        ranges[2 * split + 1], ranges[2 * split + 2] = (begin, middle), (middle, end)


def walk(
    bins: NDArray[np.uint8],
    feature: NDArray[np.int32],
    left: NDArray[np.uint8],
    child: NDArray[np.int32],
    values: NDArray[np.float64],
    roots: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> None:
    """Adds to each score the value of the leaf that its row is in, tree after tree.

    feature: (nodes,), -1 at a leaf. left: (nodes, 32) a bit for each bin. child: (nodes,) the left
    child, the right one is next to it. values: (nodes,). roots: (trees,). scores: (rows,).
    """
    everyone = np.arange(len(bins))
    for root in roots:
        node = np.full(len(bins), root)
        rows = everyone
        while len(rows):
            rows = rows[feature[node[rows]] >= 0]
            at = node[rows]
            code = bins[rows, feature[at]]
            goes = left[at, code >> 3] >> (code & 7) & 1
            node[rows] = child[at] + 1 - goes
        scores += values[node]


def add_values(
    rows: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    values: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Adds a value to the scores of each of these ranges of the rows, which are all different.

    ranges: (nodes, 2) where the rows of each begin and end. values: (nodes,).
    """
    for (begin, end), value in zip(ranges, values, strict=True):
        scores[rows[begin:end]] += value


def best_splits(
    sums: NDArray[np.int64], totals: NDArray[np.float64], columns: NDArray[np.int64], limits: Limits
) -> Best:
    """Returns the best split of each node by a threshold.

    sums: (nodes, bins, channels) as they were totalled. totals: (nodes, 5) gradient, rows, hessian
    and the bounds of the value. columns: (columns, 3) where each begins in `sums`, its bins, and
    1, -1 or 0 for a rising, falling or free prediction.
    """
    nodes = len(sums)
    best = Best.none(nodes)
    G, N, H, low, high = totals.T[:, :, None]
    before = weigh(G, H, limits.l2, low, high)[0]
    for number, (start, width, direction) in enumerate(columns):
        part = sums[:, start : start + width]
        upto = np.cumsum(part[:, 1:], axis=1)
        for missing_left in (0, 1):
            g, n, h = unpacked(upto + missing_left * part[:, :1], limits)
            gain_left, value_left = weigh(g, h, limits.l2, low, high)
            gain_right, value_right = weigh(G - g, H - h, limits.l2, low, high)
            gain = (gain_left + gain_right) - before
            wrong = (n < limits.rows) | (N - n < limits.rows)
            wrong |= (h < limits.hessian) | (H - h < limits.hessian)
            wrong |= direction * (value_right - value_left) < 0
            gain[wrong] = -np.inf
            best.consider(number, missing_left, gain, (g, n, h))
    return best
