"""What each customer bought, in order: histories as rows of products, the latest last.

Products of one day have no order. A fixed one, such as that of the catalogue, would be learned as
if it meant something, so theirs is drawn from the history itself: the same wherever it is read.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.tree_sampling import mixed

Products = NDArray[np.int32]


def latest(history: csr_array, length: int) -> Products:
    """Returns (customers, length) the last products of each, the latest at the end.

    history: (customers, products), how many days, or steps, ago. Before the first product of a
    customer stands the number of products, which no product has.
    """
    bought, whose, ago = _in_time(history)
    found = np.full((history.shape[0], length), history.shape[1], np.int32)
    kept = ago < length
    found[whose[kept], length - 1 - ago[kept]] = bought[kept]
    return found


def windows(history: csr_array, length: int) -> Products:
    """Returns (windows, length + 1): every product but a customer's first follows in one of them.

    Windows of a customer overlap in one product. Whoever bought only one product has none.
    """
    bought, whose, ago = _in_time(history)
    many = -(-np.maximum(np.diff(history.indptr) - 1, 0) // length)
    first = np.concatenate([[0], np.cumsum(many)])
    found = np.full((first[-1], length + 1), history.shape[1], np.int32)
    window = ago // length
    kept = window < many[whose]
    row, place = first[whose] + window, length - ago % length
    found[row[kept], place[kept]] = bought[kept]
    # The latest product of a window is the oldest one of the next.
    shared = (ago % length == 0) & (ago > 0)
    found[row[shared] - 1, 0] = bought[shared]
    return found


def _in_time(history: csr_array) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[np.intp]]:
    """Returns products by customer and time, their customers, and how many each bought since."""
    many = np.diff(history.indptr)
    whose = np.repeat(np.arange(history.shape[0]), many)
    order = np.lexsort((_drawn(history, whose), -history.data.astype(np.int64), whose))
    ago = np.repeat(history.indptr[1:], many) - 1 - np.arange(len(order))
    return history.indices[order], whose, ago


def _drawn(history: csr_array, whose: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Returns a number for each entry, decided by its product and its customer's history."""
    own = mixed(history.indices.astype(np.uint64) + np.uint64(1), 0)
    together = np.zeros(history.shape[0], np.uint64)
    np.add.at(together, whose, own)
    return mixed(own ^ together[whose], 0)
