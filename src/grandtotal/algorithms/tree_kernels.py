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
from grandtotal.algorithms.tree_bundles import Seen
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
def _add_all(codes: Any, words: Any, rows: Any, starts: Any, out: Any) -> None:
    # Unsigned indices: a signed one is first tested for counting from the end.
    n, width = np.uint64(len(rows)), np.uint64(codes.shape[1])
    line, word = np.uint64(codes.ctypes.data), np.uint64(words.ctypes.data)
    flat = codes.reshape(-1)
    for i in range(n):
        if i + np.uint64(_AHEAD) < n:
            ahead = np.uint64(rows[i + np.uint64(_AHEAD)])
            _prefetch(line + ahead * width)
            _prefetch(line + ahead * width + width - np.uint64(1))
            _prefetch(word + ahead * np.uint64(8))
        row = np.uint64(rows[i])
        added, first = words[row], row * width
        for j in range(width):
            out[starts[j] + np.uint64(flat[first + j])] += added


@compiled
def _add_some(codes: Any, words: Any, rows: Any, bundles: Any, starts: Any, out: Any) -> None:
    n, width = np.uint64(len(rows)), np.uint64(codes.shape[1])
    line, word = np.uint64(codes.ctypes.data), np.uint64(words.ctypes.data)
    flat = codes.reshape(-1)
    for i in range(n):
        if i + np.uint64(_AHEAD) < n:
            ahead = np.uint64(rows[i + np.uint64(_AHEAD)])
            _prefetch(line + ahead * width)
            _prefetch(line + ahead * width + width - np.uint64(1))
            _prefetch(word + ahead * np.uint64(8))
        row = np.uint64(rows[i])
        added, first = words[row], row * width
        for j in range(np.uint64(len(bundles))):
            out[starts[j] + np.uint64(flat[first + bundles[j]])] += added


@compiled
def _add_several(codes: Any, words: Any, rows: Any, bundles: Any, starts: Any, out: Any) -> None:
    n, width = np.uint64(len(rows)), np.uint64(codes.shape[1])
    channels = np.uint64(words.shape[1])
    line, word = np.uint64(codes.ctypes.data), np.uint64(words.ctypes.data)
    for i in range(n):
        if i + np.uint64(_AHEAD) < n:
            ahead = np.uint64(rows[i + np.uint64(_AHEAD)])
            _prefetch(line + ahead * width)
            _prefetch(line + ahead * width + width - np.uint64(1))
            _prefetch(word + ahead * np.uint64(8) * channels)
        row = np.uint64(rows[i])
        for j in range(np.uint64(len(bundles))):
            place = starts[j] + np.uint64(codes[row, bundles[j]])
            for k in range(channels):
                out[place, k] += words[row, k]


@compiled
def _unbundle(sums: Any, channels: int, places: Any, out: Any) -> None:
    """Adds to the words of each bin those of all codes that hold it."""
    step, end = np.uint64(channels), np.uint64(0)
    for place in range(len(places)):
        start, above, width, below = places[place]
        begin, end = end, end + np.uint64(width) * step
        first = np.uint64(start) * step
        if above == below == 1:
            for i in range(end - begin):
                out[begin + i] += sums[first + i]
            continue
        for channel in range(step):
            code = first + channel
            for _ in range(above):
                for word in range(begin + channel, end, step):
                    total = np.int64(0)
                    for _ in range(below):
                        total += sums[code]
                        code += step
                    out[word] += total


@compiled
def _add_histograms(
    codes: Any, words: Any, rows: Any, ranges: Any, bundles: Any, starts: Any, size: int,
    places: Any, out: Any,
) -> None:  # fmt: skip
    channels = words.shape[1]
    sums = np.empty(size * channels, np.int64)
    for number in range(len(ranges)):
        some, bins = rows[ranges[number, 0] : ranges[number, 1]], out[number].reshape(-1)
        sums[:] = 0
        if channels > 1:
            _add_several(codes, words, some, bundles, starts, sums.reshape(size, channels))
        elif len(bundles) == codes.shape[1]:
            _add_all(codes, words.reshape(-1), some, starts, sums)
        else:
            _add_some(codes, words.reshape(-1), some, bundles, starts, sums)
        _unbundle(sums, channels, places, bins)


def add_histograms(
    codes: NDArray[np.uint8],
    words: NDArray[np.int64],
    rows: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    seen: Seen,
    out: NDArray[np.int64],
) -> None:
    """Adds the words of ranges of the rows to the bins of each feature."""
    bundles, starts = seen.bundles.view(np.uint64), seen.starts.view(np.uint64)
    _add_histograms(codes, words, rows, ranges, bundles, starts, seen.size, seen.places, out)


