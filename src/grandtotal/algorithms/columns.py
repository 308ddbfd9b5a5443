"""A retailer's rows as columns of equal length: what statistics over single columns are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import AnswerError, Code


@dataclass(frozen=True)
class Columns:
    """The rows of one split.

    numbers: by column, (rows,) float64; nan where the value is missing.
    categories: by column, (rows,) uint64, a keyed fingerprint of the text; a missing text is "".
    keys: (rows,) uint64, a keyed fingerprint of what the row belongs to, such as the customer:
        rows of one key are always in the same fold, whoever holds them.
    """

    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def number(self, name: str) -> NDArray[np.float64]:
        """Returns a numeric column; AnswerError if it is not there or holds an infinite value."""
        values = _column(self.numbers, name)
        if np.isinf(values).any():
            raise AnswerError(Code.NOT_FINITE, f"column '{name}' holds an infinite value")
        return values

    def category(self, name: str) -> NDArray[np.uint64]:
        """Returns a column of categories; AnswerError if it is not there."""
        return _column(self.categories, name)

    @staticmethod
    def pooled(parts: "list[Columns]") -> "Columns":
        """Returns the rows of several retailers as if one held them: for simulations."""
        return Columns(
            _joined([part.numbers for part in parts]),
            _joined([part.categories for part in parts]),
            np.concatenate([part.keys for part in parts]),
        )


def _column(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in columns:
        raise AnswerError(
            Code.DATA_UNUSABLE, f"no column '{name}', there are: {', '.join(columns) or 'none'}"
        )
    return columns[name]


def _joined(parts: list[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
