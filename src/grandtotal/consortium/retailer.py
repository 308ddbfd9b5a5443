"""The retailer's side: answers messages, remembers on its own disk, lets nothing else out."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from grandtotal import __version__
from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.query import Rows, build_query, question_digest
from grandtotal.consortium.waiting import on_disk
from grandtotal.durable import Json, digest
from grandtotal.errors import AnswerError, Code, DataError, GrandtotalError, PlanError
from grandtotal.privacy.egress import Egress, Question
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.versions import code_digest


class Participation(Protocol):
    """The retailer half of one task: its rows, and what it does with the finished model."""

    @property
    def rows(self) -> Rows: ...

    def receive(self, meta: Json, arrays: Arrays) -> None:
        """Keeps the model, trains alone, scores both on the test rows once, all at home."""
        ...


Opener = Callable[[bytes], Mapping[str, Participation]]
"""Reads a plan and this retailer's tables; raises what is wrong with either."""


class Retailer:
    """One company: its folder, its rows, its egress log. `handle` answers one message.

    Only a code of the closed list says why it does not answer; the reason, with the rows that it
    names, goes to log.txt in its folder.
    """

    def __init__(self, name: str, folder: Path, opener: Opener) -> None:
        self.name = name
        self.folder = folder
        self._opener = opener
        self._egress = Egress(folder / "egress.jsonl")
        self._plan = ""
        self._members: tuple[str, ...] = ()
        self._tasks: Mapping[str, Participation] = {}
        self._blocks: tuple[str, Sequence[memoryview]] = ("", [])

    def handle(self, message: bytes) -> bytes:
        """Returns the reply to one message; never raises, since a reply is all that may leave."""
        try:
            return seal(self._answer(unseal(message)))
        except Exception as error:
            code = _code(error)
            self._write_down(code, error)
            return seal(Message("error", {"code": str(code)}))

    def _answer(self, message: Message) -> Message:
        if message.kind == "open":
            return self._open(message.body)
        if message.body.get("plan") != self._plan:
            raise AnswerError(Code.OTHER_PLAN, "asked about a plan that was not opened here")
        if message.kind == "ask":
            return self._summand(message)
        if message.kind == "deliver":
            self._tasks[message.body["task"]].receive(message.body["meta"], message.arrays)
            return Message("delivered")
        if message.kind == "close":
            self._tasks = {}
            return Message("closed")
        raise AnswerError(Code.MALFORMED, f"a retailer does not answer '{message.kind}'")

    def _open(self, body: Json) -> Message:
        if (body["version"], body["code"]) != (__version__, code_digest()):
            raise AnswerError(
                Code.OTHER_VERSION,
                f"the coordinator runs {body['version']} with code {body['code'][:12]}, this is "
                f"{__version__} with code {code_digest()[:12]}",
            )
        plan = body["plan"].encode()
        _refuse_other_members(body)
        self._tasks = self._opener(plan)
        self._plan = digest(plan)
        self._members = tuple(body["members"])
        return Message("opened", {"version": __version__})

    def _summand(self, message: Message) -> Message:
        body = message.body
        if body["block"] == 0:
            self._blocks = (body["question"], self._release(body, message.arrays))
        question, blocks = self._blocks
        if question != body["question"]:
            raise AnswerError(Code.MALFORMED, "a later block of another question was asked for")
        block = blocks[body["block"]]
        if body["block"] == len(blocks) - 1:
            # It may be gigabytes; whoever asks again begins with the first block.
            self._blocks = ("", [])
        return Message("summand", {}, {"summand": np.frombuffer(block, np.uint8)})

    def _release(self, body: Json, broadcast: Arrays) -> Sequence[memoryview]:
        query = build_query(body["query"], body["parameters"])
        digest_here = question_digest(self._plan, body["task"], query, broadcast)
        if digest_here != body["question"]:
            raise AnswerError(Code.MALFORMED, "the question is not the one that its digest names")
        question = Question(
            digest_here, query.name, body["round"], self._members, query.fields(broadcast)
        )
        answer = query.answer(self._tasks[body["task"]].rows, self, broadcast)
        return on_disk(self._egress.release(question, answer), self.folder)

    def _write_down(self, code: Code, error: Exception) -> None:
        known = isinstance(error, GrandtotalError)
        text = str(error) if known else "".join(traceback.format_exception(error))
        # Where the disk takes no word of it, the code still has to leave.
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / "log.txt"
            with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{code}: {text}\n")


def _refuse_other_members(body: Json) -> None:
    # How large an entry may be, and whose total it enters, follow from the members: the plan that
    # this retailer agreed to says who they are, not the message.
    agreed = json.loads(body["plan"]).get("consortium", {}).get("members", body["members"])
    if agreed != body["members"]:
        raise AnswerError(
            Code.OTHER_MEMBERS, f"asked for the members {body['members']}, the plan names {agreed}"
        )


def _code(error: Exception) -> Code:
    if isinstance(error, AnswerError):
        return error.code
    if isinstance(error, DataError):
        return Code.DATA_UNUSABLE
    if isinstance(error, PlanError):
        return Code.PLAN_REFUSED
    return Code.DISK if isinstance(error, OSError) else Code.INTERNAL
