"""Several recommenders as one: a weighted sum of what each says, in its own standard deviations.

The scores of one model are counts, of another probabilities; per customer, over the products not
yet bought, each becomes (score - mean) / standard deviation before it is weighed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as every
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.als import FactorModel
from grandtotal.algorithms.content import HybridModel
from grandtotal.algorithms.content_based import ContentModel
from grandtotal.algorithms.customer_context import Context
from grandtotal.algorithms.item_model import ItemModel, Recommender
from grandtotal.algorithms.offered import Offered
from grandtotal.algorithms.sequential import SequenceModel
from grandtotal.algorithms.towers import TowerModel
from grandtotal.algorithms.transitions import TransitionModel
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays


class Candidate(Protocol):
    """What a choice is made of: hyper-parameters that make a recommender of totals."""

    def fit(self, totals: Totals, products: int, split: str) -> Recommender: ...


@dataclass(frozen=True)
class Blended:
    """The candidates whose models are blended, and the share of each; shares add up to 1."""

    candidates: tuple[Candidate, ...]
    shares: tuple[float, ...]

    def fit(self, totals: Totals, products: int, split: str) -> "Blend":
        """Returns the blend of the candidates' models."""
        parts = tuple(c.fit(totals, products, split) for c in self.candidates)
        return Blend(parts, np.array(self.shares))


@dataclass(frozen=True)
class Blend(Recommender):
    """parts: the models. shares: (parts,) float64, the weight of each."""

    parts: tuple[Recommender, ...]
    shares: NDArray[np.float64]

    @property
    def meta(self) -> Json:  # type: ignore[override]
        """The hyper-parameters of the parts, each with its share."""
        shares = self.shares.tolist()
        named = [{**p.meta, "share": s} for p, s in zip(self.parts, shares, strict=True)]
        return {"model": "blend", "parts": named}

    @property
    def prior(self) -> NDArray[np.float32]:  # type: ignore[override]
        """The score without any history."""
        empty = np.empty(0, np.int32)
        shape = (1, len(self.parts[0].prior))
        nobody = csr_array((empty, empty, np.zeros(2, np.int32)), shape=shape)
        score: NDArray[np.float32] = self.affinities(nobody)[0]
        return score

    @property
    def arrays(self) -> Arrays:
        """The arrays of all parts, under their number, and the shares."""
        return {**parts_arrays(self.parts), "shares": self.shares}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "Blend":
        """Returns the model that `arrays` and `meta` describe."""
        return Blend(built_parts(arrays, meta), arrays["shares"])

    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well."""
        return self.knowing(history, None)

    def knowing(self, history: csr_array, context: Context | None) -> NDArray[np.float32]:
        """Returns the affinities, with what else is known of the customers."""
        return mixed(standardised(self.parts, history, context), self.shares)

    def similar(self, product: int) -> NDArray[np.float32]:
        """Returns (products,) the weighted sum of the parts' own, each in its deviations."""
        total = np.zeros(len(self.parts[0].prior), np.float64)
        for part, share in zip(self.parts, self.shares.tolist(), strict=True):
            found = part.similar(product).astype(np.float64)
            total += share * found / (found.std() or 1.0)
        return total.astype(np.float32)

    def because(self, history: NDArray[Any], product: int, most: int = 2) -> tuple[int, ...]:
        """Returns what the part with the largest share that has a reason says."""
        for place in np.argsort(-self.shares, kind="stable").tolist():
            found: tuple[int, ...] = self.parts[place].because(history, product, most)
            if found:
                return found
        return ()


def mixed(scores: list[NDArray[np.float64]], shares: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns the weighted sum of standardised scores, added up in their order."""
    total = np.zeros_like(scores[0])
    for share, each in zip(shares.tolist(), scores, strict=True):
        if share:
            total += share * each
    return total.astype(np.float32)


def standardised(
    parts: tuple[Recommender, ...], history: csr_array, context: Context | None = None
) -> list[NDArray[np.float64]]:
    """Returns (customers, products) of each part, with mean 0 and deviation 1 of what is new.

    Where all scores of a customer are equal, they are 0.
    """
    customers = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
    new = np.ones(history.shape)
    new[customers, history.indices] = 0.0
    many = np.maximum(new.sum(axis=1, keepdims=True), 1.0)
    found = []
    for part in parts:
        scores = part.knowing(history, context).astype(np.float64)
        scores -= (scores * new).sum(axis=1, keepdims=True) / many
        spread = np.sqrt((scores**2 * new).sum(axis=1, keepdims=True) / many)
        found.append(np.divide(scores, spread, out=np.zeros_like(scores), where=spread > 0))
    return found


def parts_arrays(parts: tuple[Recommender, ...]) -> Arrays:
    """Returns the arrays of all parts, each name after the number of its part."""
    return {f"{i}/{n}": a for i, part in enumerate(parts) for n, a in part.arrays.items()}


def built_parts(arrays: Arrays, meta: Json) -> tuple[Recommender, ...]:
    """Returns the parts that `parts_arrays` took apart."""
    named = meta.get("parts")
    parts: list[Recommender] = []
    while own := {n.split("/", 1)[1]: a for n, a in arrays.items() if _number(n) == len(parts)}:
        told = {k: v for k, v in named[len(parts)].items() if k != "share"} if named else {}
        parts.append(recommender(own, told))
    return tuple(parts)


def _number(name: str) -> int:
    return int(name.split("/", 1)[0]) if "/" in name else -1


def recommender(arrays: Arrays, meta: Json) -> Recommender:
    """Returns the model of whichever kind these arrays are; none needs its meta to score."""
    if "offered" in arrays:
        rest = {name: array for name, array in arrays.items() if name != "offered"}
        return Offered(recommender(rest, meta), arrays["offered"] > 0)
    if "shares" in arrays:
        return Blend.build(arrays, meta)
    if "described" in arrays:
        return TowerModel.build(arrays, meta)
    if "network" in arrays:
        return SequenceModel.build(arrays, meta)
    if "bridge" in arrays:
        return HybridModel.build(arrays, meta)
    if "rarity" in arrays:
        return ContentModel.build(arrays, meta)
    if "factors" in arrays:
        return FactorModel.build(arrays, meta)
    if "starts" in arrays:
        return TransitionModel.build(arrays, meta)
    return ItemModel.build(arrays, meta)


def shares_of(parts: int, steps: int = 4) -> Iterator[tuple[float, ...]]:
    """Yields every way to share 1 among the parts in whole steps, first those of one part alone."""
    ways = [way for way in every(range(steps + 1), repeat=parts) if sum(way) == steps]
    for way in sorted(ways, key=lambda way: (sum(share > 0 for share in way), way)):
        yield tuple(share / steps for share in way)
