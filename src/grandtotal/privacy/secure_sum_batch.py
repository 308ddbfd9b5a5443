"""The set-up of a batch of slots at the coordinator: collects, and relays to each what it is for.

What it is told it verifies as the retailers do, so that it can say who sent what is wrong; that is
for its own sake: no retailer relies on it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property

from grandtotal.errors import AnswerError, RetailerError
from grandtotal.privacy import refusals
from grandtotal.privacy.messages import opened, parsed, part
from grandtotal.privacy.protocol import Setting, Setup


class Batch:
    """Collects and relays the set-up of a batch of slots.

    Each message is taken once it verifies; what is complete is relayed: `advertisements` to all,
    then to each its `relay`. Whoever is missing when the caller gives up is left out of a new
    batch with a new number.
    """

    def __init__(
        self, setting: Setting, batch: int, first_slot: int, slots: int, active: tuple[str, ...]
    ) -> None:
        self.setting = setting
        self.batch, self.first_slot, self.slots = batch, first_slot, slots
        self.active = tuple(sorted(active))
        self.advertisements: dict[str, bytes] = {}
        self._replies: dict[str, bytes] = {}
        self._ready: set[str] = set()

    def advertised(self, name: str, message: bytes) -> None:
        """Takes a member's advertisement."""
        self.advertisements[name] = bytes(message)

    @cached_property
    def setup(self) -> Setup:
        """Returns the verified list of all keys; RetailerError names who is missing or wrong."""
        _refuse_missing(self.active, self.advertisements, "advertised no keys")
        try:
            setup = Setup.read(self.setting, self.batch, self.advertisements)
            for found in setup.advertisements.values():
                refusals.other_batch(found, self.batch, self.first_slot, self.slots)
        except AnswerError as error:
            raise RetailerError(f"batch {self.batch}: {error}") from error
        return setup

    def shared(self, name: str, message: bytes) -> None:
        """Takes a member's reply of `Member.share`."""
        self._replies[name] = bytes(message)

    def relay(self, name: str) -> dict[str, bytes]:
        """Returns what `Member.receive` of this member is given, from each of the others."""
        _refuse_missing(self.active, self._replies, "sealed no shares")
        with blamed(name):
            return {
                peer: parsed(peer, lambda peer=peer: part(self._replies[peer], name))  # type: ignore[misc]
                for peer in self.active
                if peer != name
            }

    def ready(self, name: str, message: bytes) -> None:
        """Takes a member's acknowledgement."""
        with blamed(name):
            body = opened(self.setting, name, "ready", message)
            refusals.differing_lists(
                name, bytes.fromhex(str(body.get("context"))), self.setup.context
            )
        self._ready.add(name)

    @property
    def complete(self) -> bool:
        """Whether every member has its shares, so that the slots can be used."""
        return self._ready == set(self.active)


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Turns what a check refuses into a RetailerError that names whose message it was."""
    try:
        yield
    except (AnswerError, ValueError) as error:
        raise RetailerError(f"'{name}': {error}") from error


def _refuse_missing(active: tuple[str, ...], found: Iterable[str], what: str) -> None:
    missing = sorted(set(active) - set(found))
    if missing:
        raise RetailerError(f"{missing} {what}; go on without in a new batch")
