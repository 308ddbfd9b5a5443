"""Integer noise from a cryptographic source: discrete Gaussians, drawn by inversion.

Why the discrete Gaussian: an integer total with such noise of variance sigma^2 is rho-zCDP with
rho = norm^2 / (2 sigma^2), as with continuous noise, and without floating point in what is
released (Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020,
https://arxiv.org/abs/2004.00010). Skellam noise is closed under sums, but costs a term of the
1-norm more. A sum of discrete Gaussians is not exactly one; by how little it differs is known
(Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism", 2021, Theorem 1,
https://arxiv.org/abs/2102.06387) and is charged: `accounting.correction`.

How it is drawn. Up to 2 WIDTH, a table of the cumulative distribution with 256 bits is inverted:
16 random bits decide nearly every draw, 64 bits the others, all 256 where even those are a tie.
Above, x = k y + z with narrower y and z, whose pmf differs from the discrete Gaussian's at every
point by a factor within 1 +- 4 exp(-2 pi^2 s^2), s = sigma_y sigma_z / sigma (Poisson summation;
Micciancio and Walter, "Gaussian Sampling over the Integers", 2017,
https://eprint.iacr.org/2017/259); here s > 2.6. Tables end where 2^-200 of the mass is left. In
all, a draw is within 2^-190 of exact: 2^50 draws at epsilon <= 20 add 2^-110 to delta, which
`accounting` holds back many times over.

Source: AES-256 in counter mode under a key from os.urandom, used for one release and kept by
egress until the release is over, so that what is sent again is the same. Whoever learns the key
can subtract the noise.
"""

import math
import os
from bisect import bisect_right
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from grandtotal.durable import write

Entropy = Callable[[int], bytes]
"""Returns so many random bytes; `os.urandom`, but in tests."""

KEY_BYTES = 32
BLOCK = 2**16  # draws at a time, so that everything between stays in the cache
BITS = 256  # of a cumulative probability
WIDTH = 256.0  # standard deviation, in steps, of what a table is made for; at most twice that
_APART = 4.0  # keeps s = sigma_y sigma_z / sigma above 2.6
_TAIL = 16.7  # standard deviations; beyond them lies less than 2^-200
_OPEN = np.iinfo(np.int16).min  # in a guide: 16 bits do not decide


class NoiseKeys:
    """The keys of releases that may be sent again: one file each, that only its owner may read."""

    def __init__(self, folder: Path, entropy: Entropy = os.urandom) -> None:
        self._folder = folder
        self._entropy = entropy

    def kept(self, release: str) -> bytes | None:
        """Returns the key of a release, None where there is none or it was forgotten."""
        path = self._path(release)
        return path.read_bytes() if path.exists() else None

    def new(self, release: str) -> bytes:
        """Returns a new key; it is on the disk when this returns."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = self._entropy(KEY_BYTES)
        write(self._path(release), key)
        return key

    def forget(self, release: str) -> None:
        """Deletes the key of a release: the same noise is never drawn again."""
        self._path(release).unlink(missing_ok=True)

    def forget_all(self) -> None:
        """Deletes all keys of the folder."""
        for path in self._folder.glob("*.key*"):
            path.unlink()

    def _path(self, release: str) -> Path:
        return self._folder / f"{release}.key"


class NoiseStream:
    """The discrete Gaussian draws of one key, one after another; the same key, the same draws.

    sigma: of each draw, in steps, above 0 and below 2^40; the variance is sigma^2, and below it
    where sigma < 1. key: of this release alone.
    """

    def __init__(self, sigma: float, key: bytes) -> None:
        self._parts = [(factor, _table(width)) for factor, width in _decomposed(sigma)]
        self._bits = _Bits(key)

    def add(self, words: NDArray[Any]) -> None:
        """Adds the next draws to flat unsigned words in place, modulo their 2^32 or 2^64."""
        for start in range(0, len(words), BLOCK):
            block = words[start : start + BLOCK]
            block += self._block(len(block)).astype(words.dtype)

    def draws(self, count: int) -> NDArray[np.int64]:
        """Returns the next draws, shape (count,)."""
        drawn = np.zeros(count, np.int64)
        self.add(drawn.view(np.uint64))
        return drawn

    def _block(self, count: int) -> NDArray[np.int64]:
        drawn = np.zeros(count, np.int64)
        for factor, table in self._parts:
            drawn += np.multiply(table.draws(self._bits, count), factor, dtype=np.int64)
        return drawn


def _decomposed(sigma: float) -> list[tuple[int, float]]:
    """Returns (k, width) of draws that add up to one of this sigma: sum k^2 width^2 = sigma^2."""
    if not 0 < sigma < 2**40:
        raise ValueError(f"sigma = {sigma}, expected a number above 0 and below 2^40")
    parts = []
    while sigma > 2 * WIDTH:
        factor = math.ceil(sigma / WIDTH)
        rest = sigma * _APART / WIDTH
        parts.append((factor, math.sqrt(sigma**2 - rest**2) / factor))
        sigma = rest
    return [*parts, (1, sigma)]


class _Bits:
    """The keystream of AES-256-CTR: random bits, the same for the same key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes, expected {KEY_BYTES}")
        # One release, one key: the counter may begin at 0.
        self._stream = Cipher(AES(key), CTR(bytes(16))).encryptor()

    def take(self, count: int, word: str) -> NDArray[Any]:
        """Returns the next words, shape (count,)."""
        taken = np.empty(count, word)
        self._stream.update_into(bytes(taken.nbytes), taken.view(np.uint8).data)
        return taken


