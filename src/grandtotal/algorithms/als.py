"""Implicit matrix factorisation by alternating least squares, of totals over the customers.

A customer's factors p and a product's q have p'q near 1 where bought and near 0 elsewhere. Given
all q, each p is a small ridge regression that its retailer solves at home; given all p, each q is
one whose sums, of p p' and p over the customers of the product, are totals. So one round is one
exact epoch over the pooled rows, and no customer's factors leave. Conjugate gradients ask sums of
products x d numbers a step instead of products x d^2 / 2 once.

Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets", 2008,
https://doi.org/10.1109/ICDM.2008.22
Conjugate gradients: Takács, Pilászy, Tikk, "Applications of the conjugate gradient method for
implicit feedback collaborative filtering", 2011, https://doi.org/10.1145/2043932.2043987
Penalty scaled by frequency: Rendle, Krichene, Zhang, Koren, "Revisiting the performance of iALS on
item recommendation benchmarks", 2022, https://arxiv.org/abs/2110.14037
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.als_totals import (
    MOST_BITS,
    MOST_FACTORS,
    ALSMoments,
    ALSProducts,
    FoldIn,
    Shared,
    add_to_diagonals,
    blocks,
    direction_bits,
    unpacked,
)
from grandtotal.algorithms.item_model import (
    Recommender,
    best_of,
    reached,
    strongest,
    strongest_of_each,
)
from grandtotal.algorithms.item_similarity import tie_break
from grandtotal.algorithms.purchases import PurchaseCounts
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.threads import one_thread

MOST_MOMENTS = 2**25  # numbers of one total: 256 MiB
_ROOM = 4.0  # of a customer's factors over what 1 / |q| says they are
_SOLVED = 1024  # items whose equations are in memory at once

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ALS:
    """Factors of products, from which a customer's follow in closed form.

    factors: d, the length of a factor. l2, unobserved, scaled: see FoldIn; with scaled = 0 it is
    Hu's model with confidence 1 + 1 / unobserved and penalty l2 / unobserved.
    epochs: of one solution for all customers and one for all items.
    steps: of conjugate gradients for the items in an epoch; 0 solves their equations as they are,
        or takes three steps where these are more than MOST_MOMENTS numbers.
    seed: of the first factors, normal with standard deviation spread / sqrt(d).
    """

    factors: int = 64
    l2: float = 0.01
    unobserved: float = 0.1
    scaled: float = 1.0
    epochs: int = 10
    steps: int = 0
    seed: int = 7
    spread: float = 0.1

    def fit(self, totals: Totals, products: int, split: str) -> "FactorModel":
        """Returns the items' factors; one round an epoch, with conjugate gradients steps + 1."""
        self._refuse()
        known = totals.total(PurchaseCounts(products, split))
        counts = known["counts"].astype(np.float64)
        customers = float(known["customers"])
        penalty = self.fold.penalty(counts, customers)
        moments = products * self.factors * (self.factors + 1) // 2
        steps = self.steps or (3 if moments > MOST_MOMENTS else 0)
        items = self.first(products)
        for _ in range(self.epochs):
            half = _Half(self, totals, items, split, penalty, customers)
            items = half.conjugate(steps) if steps else half.solved()
        return FactorModel(items.astype(np.float32), tie_break(counts), self.fold, self.meta)

    @property
    def fold(self) -> FoldIn:
        """How a customer's factors follow from the items'."""
        return FoldIn(self.l2, self.unobserved, self.scaled)

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": "als", **vars(self)}

    def first(self, products: int) -> Floats:
        """Returns the factors before the first epoch, the same for the same seed."""
        draw = np.random.Generator(np.random.Philox(self.seed))
        # Uniform numbers are the same bits everywhere; these have the deviation that is asked.
        uniform = draw.random((products, self.factors)) - 0.5
        first: Floats = uniform * (self.spread * np.sqrt(12.0 / self.factors))
        return first

    def _refuse(self) -> None:
        if not 1 <= self.factors <= MOST_FACTORS:
            raise PlanError(f"factors = {self.factors}, expected 1 to {MOST_FACTORS}")
        if self.l2 <= 0 or self.unobserved <= 0:
            raise PlanError(f"l2 = {self.l2}, unobserved = {self.unobserved}: both must be above 0")


