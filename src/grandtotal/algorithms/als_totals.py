"""The totals of implicit ALS: a customer's factors are solved at home and leave only inside sums.

Every customer's factors p become whole steps before anything is added, so that sums of p, p p' and
(p'x) p are sums of integers, equal digit for digit however the customers are divided. A step is
2^-bits units, and a p of more than 2^most steps is scaled down.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms import inner_loops
from grandtotal.consortium.query import Rows, State
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, Code, PlanError
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.threads import one_thread

MOST_BITS = 24  # of an entry of a customer's factors
MOST_FACTORS = 256
_DOWN = 20  # bits by which the product of two factors is rounded before it weighs a third
_PRODUCT = 45  # bits of two factors together: of 256 products, float64 holds the sum
_EXACT = 2.0**53  # float64 holds every integer up to this
_SOLVED = 1024  # systems of equations that are in memory at once
_LARGEST = 2.0**62  # what a sum of int64 may reach

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FoldIn:
    """How a customer's factors follow from those of the items: the closed form of new customers.

    They minimise sum over bought (1 - p'q)^2 + unobserved sum over all (p'q)^2, bought ones in
    both, plus l2 (n + unobserved items)^scaled |p|^2, n the number of bought items.

    l2: ridge penalty. unobserved: weight of a product that was not bought. scaled: 1 penalises by
    how much is known of a customer, as in Rendle et al.; 0 all alike.
    """

    l2: float
    unobserved: float
    scaled: float

    def penalty(self, counts: NDArray[Any], others: float) -> Floats:
        """Returns the ridge penalty of rows with so many purchases, out of `others`."""
        base: Floats = np.asarray(counts, np.float64) + self.unobserved * max(others, 1.0)
        scaled: Floats = self.l2 * (base if self.scaled == 1 else base**self.scaled)
        return scaled

    def common(self, factors: Floats) -> Floats:
        """Returns the part of the equations, (d, d), that is the same for every customer."""
        with one_thread():
            shared: Floats = self.unobserved * (factors.T @ factors)
        return shared

    def solve(
        self, history: csr_array, factors: NDArray[Any], common: Floats | None = None
    ) -> Floats:
        """Returns (customers, d) factors; a customer's do not depend on who else is asked about."""
        common = self.common(factors) if common is None else common
        with one_thread():
            solved = np.zeros((history.shape[0], factors.shape[1]))
            for some in blocks(history.shape[0], _SOLVED):
                left, right = _bought_moments(history, factors, some)
                counts = np.diff(history.indptr[some.start : some.stop + 1])
                left += common
                add_to_diagonals(left, self.penalty(counts, history.shape[1]))
                solved[some] = np.linalg.solve(left, (1 + self.unobserved) * right[..., None])[
                    ..., 0
                ]
        return solved

    def nearly(self, history: csr_array, factors: Floats, steps: int) -> Floats:
        """Returns (customers, d) factors after so many conjugate gradients from 0.

        Preconditioned by what all customers share, in the basis where it is diagonal: a step costs
        two products with what was bought, and the first ones come close.
        """
        shared = Shared.of(self.common(factors))
        counts = np.diff(history.indptr)
        found = np.empty((len(counts), factors.shape[1]))
        with one_thread():
            inner_loops.of("als").conjugate(
                history.indptr,
                history.indices,
                factors @ shared.vectors,
                shared.values,
                self.penalty(counts, history.shape[1]),
                steps,
                (1 + self.unobserved) * np.ascontiguousarray(shared.vectors.T),
                found,
            )
        return found


@dataclass(frozen=True)
class Shared:
    """A part of many equations that is the same in all, V diag(values) V'.

    values: (d,). vectors: (d, d), V.
    """

    values: Floats
    vectors: Floats

    @staticmethod
    def of(common: Floats) -> "Shared":
        """Returns the parts of a symmetric matrix that has no negative values."""
        with one_thread():
            values, vectors = np.linalg.eigh(common)
        return Shared(np.maximum(values, 0.0), vectors)

    def solve(self, right: Floats, penalty: Floats) -> Floats:
        """Returns (n, d) x of (V diag(values) V' + penalty_i I) x_i = right_i."""
        with one_thread():
            solved: Floats = (
                right @ self.vectors / (self.values + penalty[:, None]) @ self.vectors.T
            )
        return solved


