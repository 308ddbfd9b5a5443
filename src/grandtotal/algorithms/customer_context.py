"""What is known of customers and of a day, beside purchases, as places of a table that is learnt.

A text of the customers table, such as a region, has the place of its hash, so that retailers need
no common list of regions; the same text is the same place everywhere. It never leaves the retailer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.words import place

FACTS = ("age_band", "region", "tier")  # columns of the customers table
PLACES = 512
_SEASONS, _FIRST = 8, 12  # places before are weekdays; from _FIRST on, texts. 0: nothing is known
_SEASON = np.array([0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0])  # of a month, from January on

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Context:
    """facts: (customers, facts) places, 0 where nothing is known. cut: days since 1970-01-01."""

    facts: Places
    cut: int

    @staticmethod
    def of_texts(texts: Sequence[NDArray[Any]], cut: int) -> "Context":
        """Returns the context of customers with these (customers,) texts of FACTS, "" unknown."""
        columns = [_places(name, each) for name, each in zip(FACTS, texts, strict=True)]
        return Context(np.stack(columns, axis=1), cut)

    def of(self, customers: NDArray[np.intp]) -> "Context":
        """Returns that of some customers."""
        return Context(self.facts[customers], self.cut)

    def unknown(self, customers: int) -> "Context":
        """Returns that of customers of whom nothing is known, on the same day."""
        return Context(np.zeros((customers, self.facts.shape[1]), np.int64), self.cut)

    def when(self, ago: NDArray[Any]) -> Places:
        """Returns (days, 2) places of weekday and season of days that many before the cut."""
        days = self.cut - np.asarray(ago, np.int64)
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
        return np.stack([1 + days % 7, _SEASONS + _SEASON[months]], axis=1).astype(np.int64)

    @staticmethod
    def pooled(parts: Sequence["Context | None"]) -> "Context | None":
        """Returns that of several retailers' customers, None if there is none of somebody's."""
        known = [part for part in parts if part is not None]
        if not known or len(known) < len(parts):
            return None
        return Context(np.concatenate([part.facts for part in known]), known[0].cut)


def _places(column: str, texts: NDArray[Any]) -> Places:
    different, which = np.unique(texts.astype(str), return_inverse=True)
    words = [text.strip().lower() for text in different.tolist()]
    found = [place(f"{column} {word}", _FIRST, PLACES) if word else 0 for word in words]
    return np.array(found, np.int64)[which]