@dataclass(frozen=True)
class _Half:
    """An epoch's half: (unobserved G + A_i + penalty_i I) q_i = (1 + unobserved) b_i."""

    als: ALS
    totals: Totals
    items: Floats
    split: str
    penalty: Floats
    customers: float

    @property
    def _settings(self) -> dict[str, Any]:
        als, (bits, most) = self.als, bits_for(self.items, self.customers)
        return {
            "products": len(self.items),
            "split": self.split,
            "l2": als.l2,
            "unobserved": als.unobserved,
            "scaled": als.scaled,
            "bits": bits,
            "most": most,
        }

    def solved(self) -> Floats:
        """Returns the solution of each item's own equations."""
        found = self.totals.total(ALSMoments(**self._settings), {"factors": self.items})
        d = self.items.shape[1]
        common = self.als.unobserved * found["gram"]
        solved = np.empty_like(self.items)
        with one_thread():
            for some in blocks(len(solved), _SOLVED):
                left = unpacked(found["moments"][some], d) + common
                add_to_diagonals(left, self.penalty[some])
                right = (1 + self.als.unobserved) * found["sums"][some, :, None]
                solved[some] = np.linalg.solve(left, right)[..., 0]
        return solved

    def conjugate(self, steps: int) -> Floats:
        """Returns the items after some steps towards the solution, from where they are.

        Preconditioned by what the equations are without any purchase, unobserved G + penalty_i I.
        A customer, who starts from nothing, takes as many products with its matrix as an item.
        """
        x, home = self.items, steps + 1
        found = self._asked(x, home, first=True)
        common = self.als.unobserved * found["gram"]
        shared = Shared.of(common)

        def applied(directions: Floats, products: Floats) -> Floats:
            with one_thread():
                return directions @ common + products + self.penalty[:, None] * directions

        residual = (1 + self.als.unobserved) * found["sums"] - applied(x, found["products"])
        direction = shared.solve(residual, self.penalty)
        length = _dots(residual, direction)
        for _ in range(steps):
            towards = applied(direction, self._asked(direction, home, first=False)["products"])
            far = length / _above_zero(_dots(direction, towards))
            x = x + far[:, None] * direction
            residual = residual - far[:, None] * towards
            nearer = shared.solve(residual, self.penalty)
            before, length = length, _dots(residual, nearer)
            direction = nearer + (length / _above_zero(before))[:, None] * direction
        return x

    def _asked(self, directions: Floats, home: int, first: bool) -> Arrays:
        settings = self._settings
        fine = direction_bits(directions, settings["bits"], settings["most"])
        query = ALSProducts(**settings, fine=fine, home=home, first=first)
        return self.totals.total(query, {"factors": self.items, "directions": directions})


def _dots(one: Floats, other: Floats) -> Floats:
    dots: Floats = np.einsum("ij,ij->i", one, other)
    return dots


def _above_zero(values: Floats) -> Floats:
    # An item that nobody bought is solved from the start: nothing remains to be gone.
    return np.where(values > 0, values, np.inf)


def bits_for(items: Floats, customers: float) -> tuple[int, int]:
    """Returns the bits of a step of customers' factors, and those of their largest entry.

    A sum of p p' over all customers stays below 2^62, and p may be _ROOM times what 1 / |q| says.
    """
    most = min(MOST_BITS, int((62 - np.log2(max(customers, 1.0))) / 2))
    squares = (items**2).sum(axis=1)
    length = float(np.sqrt(squares[squares > 0].mean())) if squares.any() else 1.0
    return int(np.clip(np.floor(most + np.log2(length / _ROOM)), 12, 26)), most


