"""The coordinator's side: asks every retailer the same question and adds up what they say."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from grandtotal import __version__
from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.query import Query, parameters, question_digest
from grandtotal.consortium.transport import Reply, RetailerId, Transport
from grandtotal.durable import Json, Log, arrays_digest, digest, write_by
from grandtotal.errors import AnswerError, Code, RefusedError, RetailerError, RunError
from grandtotal.privacy.egress import BLOCK_BYTES
from grandtotal.privacy.fixedpoint import Arrays, Field, decode, refuse_overflow
from grandtotal.versions import code_digest

Listener = Callable[[Json], None]
"""Called with every record of rounds.jsonl as it is written."""


NOTHING = np.empty(0)


def unheard(record: Json) -> None:
    """Listens to nothing."""


class Consortium:
    """At least three retailers as one `Totals`.

    Every total is on the coordinator's disk before the algorithm sees it (totals/, rounds.jsonl),
    so that a run that was killed goes on from the last total with the same numbers.
    """

    def __init__(
        self,
        members: tuple[RetailerId, ...],
        transport: Transport,
        folder: Path,
        listener: Listener = unheard,
    ) -> None:
        refuse_too_few(members)
        self.members = members
        self._transport = transport
        self._folder = folder
        self._listener = listener
        self._log = Log(folder / "rounds.jsonl")
        self._done = {record["question"]: record for record in self._log.records}
        self._plan = ""

    def open(self, plan: bytes) -> None:
        """Shows the plan to every retailer; each reads its tables and says whether it can."""
        self._plan = digest(plan)
        body = {
            "plan": plan.decode(),
            "version": __version__,
            "code": code_digest(),
            "members": list(self.members),
        }
        self._exchange(Message("open", body), "opened")

    def of(self, task: str) -> "TaskTotals":
        """Returns the totals over the rows that the retailers prepared for one task."""
        return TaskTotals(self, task)

    def total(self, task: str, query: Query, broadcast: Arrays) -> Arrays:
        """Returns the sum over the retailers of the answers to one question, in units."""
        fields = query.fields(broadcast)
        refuse_overflow(fields, len(self.members))
        question = question_digest(self._plan, task, query, broadcast)
        if question in self._done:
            words = stored_total(self._folder, self._done[question])
        else:
            words = self._ask(task, query, broadcast, question, fields)
        return {name: decode(words[name], field) for name, field in fields.items()}

    def _ask(
        self, task: str, query: Query, broadcast: Arrays, question: str, fields: dict[str, Field]
    ) -> Arrays:
        started = time.monotonic()
        body = {
            "plan": self._plan,
            "round": len(self._log.records) + 1,
            "task": task,
            "query": query.name,
            "parameters": parameters(query),
            "question": question,
        }
        total = _Sum(fields)
        for block in range(total.blocks):
            # The broadcast travels once; later blocks of the same summand are asked for by name.
            message = Message("ask", {**body, "block": block}, broadcast if block == 0 else {})
            replies = self._exchange(message, "summand")
            for name, reply in replies.items():
                total.add(name, block, reply.arrays.get("summand", NOTHING))
        words = total.words()
        self._commit(
            {
                "round": body["round"],
                "task": task,
                "query": query.name,
                "parameters": body["parameters"],
                "question": question,
                "members": list(self.members),
                "fields": {name: list(field.shape) for name, field in fields.items()},
                "bytes_out": dict.fromkeys(self.members, total.size),
                "bytes_in": sum(array.nbytes for array in broadcast.values()),
                "seconds": round(time.monotonic() - started, 4),
            },
            words,
        )
        return words

    def _commit(self, record: Json, words: Arrays) -> None:
        path = total_path(self._folder, record["question"])
        write_by(path, lambda partial: save_file(words, partial))
        record["total"] = arrays_digest(words)
        self._append(record)

    def _append(self, record: Json) -> None:
        self._log.append(record)
        self._done[record["question"]] = record
        self._listener(record)

    def deliver(self, task: str, meta: Json, arrays: Arrays) -> None:
        """Gives the finished model to every retailer: one way, recorded, once."""
        model = arrays_digest(arrays)
        question = delivery_digest(self._plan, task, model)
        if question in self._done:
            return
        started = time.monotonic()
        body = {"plan": self._plan, "task": task, "meta": meta, "model": model}
        self._exchange(Message("deliver", body, arrays), "delivered")
        self._append(
            {
                "round": len(self._log.records) + 1,
                "task": task,
                "deliver": model,
                "question": question,
                "bytes_in": sum(array.nbytes for array in arrays.values()),
                "seconds": round(time.monotonic() - started, 4),
            }
        )

    def close(self) -> None:
        """Tells every retailer that the run is over."""
        self._exchange(Message("close", {"plan": self._plan}), "closed")

    def _exchange(self, message: Message, expected: str) -> dict[RetailerId, Message]:
        content = seal(message)
        replies = self._transport.exchange(dict.fromkeys(self.members, content))
        opened = {name: _read(name, replies.get(name)) for name in self.members}
        refusals = {name: reply for name, reply in opened.items() if reply.kind != expected}
        if refusals:
            raise RetailerError(
                "; ".join(f"'{name}': {_refusal(reply)}" for name, reply in refusals.items())
            )
        return opened


class Record(Protocol):
    """Whoever answers for all retailers: a consortium, or the record of one."""

    def total(self, task: str, query: Query, broadcast: Arrays) -> Arrays: ...

    def deliver(self, task: str, meta: Json, arrays: Arrays) -> None: ...


@dataclass(frozen=True)
class TaskTotals:
    """The `Totals` of one task over a consortium."""

    consortium: Record
    task: str

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the fields of the query in units, summed over the retailers."""
        return self.consortium.total(self.task, query, broadcast or {})


