"""What the members of a secure sum agree on before anything is masked, and its digests.

n members, threshold t = floor(2 n / 3) + 1. Two releases for one slot that contradict each other
need t members each; with c members that say anything, they need 2 t - n > c honest ones fewer than
there are as long as c <= 2 t - n - 1.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from grandtotal.durable import Json, canonical
from grandtotal.errors import PlanError
from grandtotal.privacy.fixedpoint import Field
from grandtotal.privacy.identity import Roster

VERSION = "SA-1 1"
FEWEST, MOST = 3, 50


def threshold(members: int) -> int:
    """Returns t: how many must release before a mask can be taken off."""
    return 2 * members // 3 + 1


def tolerated(members: int) -> int:
    """Returns c = 2 t - n - 1: how many members may side with a lying coordinator."""
    return 2 * threshold(members) - members - 1


def hashed(purpose: str, value: Json) -> bytes:
    """Returns the SHA-256 of a purpose and the one JSON text of a value, 32 bytes."""
    return hashlib.sha256(purpose.encode() + b"\0" + canonical(value)).digest()


@dataclass(frozen=True)
class Setting:
    """What all secure sums of one run have in common; the same at every member.

    code: digest of the installed code. run: its name. plan: digest of the plan.
    roster: the members, with their public keys; names the consortium and its epoch.
    dropouts: how many members of the roster may be missing from a total (d).
    """

    code: str
    run: str
    plan: str
    roster: Roster
    dropouts: int
    version: str = VERSION

    def __post_init__(self) -> None:
        if not FEWEST <= len(self.roster.members) <= MOST:
            raise PlanError(
                f"{len(self.roster.members)} members, expected {FEWEST} to {MOST} of them"
            )

    @property
    def members(self) -> tuple[str, ...]:
        """All names, in the order of the roster."""
        return tuple(self.roster.members)

    @property
    def threshold(self) -> int:
        """Returns t; by the roster's members, however many have dropped out."""
        return threshold(len(self.members))

    @property
    def least(self) -> int:
        """Returns how many must be in a total: max(t, 3, n - d)."""
        return max(self.threshold, FEWEST, len(self.members) - self.dropouts)

    @cached_property
    def digest(self) -> bytes:
        """Returns 32 bytes that differ wherever two settings differ."""
        described = {
            "version": self.version,
            "code": self.code,
            "consortium": self.roster.consortium,
            "epoch": self.roster.epoch,
            "roster": self.roster.digest,
            "run": self.run,
            "plan": self.plan,
            "threshold": self.threshold,
            "least": self.least,
        }
        return hashed("setting", described)


@dataclass(frozen=True)
class Ask:
    """One attempt at one question, in one slot.

    question: digest of the question; the same in every attempt. broadcast: digest of what the
    question came with. fields: of the summand, in their order. active: who is asked.
    """

    slot: int
    question: str
    broadcast: str
    fields: dict[str, Field]
    active: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Returns the length of the summand."""
        return sum(field.bytes for field in self.fields.values())

    def context(self, setup: bytes) -> bytes:
        """Returns slot_ctx, 32 bytes: it enters every mask, so that only equal views cancel."""
        described = {
            "setup": setup.hex(),
            "slot": self.slot,
            "question": self.question,
            "broadcast": self.broadcast,
            "fields": [
                [name, list(f.shape), f.scale, f.modulus.bit_length() - 1, f.symmetric, f.largest]
                for name, f in self.fields.items()
            ],
            "active": sorted(self.active),
        }
        return hashed("slot", described)
