"""The inner loops of trees in NumPy: slower than `tree_kernels`, and the same bits.

Sums are of integers, so their order does not matter; every gain is made of the same additions,
multiplications and divisions in the same order as there.
"""

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.tree_search import Best, Limits, unpacked, weigh

_LOW = 28  # bits: sums of the lower and of the upper bits of a word are exact in float64


def add_histograms(
    codes: NDArray[np.uint8],
    words: NDArray[np.int64],
    rows: NDArray[np.uint32],
    pieces: NDArray[np.int64],
    bundles: NDArray[np.int64],
    starts: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Adds the words of pieces of the rows to their codes.

    codes: (all rows, bundles). words: (all rows, channels). rows: (n,), which rows.
    pieces: (pieces, 3) which histogram, and the rows of it, from and to.
    bundles, starts: those that are summed and where the codes of each begin in `out`.
    out: (histograms, codes, channels).
    """
    for number, begin, end in pieces:
        some = rows[begin:end]
        for channel in range(words.shape[1]):
            word = words[some, channel]
            low = (word & (2**_LOW - 1)).astype(np.float64)
            high = (word >> _LOW).astype(np.float64)
            for bundle, start in zip(bundles, starts, strict=True):
                found = codes[some, bundle]
                sums = np.bincount(found, high).astype(np.int64) << _LOW
                sums += np.bincount(found, low).astype(np.int64)
                out[number, start : start + len(sums), channel] += sums


def unbundle(sums: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Writes the sums of bundles' codes as those of the bins of each feature.

    sums: (nodes, codes, channels). places: (features, 4), see `tree_bundles.Seen`.
    out: (nodes, bins, channels), feature after feature.
    """
    nodes, at = len(sums), 0
    for code, above, width, below in places:
        some = sums[:, code : code + above * width * below]
        some = some.reshape(nodes, above, width, below, -1)
        np.sum(some, axis=(1, 3), out=out[:, at : at + width])
        at += width


def partition(
    codes: NDArray[np.uint8],
    feature: NDArray[np.int32],
    left: NDArray[np.bool_],
    pieces: NDArray[np.int64],
    rows: NDArray[np.uint32],
    scratch: NDArray[np.uint32],  # noqa: ARG001
) -> NDArray[np.int64]:
    """Moves the rows of each piece that go left before the others; returns how many they are.

    codes: (features, all rows) bins. feature: (splits,). left: (splits, 256) by bin.
    pieces: (pieces, 3) which split, and the rows, from and to. rows, scratch: (n,).
    """
    counts = np.zeros(len(pieces), np.int64)
    for number, (split, begin, end) in enumerate(pieces):
        some = rows[begin:end]
        goes = left[split][codes[feature[split]][some]]
        counts[number] = goes.sum()
        rows[begin:end] = np.concatenate([some[goes], some[~goes]])
    return counts


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
    pieces: NDArray[np.int64],
    values: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Adds values to the scores of pieces of the rows, which are all different.

    pieces: (pieces, 3) which value, and the rows, from and to.
    """
    for number, begin, end in pieces:
        scores[rows[begin:end]] += values[number]


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