@dataclass(frozen=True)
class FactorModel(Recommender):
    """factors: (products, d) float32. fold: how a history's factors follow from them.

    prior: (products,) float32, which only orders what the factors leave equal.
    """

    factors: NDArray[np.float32]
    prior: NDArray[np.float32]
    fold: FoldIn
    meta: Json = field(default_factory=dict)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; no customer's factors are among them."""
        fold = np.array([self.fold.l2, self.fold.unobserved, self.fold.scaled])
        return {"factors": self.factors, "prior": self.prior, "fold": fold}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "FactorModel":
        """Returns the model that `arrays` and `meta` describe."""
        fold = FoldIn(*arrays["fold"].tolist())
        return FactorModel(arrays["factors"], arrays["prior"], fold, meta)

    def customers(self, history: csr_array) -> Floats:
        """Returns (customers, d) factors of histories: nothing is trained for a new customer."""
        return self.fold.solve(history, self.factors, self._common)

    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well."""
        scores = _products(self.customers(history), *self._columns)
        return (scores + self.prior).astype(np.float32)

    def best(
        self, history: csr_array, k: int, hidden: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Returns the k best products for one history (1, products), best first, and their scores.

        The time goes into reading the factors, so that 32 bits of each first say which products are
        near the list; only their scores are made as `affinities` makes them.
        """
        own = self.customers(history)
        with one_thread():
            near = self.factors @ own[0].astype(np.float32) + self.prior
        near[hidden] = -np.inf
        some = np.flatnonzero(near >= reached(near, k) - 2 * self._off_by(own))
        columns, steps = _rounded(self.factors[some].astype(np.float64), self._largest[0])
        scores = _products(own, columns, steps)[0] + self.prior[some]
        found, values = best_of(scores.astype(np.float32), k, hidden[some])
        return some[found], values

    def _off_by(self, own: Floats) -> float:
        """Returns by how much 32 bits may miss the scores of a customer.

        d terms of a sum in any order, each rounded, and what `_rounded` leaves out, with room.
        """
        d = self.factors.shape[1]
        factor, prior = self._largest
        sums = d * factor * float(np.abs(own).max(initial=0.0))
        return float(2.0**-22 * ((d + 16) * sums + prior))

    # What every customer's answer needs, made once: one customer is then served in milliseconds.
    @cached_property
    def _largest(self) -> tuple[float, float]:
        factor, prior = (np.abs(each).max(initial=0.0) for each in (self.factors, self.prior))
        return float(factor), float(prior)

    @cached_property
    def _common(self) -> Floats:
        return self.fold.common(self.factors.astype(np.float64))

    @cached_property
    def _columns(self) -> tuple[Floats, Any]:
        return _rounded(self.factors.astype(np.float64), self._largest[0])

    def similar(self, product: int) -> NDArray[np.float32]:
        """Returns (products,) the cosines of the products' factors with this one's."""
        lengths = np.linalg.norm(self.factors, axis=1)
        together = lengths * lengths[product]
        dots = np.einsum("ij,j->i", self.factors, self.factors[product])
        cosines: NDArray[np.float32] = np.zeros_like(dots)
        np.divide(dots, together, out=cosines, where=together > 0)
        return cosines

    def because(self, history: NDArray[Any], product: int, most: int = 2) -> tuple[int, ...]:
        """Returns the bought products with the largest share of the score.

        As in Hu et al., section 5: with W the inverse of the customer's equations, a bought product
        i adds (1 + unobserved) q_i' W q.
        """
        return strongest(history, self._shares(history, [product])[:, 0], most)

    def reasons(self, history: NDArray[Any], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        return strongest_of_each(history, self._shares(history, products), 2)

    def _shares(self, history: NDArray[Any], products: Sequence[int]) -> Floats:
        """Returns (history, products) what each bought product adds to each score."""
        bought, named = (
            self.factors[some].astype(np.float64) for some in (history, list(products))
        )
        left = self._common + bought.T @ bought
        left[np.diag_indices(len(left))] += self.fold.penalty(
            np.array(len(bought)), len(self.prior)
        )
        shares: Floats = bought @ np.linalg.solve(left, named.T)
        return shares


def exact_products(left: Floats, right: Floats) -> Floats:
    """Returns left @ right.T, of entries rounded so that it has the same bits in any block of rows.

    Entries are multiples of the 22nd bit of the largest of their row, or of all of `right`: sums of
    at most 256 products are integers below 2^53.
    """
    return _products(left, *_rounded(right, np.abs(right).max(initial=0.0)))


def _products(left: Floats, columns: Floats, column_steps: Any) -> Floats:
    rows, row_steps = _rounded(left, np.abs(left).max(axis=1, initial=0.0)[:, None])
    with one_thread():
        products: Floats = (rows @ columns.T) * (row_steps * column_steps)
    return products


def _rounded(values: Floats, largest: Any) -> tuple[Floats, Any]:
    steps = np.exp2(np.frexp(np.maximum(largest, 2.0**-500))[1] - 22.0)
    return np.rint(values / steps), steps
