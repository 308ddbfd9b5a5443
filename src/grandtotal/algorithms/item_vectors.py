"""The first numbers of products for a network: what is bought by the same customers, in short.

The leading eigenvectors of D^-1/2 X'X D^-1/2, D the diagonal of X'X, each times the root of its
eigenvalue: the nearest that so few numbers can come to the cosines of all products. One total.

Levy and Goldberg, "Neural word embedding as implicit matrix factorization", NeurIPS 2014
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from grandtotal.algorithms.purchases import CoPurchases
from grandtotal.consortium.totals import Totals
from grandtotal.threads import one_thread

MOST_PRODUCTS = 10_000  # whose pairs are counted: 800 MB while eigenvectors are found


def item_vectors(
    totals: Totals, products: int, split: str, width: int, deviation: float
) -> NDArray[np.float32] | None:
    """Returns (products, width) numbers with this standard deviation, 0 for what nobody bought.

    None where there are more than MOST_PRODUCTS, or too few to have so many eigenvectors. The first
    eigenvector, which says how much a product sells, is left out.
    """
    if not width + 1 < products <= MOST_PRODUCTS:
        return None
    gram = totals.total(CoPurchases(products, split))["gram"].astype(np.float64)
    customers = np.diagonal(gram)
    scale = np.where(customers > 0, 1.0 / np.sqrt(np.maximum(customers, 1.0)), 0.0)
    # Any start finds them; a fixed one finds the same digits.
    first = np.random.Generator(np.random.Philox(7)).random(products)
    with one_thread():
        cosines = LinearOperator(gram.shape, matvec=lambda x: scale * (gram @ (scale * x.ravel())))
        values, vectors = eigsh(cosines, k=width + 1, v0=first)
    order = np.argsort(-values, kind="stable")[1:]
    found = vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))
    # An eigenvector has no sign of its own: the largest entry is made positive.
    found *= np.sign(found[np.abs(found).argmax(axis=0), np.arange(width)])
    spread = found.std()
    scaled: NDArray[np.float64] = found * (deviation / spread if spread else 0.0)
    return scaled.astype(np.float32)
