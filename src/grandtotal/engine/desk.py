"""A message over a line that may break: sent in parts, worked on once, asked for until it is done.

Nobody holds a line open for the hours that a retailer may compute. It takes the message, says that
it is at work, and is asked again; whoever is silent for longer than the patience is gone. Asking
again is harmless: a message has a number, and is worked on once.
"""

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass

from grandtotal.consortium.transport import Reply, RetailerId
from grandtotal.errors import RetailerError

PART_BYTES = 8 * 2**20
ASKED_AGAIN = -1  # the place of a part that holds nothing: all were taken before
_MOST_RETAILERS = 100
_BREATH_S = 0.1  # before who is not reachable is tried again
_REMEMBERED = 4  # replies: the last one may be asked for again, older ones never are


class RetailerLostError(RetailerError):
    """Nothing was heard of a retailer for longer than the patience: the run waits for it."""


@dataclass(frozen=True)
class Part:
    """A part of a numbered message, and for how many seconds its sender listens for the reply."""

    number: str
    place: int
    parts: int
    content: bytes
    wait_s: float


@dataclass(frozen=True)
class Answer:
    """done: whether the content is the reply; otherwise the part was taken, or work goes on."""

    done: bool
    content: bytes = b""


Post = Callable[[RetailerId, Part, float], Answer | None]
"""Carries a part to a retailer; returns its answer, or None if none came within so many seconds."""


class Desk:
    """The retailer's end: puts parts together, works on one message at a time."""

    def __init__(self, handle: Callable[[bytes], bytes]) -> None:
        self._handle = handle
        self._worker = ThreadPoolExecutor(1)
        self._parts: dict[str, dict[int, bytes]] = {}
        self._replies: dict[str, Future[bytes]] = {}

    def take(self, part: Part) -> Answer:
        """Returns the reply if it is ready before the sender stops listening."""
        if part.number not in self._replies:
            if part.place == ASKED_AGAIN:
                raise LookupError("asked for the reply to a message that was not taken here")
            parts = self._parts.setdefault(part.number, {})
            parts[part.place] = part.content
            if len(parts) < part.parts:
                return Answer(done=False)
            self._begin(part.number, b"".join(parts[place] for place in sorted(parts)))
        try:
            return Answer(True, self._replies[part.number].result(part.wait_s))
        except NotYet:
            return Answer(done=False)

    def _begin(self, number: str, message: bytes) -> None:
        self._parts.clear()
        for old in list(self._replies)[: 1 - _REMEMBERED]:
            del self._replies[old]
        self._replies[number] = self._worker.submit(self._handle, message)

    def close(self) -> None:
        """Takes no other message; what is being worked on ends by itself."""
        self._worker.shutdown(wait=False, cancel_futures=True)


class Rounds:
    """The coordinator's end: `exchange` as every transport has it, over a `Post`.

    patience_s: for how long a retailer may be silent. It is asked again every few seconds, and may
    be at work for as long as it likes.
    """

    def __init__(
        self, post: Post, patience_s: float, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._post = post
        self._patience_s = patience_s
        self._wait_s = min(10.0, patience_s / 3)
        self._timeout_s = self._wait_s + min(5.0, patience_s / 3)
        self._stopped = stopped
        self._threads = ThreadPoolExecutor(_MOST_RETAILERS)

    def exchange(
        self, messages: Mapping[RetailerId, bytes], may_miss: int = 0
    ) -> dict[RetailerId, Reply]:
        """Returns a reply for every message; RetailerLostError once more than may_miss are gone."""
        over = threading.Event()
        sent = {
            name: self._threads.submit(self._one, name, message, over)
            for name, message in messages.items()
        }
        missing = 0
        for done in as_completed(sent.values()):
            reply = done.result()
            if isinstance(reply, RetailerError):
                missing += 1
                if missing > may_miss:
                    over.set()
                    raise reply
        return {name: reply.result() for name, reply in sent.items()}

    def _one(self, name: RetailerId, message: bytes, over: threading.Event) -> Reply:
        number = secrets.token_hex(16)
        parts = max(1, -(-len(message) // PART_BYTES))
        place, heard = 0, time.monotonic()
        while not (over.is_set() or self._stopped()):
            content = message[place * PART_BYTES : (place + 1) * PART_BYTES]
            asked = ASKED_AGAIN if place == parts else place
            answer = self._post(
                name, Part(number, asked, parts, content, self._wait_s), self._timeout_s
            )
            now = time.monotonic()
            if answer is None:
                if now - heard > self._patience_s:
                    return RetailerLostError(f"nothing heard of '{name}' for {now - heard:.0f} s")
                time.sleep(_BREATH_S)
                continue
            heard = now
            if answer.done:
                return answer.content
            place = min(place + 1, parts)
        return RetailerLostError("the segment was ended")

    def close(self) -> None:
        """Waits for no one any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
