"""The coordinator's side: asks every retailer the same question and adds up what they say."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from grandtotal import __version__
from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.query import Query, parameters, question_digest
from grandtotal.consortium.sums import Asked, PlainSums, SecureSums, Sums, setting_of
from grandtotal.consortium.transport import Reply, RetailerId, Transport
from grandtotal.durable import (
    Json,
    Log,
    arrays_digest,
    digest,
    read_json,
    write_by,
    write_json,
)
from grandtotal.errors import AnswerError, Code, PlanError, RefusedError, RetailerError, RunError
from grandtotal.privacy.agreement import promised
from grandtotal.privacy.fixedpoint import Arrays, Field, decode, refuse_overflow
from grandtotal.privacy.identity import Roster
from grandtotal.versions import code_digest

Listener = Callable[[Json], None]
"""Called with every record of rounds.jsonl as it is written."""


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
        roster: Roster | None = None,
    ) -> None:
        refuse_too_few(members)
        self._all = members
        self._transport = transport
        self._folder = folder
        self._listener = listener
        self._roster = roster
        self._done: dict[
            str, str
        ] = {}  # the digest of each total by its question; "" of a delivery
        self._log = Log(folder / "rounds.jsonl", self._do)
        self._plan = ""
        self._sums: Sums = PlainSums(members, self._exchange)

    @property
    def members(self) -> tuple[RetailerId, ...]:
        """The retailers that are asked; who dropped out is not among them."""
        return self._sums.members

    def open(self, plan: bytes) -> None:
        """Shows the plan to every retailer; each reads its tables and says whether it can.

        PlanError where the plan wants secure sums and there is no roster.
        """
        self._plan = digest(plan)
        run = self._run()
        privacy = promised(plan)
        if privacy.secure_sum:
            if self._roster is None:
                raise PlanError(
                    "the plan asks for secure sums, but there is no roster of the retailers' keys"
                )
            setting = setting_of(plan, run, code_digest(), self._roster)
            self._sums = SecureSums(setting, self._exchange, self._folder, privacy.keep_masked)
        body = {
            "plan": plan.decode(),
            "version": __version__,
            "code": code_digest(),
            "members": list(self._all),
            "run": run,
        }
        self._open(Message("open", body))

    def _open(self, message: Message) -> None:
        # Of a run that has totals, whoever is away is left out as if it were away from a total. One
        # without any waits: a member that never took part has no reason to be left out.
        may_miss = self._sums.may_miss if self._log.count else 0
        asked = dict.fromkeys(self.members, message)
        opened = self._exchange(asked, "opened", may_miss)
        self._sums.leave(set(asked) - set(opened))

    def _run(self) -> str:
        # Drawn once: a run that goes on after a crash is the same one to its retailers.
        path = self._folder / "run.json"
        if not path.exists():
            write_json(path, {"run": secrets.token_hex(16), "code": code_digest()})
        name: str = read_json(path)["run"]
        return name

    def of(self, task: str) -> "TaskTotals":
        """Returns the totals over the rows that the retailers prepared for one task."""
        return TaskTotals(self, task)

    def total(self, task: str, query: Query, broadcast: Arrays) -> Arrays:
        """Returns the sum over the retailers of the answers to one question, in units."""
        fields = query.fields(broadcast)
        refuse_overflow(fields, len(self.members))
        question = question_digest(self._plan, task, query, broadcast)
        if question in self._done:
            words = stored_total(self._folder, question, self._done[question])
        else:
            words = self._ask(task, query, broadcast, question, fields)
        return {name: decode(words[name], field) for name, field in fields.items()}

    def _ask(
        self, task: str, query: Query, broadcast: Arrays, question: str, fields: dict[str, Field]
    ) -> Arrays:
        started = time.monotonic()
        body = {
            "round": self._log.count + 1,
            "task": task,
            "query": query.name,
            "parameters": parameters(query),
            "question": question,
        }
        asked = Asked(body, broadcast, fields)
        words = self._sums.total(asked)
        self._commit(
            {
                "round": body["round"],
                "task": task,
                "query": query.name,
                "parameters": body["parameters"],
                "question": question,
                "members": list(self.members),
                "fields": {name: list(field.shape) for name, field in fields.items()},
                "bytes_out": dict.fromkeys(self.members, asked.size),
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
        self._sums.committed(record["question"])

    def _append(self, record: Json) -> None:
        self._log.append(record)
        self._do(record)
        self._listener(record)

    def _do(self, record: Json) -> None:
        self._done[record["question"]] = record.get("total", "")

    def deliver(self, task: str, meta: Json, arrays: Arrays) -> None:
        """Gives the finished model to every retailer: one way, recorded, once."""
        model = arrays_digest(arrays)
        question = delivery_digest(self._plan, task, model)
        if question in self._done:
            return
        started = time.monotonic()
        body = {"task": task, "meta": meta, "model": model}
        self._tell(Message("deliver", body, arrays), "delivered")
        self._append(
            {
                "round": self._log.count + 1,
                "task": task,
                "deliver": model,
                "question": question,
                "bytes_in": sum(array.nbytes for array in arrays.values()),
                "seconds": round(time.monotonic() - started, 4),
            }
        )

    def close(self) -> None:
        """Tells every retailer that the run is over."""
        self._tell(Message("close", {}), "closed")

    def _tell(self, message: Message, expected: str) -> None:
        self._exchange(dict.fromkeys(self.members, message), expected)

    def _exchange(
        self, messages: Mapping[RetailerId, Message], expected: str, may_miss: int = 0
    ) -> dict[RetailerId, Message]:
        # A message to all is sealed once: it may hold a model of gigabytes.
        sealed: dict[int, bytes] = {}
        for message in messages.values():
            if id(message) not in sealed:
                body = {"plan": self._plan, **message.body}
                sealed[id(message)] = seal(Message(message.kind, body, message.arrays))
        content = {name: sealed[id(message)] for name, message in messages.items()}
        replies = self._transport.exchange(content, may_miss)
        here = {
            name: _read(name, replies.get(name))
            for name in messages
            if may_miss == 0 or isinstance(replies.get(name), bytes)
        }
        refusals = {name: reply for name, reply in here.items() if reply.kind != expected}
        if refusals:
            raise RetailerError(
                "; ".join(f"'{name}': {_refusal(reply)}" for name, reply in refusals.items())
            )
        return here


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


def stored_total(folder: Path, question: str, total: str) -> Arrays:
    """Returns the words of a total; RunError where its digest is not that of rounds.jsonl."""
    path = total_path(folder, question)
    try:
        words: Arrays = load(path.read_bytes())
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunError(f"{path}: a total of this run cannot be read ({error})") from error
    if arrays_digest(words) != total:
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