class _Table:
    """Inverts the cumulative distribution of one discrete Gaussian of at most 2 WIDTH.

    _bounds: for every value but the last, 2^BITS times the probability of at most this value;
    a uniform integer u of BITS bits is turned into the number of bounds <= u.
    _guide: for the first 16 bits of u the value, or _OPEN where a bound has the same 16 bits.
    """

    def __init__(self, sigma: float) -> None:
        self._bounds = _cumulative(sigma)
        self._first = -len(self._bounds) // 2
        self._tops = np.array([bound >> (BITS - 64) for bound in self._bounds], np.uint64)
        starts = np.arange(2**16, dtype=np.uint64) << np.uint64(48)
        below = np.searchsorted(self._tops, starts)
        until = np.append(below[1:], len(self._tops))
        self._guide = np.where(below == until, below + self._first, _OPEN).astype(np.int16)

    def draws(self, bits: _Bits, count: int) -> NDArray[np.int16]:
        words = bits.take(count, "<u2")
        drawn: NDArray[np.int16] = self._guide[words]
        still = np.flatnonzero(drawn == _OPEN)
        drawn[still] = self._decided(words[still], bits)
        return drawn

    def _decided(self, words: NDArray[np.uint16], bits: _Bits) -> NDArray[np.int64]:
        more = bits.take(len(words), "<u8") >> np.uint64(16)
        tops = (words.astype(np.uint64) << np.uint64(48)) | more
        found = np.searchsorted(self._tops, tops)
        tied = self._tops[np.minimum(found, len(self._tops) - 1)] == tops
        for place in np.flatnonzero(tied):
            rest = int.from_bytes(bits.take((BITS - 64) // 8, "u1").tobytes(), "big")
            whole = int(tops[place]) << (BITS - 64) | rest
            found[place] = bisect_right(self._bounds, whole)
        return found + self._first


_table = lru_cache(maxsize=64)(_Table)


def _cumulative(sigma: float) -> list[int]:
    """Returns 2^BITS P(X <= x) for x = -t ... t - 1, rounded down; P is as if t were the end.

    With q = exp(-1 / (2 sigma^2)), P(x) is in the ratio of q^(x^2): each is the last times an odd
    power of q. In integers with 128 bits more than are kept, so that no rounding shows.
    """
    one = BITS + 128
    with localcontext(prec=150):
        ratio = (-1 / (2 * Decimal(sigma) ** 2)).exp()
        odd = int(ratio * 2**one)
        square = int(ratio**2 * 2**one)
    masses = [1 << one]
    for _ in range(math.ceil(_TAIL * sigma) + 1):
        masses.append(masses[-1] * odd >> one)
        odd = odd * square >> one
    line = masses[:0:-1] + masses
    whole, below, bounds = sum(line), 0, []
    for mass in line[:-1]:
        below += mass
        bounds.append(min((below << BITS) // whole, 2**BITS - 1))
    return bounds
