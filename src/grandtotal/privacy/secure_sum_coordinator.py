"""The secure sum at the coordinator: interface."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from grandtotal.privacy.fixedpoint import Words
from grandtotal.privacy.protocol import Ask, Setting


class Batch:
    """Collects and relays the set-up of a batch of slots."""

    def __init__(
        self, setting: Setting, batch: int, first_slot: int, slots: int, active: tuple[str, ...]
    ) -> None: ...

    def advertised(self, name: str, message: bytes) -> None:
        """Takes a member's advertisement."""

    advertisements: dict[str, bytes]  # to everybody, when complete

    def shared(self, name: str, message: bytes) -> None:
        """Takes a member's reply of `Member.share`."""

    def relay(self, name: str) -> dict[str, bytes]:
        """Returns what `Member.receive` of this member is given, from each of the others."""
        raise NotImplementedError

    def ready(self, name: str, message: bytes) -> None:
        """Takes a member's acknowledgement."""


class Adder:
    """One slot: adds masked blocks as they come, then takes the masks off."""

    def __init__(self, batch: Batch, ask: Ask) -> None: ...

    def header(self, name: str, message: bytes) -> None:
        """Takes a signed header; before, between or after the blocks."""

    def add(self, name: str, block: memoryview) -> None:
        """Adds the next block of a member's masked vector."""

    headers: dict[str, bytes]  # of members whose vector is whole and is what the header says

    def withdraw(self, name: str, blocks: Iterable[memoryview]) -> None:
        """Subtracts again what a member sent before it dropped out (from kept masked blocks)."""

    def keep(self, folder: Path) -> None:
        """Puts sum and headers on the disk; before any unmask message is sent."""

    @classmethod
    def resume(cls, batch: Batch, folder: Path) -> "Adder":
        """Returns the adder that `keep` wrote."""
        raise NotImplementedError

    def signed(self, name: str, message: bytes) -> None:
        """Takes a survivor's signature; only with dropouts."""

    signatures: dict[str, bytes]

    def unmask(self, replies: Mapping[str, bytes]) -> dict[str, Words]:
        """Returns the total's words of each field, from at least `threshold` unmask replies."""
        raise NotImplementedError

    def transcript(self) -> bytes:
        """Returns everything but the masked vectors that `recompute` needs."""
        raise NotImplementedError


def recompute(
    setting: Setting, transcript: bytes, masked: Mapping[str, Iterable[memoryview]]
) -> dict[str, Words]:
    """Returns the total again from signed headers, masked vectors and revealed shares."""
    raise NotImplementedError
