"""Units with features and an outcome that is 0 or 1: what churn and purchase intent learn from.

Features are whole steps from the start, one matrix for the regression and for the trees, so that
both see the same numbers and a million customers fit into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.glm import MOST_X, X_STEPS, Design
from grandtotal.privacy.fixedpoint import Arrays

OUTCOME = "outcome"
ONE = "one"  # the first column of every matrix: the constant of the regression
MISSING = -MOST_X - 1  # of a step: the value is not known
BUCKETS = 16  # of a text
_AT_ONCE = 2**15  # units of one design: bounds the memory of what is clipped by unit


def in_steps(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int16]:
    """Returns float columns (rows,) as steps (rows, 1 + columns), a column of ones first.

    A value that is not known, nan, is MISSING; what is beyond 16 bits is cut.
    """
    rows = len(next(iter(columns.values())))
    x = np.empty((rows, 1 + len(columns)), np.int16)
    x[:, 0] = X_STEPS
    for place, values in enumerate(columns.values(), 1):
        steps = np.clip(np.rint(values * float(X_STEPS)), -MOST_X, MOST_X)
        x[:, place] = np.where(np.isnan(steps), MISSING, steps)
    return x


def text_columns(names: Sequence[str], texts: Sequence[NDArray[Any]] = ()) -> dict[str, Any]:
    """Returns BUCKETS columns of 0 and 1 for each text column: which bucket its text falls into.

    Every retailer finds the same bucket without a list of the texts; two texts may share one.
    Weinberger et al., "Feature hashing for large scale multitask learning", 2009,
    https://arxiv.org/abs/0902.2206. Without texts the names alone are told.
    """
    found = {}
    for i, name in enumerate(names):
        place = _buckets(texts[i]) if texts else None
        for bucket in range(BUCKETS):
            here = np.empty(0) if place is None else (place == bucket) * 1.0
            found[f"{name} #{bucket}"] = here
    return found


def _buckets(texts: NDArray[Any]) -> NDArray[np.int64]:
    different, place = np.unique(texts.astype(str), return_inverse=True)
    hashed = [
        hashlib.blake2b(text.strip().lower().encode(), digest_size=4).digest() for text in different
    ]
    buckets = np.array([int.from_bytes(h, "big") % BUCKETS for h in hashed], np.int64)
    return buckets[place] if len(texts) else np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Cases:
    """One row for a unit at a moment, sorted by unit.

    names: of the columns, ONE first. x: (rows, names) in steps. y: (rows,) 0.0, 1.0, or nan where
    it is not known yet. unit: (rows,) whose row it is, a number at home.
    """

    names: tuple[str, ...]
    x: NDArray[np.int16]
    y: NDArray[np.float64]
    unit: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def columns(self) -> Columns:
        """The rows as columns, without the constant."""
        return Columns(_Steps(self), keys=self.unit.astype(np.uint64))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Returns a column in its own unit, nan where it is not known."""
        steps = self.x[:, self.names.index(name)]
        return np.where(steps == MISSING, np.nan, steps / X_STEPS)

    def known(self) -> NDArray[np.int16]:
        """Returns x for a regression, in which what is not known counts as 0."""
        missing = self.x == MISSING
        return np.where(missing, np.int16(0), self.x) if missing.any() else self.x

    def chosen(self, rows: Any) -> Cases:
        """Returns these rows."""
        return Cases(self.names, self.x[rows], self.y[rows], self.unit[rows])

    def designs(self) -> Iterator[Design]:
        """Yields rows for a regression; all rows of one unit are in one design."""
        x, first = self.known(), 0
        while first < len(self):
            last = first + _AT_ONCE
            last = int(np.searchsorted(self.unit, self.unit[min(last, len(self)) - 1], "right"))
            part = slice(first, last)
            units = np.unique(self.unit[part], return_inverse=True)[1]
            yield Design(x[part], self.y[part], np.zeros(last - first), units)
            first = last

    @staticmethod
    def joined(parts: list[Cases]) -> Cases:
        """Returns the cases of all parts, whose units are different ones."""
        ends = np.cumsum([0] + [int(part.unit.max(initial=-1)) + 1 for part in parts])
        return Cases(
            parts[0].names,
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.y for part in parts]),
            np.concatenate([part.unit + end for part, end in zip(parts, ends, strict=False)]),
        )


class _Steps(Mapping[str, NDArray[np.float64]]):
    """The columns of cases, each made when it is asked for."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name == OUTCOME:
            return self._cases.y
        if name not in self._cases.names[1:]:
            raise KeyError(name)
        return self._cases.numbers(name)

    def __iter__(self) -> Iterator[str]:
        yield OUTCOME
        yield from self._cases.names[1:]

    def __len__(self) -> int:
        return len(self._cases.names)


@dataclass(frozen=True, eq=False)
class Split:
    """What was known at one cut, and for scoring alone what came after it.

    train: cases whose outcome was known at the cut. scored: cases at the cut, one a unit.
    facts: by attribute, (scored,) the group of each scored unit, "" where it is not known.
    group: what a unit is; what one unit contributes is clipped as a whole. per_customer: 0, the
    unit is what noise hides. of: whose these are, where several retailers' are one.
    """

    train: Cases
    scored: Cases
    facts: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    group: str = "customer"
    per_customer: int = 0
    of: tuple[Split, ...] = ()

    @property
    def parts(self) -> tuple[Split, ...]:
        """The splits of the retailers, one by one: a rank is a rank among a retailer's own."""
        return self.of or (self,)

    def training(self, broadcast: Arrays) -> Iterator[Design]:  # noqa: ARG002
        """Yields the training rows of a regression."""
        return self.train.designs()

    # What a query about columns asks is about the training rows.

    @cached_property
    def _columns(self) -> Columns:
        return self.train.columns

    @property
    def numbers(self) -> Mapping[str, NDArray[np.float64]]:
        """The columns of the training rows."""
        return self._columns.numbers

    @property
    def keys(self) -> NDArray[np.uint64]:
        """Whose each training row is."""
        return self._columns.keys

    @property
    def rows(self) -> int:
        """How many training rows there are."""
        return len(self.train)

    def number(self, name: str) -> NDArray[np.float64]:
        """Returns a column of the training rows; AnswerError if it is not there."""
        return self._columns.number(name)

    def counted(self, most: int) -> NDArray[np.bool_]:
        """Returns which training rows count, as `Columns.counted` does."""
        return self._columns.counted(most)

    @staticmethod
    def pooled(parts: list[Split]) -> Split:
        """Returns the splits of several retailers as one: for simulations."""
        return Split(
            Cases.joined([part.train for part in parts]),
            Cases.joined([part.scored for part in parts]),
            {n: np.concatenate([p.facts[n] for p in parts]) for n in parts[0].facts},
            parts[0].group,
            parts[0].per_customer,
            tuple(parts),
        )
