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
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.privacy.bound import Bound

Floats = Any
"""An array of NumPy or of torch: only what both write alike is used on it."""

_MARGIN = 1e-3  # of the norm, for what float32 may add differently when other records leave a batch


@dataclass(frozen=True)
class Dense:
    """A layer z = W a + b as it was passed.

    inputs: a, shape (records, in). errors: derivatives by z of each record's own loss, shape
    (records, out): of the sum of the losses over the records, never of their mean.
    """

    inputs: Floats
    errors: Floats


@dataclass(frozen=True)
class Embedding:
    """A table of which every record reads one row.

    rows: which, shape (records,). errors: as in Dense, shape (records, width).
    """

    rows: Floats
    errors: Floats


class Customers:
    """Whose records a batch holds.

    of: the customer of each record, shape (records,). library: whose arrays the layers are, numpy
    or torch.
    """

    def __init__(self, of: NDArray[np.integer], library: ModuleType = np) -> None:
        same = of[:, None] == of[None, :]
        first, second = np.nonzero(np.triu(same, 1))
        # A record with itself counts once, a pair of different ones twice.
        counts = np.concatenate([same, 2 * same[:, first]], axis=1, dtype=np.float32)
        self._library = library
        self._first, self._second = library.asarray(first), library.asarray(second)
        self._counts = library.asarray(counts)

    def factors(self, layers: list[Dense | Embedding], norm: float) -> Floats:
        """Returns what to multiply each record's errors by, from 0 to 1, shape (records,).

        All records of a customer get the same factor, by which its gradient, over all layers
        together, has at most this norm. The gradient of W is then (errors * factors)' inputs.
        """
        products = iter(self._products([a for layer in layers for a in _floats(layer)]))
        gram = 0.0
        for layer in layers:
            errors = next(products)
            inputs = self._same(layer.rows) if isinstance(layer, Embedding) else next(products) + 1
            gram = gram + errors * inputs
        squares = (self._counts @ gram).clip(min=0.0)
        return norm / (squares**0.5).clip(min=norm)

    def _products(self, arrays: list[Floats]) -> Floats:
        """Returns the inner products of rows, each with itself and then pairs: (arrays, pairs)."""
        dot, stack = self._library.linalg.vecdot, self._library.stack
        alone = stack([dot(array, array) for array in arrays])
        # One gather of all arrays: a batch has few pairs, and each gather costs more than its rows.
        joined = self._library.concatenate(arrays, axis=1)
        pairs = joined[self._first] * joined[self._second]
        ends = np.cumsum([array.shape[1] for array in arrays]).tolist()
        starts = [0, *ends[:-1]]
        paired = stack([pairs[:, i:j].sum(1) for i, j in zip(starts, ends, strict=True)])
        return self._library.concatenate([alone, paired], axis=1)

    def _same(self, rows: Floats) -> Floats:
        """Returns whether the records of a pair read the same row of an embedding: (pairs,)."""
        pairs = rows[self._first] == rows[self._second]
        return self._library.concatenate([rows >= 0, pairs])


def _floats(layer: Dense | Embedding) -> list[Floats]:
    return [layer.errors] if isinstance(layer, Embedding) else [layer.errors, layer.inputs]


def bound(norm: float, scale: int, entries: int) -> Bound:
    """Returns how far one customer moves the rounded sum of a batch's clipped gradients.

    The gradients are added before they are rounded, so a customer moves the sum by its own norm
    and by up to one step in each entry: sums that are nearly equal may be rounded apart. 0.1 % is
    added for what float32 changes in the others' sum when a batch loses records; it is above what
    was seen, not proven.

    norm: of `Customers.factors`, in units. scale: steps per unit. entries: of all gradients
    together.
    """
    return Bound(norm * scale * (1 + _MARGIN) + math.sqrt(entries))
