"""How a total is made of summands: added up as they are, or under masks that cancel.

Both ask every member for its summand block by block. Under masks the coordinator sees, of a
summand, only bytes that look drawn at random; what they add up to is readable when enough members
have seen each other's headers and take the masks off the sum.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grandtotal.consortium.envelope import Message
from grandtotal.consortium.transport import RetailerId
from grandtotal.durable import Json, arrays_digest, read_json, write, write_json
from grandtotal.errors import RetailerError
from grandtotal.privacy.egress import BLOCK_BYTES
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.privacy.protocol import Ask, Setting
from grandtotal.privacy.secure_sum_coordinator import Adder, Batch

SLOTS = 32  # of one set-up: one in a run of a few rounds, and small enough to be made quickly

NOTHING = np.empty(0)


@dataclass(frozen=True)
class Asked:
    """One question to all: what travels, and the fields of the answer.

    body: of the message "ask". broadcast: travels once; later blocks are asked for by name.
    """

    body: Json
    broadcast: Arrays
    fields: dict[str, Field]

    @property
    def size(self) -> int:
        """Bytes of one summand."""
        return sum(field.bytes for field in self.fields.values())

    def messages(self, more: Json | None = None) -> Iterator[Message]:
        """Yields the message that asks for each block."""
        for block in range(max(1, -(-self.size // BLOCK_BYTES))):
            body = {**self.body, **(more or {}), "block": block}
            yield Message("ask", body, self.broadcast if block == 0 else {})


class Exchange(Protocol):
    """Sends each member its message and returns the replies of those that answered."""

    def __call__(
        self, messages: Mapping[RetailerId, Message], expected: str, may_miss: int = 0
    ) -> dict[RetailerId, Message]: ...


class Sums(Protocol):
    """A way to make totals."""

    @property
    def members(self) -> tuple[RetailerId, ...]:
        """Who is asked; who dropped out is not among them any more."""
        ...

    def total(self, asked: Asked) -> Arrays:
        """Returns the words of each field of the total."""
        ...

    def committed(self, question: str) -> None:
        """Is told that the total of a question is on the disk."""
        ...


class PlainSums:
    """Summands in the clear: the coordinator sees each."""

    def __init__(self, members: tuple[RetailerId, ...], exchange: Exchange) -> None:
        self.members = members
        self._exchange = exchange

    def total(self, asked: Asked) -> Arrays:
        """Returns the sum of what the members answer, modulo the modulus of each field."""
        running = _Running(asked)
        for block, message in enumerate(asked.messages()):
            replies = self._exchange(dict.fromkeys(self.members, message), "summand")
            for name, reply in replies.items():
                running.add(name, block, reply.arrays.get("summand", NOTHING))
        return running.words()

    def committed(self, question: str) -> None:
        """Has nothing to forget."""


class SecureSums:
    """Summands under masks (`privacy/secure_sum.py`), one slot for each question.

    What comes in is kept as it comes, masked, until the total is known; with `keep` for good, so
    that any member can add it up again. Sum and headers are on the disk before a mask is taken
    off, so that whatever happens then, this same attempt is finished and no other is begun.
    """

    def __init__(self, setting: Setting, exchange: Exchange, folder: Path, keep: bool) -> None:
        self.members: tuple[RetailerId, ...] = setting.members
        self._setting = setting
        self._exchange = exchange
        self._folder = folder
        self._keep = keep
        self._batch: Batch | None = None
        self._free = range(0)
        if (path := folder / "left.json").exists():
            self._drop(set(read_json(path)))

    def total(self, asked: Asked) -> Arrays:
        """Returns the total of those who answered; RetailerError where they are too few."""
        question = asked.body["question"]
        adder = self._begun(question) or self._collected(asked)
        signatures = {}
        if lost := [name for name in adder.ask.active if name not in adder.headers]:
            self._drop(set(lost))
            replies = self._each("survivors", {"headers": adder.headers}, adder.ask.slot)
            for name, reply in replies.items():
                adder.signed(name, reply)
            signatures = adder.signatures
        replies = self._each(
            "unmask", {"headers": adder.headers, "signatures": signatures}, adder.ask.slot
        )
        words = adder.unmask(replies)
        self._keep_or_forget(adder, question)
        return words

    # --- one slot ---

    def _collected(self, asked: Asked) -> Adder:
        batch, slot = self._slot()
        ask = Ask(
            slot,
            asked.body["question"],
            arrays_digest(asked.broadcast),
            asked.fields,
            self.members,
        )
        adder = Adder(batch, ask)
        kept = _Masked(self._folder / "masked" / asked.body["question"])
        more = {"slot": slot, "active": list(self.members)}
        answering = set(self.members)
        for message in asked.messages(more):
            replies = self._exchange(
                dict.fromkeys(sorted(answering), message), "summand", self._may_miss
            )
            for name, reply in replies.items():
                block = reply.arrays.get("summand", NOTHING)
                kept.add(name, block)
                adder.add(name, block.data)
                if "header" in reply.arrays:
                    adder.header(name, reply.arrays["header"].tobytes())
            for name in answering - replies.keys():
                adder.withdraw(name, kept.blocks(name))
            answering &= replies.keys()
        adder.keep(self._pending(asked.body["question"]))
        return adder

    def _begun(self, question: str) -> Adder | None:
        pending = self._pending(question)
        return Adder.resume(self._setting, pending) if pending.exists() else None

    def _keep_or_forget(self, adder: Adder, question: str) -> None:
        if self._keep:
            write(self._folder / "transcripts" / question, adder.transcript())
        else:
            shutil.rmtree(self._folder / "masked" / question, ignore_errors=True)

    def committed(self, question: str) -> None:
        """Forgets the running sum of a total that is on the disk."""
        shutil.rmtree(self._pending(question), ignore_errors=True)

    def _pending(self, question: str) -> Path:
        return self._folder / "pending" / question

    # --- the set-up of a batch of slots ---

    def _slot(self) -> tuple[Batch, int]:
        if self._batch is None or not self._free:
            self._batch, self._free = self._set_up()
        slot, self._free = self._free[0], self._free[1:]
        return self._batch, slot

    def _set_up(self) -> tuple[Batch, range]:
        number, slots = self._reserve()
        batch = Batch(self._setting, number, slots[0], len(slots), self.members)
        about = {"batch": number, "first_slot": slots[0], "slots": len(slots)}
        for name, reply in self._all("advertise", about, {}).items():
            batch.advertised(name, reply)
        shown = dict.fromkeys(self.members, batch.advertisements)
        for name, reply in self._all("share", about, shown).items():
            batch.shared(name, reply)
        parts = {name: batch.relay(name) for name in self.members}
        for name, reply in self._all("receive", about, parts).items():
            batch.ready(name, reply)
        return batch, slots

    def _reserve(self) -> tuple[int, range]:
        # On the disk first: the members of a killed run have used these numbers.
        path = self._folder / "slots.json"
        used = read_json(path) if path.exists() else {"batch": 0, "slot": 0}
        write_json(path, {"batch": used["batch"] + 1, "slot": used["slot"] + SLOTS})
        return used["batch"], range(used["slot"], used["slot"] + SLOTS)

    def _all(
        self, kind: str, body: Json, shown: Mapping[RetailerId, Mapping[str, bytes]]
    ) -> dict[RetailerId, bytes]:
        messages = {
            name: Message(kind, body, _arrays({"": shown.get(name, {})})) for name in self.members
        }
        return _signed(self._exchange(messages, "signed"))

    def _each(
        self, kind: str, shown: Mapping[str, Mapping[str, bytes]], slot: int
    ) -> dict[RetailerId, bytes]:
        message = Message(kind, {"slot": slot}, _arrays(shown))
        replies = self._exchange(dict.fromkeys(self.members, message), "signed", len(self.members))
        self._drop(set(self.members) - replies.keys())
        return _signed(replies)

    # --- who is there ---

    @property
    def _may_miss(self) -> int:
        return len(self.members) - self._setting.least

    def _drop(self, names: set[RetailerId]) -> None:
        if names:
            # Before anything else is asked: who drops out stays out of this run.
            left = set(self._setting.members) - set(self.members) | names
            write_json(self._folder / "left.json", sorted(left))
            self.members = tuple(name for name in self.members if name not in names)


class _Masked:
    """What members sent, as they sent it, in one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def add(self, name: RetailerId, block: NDArray[Any]) -> None:
        with self._path(name).open("ab") as file:
            file.write(block.data)

    def blocks(self, name: RetailerId) -> Iterator[memoryview]:
        """Yields what a member sent, in blocks."""
        return stored_blocks(self._path(name))

    def _path(self, name: RetailerId) -> Path:
        return self._folder / name


def stored_blocks(path: Path) -> Iterator[memoryview]:
    """Yields the content of a file in blocks of BLOCK_BYTES; nothing where there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield memoryview(block)


def _arrays(shown: Mapping[str, Mapping[str, bytes]]) -> Arrays:
    return {
        f"{what} {name}": np.frombuffer(message, np.uint8)
        for what, messages in shown.items()
        for name, message in messages.items()
    }


def _signed(replies: Mapping[RetailerId, Message]) -> dict[RetailerId, bytes]:
    return {name: reply.arrays.get("signed", NOTHING).tobytes() for name, reply in replies.items()}


class _Running:
    """The running total of the blocks of the retailers' summands."""

    def __init__(self, asked: Asked) -> None:
        self._buffer = np.zeros(asked.size, np.uint8)
        self._fields = asked.fields

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
