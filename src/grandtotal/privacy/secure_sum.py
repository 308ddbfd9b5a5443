"""The secure sum at a retailer: interface."""

from collections.abc import Callable, Mapping
from pathlib import Path

from grandtotal.privacy.identity import Identity
from grandtotal.privacy.protocol import Ask, Setting

Witness = Callable[[Mapping[str, bytes]], None]
"""Called with the verified notes of the peers before anything is signed that depends on them;
what it raises is a refusal."""


class Member:
    """One retailer in the secure sums of one run: a state machine with a folder.

    Every reply is a function of what is on the disk and of the request: after a crash the same
    request has the same reply. Refusals are AnswerError.
    """

    def __init__(
        self,
        name: str,
        identity: Identity,
        setting: Setting,
        folder: Path,
        entropy: Callable[[int], bytes] = ...,
        witness: Witness = ...,
    ) -> None: ...

    def advertise(self, batch: int, first_slot: int, slots: int, note: bytes = b"") -> bytes:
        """Returns this retailer's signed public keys for a batch of slots."""
        raise NotImplementedError

    def share(self, batch: int, advertisements: Mapping[str, bytes]) -> bytes:
        """Returns the signed list of all keys and a sealed part for each peer.

        advertisements: of all that take part in the batch, this retailer included.
        """
        raise NotImplementedError

    def receive(self, batch: int, parts: Mapping[str, bytes]) -> bytes:
        """Keeps the shares of the peers and returns the acknowledgement.

        parts: from each peer what the coordinator cut out for this retailer (`Batch.relay`).
        """
        raise NotImplementedError

    def mask(self, ask: Ask, words: memoryview, note: bytes = b"") -> bytes:
        """Adds the masks to the words in place and returns the signed header.

        words: the writable bytes of all fields in their order, each padded to 8 bytes. The header
        is on the disk when this returns; the masked words may then leave.
        """
        raise NotImplementedError

    def survivors(self, slot: int, headers: Mapping[str, bytes]) -> bytes:
        """Returns this retailer's signature on the set whose headers it was shown."""
        raise NotImplementedError

    def unmask(
        self,
        slot: int,
        headers: Mapping[str, bytes],
        signatures: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """Returns the signed shares that take the masks off the sum.

        signatures: of the survivors on their set where somebody dropped out; None where the
        headers are those of the full active set.
        """
        raise NotImplementedError

    def close(self, slot: int) -> None:
        """Deletes the secrets of a slot from the disk; nothing is released for it any more."""
        raise NotImplementedError