def _bought_moments(
    history: csr_array, factors: NDArray[Any], some: slice
) -> tuple[Floats, Floats]:
    """Returns sum q q' and sum q over what each customer bought."""
    d = factors.shape[1]
    starts = history.indptr
    moments = np.zeros((some.stop - some.start, d, d))
    sums = np.zeros((some.stop - some.start, d))
    for row, customer in enumerate(range(some.start, some.stop)):
        own = history.indices[starts[customer] : starts[customer + 1]]
        bought = factors[own].astype(np.float64, copy=False)
        np.matmul(bought.T, bought, out=moments[row])
        sums[row] = bought.sum(axis=0)
    return moments, sums


def add_to_diagonals(matrices: Floats, values: Floats) -> None:
    """Adds one value to the diagonal of each matrix (n, d, d)."""
    every = np.arange(matrices.shape[1])
    matrices[:, every, every] += values[:, None]


def blocks(rows: int, size: int) -> Iterator[slice]:
    """Yields the rows, so many at a time."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def whole_steps(factors: Floats, bits: int, most: int) -> Floats:
    """Returns integers, as float64: the rows in steps of 2^-bits, none with more than 2^most."""
    steps = factors * 2.0**bits
    largest = np.abs(steps).max(axis=1, initial=0.0)
    whole: Floats = np.rint(steps * np.minimum(1.0, 2.0**most / np.maximum(largest, 1.0))[:, None])
    return whole


def direction_bits(directions: NDArray[Any], bits: int, most: int) -> int:
    """Returns the bits of a step of directions: products with factors stay exact, scales small."""
    largest = float(np.abs(directions).max(initial=0.0))
    if not largest < 2.0**20:
        raise PlanError(f"als diverges: a direction is {largest:g} long; raise l2")
    return min(_PRODUCT - most - int(np.frexp(largest)[1]), 62 + _DOWN - 2 * bits)


@dataclass(frozen=True)
class _OfCustomers:
    """What all questions say: of which rows, and how a customer's factors follow from the items'.

    l2, unobserved, scaled: as in ALS. bits, most: of the steps that factors are rounded to.
    """

    bound: ClassVar[Stated] = None

    products: int
    split: str
    l2: float
    unobserved: float
    scaled: float
    bits: int
    most: int


@dataclass(frozen=True)
class ALSMoments(_OfCustomers):
    """Sums over customers of p and p p' for each item that they bought, and of p p' over all.

    The broadcast holds "factors" (products, d), the items'. fold: how p follows from them.
    """

    name: ClassVar[str] = "als-moments"

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns gram (d, d), moments (products, d (d + 1) / 2) and sums (products, d)."""
        d = _factors(broadcast).shape[1]
        return {
            "gram": Field((d, d), 4**self.bits, symmetric=True),
            "moments": Field((self.products, d * (d + 1) // 2), 4**self.bits),
            "sums": Field((self.products, d), 2**self.bits),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:
        """Returns this retailer's sums."""
        known = _known(self, rows, state, broadcast)
        with one_thread():
            return {
                "gram": _outer(known.steps),
                "moments": _moments(known),
                "sums": _sums(known),
            }


@dataclass(frozen=True)
class ALSProducts(_OfCustomers):
    """Sums over customers of (p'x) p for each item x that they bought, for conjugate gradients.

    The broadcast holds "factors" (products, d), the items', and "directions" (products, d), x.

    fine: bits of a step of x, see `direction_bits`. home: conjugate gradients for a customer.
    first: whether the sums of p for each item, and of p p' over all, are asked as well.
    """

    name: ClassVar[str] = "als-products"

    fine: int
    home: int
    first: bool

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns products (products, d); with `first` also gram (d, d) and sums (products, d)."""
        d = _factors(broadcast).shape[1]
        scale = 2 * self.bits + self.fine - _DOWN
        found = {"products": Field((self.products, d), 2**scale)}
        if self.first:
            found["gram"] = Field((d, d), 4**self.bits, symmetric=True)
            found["sums"] = Field((self.products, d), 2**self.bits)
        return found

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:
        """Returns this retailer's sums."""
        known = _known(self, rows, state, broadcast)
        directions = np.rint(broadcast["directions"] * 2.0**self.fine)
        if not np.abs(directions).max(initial=0.0) <= 2.0 ** (_PRODUCT - self.most):
            raise AnswerError(Code.MALFORMED, "directions have more steps than sums of them hold")
        found = {"products": _products(known, directions)}
        if self.first:
            with one_thread():
                found |= {"gram": _outer(known.steps), "sums": _sums(known)}
        return found


# --- what the answers have in common ---


@dataclass(frozen=True)
class _Known:
    """steps: (customers, d) whole steps. items: (products, customers) 1 where bought."""

    steps: Floats
    items: csr_array


def _factors(broadcast: Arrays) -> NDArray[Any]:
    factors = broadcast["factors"]
    if factors.ndim != 2 or not 1 <= factors.shape[1] <= MOST_FACTORS:
        raise AnswerError(
            Code.MALFORMED,
            f"factors of shape {factors.shape}, expected (products, 1 to {MOST_FACTORS})",
        )
    return factors


def _known(query: ALSMoments | ALSProducts, rows: Rows, state: State, broadcast: Arrays) -> _Known:
    """Returns the customers' factors, of memory where the items' are those of the last question."""
    factors = _factors(broadcast)
    home = query.home if isinstance(query, ALSProducts) else 0
    settings = (query.split, query.l2, query.unobserved, query.scaled, query.bits, query.most, home)
    key = f"{settings} {arrays_digest({'factors': factors})}"
    found = state.memory.get("als")
    if found is None or found[0] != key:
        history = rows[query.split].history
        fold = FoldIn(query.l2, query.unobserved, query.scaled)
        doubles = factors.astype(np.float64)
        solved = fold.nearly(history, doubles, home) if home else fold.solve(history, doubles)
        steps = whole_steps(solved, query.bits, query.most)
        found = key, _Known(steps, _items(query.split, history, state))
        state.memory["als"] = found
    known: _Known = found[1]
    return known


def _items(split: str, history: csr_array, state: State) -> csr_array:
    """Returns (products, customers) 1 where bought, of memory after the first question."""
    found = state.memory.get("als-items")
    if found is None or found[0] != split:
        ones = csr_array((np.ones(history.nnz), history.indices, history.indptr), history.shape)
        found = split, csr_array(ones.T)
        found[1].sort_indices()
        state.memory["als-items"] = found
    items: csr_array = found[1]
    return items


def _outer(steps: Floats) -> NDArray[np.int64]:
    """Returns the exact X'X of integers: blocks of rows whose sums float64 holds."""
    d = steps.shape[1]
    most = max(_size(steps), 1.0)
    total = np.zeros((d, d), np.int64)
    for some in blocks(len(steps), max(1, int(_EXACT / most**2))):
        total += (steps[some].T @ steps[some]).astype(np.int64)
    return total


def _moments(known: _Known) -> NDArray[np.int64]:
    """Returns the upper triangle of the sum of p p' of each item's customers."""
    d = known.steps.shape[1]
    upper = np.triu_indices(d)
    flat = upper[0] * d + upper[1]
    starts, customers = known.items.indptr, known.items.indices
    found = np.empty((known.items.shape[0], len(flat)), np.int64)
    most = max(_size(known.steps), 1.0)
    _refuse_overflow(most**2, known.items)
    for item in range(len(found)):
        own = known.steps[customers[starts[item] : starts[item + 1]]]
        if len(own) * most**2 < _EXACT:
            found[item] = (own.T @ own).reshape(-1)[flat]
        else:
            found[item] = _outer(own).reshape(-1)[flat]
    return found


def _sums(known: _Known) -> NDArray[np.int64]:
    # At most 2^24 steps of 2^24 customers: exact in float64.
    return np.asarray(known.items @ known.steps).astype(np.int64)


def _products(known: _Known, directions: Floats) -> NDArray[np.int64]:
    """Returns the sum of (p'x) p of each item's customers, p'x without its last _DOWN bits."""
    items, found = known.items, np.zeros(directions.shape, np.int64)
    largest = inner_loops.of("als").weighted(
        items.indptr, items.indices, directions, known.steps, _DOWN, found
    )
    _refuse_overflow(largest * _size(known.steps), items)
    return found


def _size(steps: Floats) -> float:
    return float(np.abs(steps).max(initial=0.0))


def _refuse_overflow(largest: float, items: csr_array) -> None:
    """Raises AnswerError where an item's customers could add up to more than int64 holds."""
    customers = int(np.diff(items.indptr).max(initial=0))
    if largest * customers >= _LARGEST:
        raise AnswerError(
            Code.OVERFLOW,
            f"{customers:,} customers of a product x {largest:,.0f} steps pass 2^62: the customers "
            f"are more than were counted, or their factors diverge; raise l2",
        )


def unpacked(moments: Floats, d: int) -> Floats:
    """Returns (n, d, d) symmetric matrices of their upper triangles (n, d (d + 1) / 2)."""
    matrices = np.zeros((len(moments), d, d))
    rows, columns = np.triu_indices(d)
    matrices[:, rows, columns] = moments
    matrices[:, columns, rows] = moments
    return matrices
