"""A question that every retailer answers with arrays of agreed fields.

A query is a frozen dataclass. Its parameters travel as JSON; its code is installed at every
retailer and found by name, never sent. The answer is a summand: it leaves only through egress.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol

from grandtotal.durable import Json, arrays_digest, canonical, digest
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

Rows = Mapping[str, Any]
"""A retailer's rows as a task prepared them, by split: "validation" and "test" hold what was
known at that cut and, for scoring alone, what came after it."""


class State(Protocol):
    """What a retailer remembers between rounds: always on its disk, in its own folder.

    memory: what was computed from rows and broadcasts, to be quick; it may be lost at any moment.
    """

    @property
    def memory(self) -> dict[str, Any]: ...

    @property
    def folder(self) -> Path: ...

    def keep(self, name: str, content: Callable[[], bytes]) -> None:
        """Keeps what the name stands for until the run ends, unless it is kept already."""
        ...

    def kept(self, name: str) -> bytes | None:
        """Returns what was kept under the name, None where nothing was."""
        ...

    def forget(self, name: str) -> None:
        """Lets go of what was kept under the name, if anything was."""
        ...


class Query(Protocol):
    """A summand's definition. Implementations are frozen dataclasses of JSON-able parameters."""

    name: ClassVar[str]

    @property
    def bound(self) -> Stated:
        """How far one unit moves the answer; its parameters may decide."""
        ...

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns the fields of the answer; known before anyone answers, from public facts only."""
        ...

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:
        """Returns the summand: integer arrays hold steps of 1/scale, float arrays hold units.

        Of a symmetric field the matrix, or its packed upper triangle, which is then given away.
        """
        ...


def shared(split: str) -> str:
    """Returns the name of a split's rows that clipped queries are about, and no other query."""
    return f"shared {split}"


def shared_rows(rows: Rows, split: str, per_customer: int, group: str = "product") -> Any:
    """Returns what a clipped query is about; AnswerError where it promises what the rows are not.

    per_customer: in how many groups of these rows a customer is, as the query says. It travels, and
    whoever asks must not choose how little noise is enough: the rows say how many there are, as the
    retailer's own plan limits them. group: whose rows are clipped together; the rows say it too.
    """
    found = rows[shared(split)]
    refuse_other_rows(found.per_customer, per_customer)
    clipped = getattr(found, "group", "product")
    if clipped != group:
        raise AnswerError(
            Code.PLAN_REFUSED,
            f"asked to hide each {group}, in these rows it is each {clipped}: the plan says whose",
        )
    return found


def refuse_other_rows(found: int, asked: int) -> None:
    """Raises AnswerError where a customer is part of more of the rows than a query says."""
    if found != asked:
        raise AnswerError(
            Code.PLAN_REFUSED,
            f"asked for rows in which a customer is part of {asked} products (0: of any "
            f"number), in these it is {found}: the plan says how many",
        )


def parameters(query: Query) -> Json:
    """Returns the parameters that travel with the query's name."""
    return asdict(query)  # type: ignore[call-overload, no-any-return]


def question_digest(
    plan: str, task: str, query: Query, broadcast: Arrays, given: str | None = None
) -> str:
    """Returns what makes two questions the same one: plan, task, query, parameters, broadcast.

    Coordinator and retailer compute it apart, so that neither takes the other's word for it.
    given: the digest of the broadcast, of whoever has made it already.
    """
    asked = {"plan": plan, "task": task, "query": query.name, "parameters": parameters(query)}
    return digest(canonical(asked), (given or arrays_digest(broadcast)).encode())


def asked_digest(query: Query, broadcast: Arrays, given: str | None = None) -> str:
    """Returns what makes two questions alike in any plan: query, parameters, broadcast.

    given: as in `question_digest`.
    """
    asked = {"query": query.name, "parameters": parameters(query)}
    return digest(canonical(asked), (given or arrays_digest(broadcast)).encode())


def build_query(name: str, values: Json) -> Query:
    """Returns the installed query of that name with these parameters."""
    maker = installed("queries").get(name)
    if maker is None:
        raise AnswerError(Code.UNKNOWN_QUERY, f"no query '{name}' is installed")
    try:
        query: Query = maker(**values)
    except TypeError as error:
        raise AnswerError(Code.UNKNOWN_QUERY, f"query '{name}' with {values}: {error}") from error
    return query


class _Installed(Mapping[str, Callable[..., Any]]):
    """Classes by name, each imported when it is first asked for."""

    def __init__(self, kind: str) -> None:
        self._points = {point.name: point for point in entry_points(group=f"grandtotal.{kind}")}

    def __getitem__(self, name: str) -> Callable[..., Any]:
        found: Callable[..., Any] = self._points[name].load()
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._points

    def __iter__(self) -> Any:
        return iter(sorted(self._points))

    def __len__(self) -> int:
        return len(self._points)


@cache
def installed(kind: str) -> Mapping[str, Callable[..., Any]]:
    """Returns the installed "queries" or "tasks" by name, ours and those of other packages."""
    return _Installed(kind)
