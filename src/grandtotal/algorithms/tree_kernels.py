"""The inner loops of trees, compiled by numba. `tree_numpy` says what each does.

Packed words, rows in order and prefetched: Ke et al., "LightGBM", 2017, and measurements in
`benchmarks`. No fast mathematics: every operation is rounded as written, as NumPy rounds it.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

from grandtotal.algorithms.compiled import compiled
from grandtotal.algorithms.tree_search import Best, Limits

_AHEAD = 12  # rows: about as long as memory takes


@intrinsic
def _prefetch(typing: Any, address: Any = None) -> Any:  # noqa: ARG001
    """Asks for the memory at an address, without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        byte = ir.IntType(8).as_pointer()
        flag = ir.IntType(32)
        function = get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]),
            "llvm.prefetch.p0",
        )
        address = builder.inttoptr(arguments[0], byte)
        builder.call(function, [address, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@compiled
def _add_all(bins: Any, words: Any, rows: Any, starts: Any, out: Any) -> None:
    # Unsigned indices: a signed one is first tested for counting from the end.
    n, width = np.uint64(len(rows)), np.uint64(bins.shape[1])
    line, word = np.uint64(bins.ctypes.data), np.uint64(words.ctypes.data)
    codes = bins.reshape(-1)
    for i in range(n):
        if i + np.uint64(_AHEAD) < n:
            ahead = np.uint64(rows[i + np.uint64(_AHEAD)])
            _prefetch(line + ahead * width)
            _prefetch(line + ahead * width + width - np.uint64(1))
            _prefetch(word + ahead * np.uint64(8))
        row = np.uint64(rows[i])
        added, first = words[row], row * width
        for j in range(width):
            out[starts[j] + np.uint64(codes[first + j])] += added


@compiled
def _add_some(bins: Any, words: Any, rows: Any, columns: Any, starts: Any, out: Any) -> None:
    n, width = np.uint64(len(rows)), np.uint64(bins.shape[1])
    line, word = np.uint64(bins.ctypes.data), np.uint64(words.ctypes.data)
    codes = bins.reshape(-1)
    for i in range(n):
        if i + np.uint64(_AHEAD) < n:
            ahead = np.uint64(rows[i + np.uint64(_AHEAD)])
            _prefetch(line + ahead * width)
            _prefetch(line + ahead * width + width - np.uint64(1))
            _prefetch(word + ahead * np.uint64(8))
        row = np.uint64(rows[i])
        added, first = words[row], row * width
        for j in range(np.uint64(len(columns))):
            out[starts[j] + np.uint64(codes[first + columns[j]])] += added


@compiled
def _add_several(bins: Any, words: Any, rows: Any, columns: Any, starts: Any, out: Any) -> None:
    n, width = np.uint64(len(rows)), np.uint64(bins.shape[1])
    channels = np.uint64(words.shape[1])
    line, word = np.uint64(bins.ctypes.data), np.uint64(words.ctypes.data)
    for i in range(n):
        if i + np.uint64(_AHEAD) < n:
            ahead = np.uint64(rows[i + np.uint64(_AHEAD)])
            _prefetch(line + ahead * width)
            _prefetch(line + ahead * width + width - np.uint64(1))
            _prefetch(word + ahead * np.uint64(8) * channels)
        row = np.uint64(rows[i])
        for j in range(np.uint64(len(columns))):
            place = starts[j] + np.uint64(bins[row, columns[j]])
            for k in range(channels):
                out[place, k] += words[row, k]


def add_histogram(
    bins: NDArray[np.uint8],
    words: NDArray[np.int64],
    rows: NDArray[np.uint32],
    columns: NDArray[np.int64],
    starts: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Adds the words of these rows to their bins."""
    which, begin = columns.astype(np.uint64), starts.astype(np.uint64)
    if words.shape[1] > 1:
        _add_several(bins, words, rows, which, begin, out)
    elif len(columns) == bins.shape[1]:
        _add_all(bins, words[:, 0], rows, begin, out[:, 0])
    else:
        _add_some(bins, words[:, 0], rows, which, begin, out[:, 0])


@compiled
def partition(codes: Any, rows: Any, scratch: Any, left: Any) -> Any:
    """Returns how many rows go left; they come first in `rows`, the others lie in `scratch`."""
    lefts, rights = np.uint64(0), np.uint64(0)
    for i in range(np.uint64(len(rows))):
        row = rows[i]
        goes = np.uint64(left[codes[row]])
        rows[lefts] = row
        scratch[rights] = row
        lefts += goes
        rights += np.uint64(1) - goes
    return lefts


@compiled
def walk(
    bins: Any, feature: Any, left: Any, child: Any, values: Any, roots: Any, scores: Any
) -> None:
    """Adds to each score the value of the leaf that its row is in, tree after tree."""
    for start in range(0, len(bins), 256):  # rows that stay in the cache for all trees
        stop = min(start + 256, len(bins))
        for root in roots:
            for row in range(start, stop):
                node = root
                while feature[node] >= 0:
                    code = bins[row, feature[node]]
                    goes = left[node, code >> 3] >> (code & 7) & 1
                    node = child[node] + 1 - goes
                scores[row] += values[node]


@compiled
def add_values(rows: Any, ends: Any, values: Any, scores: Any) -> None:
    """Adds values[i] to the scores of rows[ends[i]:ends[i + 1]], which are all different."""
    for number in range(len(values)):
        for i in range(ends[number], ends[number + 1]):
            scores[rows[i]] += values[number]


@compiled
def _weigh(g: float, h: float, l2: float, low: float, high: float) -> tuple[float, float]:
    value = min(max(-g / (h + l2), low), high)
    return -((2.0 * g) * value + ((h + l2) * value) * value), value


@compiled
def _search(
    sums: Any,
    totals: Any,
    columns: Any,
    packed: bool,
    varies: bool,
    bits: int,
    least: float,
    hessian: float,
    l2: float,
    gradient: float,
    step: float,
    floats: Any,
    ints: Any,
) -> None:
    mask = (np.int64(1) << bits) - 1
    last = sums.shape[2] - 1
    for node in range(len(sums)):
        G, N, H, low, high = totals[node]
        before = _weigh(G, H, l2, low, high)[0]
        best = -np.inf
        for number in range(len(columns)):
            start, width, direction = columns[number]
            a, b, c = np.int64(0), np.int64(0), np.int64(0)
            for code in range(1, width):
                a += sums[node, start + code, 0]
                b += sums[node, start + code, 1] if not packed else 0
                c += sums[node, start + code, last] if varies else 0
                for missing in range(2):
                    first = a + missing * sums[node, start, 0]
                    if packed:
                        count = first & mask
                        first = (first - count) >> bits
                    else:
                        count = b + missing * sums[node, start, 1]
                    n = float(count)
                    if n < least or N - n < least:
                        continue
                    h = n
                    if varies:
                        h = (c + missing * sums[node, start, last]) * step
                    if h < hessian or H - h < hessian:
                        continue
                    g = first * gradient
                    gain_left, value_left = _weigh(g, h, l2, low, high)
                    gain_right, value_right = _weigh(G - g, H - h, l2, low, high)
                    gain = (gain_left + gain_right) - before
                    if gain > best and not direction * (value_right - value_left) < 0:
                        best = gain
                        ints[node, 0], ints[node, 1], ints[node, 2] = number, code, missing
                        floats[node, 1], floats[node, 2], floats[node, 3] = g, n, h
        floats[node, 0] = best


def best_splits(
    sums: NDArray[np.int64], totals: NDArray[np.float64], columns: NDArray[np.int64], limits: Limits
) -> Best:
    """Returns the best split of each node by a threshold."""
    floats, ints = np.zeros((len(sums), 4)), np.zeros((len(sums), 3), np.int64)
    layout = limits.layout
    _search(
        sums, totals, columns, layout.packed, layout.varies, layout.count_bits,
        float(limits.rows), limits.hessian, limits.l2, limits.gradient, limits.hessian_step,
        floats, ints,
    )  # fmt: skip
    return Best(floats[:, 0], ints[:, 0], ints[:, 1], ints[:, 2], floats[:, 1:])
