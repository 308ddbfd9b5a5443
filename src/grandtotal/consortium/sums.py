"""How a total is made of summands: added up as they are, or under masks that cancel.

Both ask every member for its summand block by block. Under masks the coordinator sees, of a
summand, only bytes that look drawn at random; what they add up to is readable when enough members
have seen each other's headers and take the masks off the sum.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grandtotal.consortium.envelope import Message
from grandtotal.consortium.transport import RetailerId
from grandtotal.durable import Json, arrays_digest, digest, read_json, write, write_json
from grandtotal.errors import AnswerError, RetailerError, RunError
from grandtotal.privacy.agreement import promised
from grandtotal.privacy.egress import BLOCK_BYTES
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.privacy.identity import Roster
from grandtotal.privacy.messages import raw, text
from grandtotal.privacy.protocol import Ask, Setting, Setup
from grandtotal.privacy.secure_sum_batch import Batch
from grandtotal.privacy.secure_sum_coordinator import Adder, recompute

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


def setting_of(plan: bytes, run: str, code: str, roster: Roster) -> Setting:
    """Returns what all secure sums of a run have in common; the same at every party."""
    return Setting(code, run, digest(plan), roster, promised(plan).dropouts)


class Sums(Protocol):
    """A way to make totals."""

    @property
    def members(self) -> tuple[RetailerId, ...]:
        """Who is asked; who dropped out is not among them any more."""
        ...

    @property
    def may_miss(self) -> int:
        """How many of the members may still drop out."""
        ...

    def leave(self, names: set[RetailerId]) -> None:
        """Asks these members for nothing more in this run."""
        ...

    def total(self, asked: Asked) -> Arrays:
        """Returns the words of each field of the total."""
        ...

    def committed(self, question: str) -> None:
        """Is told that the total of a question is on the disk."""
        ...


class PlainSums:
    """Summands in the clear: the coordinator sees each. Nobody may be missing."""

    may_miss = 0

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

    def leave(self, names: set[RetailerId]) -> None:
        """Has nobody who may leave."""
        assert not names, names

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
        self._setup: Setup | None = None
        self._free = range(0)
        self._done: int | None = None
        if (path := folder / "left.json").exists():
            self._drop(set(read_json(path)))

    @property
    def may_miss(self) -> int:
        """How many of the members may still drop out."""
        return self._may_miss(self.members)

    def leave(self, names: set[RetailerId]) -> None:
        """Writes down that these members stay out of this run, and asks them no more."""
        self._drop(names)

    def total(self, asked: Asked) -> Arrays:
        """Returns the total of those who answered; RetailerError where they are too few."""
        question = asked.body["question"]
        if transcript_path(self._folder, question).exists():
            return recomputed(self._folder, self._setting, question)
        adder = self._begun(question) or self._collected(asked)
        slot = {"slot": adder.ask.slot}
        headers = adder.end()
        self._drop(set(adder.dropped))
        if adder.dropped:
            for name, reply in self._each("survivors", slot, {"headers": headers}).items():
                adder.signed(name, reply)
        shown = {"headers": headers, "signatures": adder.signatures or {}}
        words: Arrays = dict(adder.unmask(self._each("unmask", slot, shown)))
        if self._keep:
            write(transcript_path(self._folder, question), adder.transcript())
        self._done = adder.ask.slot
        return words

    def committed(self, question: str) -> None:
        """Forgets the sum of a total that is on the disk, and what it was made of."""
        shutil.rmtree(self._pending(question), ignore_errors=True)
        if not self._keep:
            shutil.rmtree(masked_folder(self._folder, question), ignore_errors=True)

    # --- one slot ---

    def _collected(self, asked: Asked) -> Adder:
        setup, slot = self._slot()
        question, broadcast = asked.body["question"], arrays_digest(asked.broadcast)
        adder = Adder(setup, Ask(slot, question, broadcast, asked.fields, self.members))
        kept = masked_folder(self._folder, question)
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        more = {"slot": slot, "active": list(self.members)}
        if self._done is not None:  # the members delete the secrets of a slot that is over
            more["over"] = self._done
        answering = self.members
        for block, message in enumerate(asked.messages(more)):
            replies = self._exchange(
                dict.fromkeys(answering, message), "summand", self._may_miss(answering)
            )
            for name, reply in replies.items():
                content = reply.arrays.get("summand", NOTHING).data
                with (kept / name).open("ab") as file:
                    file.write(content)
                adder.add(name, block * BLOCK_BYTES, content)
                if "header" in reply.arrays:
                    adder.header(name, reply.arrays["header"].tobytes())
            answering = tuple(replies)
        for name in adder.unfinished:
            adder.withdraw(name, stored_blocks(kept / name))
        adder.keep(self._pending(question))
        return adder

    def _begun(self, question: str) -> Adder | None:
        """Returns the attempt that was begun before a crash: it alone can be finished."""
        for path in self._pending(question).glob("slot-*.json"):
            slot = int(path.stem.partition("-")[2])
            setup = stored_setup(self._folder, self._setting, slot // SLOTS)
            return Adder.resume(setup, path.parent, slot)
        return None

    def _pending(self, question: str) -> Path:
        return self._folder / "pending" / question

    # --- the set-up of a batch of slots ---

    def _slot(self) -> tuple[Setup, int]:
        if self._setup is None or not self._free:
            self._setup, self._free = self._set_up()
        slot, self._free = self._free[0], self._free[1:]
        return self._setup, slot

    def _set_up(self) -> tuple[Setup, range]:
        number = self._reserve()
        slots = range(number * SLOTS, (number + 1) * SLOTS)
        batch = Batch(self._setting, number, slots[0], SLOTS, self.members)
        about = {"batch": number, "first_slot": slots[0], "slots": SLOTS}
        for name, reply in self._all("advertise", about, {}).items():
            batch.advertised(name, reply)
        shown = dict.fromkeys(self.members, batch.advertisements)
        for name, reply in self._all("share", about, shown).items():
            batch.shared(name, reply)
        parts = {name: batch.relay(name) for name in self.members}
        for name, reply in self._all("receive", about, parts).items():
            batch.ready(name, reply)
        keys = {name: text(message) for name, message in batch.advertisements.items()}
        write_json(_setup_path(self._folder, number), keys)
        return batch.setup, slots

    def _reserve(self) -> int:
        # On the disk first: before a crash the members may have used the numbers of a batch.
        path = self._folder / "batches.json"
        number: int = read_json(path) if path.exists() else 0
        write_json(path, number + 1)
        return number

    def _all(
        self, kind: str, body: Json, shown: Mapping[RetailerId, Mapping[str, bytes]]
    ) -> dict[RetailerId, bytes]:
        messages = {
            name: Message(kind, body, _arrays({"": shown.get(name, {})})) for name in self.members
        }
        return _signed(self._exchange(messages, "signed"))

    def _each(
        self, kind: str, body: Json, shown: Mapping[str, Mapping[str, bytes]]
    ) -> dict[RetailerId, bytes]:
        messages = dict.fromkeys(self.members, Message(kind, body, _arrays(shown)))
        may_miss = len(self.members) - self._setting.threshold
        return _signed(self._exchange(messages, "signed", may_miss))

    # --- who is there ---

    def _may_miss(self, answering: tuple[RetailerId, ...]) -> int:
        return len(answering) - self._setting.least

    def _drop(self, names: set[RetailerId]) -> None:
        if names:
            # Before anything else is asked: who drops out stays out of this run.
            left = set(self._setting.members) - set(self.members) | names
            write_json(self._folder / "left.json", sorted(left))
            self.members = tuple(name for name in self.members if name not in names)


def recomputed(folder: Path, setting: Setting, question: str) -> Arrays:
    """Returns a total once more from what was kept of it: masked, signed and revealed.

    RetailerError or RunError where something is missing, was changed, or was not signed.
    """
    path = transcript_path(folder, question)
    try:
        transcript = path.read_bytes()
        slot: int = json.loads(transcript)["ask"]["slot"]
        masked = {
            file.name: stored_blocks(file) for file in masked_folder(folder, question).iterdir()
        }
        return dict(recompute(stored_setup(folder, setting, slot // SLOTS), transcript, masked))
    except (OSError, ValueError, KeyError, TypeError, AnswerError) as error:
        raise RunError(f"{path}: the total cannot be added up again ({error!r})") from error


def masked_folder(folder: Path, question: str) -> Path:
    """Where the coordinator keeps what the members sent for a question, a file each."""
    return folder / "masked" / question


def transcript_path(folder: Path, question: str) -> Path:
    """Where the coordinator keeps what was signed and revealed for a question."""
    return folder / "transcripts" / f"{question}.json"


def _setup_path(folder: Path, batch: int) -> Path:
    return folder / "batches" / f"{batch}.json"


def stored_setup(folder: Path, setting: Setting, batch: int) -> Setup:
    """Returns the keys of a batch of slots, as all members signed them."""
    path = _setup_path(folder, batch)
    try:
        keys = {name: raw(message) for name, message in read_json(path).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"{path}: the keys of a batch cannot be read ({error})") from error
    return Setup.read(setting, batch, keys)


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