def total_path(folder: Path, question: str) -> Path:
    """Where the coordinator keeps the words of a total."""
    return folder / "totals" / f"{question}.safetensors"


def stored_total(folder: Path, record: Json) -> Arrays:
    """Returns the words of a total that rounds.jsonl names; RunError if it is not that one."""
    path = total_path(folder, record["question"])
    try:
        words: Arrays = load(path.read_bytes())
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunError(f"{path}: a total of this run cannot be read ({error})") from error
    if arrays_digest(words) != record["total"]:
        raise RunError(f"{path}: not the total that rounds.jsonl names; start a new run")
    return words


def delivery_digest(plan: str, task: str, model: str) -> str:
    """Returns what names the delivery of a model in the record of rounds."""
    return digest(b"deliver", plan.encode(), task.encode(), model.encode())


def refuse_too_few(members: tuple[RetailerId, ...]) -> None:
    """Raises RefusedError below three retailers."""
    if len(members) < 3:
        raise RefusedError(
            f"{len(members)} retailers ({', '.join(members)}): at least 3 are needed. With two, "
            f"each reads the other's summand by subtracting its own from the total"
        )


def _read(name: RetailerId, reply: Reply | None) -> Message:
    if isinstance(reply, RetailerError):
        raise reply
    if reply is None:
        raise RetailerError(f"no answer from '{name}'")
    try:
        return unseal(reply)
    except AnswerError as error:
        raise RetailerError(f"'{name}' sent something that is no message: {error}") from error


def _refusal(reply: Message) -> str:
    code = reply.body.get("code")
    return Code(code).meaning if code in list(Code) else f"an unexpected '{reply.kind}'"


class _Sum:
    """The running total of the blocks of the retailers' summands."""

    def __init__(self, fields: dict[str, Field]) -> None:
        self.size = sum(field.bytes for field in fields.values())
        self.blocks = max(1, -(-self.size // BLOCK_BYTES))
        self._buffer = np.zeros(self.size, np.uint8)
        self._fields = fields

    def add(self, name: RetailerId, block: int, content: NDArray[Any]) -> None:
        """Adds a block, modulo the modulus of each field."""
        start = block * BLOCK_BYTES
        if content.dtype != np.uint8 or content.shape != self._buffer[start:][:BLOCK_BYTES].shape:
            raise RetailerError(
                f"'{name}' sent a block of {content.nbytes} bytes that nobody asked"
            )
        for word, first, last in self._words(start, start + len(content)):
            mine = self._buffer[first:last].view(word)
            mine += content[first - start : last - start].view(word)

    def _words(self, start: int, stop: int) -> Iterator[tuple[np.dtype[Any], int, int]]:
        begin = 0
        for field in self._fields.values():
            end = begin + field.bytes
            if max(begin, start) < min(end, stop):
                yield field.word, max(begin, start), min(end, stop)
            begin = end

    def words(self) -> Arrays:
        """Returns the words of each field, shape (field.length,)."""
        words: Arrays = {}
        begin = 0
        for name, field in self._fields.items():
            words[name] = self._buffer[begin : begin + field.bytes].view(field.word)[: field.length]
            begin += field.bytes
        return words
