"""All that an algorithm sees: totals. Whether over one holder's rows or a consortium's."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from grandtotal.consortium.query import Query, Rows
from grandtotal.privacy.fixedpoint import Arrays, decode, encode, refuse_overflow

Made = TypeVar("Made")
NOTHING: Mapping[str, np.ndarray] = {}


class Totals(Protocol):
    """The sum of a query's answers over everyone who holds rows."""

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the fields of the query in units, summed; integers where the scale is 1."""
        ...


@dataclass(frozen=True)
class _Nowhere:
    """The state of a holder of rows that takes part in nothing: all of it is in memory."""

    memory: dict[str, Any] = field(default_factory=dict)
    _kept: dict[str, bytes] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        raise RuntimeError("a local total has no run folder: this query needs a retailer's state")

    def keep(self, name: str, content: Callable[[], bytes]) -> None:
        """Keeps what the name stands for."""
        if name not in self._kept:
            self._kept[name] = content()

    def kept(self, name: str) -> bytes | None:
        """Returns what was kept under the name."""
        return self._kept.get(name)

    def forget(self, name: str) -> None:
        """Lets go of what was kept under the name."""
        self._kept.pop(name, None)


class Local:
    """One holder of rows: a retailer alone, or the pooled rows of a simulation.

    The same integers and the same refusals as over a consortium, and nothing leaves: this class
    never reaches egress.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._state = _Nowhere()

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the query's answer over these rows, through the fixed point of the wire."""
        broadcast = broadcast or {}
        fields = query.fields(broadcast)
        refuse_overflow(fields, retailers=1)
        answer = query.answer(self.rows, self._state, broadcast)
        return {
            name: decode(encode(name, np.asarray(answer[name]), field, 1), field)
            for name, field in fields.items()
        }


class Remembering:
    """Totals that asks each question without a broadcast once: a grid shares its statistics."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._known: dict[Query, Arrays] = {}
        self._made: dict[Hashable, Any] = {}

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the total, from memory where the very same question was asked before."""
        if broadcast:
            return self._totals.total(query, broadcast)
        if query not in self._known:
            self._known[query] = self._totals.total(query)
        return self._known[query]

    def once(self, what: Hashable, make: Callable[[], Made]) -> Made:
        """Returns what `make` made the first time that it was asked for: training is long."""
        if what not in self._made:
            self._made[what] = make()
        made: Made = self._made[what]
        return made


def once(totals: Totals, what: Hashable, make: Callable[[], Made]) -> Made:
    """Returns what `make` makes; where totals remember, it is made the first time only."""
    return totals.once(what, make) if isinstance(totals, Remembering) else make()
