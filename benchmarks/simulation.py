"""A consortium in this process, over rows that are at hand: real messages, envelopes and egress."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from grandtotal.consortium.consortium import Consortium, Listener
from grandtotal.consortium.query import Query, Rows
from grandtotal.consortium.retailer import Agreeing, Opener, Retailer
from grandtotal.consortium.totals import Totals
from grandtotal.consortium.transport import EmbeddedTransport
from grandtotal.durable import Json, arrays_digest, canonical
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.privacy.terms import Terms
from grandtotal.tasks.scores import ROWS, save_scores
from grandtotal.tasks.task import Task

TASK = "task"


@dataclass(frozen=True)
class Holder:
    """A retailer's part: its rows, and what it does with a finished model.

    It scores the model on its test rows and keeps the scores under every row of the table; without
    a task it does nothing.
    """

    rows: Rows
    task: Task | None
    folder: Path

    def receive(self, meta: Json, arrays: Arrays) -> None:
        """Keeps the scores of the model."""
        if self.task is not None:
            found = self.task.score(self.task.build(arrays, meta), self.rows, "test")
            for row in ROWS:
                save_scores(self.folder, TASK, row, found)


@contextmanager
def federated(
    holders: Mapping[str, Rows],
    task: Task | None = None,
    listener: Listener = lambda record: None,  # noqa: ARG005
    budget: Budget | None = None,
) -> Iterator[Consortium]:
    """Yields a new, opened consortium of these retailers; `of(TASK)` are its totals.

    budget: of noise, which each retailer then adds its share of; by default totals are exact. Sums
    are not masked.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        transport = EmbeddedTransport(
            {
                name: Retailer(
                    name,
                    folder / name,
                    _opener(Holder(rows, task, folder / name)),
                    agreeing=_agreeing(folder / name, budget),
                )
                for name, rows in holders.items()
            }
        )
        consortium = Consortium(tuple(holders), transport, folder / "coordinator", listener)
        consortium.open(canonical({"privacy": {"secure_sum": False}, "members": list(holders)}))
        yield consortium
        consortium.close()
        transport.close()


def _opener(holder: Holder) -> Opener:
    return lambda plan: {TASK: holder}  # noqa: ARG005


def _agreeing(folder: Path, budget: Budget | None) -> Agreeing:
    terms = Terms(folder / "door", purposes={TASK: TASK}, budget=budget)
    return lambda plan: terms  # noqa: ARG005


@dataclass
class Recorded:
    """Totals that notes which query was asked and the digest of its total, in order."""

    totals: Totals
    digests: list[tuple[str, str]] = field(default_factory=list)

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the total."""
        found = self.totals.total(query, broadcast)
        self.digests.append((query.name, arrays_digest(found)))
        return found
