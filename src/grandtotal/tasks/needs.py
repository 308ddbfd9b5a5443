"""What a task asks of a retailer's tables, declared before any row is read.

A task class may have `needs: ClassVar[tuple[Need, ...]]`, and a method
`standing(rows, tables) -> tuple[Standing, ...]` that says what the rows of one retailer amount to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from grandtotal.consortium.query import Rows
    from grandtotal.tables.read import Tables

Verdict = Literal["yes", "look", "no"]


@dataclass(frozen=True)
class Need:
    """One column that a task reads: without it the task cannot be done, or is the poorer.

    what: for a required column what it is used for; for another what it would add.
    """

    table: str
    column: str
    required: bool
    what: str


@dataclass(frozen=True)
class Standing:
    """How a retailer stands on one point of the plan; "no" means that it cannot run here.

    found and expected are for a person; remedy is "" where nothing is to be done.
    """

    point: str
    verdict: Verdict
    found: str
    expected: str
    remedy: str = ""


def needs_of(task: object) -> tuple[Need, ...]:
    """Returns what a task or its class declares; () where it declares nothing."""
    found: tuple[Need, ...] = getattr(task, "needs", ())
    return found


def standing_of(task: object, rows: Rows, tables: Tables) -> tuple[Standing, ...]:
    """Returns what the task says of the retailer's rows; () where it says nothing."""
    say = getattr(task, "standing", None)
    found: tuple[Standing, ...] = say(rows, tables) if say else ()
    return found
