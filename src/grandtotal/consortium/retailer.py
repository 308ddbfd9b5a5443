"""The retailer's side: answers messages, remembers on its own disk, lets nothing else out."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from grandtotal import __version__
from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.query import Rows, asked_digest, build_query, question_digest
from grandtotal.consortium.sums import setting_of
from grandtotal.consortium.waiting import on_disk
from grandtotal.durable import Json, arrays_digest, digest, write
from grandtotal.errors import AnswerError, Code, DataError, GrandtotalError, PlanError
from grandtotal.privacy.agreement import promised
from grandtotal.privacy.door import Door
from grandtotal.privacy.egress import Egress, Question
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.privacy.ledger import Ledger
from grandtotal.privacy.protocol import Ask
from grandtotal.privacy.secure_sum import Member
from grandtotal.privacy.terms import Terms
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

Agreeing = Callable[[bytes], Terms]
"""Returns what a retailer agrees to with a plan, after the opener has read it."""


class Retailer:
    """One company: its folder, its rows, its door. `handle` answers one message.

    agreeing: by default, exact totals and a door in the folder.
    Only a code of the closed list says why it does not answer; the reason, with the rows that it
    names, goes to log.txt in its folder.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        opener: Opener,
        door: Door | None = None,
        agreeing: Agreeing | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.memory: dict[str, Any] = {}
        self._opener = opener
        self._door = door
        self._agreeing = agreeing or (lambda _: Terms(folder / "door"))
        self._member: Member | None = None
        self._egress: Egress | None = None
        self._plan = ""
        self._members: tuple[str, ...] = ()
        self._tasks: Mapping[str, Participation] = {}
        self._leaving = NOTHING_LEAVES
        self._asked = ""

    def handle(self, message: bytes) -> bytes:
        """Returns the reply to one message; never raises, since a reply is all that may leave."""
        try:
            return seal(self._answer(unseal(message)))
        except Exception as error:
            code = _code(error)
            self._write_down(code, error)
            return seal(Message("error", {"code": str(code)}))

    def keep(self, name: str, content: Callable[[], bytes]) -> None:
        """Keeps what the name stands for in this retailer's folder, unless it is there."""
        path = self.folder / name
        if not path.exists():
            write(path, content())

    def kept(self, name: str) -> bytes | None:
        """Returns what was kept under the name, None where nothing was."""
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    def forget(self, name: str) -> None:
        """Removes what was kept under the name, if anything was."""
        (self.folder / name).unlink(missing_ok=True)

    def _answer(self, message: Message) -> Message:
        if message.kind == "open":
            return self._open(message.body)
        _refuse_other_plan(message.body.get("plan"), self._plan)
        if message.kind == "ask":
            return self._summand(message)
        if message.kind in ("advertise", "share", "receive", "survivors", "unmask"):
            signed = self._protocol(message)
            return Message("signed", {}, {"signed": np.frombuffer(signed, np.uint8)})
        if message.kind == "deliver":
            self._tasks[message.body["task"]].receive(message.body["meta"], message.arrays)
            return Message("delivered")
        if message.kind == "close":
            if self._member is not None:
                self._member.finish()
            if self._egress is not None:
                self._egress.finish()
            self.close()
            return Message("closed")
        raise AnswerError(Code.MALFORMED, f"a retailer does not answer '{message.kind}'")

    def _protocol(self, message: Message) -> bytes:
        """Returns this retailer's signed step of the secure sum."""
        if self._member is None:
            raise AnswerError(Code.OTHER_PLAN, "the plan was opened without secure sums")
        body, shown = message.body, _shown(message.arrays)
        if message.kind == "advertise":
            note = self._peers.note(known=True)
            return self._member.advertise(body["batch"], body["first_slot"], body["slots"], note)
        if message.kind == "share":
            return self._member.share(body["batch"], shown[""])
        if message.kind == "receive":
            return self._member.receive(body["batch"], shown[""])
        if message.kind == "survivors":
            assert self._egress is not None  # opened with the member
            self._egress.narrow(self._member.question(body["slot"]), shown["headers"])
            return self._member.survivors(body["slot"], shown["headers"])
        return self._member.unmask(body["slot"], shown["headers"], shown["signatures"] or None)

    def _open(self, body: Json) -> Message:
        _refuse_other_code(body)
        plan = body["plan"].encode()
        _refuse_unpinned_code(plan)
        _refuse_other_members(body)
        self.close()
        tasks, members = self._opener(plan), tuple(body["members"])
        self._egress = Egress(
            self.folder / "egress.jsonl", self._agreeing(plan), digest(plan), members
        )
        self._member = self._masking(plan, body, self._egress.ledger)
        # Last of all: without tasks nothing is answered.
        self._plan, self._members, self._tasks = digest(plan), members, tasks
        return Message("opened", {"version": __version__})

    def close(self) -> None:
        """Ends the run here: answers nothing more, and lets the next run open the door."""
        self._tasks = {}
        self.memory.clear()
        if self._egress is not None:
            self._egress.close()
            self._egress = None

    def _masking(self, plan: bytes, body: Json, ledger: Ledger) -> Member | None:
        if not promised(plan).secure_sum:
            return None
        if self._door is None:
            raise PlanError("the plan asks for secure sums; this retailer has no identity key")
        consortium = json.loads(plan)["consortium"]["name"]
        roster = self._door.roster(consortium, tuple(body["members"]))
        setting = setting_of(plan, body["run"], code_digest(), roster)
        self._peers = _Peers(self.name, consortium, roster.epoch, ledger)
        folder = self.folder / "secure_sum"
        identity, witness = self._door.identity(), self._peers.witness
        return Member(self.name, identity, setting, folder, witness=witness)

    def _summand(self, message: Message) -> Message:
        body = message.body
        if body["block"] == 0:
            self._end_slot(body)
            self._leaving = self._release(body, message.arrays)
        leaving = self._leaving
        if leaving.question != body["question"]:
            raise AnswerError(Code.MALFORMED, "a later block of another question was asked for")
        arrays = {"summand": np.frombuffer(leaving.blocks[body["block"]], np.uint8)}
        if body["block"] == len(leaving.blocks) - 1:
            arrays |= {"header": np.frombuffer(leaving.header, np.uint8)} if leaving.header else {}
            # It may be gigabytes; whoever asks again begins with the first block.
            self._leaving = NOTHING_LEAVES
        return Message("summand", {}, arrays)

    def _end_slot(self, body: Json) -> None:
        # The total is on the coordinator's disk: what could unmask it is not needed any more, and
        # its noise is not sent again.
        if self._member is not None and "over" in body:
            self._member.close(body["over"])
        if self._egress is not None and self._asked not in ("", body.get("question")):
            self._egress.committed(self._asked)
        self._asked = body.get("question", "")

    def _release(self, body: Json, broadcast: Arrays) -> "_Leaving":
        query = build_query(body["query"], body["parameters"])
        given = arrays_digest(broadcast)  # it may be a model of gigabytes
        digest_here = question_digest(self._plan, body["task"], query, broadcast, given)
        if digest_here != body["question"]:
            raise AnswerError(Code.MALFORMED, "the question is not the one that its digest names")
        fields = query.fields(broadcast)
        active = self._members if self._member is None else tuple(body["active"])
        question = Question(
            digest_here,
            query.name,
            body["round"],
            active,
            fields,
            body["task"],
            asked_digest(query, broadcast, given),
            query.bound,
        )
        answer = query.answer(self._tasks[body["task"]].rows, self, broadcast)
        assert self._egress is not None  # opened with the plan that is asked about
        if self._member is None:
            released = self._egress.release(question, answer)
            return _Leaving(digest_here, on_disk(released, self.folder))
        ask = Ask(body["slot"], digest_here, given, fields, active)
        masked = _Masking(self._member, ask, self._peers)
        released = self._egress.release(question, answer, masked)
        return _Leaving(digest_here, on_disk(released, self.folder), masked.header)

    def _write_down(self, code: Code, error: Exception) -> None:
        known = isinstance(error, GrandtotalError)
        text = str(error) if known else "".join(traceback.format_exception(error))
        # Where the disk takes no word of it, the code still has to leave.
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / "log.txt"
            with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{code}: {text}\n")


