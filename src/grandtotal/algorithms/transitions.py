"""What follows what: item-to-item counts in order, and a history whose latest purchases count most.

The score of product j for a history is the sum over its products i of decay(i) B_ij, with

    B_ij = (together_ij + follows after_ij) / (sqrt(n_i n_j) + shrink)

together: customers of both; after: how often i was bought shortly before j, nearer ones counting
more; n: customers of each; decay halves with every `half_life` moments that i lies back. All counts
are totals of integers, so that the model is the one of the pooled rows, bit for bit.

Decayed sessions and steps apart: Garg et al., "Sequence and time aware neighborhood for
session-based recommendations (STAN)", 2019, https://doi.org/10.1145/3331184.3331322
Linear models of sessions: Choi et al., "Session-aware linear item-item models for session-based
recommendation (SLIST)", 2021, https://arxiv.org/abs/2103.16104
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array

from grandtotal.algorithms.elementary import exp, log
from grandtotal.algorithms.item_model import (
    Recommender,
    sparse_arrays,
    sparse_of,
    strongest,
    strongest_of_each,
)
from grandtotal.algorithms.item_similarity import tie_break
from grandtotal.algorithms.pair_counts import WEIGHTS, counted_pairs, moments
from grandtotal.algorithms.purchases import PurchaseCounts
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.fixedpoint import Arrays

_FORGOTTEN = 2.0**-12  # a purchase that counts less than this is left out of a score
_DENSE = 8  # weights are used as a square where at least one in so many is not 0


@dataclass(frozen=True)
class Transitions:
    """Recommends what others bought next, most of all after the last purchases.

    half_life: in moments (days with a purchase, steps of a session); 0 forgets nothing.
    follows: what being bought after is worth, in customers who bought both.
    window: moments after a purchase that count as next.
    shrink: added to the denominator, in customers.
    again: B_ii, what a product says for itself: for sessions, in which it may be looked at again.
    neighbours: of each bought product, how many recommended ones are kept; bounds the model.
    """

    half_life: float = 2.0
    follows: float = 8.0
    window: int = 10
    shrink: float = 10.0
    again: float = 0.0
    neighbours: int = 2000

    def fit(self, totals: Totals, products: int, split: str) -> "TransitionModel":
        """Returns the weights, sparse. Three rounds; more for catalogues over 4,096 products."""
        if not 0 <= self.window <= len(WEIGHTS):
            raise PlanError(f"window = {self.window}, expected from 0 to {len(WEIGHTS)} moments")
        customers = totals.total(PurchaseCounts(products, split))["counts"].astype(np.float64)
        found = counted_pairs(totals, products, split, 0)
        if self.window and self.follows:
            found = csr_array(
                found + self.follows * counted_pairs(totals, products, split, self.window)
            )
        rows = np.repeat(np.arange(products), np.diff(found.indptr))
        length = np.sqrt(customers)
        together = length[rows] * length[found.indices] + self.shrink
        weights = csr_array(
            ((found.data / together).astype(np.float32), found.indices, found.indptr),
            shape=found.shape,
        )
        weights.sort_indices()
        weights = largest(weights, self.neighbours)
        if self.again:
            itself = eye_array(products, format="csr", dtype=np.float32) * np.float32(self.again)
            weights = csr_array(weights + itself)
        return TransitionModel(weights, tie_break(customers), self.half_life, self.meta)

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": "transitions", **vars(self)}


def largest(weights: csr_array, most: int) -> csr_array:
    """Returns the `most` largest entries of each row; of equal ones the lower columns."""
    entries = np.diff(weights.indptr)
    if entries.max(initial=0) <= most:
        return weights
    rows = np.repeat(np.arange(len(entries)), entries)
    order = np.lexsort((weights.indices, -weights.data, rows))
    place = np.arange(len(order)) - np.repeat(weights.indptr[:-1], entries)
    kept = np.sort(order[place < most])
    return csr_array((weights.data[kept], (rows[kept], weights.indices[kept])), shape=weights.shape)


@dataclass(frozen=True)
class TransitionModel(Recommender):
    """weights: (products, products) sparse float32, from bought to recommended.

    prior: (products,) float32, which only orders what the weights leave equal. half_life: in
    moments of a history; 0 forgets nothing.
    """

    weights: csr_array
    prior: NDArray[np.float32]
    half_life: float
    meta: Json = field(default_factory=dict)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {
            **sparse_arrays(self.weights),
            "prior": self.prior,
            "half_life": np.array(self.half_life),
        }

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "TransitionModel":
        """Returns the model that `arrays` and `meta` describe."""
        many = len(arrays["prior"])
        weights = sparse_of(arrays, (many, many))
        return TransitionModel(weights, arrays["prior"], float(arrays["half_life"]), meta)

    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well."""
        scores: NDArray[np.float32] = np.tile(self.prior, (history.shape[0], 1))
        found = remembered(history, self.half_life) @ self._weights
        scores += found if isinstance(found, np.ndarray) else found.toarray()
        return scores

    @cached_property
    def _weights(self) -> csr_array | NDArray[np.float32]:
        cells = float(self.weights.shape[0]) ** 2
        return self.weights.toarray() if self.weights.nnz * _DENSE > cells else self.weights

    def because(self, history: NDArray[Any], product: int, most: int = 2) -> tuple[int, ...]:
        """Returns the bought products with the largest weight towards this one."""
        return strongest(history, self._towards(history, [product])[:, 0], most)

    def reasons(self, history: NDArray[Any], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        return strongest_of_each(history, self._towards(history, products), 2)

    def _towards(self, history: NDArray[Any], products: Sequence[int]) -> NDArray[np.float32]:
        """Returns (history, products) the weight of each bought product towards each of these."""
        starts, columns = self.weights.indptr, self.weights.indices
        sought = np.array(products, columns.dtype)
        towards = np.zeros((len(history), len(sought)), np.float32)
        for place, bought in enumerate(np.asarray(history).tolist()):
            own = slice(starts[bought], starts[bought + 1])
            if own.start < own.stop:
                at = np.minimum(columns[own].searchsorted(sought), own.stop - own.start - 1)
                known = columns[own][at] == sought
                towards[place, known] = self.weights.data[own][at[known]]
        return towards


def remembered(history: csr_array, half_life: float) -> csr_array:
    """Returns what each purchase counts, (customers, products) float32: the latest 1.

    half_life: in moments that a purchase lies back; 0 forgets nothing.
    """
    ago = moments(history)
    if not half_life:
        counts = np.ones(len(ago), np.float32)
    else:
        # Factors one after the other: the same bits on every machine, unlike a power.
        step = float(exp(-log(np.array([2.0])) / half_life)[0])
        most = int(ago.max(initial=1))
        powers = np.multiply.accumulate(np.r_[1.0, np.full(most - 1, step)])
        counts = powers[ago - 1]
        counts = np.where(counts < _FORGOTTEN, 0.0, counts).astype(np.float32)
    kept = counts > 0
    starts = np.concatenate([[0], np.cumsum(kept)])[history.indptr]
    return csr_array((counts[kept], history.indices[kept], starts), shape=history.shape)
