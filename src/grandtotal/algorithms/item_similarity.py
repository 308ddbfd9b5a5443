"""Item-to-item models from one total, the co-purchase counts. Exact: federated is pooled.

ItemKNN: Deshpande and Karypis, "Item-based top-N recommendation algorithms", 2004,
https://doi.org/10.1145/963770.963776
EASE: Steck, "Embarrassingly shallow autoencoders for sparse data", 2019,
https://arxiv.org/abs/1905.03375
EDLAE: Steck, "Autoencoders that don't overfit towards the identity", 2020,
https://proceedings.neurips.cc/paper/2020/hash/e33d974aae13e4d877477d51d8bafdc4-Abstract.html
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.item_model import TIE_BREAK, ItemModel
from grandtotal.algorithms.lapack import invert_upper
from grandtotal.algorithms.purchases import CoPurchases
from grandtotal.consortium.totals import Totals
from grandtotal.errors import PlanError
from grandtotal.privacy.fixedpoint import mirror
from grandtotal.threads import threads_for

_FACTORED = 6000  # rows of a matrix that is factored as a whole
_STRIP = 1024  # rows of a product that are in memory at once


@dataclass(frozen=True)
class ItemKNN:
    """Cosine of two products' customers, shrunk towards 0 where few bought both.

    shrink: added to the denominator, in customers; 0 is the plain cosine.
    neighbours: of each product, how many bought products may speak for it; 0 means all.
    """

    shrink: float = 10.0
    neighbours: int = 200

    def fit(self, totals: Totals, products: int, split: str) -> ItemModel:
        """Returns weights g_ij / (sqrt(g_ii g_jj) + shrink). One round."""
        gram = totals.total(CoPurchases(products, split))["gram"]
        customers = np.diagonal(gram).astype(np.float64)
        length = np.sqrt(customers)
        weights = np.zeros((products, products), np.float32)
        for row in range(products):
            together = length[row] * length + self.shrink
            np.divide(
                gram[row], together, out=weights[row], where=together > 0, casting="same_kind"
            )
        np.fill_diagonal(weights, 0.0)
        if 0 < self.neighbours < products:
            # The cosine is symmetric: a row holds what its column does, side by side in memory.
            kept = [np.partition(row, -self.neighbours)[-self.neighbours] for row in weights]
            weights[weights < np.array(kept)] = 0.0
        meta = {"model": "item-knn", "shrink": self.shrink, "neighbours": self.neighbours}
        return ItemModel(weights, tie_break(customers), meta)


@dataclass(frozen=True)
class EASE:
    """The linear autoencoder with zero diagonal that best reconstructs the purchase matrix.

    l2: ridge penalty, in customers; larger forgets rare products.
    """

    l2: float = 300.0

    def fit(self, totals: Totals, products: int, split: str) -> ItemModel:
        """Returns weights -P_ij / P_jj with P = (X'X + l2 I)^-1. One round."""
        gram = totals.total(CoPurchases(products, split))["gram"]
        customers = np.diagonal(gram).astype(np.float64)
        meta = {"model": "ease", "l2": self.l2}
        weights = autoencoder(gram, np.full(products, self.l2))
        return ItemModel(weights, tie_break(customers), meta)


@dataclass(frozen=True)
class EDLAE:
    """EASE trained to fill in purchases that were dropped, in closed form.

    l2: ridge penalty, in customers; larger forgets rare products.
    dropout: share of purchases that are dropped, from 0 (EASE) to below 1; larger relies on
        several purchases where one would do.
    """

    l2: float = 300.0
    dropout: float = 0.33

    def fit(self, totals: Totals, products: int, split: str) -> ItemModel:
        """Returns weights -P_ij / P_jj, P = (X'X + p / (1 - p) diag(X'X) + l2 I)^-1. One round."""
        if not 0.0 <= self.dropout < 1.0:
            raise PlanError(f"dropout = {self.dropout}, expected a share from 0 to below 1")
        gram = totals.total(CoPurchases(products, split))["gram"]
        customers = np.diagonal(gram).astype(np.float64)
        meta = {"model": "edlae", "l2": self.l2, "dropout": self.dropout}
        penalty = self.dropout / (1.0 - self.dropout) * customers + self.l2
        return ItemModel(autoencoder(gram, penalty), tie_break(customers), meta)


def autoencoder(
    gram: NDArray[np.generic],
    penalty: NDArray[np.float64],
    towards: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Returns -P_ij / P_jj off the diagonal, P = (gram + diag(penalty))^-1.

    These are the weights B of zero diagonal that minimise |X - X B|^2 + |sqrt(penalty) B|^2.
    towards: (products, products) weights of zero diagonal that the penalty pulls to instead of 0.

    A product that nobody bought has no weight to or from any other, so it is left out of P: a
    retailer alone sells a part of the catalogue, and the inverse costs the cube of it.
    """
    if penalty.min() <= 0:
        raise PlanError(f"l2 must be a positive number of customers, found {penalty.min():g}")
    sold = np.flatnonzero(np.diagonal(gram))
    # Double precision: in single, a total of millions of customers keeps three digits of P.
    inverse = np.empty((len(sold), len(sold)))
    for some in _strips(len(sold)):
        inverse[some] = np.take(gram[sold[some]], sold, axis=1)
    inverse[np.diag_indices(len(sold))] += penalty[sold]
    inverse_in_place(inverse)
    if towards is not None:
        pulled = inverse @ (penalty[sold, None] * towards[np.ix_(sold, sold)])
    inverse /= -np.diagonal(inverse)
    if towards is not None:
        # The multiplier that keeps the diagonal at 0, now against what is pulled as well.
        inverse *= 1.0 + np.diagonal(pulled)
        inverse += pulled
    np.fill_diagonal(inverse, 0.0)
    narrow = _narrowed(inverse)
    if len(sold) == len(gram):
        return narrow
    weights = np.zeros(gram.shape, np.float32)
    if towards is not None:
        weights[:] = towards
    for some in _strips(len(sold)):
        weights[np.ix_(sold[some], sold)] = narrow[some]
    return weights


def _narrowed(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns a square matrix in single precision, in the first half of its own memory.

    The other half is given back: of 20,000 products, both at once are 4.8 GB. No view of the matrix
    may be alive.
    """
    n = len(matrix)
    narrow = matrix.reshape(-1).view(np.float32)
    for row in range(n):
        narrow[row * n : (row + 1) * n] = matrix[row]
    del narrow
    matrix.resize((n + 1) // 2 * n, refcheck=False)  # the caller's name for it counts as a view
    return matrix.view(np.float32)[: n * n].reshape(n, n)


def inverse_in_place(matrix: NDArray[np.float64]) -> None:
    """Replaces a symmetric positive definite C-ordered matrix by its inverse; reads its upper half.

    By Cholesky, and where it is large by halves: with W = P^-1 R and S = Q - R'W, the inverse of
    [P R; R' Q] is [P^-1 + W S^-1 W', -W S^-1; ., S^-1]. These are products of matrices, as much
    work as the factors of the whole, and no more memory than a quarter of it. OpenBLAS 0.3.30 in
    two threads crashed in the factors of 20,000 rows.
    """
    with threads_for(len(matrix)):
        _invert(matrix)


def _invert(matrix: NDArray[np.float64]) -> None:
    half = len(matrix) // 2
    if len(matrix) <= _FACTORED:
        _invert_factored(matrix)
        return
    p, r, q = matrix[:half, :half], matrix[:half, half:], matrix[half:, half:]
    _invert(p)
    w = p @ r
    for some in _strips(len(q)):
        q[some, some.start :] -= r[:, some].T @ w[:, some.start :]
    _invert(q)
    for some in _strips(half):
        r[some] = -(w[some] @ q)
        p[some, some.start :] -= r[some] @ w[some.start :].T
    mirror(matrix)


def _invert_factored(matrix: NDArray[np.float64]) -> None:
    whole = np.ascontiguousarray(matrix)
    if not invert_upper(whole):
        raise PlanError("X'X + l2 I cannot be inverted: raise l2")
    mirror(whole)
    if whole is not matrix:
        matrix[:] = whole


def _strips(rows: int) -> list[slice]:
    return [slice(start, min(start + _STRIP, rows)) for start in range(0, rows, _STRIP)]


def tie_break(customers: NDArray[np.float64]) -> NDArray[np.float32]:
    most = customers.max(initial=1.0)
    prior: NDArray[np.float32] = (TIE_BREAK * customers / max(most, 1.0)).astype(np.float32)
    return prior
