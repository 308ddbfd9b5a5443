"""Which rows and columns a tree sees: a hash decides, so it is the same whoever holds the rows.

Breiman, "Random Forests", 2001; Poisson bootstrap: Oza and Russell, "Online bagging and boosting",
2001. The hash is the finaliser of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", 2014.
"""

import numpy as np
from numpy.typing import NDArray

from grandtotal.durable import digest

MOST_DRAWS = 15  # of one row in one bootstrap sample: more than that happens to 1 row in 10^13


def mixed(keys: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """Returns a hash (rows,) of each key, as good as independent for every salt."""
    x = keys ^ np.uint64(salt)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def salt(purpose: str, seed: int, tree: int) -> int:
    """Returns 64 bits that differ for every purpose, seed and tree."""
    return int(digest(purpose.encode(), str(seed).encode(), str(tree).encode())[:16], 16)


def drawn(hashes: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Returns which rows are in a sample of a share of all, in (0, 1]."""
    if share >= 1:
        return np.ones(len(hashes), np.bool_)
    return hashes < np.uint64(int(share * 2.0**64))


def draws(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Returns how often each row is drawn: Poisson with mean 1, at most MOST_DRAWS."""
    return np.searchsorted(_POISSON, hashes, side="right").astype(np.uint8)


def columns_of(count: int, share: float, seed: int, tree: int) -> NDArray[np.int64]:
    """Returns the increasing columns that a tree sees: a share of all, at least one."""
    kept = max(1, round(share * count))
    hashes = mixed(np.arange(count, dtype=np.uint64), salt("columns", seed, tree))
    return np.sort(np.argsort(hashes, kind="stable")[:kept])


def _poisson() -> NDArray[np.uint64]:
    share, total, bounds = 0.36787944117144233, 0.0, []  # e^-1
    for count in range(MOST_DRAWS):
        total += share
        share /= count + 1
        bounds.append(min(int(total * 2.0**64), 2**64 - 1))
    return np.array(bounds, np.uint64)


_POISSON = _poisson()
