"""A retailer's rows as columns of equal length: what statistics over single columns are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.bound import Bound, Stated
from grandtotal.privacy.clipping import changed, latest


@dataclass(frozen=True)
class Columns:
    """The rows of one split.

    numbers: by column, (rows,) float64; nan where the value is missing.
    categories: by column, (rows,) uint64, a keyed fingerprint of the text; a missing text is "".
    keys: (rows,) uint64, a keyed fingerprint of what the row belongs to, such as the customer:
        rows of one key are always in the same fold, whoever holds them. Where a query limits how
        many rows of a customer count, they must be of customers.
    """

    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    @property
    def rows(self) -> int:
        """How many rows there are."""
        for columns in (self.numbers, self.categories):
            for name in columns:
                return len(columns[name])
        return len(self.keys)

    def number(self, name: str) -> NDArray[np.float64]:
        """Returns a numeric column; AnswerError if it is not there or holds an infinite value."""
        values = _column(self.numbers, name)
        if np.isinf(values).any():
            raise AnswerError(Code.NOT_FINITE, f"column '{name}' holds an infinite value")
        return values

    def category(self, name: str) -> NDArray[np.uint64]:
        """Returns a column of categories; AnswerError if it is not there."""
        return _column(self.categories, name)

    def counted(self, most: int) -> NDArray[np.bool_]:
        """Returns which rows are among the last `most` of their key, (rows,); 0: all are.

        AnswerError where only some may count and the rows have no keys.
        """
        if most <= 0:
            return np.ones(self.rows, np.bool_)
        if len(self.keys) != self.rows:
            raise AnswerError(
                Code.DATA_UNUSABLE,
                f"{self.rows:,} rows with {len(self.keys):,} keys: without the customer of each "
                f"row nobody knows how much one of them adds",
            )
        return latest(self.keys, most)

    @staticmethod
    def pooled(parts: "list[Columns]") -> "Columns":
        """Returns the rows of several retailers as if one held them: for simulations."""
        return Columns(
            _joined([part.numbers for part in parts]),
            _joined([part.categories for part in parts]),
            np.concatenate([part.keys for part in parts]),
        )


def rows_bound(most: int) -> Stated:
    """Returns how far a customer moves a table of counts, with at most `most` rows of 1 each.

    All of them may leave one cell for another: sqrt(2) most. None where every row counts.
    """
    return Bound(changed(most, signed=False)) if most > 0 else None


def _column(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in columns:
        raise AnswerError(
            Code.DATA_UNUSABLE, f"no column '{name}', there are: {', '.join(columns) or 'none'}"
        )
    return columns[name]


def _joined(parts: list[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
