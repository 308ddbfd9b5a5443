"""A query, what travels with it, and who is asked: retailers, and one with all their rows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grandtotal.consortium.query import Query, Rows
from grandtotal.durable import write
from grandtotal.privacy.fixedpoint import Arrays

TASK = "task"


@dataclass(frozen=True)
class Holder:
    """Rows, and the folder of whoever holds them."""

    rows: Rows
    folder: Path
    memory: dict[str, Any] = field(default_factory=dict)

    def keep(self, name: str, content: Callable[[], bytes]) -> None:
        write(self.folder / name, content())

    def kept(self, name: str) -> bytes | None:
        return (self.folder / name).read_bytes()

    def forget(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Asked:
    """A question, several holders of rows, and one who holds them all."""

    query: Query
    broadcast: Arrays
    parts: list[Holder]
    pooled: Holder

    def answer(self, holder: Holder) -> Arrays:
        return self.query.answer(holder.rows, holder, self.broadcast)