@dataclass(frozen=True)
class _Leaving:
    """A summand on its way out: its question, its blocks and, under masks, its signed header."""

    question: str
    blocks: Sequence[memoryview]
    header: bytes = b""


NOTHING_LEAVES = _Leaving("", [])


class _Masking:
    """What egress calls to mask a summand; keeps the header that goes with it."""

    def __init__(self, member: Member, ask: Ask, peers: "_Peers") -> None:
        self._member = member
        self._ask = ask
        self._peers = peers
        self.header = b""

    def __call__(self, summand: memoryview) -> None:
        self.header = self._member.mask(self._ask, summand, self._peers.note())


@dataclass(frozen=True)
class _Peers:
    """How the ledgers of the members of one consortium watch each other, in signed notes."""

    me: str
    consortium: str
    epoch: int
    ledger: Ledger

    def note(self, known: bool = False) -> bytes:
        """Returns the note that goes with a signed message of this retailer."""
        return self.ledger.note(self.consortium, self.epoch, known)

    def witness(self, notes: Mapping[str, bytes]) -> None:
        """Takes the notes that came with the peers' messages; AnswerError refuses to go on."""
        self.ledger.witness(self.me, self.consortium, self.epoch, notes)


def _shown(arrays: Arrays) -> dict[str, dict[str, bytes]]:
    """Returns the signed messages of the peers, by what they are and by name."""
    shown: dict[str, dict[str, bytes]] = {"": {}, "headers": {}, "signatures": {}}
    for key, array in arrays.items():
        what, _, name = key.partition(" ")
        shown[what][name] = array.tobytes()
    return shown


def _refuse_unpinned_code(plan: bytes) -> None:
    if promised(plan).code not in ("", code_digest()):
        raise AnswerError(
            Code.OTHER_VERSION,
            f"the plan names the code {promised(plan).code[:12]}, this is {code_digest()[:12]}: "
            f"install what all agreed on",
        )


def _refuse_other_code(body: Json) -> None:
    if (body["version"], body["code"]) != (__version__, code_digest()):
        raise AnswerError(
            Code.OTHER_VERSION,
            f"the coordinator runs {body['version']} with code {body['code'][:12]}, this is "
            f"{__version__} with code {code_digest()[:12]}",
        )


def _refuse_other_plan(asked: str | None, opened: str) -> None:
    if asked != opened:
        raise AnswerError(Code.OTHER_PLAN, "asked about a plan that was not opened here")


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
