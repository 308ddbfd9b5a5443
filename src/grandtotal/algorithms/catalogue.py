"""The products that enough retailers sell, found from totals alone. Exact, up to fingerprints.

A product is a fingerprint: 64 bits under a key that all retailers have and the coordinator has not.
The first round counts, for every bucket of leading bits, the retailers with a product in it. Each
further round parts the buckets with enough of them by STEP more bits, until a bucket is one
fingerprint. Two products that meet in a bucket part with the first bit in which they differ, so
only equal fingerprints are ever taken for one product: among P products of all retailers together
with probability below P (P - 1) / 2^65, for 100,000 products 3e-10.

Growing prefixes: Zhu et al., "Federated heavy hitters discovery with differential privacy", 2020,
https://arxiv.org/abs/1902.08534
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.errors import AnswerError, Code, PlanError, RefusedError
from grandtotal.privacy.bound import NoCustomers, Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

BITS = 64  # of a fingerprint
STEP = 5  # bits by which every round after the first parts a bucket


@dataclass(frozen=True)
class CataloguePresence:
    """How many retailers have a product in each part of each bucket of the broadcast.

    The broadcast holds "prefixes" (buckets,), increasing uint64: the first `known` bits of the
    fingerprints in them. Each bucket is parted by the next `step` bits.
    """

    name: ClassVar[str] = "catalogue-presence"
    bound: ClassVar[Stated] = NoCustomers(
        "it is read from the products table, which no customer's row can change"
    )

    known: int
    step: int

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns retailers (buckets * 2^step,), the parts of a bucket side by side."""
        return {"retailers": Field((len(broadcast["prefixes"]) << self.step,), modulus=2**32)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns 1 where this retailer has a product; rows["now"] holds one array a retailer."""
        prefixes = broadcast["prefixes"]
        counts = np.zeros(len(prefixes) << self.step, np.int32)
        for fingerprints in rows["now"]:
            counts[self._places(fingerprints, prefixes)] += 1
        return {"retailers": counts}

    def _places(
        self, fingerprints: NDArray[np.uint64], prefixes: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        parts = np.unique(fingerprints >> np.uint64(BITS - self.known - self.step))
        buckets = parts >> np.uint64(self.step)
        at = np.minimum(np.searchsorted(prefixes, buckets), len(prefixes) - 1)
        inside = prefixes[at] == buckets
        within = parts[inside] & np.uint64(2**self.step - 1)
        places: NDArray[np.int64] = (at[inside] << self.step) + within.astype(np.int64)
        return places


@dataclass(frozen=True)
class PrivateCatalogue:
    """The products that at least `minimum` retailers sell.

    most: an upper bound of the different products of all retailers together. It sets the size of
        the first round: 32 to 64 buckets a product.
    """

    minimum: int = 3
    most: int = 100_000

    def fit(self, totals: Totals) -> "Catalogue":
        """Returns the catalogue; at most 13 rounds, 10 for 100,000 products."""
        known, step = 0, 5 + (self.most - 1).bit_length()
        prefixes = np.zeros(1, np.uint64)
        while known < BITS:
            query = CataloguePresence(known, step)
            counts = totals.total(query, {"prefixes": prefixes})["retailers"]
            enough = counts >= self.minimum
            parts = (prefixes[:, None] << np.uint64(step)) | np.arange(2**step, dtype=np.uint64)
            prefixes, known = parts.ravel()[enough], known + step
            step = min(STEP, BITS - known)
            self._refuse(len(prefixes))
        return Catalogue(prefixes, counts[enough].astype(np.int64))

    def _refuse(self, found: int) -> None:
        if not found:
            raise PlanError(
                f"no product is sold by {self.minimum} retailers: look whether all have the same "
                f"catalogue key, and whether the plan's 'key' is what they share"
            )
        if found > self.most:
            # Every bucket that is kept holds a product that no other bucket holds.
            raise RefusedError(
                f"the retailers have at least {found:,} different products, catalogue_most is "
                f"{self.most:,}: raise it to a true upper bound for all of them together"
            )


@dataclass(frozen=True)
class Catalogue:
    """buckets: (products,) increasing uint64, the order of every array of the run.

    retailers: (products,) how many sell each; it stays with the coordinator.
    """

    buckets: NDArray[np.uint64]
    retailers: NDArray[np.int64]

    @property
    def keys(self) -> tuple[str, ...]:
        """What the products are called where nobody knows better."""
        return opaque(self.buckets)


def refuse_disorder(buckets: NDArray[Any]) -> None:
    """Raises AnswerError unless these are different uint64 numbers, in increasing order."""
    if buckets.dtype != np.uint64 or buckets.ndim != 1 or not (buckets[1:] > buckets[:-1]).all():
        raise AnswerError(
            Code.MALFORMED, "the catalogue is no increasing list of numbers: nothing was kept of it"
        )


def opaque(buckets: NDArray[np.uint64]) -> tuple[str, ...]:
    """Returns a name for each bucket that says its number and nothing else."""
    return tuple(f"#{bucket:0{BITS // 4}x}" for bucket in buckets.tolist())