@compiled
def cut(codes: Any, splits: Any, made: int, rows: Any, scratch: Any, ranges: Any) -> None:
    """Moves the rows of each new split's node that go left before the others."""
    goes_left = np.empty(256, np.uint64)
    for split in range(made, len(splits)):
        parent, feature = splits[split, 0], splits[split, 1]
        for code in range(256):
            goes_left[code] = splits[split, 2 + (code >> 5)] >> (code & 31) & 1
        begin, end = ranges[parent]
        bins, some, others = codes[feature], rows[begin:end], scratch[begin:end]
        lefts, rights = np.uint64(0), np.uint64(0)
        for i in range(np.uint64(len(some))):
            row = some[i]
            goes = goes_left[bins[row]]
            some[lefts] = row
            others[rights] = row
            lefts += goes
            rights += np.uint64(1) - goes
        some[lefts:] = others[:rights]
        middle = begin + np.int64(lefts)
        ranges[2 * split + 1, 0], ranges[2 * split + 1, 1] = begin, middle
        ranges[2 * split + 2, 0], ranges[2 * split + 2, 1] = middle, end


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
def add_values(rows: Any, ranges: Any, values: Any, scores: Any) -> None:
    """Adds a value to the scores of each of these ranges of the rows, which are all different."""
    for number in range(len(ranges)):
        for i in range(ranges[number, 0], ranges[number, 1]):
            scores[rows[i]] += values[number]


@compiled
def _weigh(g: float, h: float, l2: float, low: float, high: float) -> tuple[float, float]:
    value = -g / (h + l2)
    value = low if value < low else value
    value = high if value > high else value
    return -((2.0 * g) * value + ((h + l2) * value) * value), value


@compiled
def _up_to(
    sums: Any, missing: int, packed: bool, varies: bool, bits: int,
    gradient: float, step: float, g: Any, n: Any, h: Any,
) -> None:  # fmt: skip
    """Writes gradient, rows and hessian of what goes left with each bin, missing values or not."""
    mask, last = (np.int64(1) << bits) - 1, sums.shape[1] - 1
    word, second = missing * sums[0, 0], missing * sums[0, last]
    count = missing * sums[0, min(1, last)]
    for code in range(1, len(sums)):
        word += sums[code, 0]
        if packed:
            count = word & mask
            g[code - 1] = ((word - count) >> bits) * gradient
        else:
            count += sums[code, 1]
            g[code - 1] = word * gradient
        n[code - 1] = count
        if varies:
            second += sums[code, last]
            h[code - 1] = second * step
        else:
            h[code - 1] = count


@compiled
def _gains(
    g: Any, n: Any, h: Any, total: Any, direction: int, least: float, hessian: float, l2: float,
    gain: Any,
) -> None:  # fmt: skip
    """Writes the gain of each split, without a branch, so that several are made at once."""
    G, N, H, low, high = total
    before = _weigh(G, H, l2, low, high)[0]
    for i in range(len(gain)):
        gain_left, value_left = _weigh(g[i], h[i], l2, low, high)
        gain_right, value_right = _weigh(G - g[i], H - h[i], l2, low, high)
        wrong = (n[i] < least) | (N - n[i] < least) | (h[i] < hessian) | (H - h[i] < hessian)
        wrong |= direction * (value_right - value_left) < 0
        gain[i] = -np.inf if wrong else (gain_left + gain_right) - before


@compiled
def _search(
    sums: Any, totals: Any, columns: Any, packed: bool, varies: bool, bits: int,
    least: float, hessian: float, l2: float, gradient: float, step: float, floats: Any, ints: Any,
) -> None:  # fmt: skip
    g, n, h, gain = np.empty(256), np.empty(256), np.empty(256), np.empty(256)
    for node in range(len(sums)):
        best = -np.inf
        for number in range(len(columns)):
            start, width, direction = columns[number]
            part, at = sums[node, start : start + width], 0
            for missing in range(2):
                if missing and not part[0].any():
                    break  # the same gains as before
                _up_to(part, missing, packed, varies, bits, gradient, step, g, n, h)
                _gains(g, n, h, totals[node], direction, least, hessian, l2, gain[: width - 1])
                for i in range(width - 1):
                    # Of equal gains the first column wins, then the first bin, then missing right.
                    if gain[i] > best or (gain[i] == best and i + 1 < at):
                        best, at = gain[i], i + 1
                        ints[node, 0], ints[node, 1], ints[node, 2] = number, at, missing
                        floats[node, 1], floats[node, 2], floats[node, 3] = g[i], n[i], h[i]
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
