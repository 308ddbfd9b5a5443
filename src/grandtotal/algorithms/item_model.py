"""What every recommender gives, and the model of the item-to-item methods.

Nothing of a customer is in a model: scores are made of a history that the model is shown, so that a
customer who was never seen in training, or a session without a customer, is served at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.customer_context import Context
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays

# The prior only orders products between which the weights do not decide.
TIE_BREAK = np.float32(1e-6)
_COLUMNS = 256  # of a table of scores, whose largest ones are found in one reading


@dataclass(frozen=True)
class Request:
    """What is known of one customer or session: products in order, and what is wanted.

    products: catalogue indices of the history, the latest last; may be empty, or hold one twice.
    k: how many recommendations.
    exclude: catalogue indices never to be recommended, beside the history.
    again: whether products of the history may be recommended: for a session's next click.
    """

    products: tuple[int, ...]
    k: int = 10
    exclude: tuple[int, ...] = ()
    again: bool = False


@dataclass(frozen=True)
class Recommendation:
    """One product, its score, and the products of the history that speak most for it."""

    product: int
    score: float
    because: tuple[int, ...]


class Recommender(ABC):
    """A model that scores products for histories (customers, products).

    An entry of a history is how many days, or steps, ago a product was bought last, from 1.
    """

    prior: NDArray[np.float32]  # (products,): the score without any history
    meta: Json
    # (products,) what others let a retailer show that does not sell it; None: nothing.
    offered: NDArray[np.bool_] | None = None

    @property
    @abstractmethod
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""

    @abstractmethod
    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well.

        A customer's scores do not depend on who else is in the block.
        """

    def knowing(self, history: csr_array, context: Context | None) -> NDArray[np.float32]:  # noqa: ARG002
        """Returns the affinities; a model that reads more than histories reads the context."""
        return self.affinities(history)

    @abstractmethod
    def because(self, history: NDArray[Any], product: int, most: int = 2) -> tuple[int, ...]:
        """Returns the bought products that speak most for this one, at most so many."""

    def reasons(self, history: NDArray[Any], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        return [self.because(history, product) for product in products]

    def similar(self, product: int) -> NDArray[np.float32]:
        """Returns (products,) how much each goes with this one, 0 where nothing is known.

        What a history of this one product adds to the score of no history.
        """
        alone = self.affinities(in_order((product,), len(self.prior)))[0]
        added: NDArray[np.float32] = alone - self.affinities(in_order((), len(self.prior)))[0]
        return added

    def scores(self, history: csr_array, context: Context | None = None) -> NDArray[np.float32]:
        """Returns the affinities; -inf where the customer has bought already."""
        scores = self.knowing(history, context)
        customers = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
        scores[customers, history.indices] = -np.inf
        return scores

    def best(
        self, history: csr_array, k: int, hidden: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Returns the k best products for one history (1, products), best first, and their scores.

        hidden: (products,) what may not be among them; fewer than k where too few are left.
        """
        return best_of(self.affinities(history)[0], k, hidden)

    def predict(self, request: Request) -> list[Recommendation]:
        """Returns the best k products for one customer or session, best first."""
        history = in_order(request.products, len(self.prior))
        hidden = np.zeros(len(self.prior), bool)
        hidden[list(request.exclude)] = True
        if not request.again:
            hidden[history.indices] = True
        best, scores = self.best(history, request.k, hidden)
        reasons = self.reasons(history.indices, best.tolist())
        found = zip(best.tolist(), scores.tolist(), reasons, strict=True)
        return [Recommendation(*each) for each in found]


def sparse_arrays(matrix: csr_array) -> Arrays:
    """Returns the three arrays of a sparse matrix, as they travel and are saved."""
    return {
        "values": matrix.data,
        "columns": matrix.indices.astype(np.int32),
        "starts": matrix.indptr.astype(np.int64),
    }


def sparse_of(arrays: Arrays, shape: tuple[int, int]) -> csr_array:
    """Returns the matrix of this shape that `sparse_arrays` took apart."""
    return csr_array((arrays["values"], arrays["columns"], arrays["starts"]), shape=shape)


def in_order(products: tuple[int, ...], many: int) -> csr_array:
    """Returns the history (1, many) of a list of products, the latest last: how many steps ago."""
    # The last mention of a product is the one that is kept.
    steps = {product: len(products) - place for place, product in enumerate(products)}
    bought = np.array(sorted(steps), np.int32)
    ago = np.array([steps[product] for product in bought.tolist()], np.int32)
    return csr_array((ago, bought, np.array([0, len(bought)])), shape=(1, many))


@dataclass(frozen=True)
class ItemModel(Recommender):
    """A customer's scores are bought @ weights + prior.

    weights: (products, products) float32, from bought to recommended, or (0, 0) for none.
    prior: (products,) float32, the score without any history.
    """

    weights: NDArray[np.float32]
    prior: NDArray[np.float32]
    meta: Json = field(default_factory=dict)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {"weights": self.weights, "prior": self.prior}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "ItemModel":
        """Returns the model that `arrays` and `meta` describe."""
        return ItemModel(arrays["weights"], arrays["prior"], meta)

    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well."""
        x = csr_array(
            (np.ones(history.nnz, np.float32), history.indices, history.indptr),
            shape=history.shape,
        )
        scores: NDArray[np.float32] = np.tile(self.prior, (history.shape[0], 1))
        if self.weights.size:
            scores += np.asarray(x @ self.weights)
        return scores

    def because(self, history: NDArray[Any], product: int, most: int = 2) -> tuple[int, ...]:
        """Returns the bought products with the largest positive weight towards this one."""
        if not self.weights.size:
            return ()
        return strongest(history, self.weights[history, product], most)

    def reasons(self, history: NDArray[Any], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        if not self.weights.size:
            return [()] * len(products)
        return strongest_of_each(history, self.weights[history[:, None], list(products)], 2)


def strongest(history: NDArray[Any], weight: NDArray[Any], most: int) -> tuple[int, ...]:
    """Returns the products of a history with the largest weights, those above 0."""
    return strongest_of_each(history, weight[:, None], most)[0]


def strongest_of_each(
    history: NDArray[Any], weights: NDArray[Any], most: int
) -> list[tuple[int, ...]]:
    """Returns what `strongest` does, for each column of weights (history, products)."""
    first = np.argsort(-weights, axis=0, kind="stable")[:most]
    above = np.take_along_axis(weights, first, axis=0) > 0
    named = zip(history[first].T.tolist(), above.T.tolist(), strict=True)
    return [tuple(compress(names, kept)) for names, kept in named]


def top(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Returns (rows, k) column indices, best first; equal scores go to the lower index."""
    rows, products = scores.shape
    k = max(0, min(k, products))
    if not k:
        return np.empty((rows, 0), np.intp)
    least = np.partition(scores, products - k, axis=1)[:, products - k, None]
    row, column = np.divmod(np.flatnonzero(scores >= least), products)
    # Stable: of equal scores the first columns stay first, also where more than k are equal.
    order = np.lexsort((-scores[row, column], row))
    starts = np.searchsorted(row, np.arange(rows))
    ranked: NDArray[np.intp] = column[order[starts[:, None] + np.arange(k)]]
    return ranked


def reached(scores: NDArray[np.float32], k: int) -> np.float32:
    """Returns a score that at least k of (products,) reach, and few more; inf where k is 0.

    k of them are the largest of different columns of a table of the scores.
    """
    k = max(0, min(k, len(scores)))
    if not k:
        return np.float32(np.inf)
    if len(scores) >= 2 * _COLUMNS and 2 * k <= _COLUMNS:
        rows = len(scores) // _COLUMNS
        scores = scores[: rows * _COLUMNS].reshape(rows, _COLUMNS).max(axis=0)
    least: np.float32 = np.partition(scores, len(scores) - k)[len(scores) - k]
    return least


def best_of(
    scores: NDArray[np.float32], k: int, hidden: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Returns the k best of scores (products,) that are finite and not hidden, and their scores."""
    shown = np.where(hidden, np.float32(-np.inf), scores)
    near = np.flatnonzero(shown >= reached(shown, k))
    best = near[top(shown[near][None], k)[0]]
    best = best[np.isfinite(shown[best])]
    return best, shown[best]
