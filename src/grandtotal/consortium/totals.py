"""All that an algorithm sees: totals. Whether over one holder's rows or a consortium's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from grandtotal.consortium.query import Query, Rows
from grandtotal.privacy.fixedpoint import Arrays, decode, encode, refuse_overflow

NOTHING: Mapping[str, np.ndarray] = {}


class Totals(Protocol):
    """The sum of a query's answers over everyone who holds rows."""

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the fields of the query in units, summed; integers where the scale is 1."""
        ...


@dataclass(frozen=True)
class _Nowhere:
    """The state of a holder of rows that takes part in nothing."""

    @property
    def folder(self) -> Path:
        raise RuntimeError("a local total has no run folder: this query needs a retailer's state")


class Local:
    """One holder of rows: a retailer alone, or the pooled rows of a simulation.

    The same integers and the same refusals as over a consortium, and nothing leaves: this class
    never reaches egress.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the query's answer over these rows, through the fixed point of the wire."""
        broadcast = broadcast or {}
        fields = query.fields(broadcast)
        refuse_overflow(fields, retailers=1)
        answer = query.answer(self._rows, _Nowhere(), broadcast)
        return {
            name: decode(encode(name, np.asarray(answer[name]), field, 1), field)
            for name, field in fields.items()
        }


class Remembering:
    """Totals that asks each question without a broadcast once: a grid shares its statistics."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._known: dict[Query, Arrays] = {}

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the total, from memory where the very same question was asked before."""
        if broadcast:
            return self._totals.total(query, broadcast)
        if query not in self._known:
            self._known[query] = self._totals.total(query)
        return self._known[query]
