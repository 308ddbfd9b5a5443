"""What the members of a secure sum agree on before anything is masked, and its digests.

n members, threshold t = floor(2 n / 3) + 1. Two releases for one slot that contradict each other
need t members each. An honest member takes part in one of them only, so both together need
2 t <= n + c, where c members say anything to anybody: there is no such pair for c <= 2 t - n - 1.

    n    3   4   5   6   7   8   9   10   20   50
    t    3   3   4   5   5   6   7    7   14   34
    c    2   1   2   3   2   3   4    3    7   17
    and as many as n - t may drop out
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from grandtotal.durable import Json, canonical
from grandtotal.errors import PlanError
from grandtotal.privacy import refusals
from grandtotal.privacy.fixedpoint import Field
from grandtotal.privacy.identity import Roster
from grandtotal.privacy.masks import commitment
from grandtotal.privacy.messages import VERSION, Advertisement

FEWEST, MOST = 3, 50


def threshold(members: int) -> int:
    """Returns t: how many must release before a mask can be taken off."""
    return 2 * members // 3 + 1


def least(members: int, dropouts: int) -> int:
    """Returns how many must be in a total: max(t, 3, n - d)."""
    return max(threshold(members), FEWEST, members - dropouts)


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
        return least(len(self.members), self.dropouts)

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
    question came with. A retailer computes both itself, of what it is about to answer.
    fields: of the summand, in their order. active: who is asked, sorted.
    """

    slot: int
    question: str
    broadcast: str
    fields: dict[str, Field]
    active: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "active", tuple(sorted(set(self.active))))

    @property
    def size(self) -> int:
        """Returns the bytes of the summand."""
        return sum(field.bytes for field in self.fields.values())

    @property
    def described(self) -> Json:
        """Returns all of it as JSON; `Ask.read` reads it back."""
        return {
            "slot": self.slot,
            "question": self.question,
            "broadcast": self.broadcast,
            "fields": [
                [name, list(f.shape), f.scale, f.modulus.bit_length() - 1, f.symmetric, f.largest]
                for name, f in self.fields.items()
            ],
            "active": list(self.active),
        }

    @classmethod
    def read(cls, described: Json) -> "Ask":
        """Returns what `described` describes."""
        fields = {
            name: Field(tuple(shape), scale, 2**bits, symmetric, largest)
            for name, shape, scale, bits, symmetric, largest in described["fields"]
        }
        return cls(
            described["slot"],
            described["question"],
            described["broadcast"],
            fields,
            tuple(described["active"]),
        )

    def context(self, setup: bytes) -> bytes:
        """Returns slot_ctx, 32 bytes: it enters every mask, so that only equal views cancel."""
        return hashed("slot", {"setup": setup.hex(), **self.described})


@dataclass(frozen=True)
class Setup:
    """The keys of all members for a batch of slots, as each of them signs for."""

    setting: Setting
    batch: int
    first_slot: int
    slots: int
    advertisements: Mapping[str, Advertisement]

    @classmethod
    def read(cls, setting: Setting, batch: int, messages: Mapping[str, bytes]) -> "Setup":
        """Returns the set-up of these advertisements, each verified against the roster."""
        refusals.strangers(messages, setting.members)
        refusals.too_few(messages, setting.least)
        read = {
            name: Advertisement.read(setting, name, messages[name]) for name in sorted(messages)
        }
        one = next(iter(read.values()))
        for advertisement in read.values():
            refusals.other_batch(advertisement, batch, one.first_slot, one.slots)
        refusals.repeated_keys(read.values())
        return cls(setting, batch, one.first_slot, one.slots, read)

    @property
    def active(self) -> tuple[str, ...]:
        """Returns who takes part, sorted."""
        return tuple(self.advertisements)

    @property
    def messages(self) -> dict[str, bytes]:
        """Returns the advertisements as they were signed."""
        return {name: found.message for name, found in self.advertisements.items()}

    @cached_property
    def context(self) -> bytes:
        """Returns setup_ctx, 32 bytes, over the setting and all public keys of all slots."""
        described = {
            "setting": self.setting.digest.hex(),
            "batch": self.batch,
            "first_slot": self.first_slot,
            "slots": self.slots,
            "keys": {
                name: hashlib.sha256(found.message).hexdigest()
                for name, found in self.advertisements.items()
            },
        }
        return hashed("setup", described)

    def key(self, name: str, slot: int) -> bytes:
        """Returns a member's public mask key of a slot."""
        return self.advertisements[name].keys[slot - self.first_slot]

    def refuse_other_seed(self, name: str, slot: int, seed: bytes) -> None:
        """Raises where a seed is not the one that its owner committed itself to."""
        published = self.advertisements[name].commitments[slot - self.first_slot]
        refusals.other_seed(
            name, commitment(seed, seed_context(self.setting, slot), name), published
        )

    def refuse_other_private(self, name: str, slot: int, public: bytes) -> None:
        """Raises where a private key is not that of the public key of the set-up."""
        refusals.other_private(name, public, self.key(name, slot))


def seed_context(setting: Setting, slot: int) -> bytes:
    """Returns what a commitment to the seed of a slot is bound to, 32 bytes."""
    return hashed("seed", {"setting": setting.digest.hex(), "slot": slot})
