"""Shares of a secret: any `threshold` of them give it back, fewer say nothing about it.

The only arithmetic of our own: a polynomial of degree threshold - 1 over the integers modulo the
prime 2^521 - 1 whose value at 0 is the secret; share x is its value at x = 1, 2, ...

All shares that are given must lie on one polynomial, and its value at 0 must have 256 bits. With
one share more than the threshold an altered one is always noticed. With just enough it may not be:
whoever combines compares the secret with what was published of it.

Shamir, "How to share a secret", 1979, https://doi.org/10.1145/359168.359176
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

from grandtotal.errors import RefusedError

PRIME = 2**521 - 1
SECRET_BYTES = 32
SHARE_BYTES = 66

Entropy = Callable[[int], bytes]
"""Returns so many random bytes; os.urandom, but in tests."""


def split(secret: bytes, members: int, threshold: int, entropy: Entropy) -> list[bytes]:
    """Returns the shares of x = 1 to members, SHARE_BYTES each, of a secret of 32 bytes."""
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= members:
        raise ValueError(f"{len(secret)} bytes, {threshold} of {members}: cannot be shared")
    polynomial = [int.from_bytes(secret), *(_element(entropy) for _ in range(threshold - 1))]
    return [_value(polynomial, x).to_bytes(SHARE_BYTES) for x in range(1, members + 1)]


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Returns the secret from at least `threshold` shares by their x.

    RefusedError if they are too few, if one is no element of the field, or if they do not lie on
    one polynomial through a secret of 32 bytes.
    """
    if len(shares) < threshold:
        raise RefusedError(f"{len(shares)} shares of a secret, expected at least {threshold}")
    values = {x: _read(x, share) for x, share in sorted(shares.items())}
    first = tuple(values)[:threshold]
    for x in tuple(values)[threshold:]:
        if _interpolate(values, first, x) != values[x]:
            raise RefusedError(f"share {x} does not agree with the shares {first}")
    secret = _interpolate(values, first, 0)
    if secret >= 2 ** (8 * SECRET_BYTES):
        raise RefusedError(f"the shares {first} are not of one secret of {SECRET_BYTES} bytes")
    return secret.to_bytes(SECRET_BYTES)


def _element(entropy: Entropy) -> int:
    """Returns a uniform element: 521 random bits, drawn again should they be the prime itself."""
    while True:
        drawn = int.from_bytes(entropy(SHARE_BYTES)) >> (8 * SHARE_BYTES - 521)
        if drawn != PRIME:
            return drawn


def _value(polynomial: list[int], x: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % PRIME
    return value


def _read(x: int, share: bytes) -> int:
    value = int.from_bytes(share)
    if x < 1 or len(share) != SHARE_BYTES or value >= PRIME:
        raise RefusedError(f"share {x} of {len(share)} bytes is no element of the field")
    return value


def _interpolate(values: Mapping[int, int], nodes: tuple[int, ...], at: int) -> int:
    weights = _weights(nodes, at)
    return sum(w * values[x] for x, w in zip(nodes, weights, strict=True)) % PRIME


@lru_cache(maxsize=256)
def _weights(nodes: tuple[int, ...], at: int) -> tuple[int, ...]:
    """Returns Lagrange's weights: the value at `at` is the sum of weight times value."""
    weights = []
    for x in nodes:
        above = below = 1
        for other in nodes:
            if other != x:
                above = above * (at - other) % PRIME
                below = below * (x - other) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)
