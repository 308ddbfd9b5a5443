"""A consortium in this process, over rows that are at hand: real messages, envelopes and egress."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from grandtotal.consortium.consortium import Consortium, Listener
from grandtotal.consortium.query import Query, Rows
from grandtotal.consortium.retailer import Agreeing, Opener, Retailer
from grandtotal.consortium.totals import Totals
from grandtotal.consortium.transport import EmbeddedTransport
from grandtotal.durable import Json, arrays_digest, canonical
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.door import Door
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.privacy.identity import Roster, make_identity, write_roster
from grandtotal.privacy.terms import Terms
from grandtotal.tasks.scores import ROWS, save_scores
from grandtotal.tasks.task import Task

TASK = "task"
_NAME = "benchmark"  # of the consortium


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
    masked: bool = False,
) -> Iterator[Consortium]:
    """Yields a new, opened consortium of these retailers; `of(TASK)` are its totals.

    budget: of noise, which each retailer then adds its share of; by default totals are exact.
    masked: whether sums are, with keys that are made here.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        doors = {name: Door(folder / name / "door") for name in holders}
        transport = EmbeddedTransport(
            {
                name: Retailer(
                    name,
                    folder / name,
                    _opener(Holder(rows, task, folder / name)),
                    doors[name],
                    agreeing=_agreeing(folder / name, budget),
                )
                for name, rows in holders.items()
            }
        )
        roster = _enrolled(doors) if masked else None
        consortium = Consortium(tuple(holders), transport, folder / "coordinator", listener, roster)
        agreed = {"name": _NAME, "members": list(holders)}
        consortium.open(canonical({"consortium": agreed, "privacy": {"secure_sum": masked}}))
        yield consortium
        consortium.close()
        transport.close()


def _enrolled(doors: Mapping[str, Door]) -> Roster:
    """Gives everybody a key and the roster that all of them signed; returns it."""
    keys = {name: make_identity(door.key_path) for name, door in doors.items()}
    until = date.today() + timedelta(days=1)
    roster = Roster(_NAME, 1, {name: key.public for name, key in keys.items()}, until)
    for name, key in keys.items():
        roster = roster.signed(name, key)
    for door in doors.values():
        write_roster(door.roster_path(_NAME), roster)
    return roster


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
