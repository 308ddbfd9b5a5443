"""Limits what each customer adds to a batch's gradient, without making any customer's gradient.

A layer z = W a + b adds e_i a_i' to the gradient of W for record i, where e_i is the derivative of
the record's loss by z_i. A customer's gradient G is the sum over its records in the batch, so

    ||G||^2 = sum over pairs i, j of its records of (e_i . e_j) (a_i . a_j + 1)

summed over the layers; the 1 is the bias. An embedding is a layer whose input is one-hot:
a_i . a_j is 1 where both records read the same row, 0 elsewhere. A batch has few pairs of records
of the same customer, so this costs less than the gradient of W itself.

Exact for customers, not only for records, if the loss of a record depends on no other customer's
records (no batch normalisation) and a record passes each layer once: it reads one row of each
embedding, and no weight is shared between layers.

Goodfellow, "Efficient per-example gradient computations", 2015, https://arxiv.org/abs/1510.01799
Li, Tramer, Liang, Hashimoto, "Large language models can be strong differentially private
learners", 2022, https://arxiv.org/abs/2110.05679
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.privacy.bound import Bound

Floats = NDArray[np.floating[Any]]

_ALL = slice(None)
_MARGIN = 1e-3  # of the norm, for what float32 may add differently when other records leave a batch


@dataclass(frozen=True)
class Dense:
    """A layer z = W a + b as it was passed.

    inputs: a, shape (records, in). errors: derivatives by z of each record's own loss, shape
    (records, out): of the sum of the losses over the records, never of their mean.
    """

    inputs: Floats
    errors: Floats

    def products(self, first: Any, second: Any) -> Floats:
        """Returns the inner products of the gradients of pairs of records, shape (pairs,)."""
        inputs: Floats = np.vecdot(self.inputs[first], self.inputs[second])
        errors: Floats = np.vecdot(self.errors[first], self.errors[second])
        return errors * (inputs + 1)


@dataclass(frozen=True)
class Embedding:
    """A table of which every record reads one row.

    rows: which, shape (records,). errors: as in Dense, shape (records, width).
    """

    rows: NDArray[np.integer]
    errors: Floats

    def products(self, first: Any, second: Any) -> Floats:
        """Returns the inner products of the gradients of pairs of records, shape (pairs,)."""
        errors: Floats = np.vecdot(self.errors[first], self.errors[second])
        same: NDArray[np.bool_] = self.rows[first] == self.rows[second]
        return errors * same


def factors(
    layers: list[Dense | Embedding], customers: NDArray[np.integer], norm: float
) -> NDArray[np.float64]:
    """Returns what to multiply each record's errors by, from 0 to 1, shape (records,).

    All records of a customer get the same factor, by which its gradient, over all layers together,
    has at most this norm. The gradient of W is then (errors * factors)' inputs.

    customers: whose record it is, shape (records,).
    """
    number, first, second = _sharing(customers)
    # A record with itself counts once, a pair of different ones twice.
    squares = np.bincount(number, sum(layer.products(_ALL, _ALL) for layer in layers))
    if len(first):
        twice = 2 * sum(layer.products(first, second) for layer in layers)
        squares += np.bincount(number[first], twice, len(squares))
    lengths = np.sqrt(np.maximum(squares, 0.0))
    kept: NDArray[np.float64] = (norm / np.maximum(lengths, norm))[number]
    return kept


def _sharing(customers: NDArray[np.integer]) -> tuple[NDArray[np.intp], ...]:
    """Returns the number of each record's customer, and all pairs of different records of one.

    The numbers, (records,), begin at 0. Of each pair there is one order: first, second, (pairs,).
    """
    order = np.argsort(customers, kind="stable")
    whose = customers[order]
    number = np.empty(len(order), np.intp)
    number[order] = np.cumsum(np.append(False, whose[1:] != whose[:-1])[: len(order)])
    pairs = [(order[:0], order[:0])]
    for apart in range(1, len(order)):
        same = np.flatnonzero(whose[apart:] == whose[:-apart])
        if not len(same):
            break
        pairs.append((order[same], order[same + apart]))
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return number, first, second


def bound(norm: float, scale: int, entries: int) -> Bound:
    """Returns how far one customer moves the rounded sum of a batch's clipped gradients.

    The gradients are added before they are rounded, so a customer moves the sum by its own norm
    and by up to one step in each entry: sums that are nearly equal may be rounded apart. 0.1 % is
    added for what float32 changes in the others' sum when a batch loses records; it is above what
    was seen, not proven.

    norm: of `factors`, in units. scale: steps per unit. entries: of all gradients
    together.
    """
    return Bound(norm * scale * (1 + _MARGIN) + math.sqrt(entries))
