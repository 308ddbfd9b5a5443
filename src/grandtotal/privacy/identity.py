"""Who is who: identity keys made at the retailers, and the roster that all of them sign.

The roster, not the coordinator, says whose signature is whose. Each retailer makes its key at home,
two people compare fingerprints on another channel than the coordinator's, and each member signs the
list of all names and keys. A roster without one's own signature is none: nobody can be enrolled
into a list that it has not read.

Ed25519: Josefsson and Liusvaara, 2017, https://www.rfc-editor.org/rfc/rfc8032
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from grandtotal.durable import Json, canonical, write, write_private
from grandtotal.errors import PlanError
from grandtotal.privacy.shamir import Entropy

FORMAT = 1
FEWEST = 3
KEY_BYTES = 32
_DOMAIN = b"grandtotal roster\0"
_FINGERPRINT_BYTES = 16  # a second key with the same fingerprint costs 2^128 trials


@dataclass(frozen=True)
class Identity:
    """A retailer's private key; never shown when printed."""

    seed: bytes = field(repr=False)

    def sign(self, content: bytes) -> bytes:
        """Returns the signature, 64 bytes; the same content has the same signature."""
        return self._private.sign(content)

    @cached_property
    def public(self) -> bytes:
        """Returns the public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @cached_property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def make_identity(path: Path, entropy: Entropy = os.urandom) -> Identity:
    """Writes a new private key that only its owner may read; PlanError if the file exists."""
    identity = Identity(entropy(KEY_BYTES))
    content = Ed25519PrivateKey.from_private_bytes(identity.seed).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        write_private(path, content)
    except FileExistsError:
        raise PlanError(
            f"{path}: exists already; the consortium knows this retailer by that key, so it is not "
            f"overwritten. Give another name, or, where the key was lost, move the file away and "
            f"have a roster of the next epoch signed"
        ) from None
    return identity


def read_identity(path: Path) -> Identity:
    """Returns the private key in a file; PlanError if it is none or others may read it."""
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise PlanError(
            f"{path}: the identity key cannot be read ({error.strerror}); `grandtotal retailer "
            f"keygen` makes one"
        ) from None
    refuse_readable(path, mode)
    try:
        private = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise PlanError(
            f"{path}: no Ed25519 private key as `grandtotal retailer keygen` writes it; restore "
            f"the file, or make a new key and have a roster of the next epoch signed"
        )
    return Identity(private.private_bytes_raw())


def refuse_readable(path: Path, mode: int) -> None:
    """Raises PlanError where others than the owner of a key may read its file."""
    if os.name == "posix" and mode & 0o077:
        raise PlanError(f"{path}: others than its owner may read this key; chmod 600 {path}")


def fingerprint(public: bytes) -> str:
    """Returns what two people compare on the telephone: eight groups of four hexadecimal digits.

    The first 128 bits of the SHA-256 of the public key.
    """
    digits = hashlib.sha256(public).digest()[:_FINGERPRINT_BYTES].hex()
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def signed_by(public: bytes, content: bytes, signature: bytes) -> bool:
    """Returns whether the holder of a key signed the content."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Roster:
    """The members of a consortium, in their order, and their public keys, for one epoch.

    members: name -> public key, 32 bytes. valid_until: the last day. signatures: name -> 64 bytes,
    of each member over everything else.
    """

    consortium: str
    epoch: int
    members: Mapping[str, bytes]
    valid_until: date
    signatures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def described(self) -> Json:
        """Returns what is signed."""
        return {
            "format": FORMAT,
            "consortium": self.consortium,
            "epoch": self.epoch,
            "valid_until": self.valid_until.isoformat(),
            "members": [[name, public.hex()] for name, public in self.members.items()],
        }

    @property
    def content(self) -> bytes:
        """Returns the bytes that each member signs."""
        return _DOMAIN + canonical(self.described)

    @cached_property
    def digest(self) -> str:
        """Returns the SHA-256 of what is signed, 64 hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    def signed(self, name: str, identity: Identity) -> "Roster":
        """Returns the roster with one more signature; PlanError unless the key is that name's."""
        if self.members.get(name) != identity.public:
            known = self.members.get(name)
            raise PlanError(
                f"the roster of '{self.consortium}' gives '{name}' "
                + (f"the key {fingerprint(known)}" if known else "no place")
                + f", this key is {fingerprint(identity.public)}; have the roster made again with "
                f"the key of this retailer"
            )
        return replace(self, signatures={**self.signatures, name: identity.sign(self.content)})


def verify_roster(roster: Roster, today: date, members: tuple[str, ...] | None = None) -> None:
    """Raises PlanError unless the roster is complete, valid today and signed by all its members.

    members: whom the plan names, where there is one.
    """
    refuse_small(roster)
    refuse_shared_keys(roster)
    refuse_other_names(roster, members)
    refuse_unsigned(roster)
    refuse_foreign_signatures(roster)
    refuse_expired(roster, today)


def refuse_small(roster: Roster) -> None:
    """Raises PlanError below three members."""
    if len(roster.members) < FEWEST:
        raise PlanError(
            f"{len(roster.members)} members, expected at least {FEWEST}: with two, each reads the "
            f"other's summand by subtracting its own from the total"
        )


def refuse_shared_keys(roster: Roster) -> None:
    """Raises PlanError where two names have one key: they would be one company."""
    if len(set(roster.members.values())) < len(roster.members):
        raise PlanError("two members have the same public key; each company makes its own")


def refuse_other_names(roster: Roster, members: tuple[str, ...] | None) -> None:
    """Raises PlanError where the plan names other members than the roster."""
    if members is not None and set(members) != set(roster.members):
        missing = sorted(set(members) - set(roster.members))
        extra = sorted(set(roster.members) - set(members))
        raise PlanError(
            f"the plan names other members: not in the roster {missing}, not in the plan {extra}; "
            f"correct the plan, or have a roster of the next epoch signed"
        )


def refuse_unsigned(roster: Roster) -> None:
    """Raises PlanError where a member has not signed."""
    missing = sorted(set(roster.members) - set(roster.signatures))
    if missing:
        raise PlanError(
            f"not signed by {missing}; each compares the fingerprints and signs with `grandtotal "
            f"consortium sign`"
        )


def refuse_foreign_signatures(roster: Roster) -> None:
    """Raises PlanError where a signature is not that of the member whose name it has."""
    for name, signature in roster.signatures.items():
        public = roster.members.get(name)
        if public is None or not signed_by(public, roster.content, signature):
            raise PlanError(
                f"the signature of '{name}' is not that of its key over this list: the file was "
                f"changed after it was signed, or signed with another key; have it signed again"
            )


def refuse_expired(roster: Roster, today: date) -> None:
    """Raises PlanError after the last day."""
    if today > roster.valid_until:
        raise PlanError(
            f"was valid until {roster.valid_until}, today is {today}; have a roster of the next "
            f"epoch signed"
        )


def write_roster(path: Path, roster: Roster) -> None:
    """Puts the roster and its signatures at the path, as the one JSON text of its values."""
    signatures = {name: signature.hex() for name, signature in roster.signatures.items()}
    write(path, canonical({**roster.described, "signatures": signatures}) + b"\n")


def sign_roster(path: Path, name: str, identity: Identity) -> Roster:
    """Adds a member's signature to the file; returns the roster with it."""
    try:
        roster = read_unverified(path).signed(name, identity)
    except PlanError as error:
        raise _named(path, error) from None
    write_roster(path, roster)
    return roster


def read_roster(path: Path, today: date, members: tuple[str, ...] | None = None) -> Roster:
    """Returns a roster that all its members signed; PlanError names the file and what to do."""
    roster = read_unverified(path)
    try:
        verify_roster(roster, today, members)
    except PlanError as error:
        raise _named(path, error) from None
    return roster


def read_unverified(path: Path) -> Roster:
    """Returns what the file says, to be read and signed by a person; nothing is verified."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise PlanError(
            f"{path}: the roster cannot be read ({error.strerror}); ask the consortium for the "
            f"signed file"
        ) from None
    except ValueError as error:
        raise PlanError(f"{path}: no roster, the text is not JSON ({error})") from None
    try:
        return _roster(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(
            f"{path}: not a roster of format {FORMAT} ({error}); ask the consortium for a file "
            f"that this version wrote"
        ) from None


def _roster(found: Any) -> Roster:
    if found["format"] != FORMAT:
        raise ValueError(f"it is of format {found['format']!r}")
    members = {str(name): _key(public) for name, public in found["members"]}
    if len(members) < len(found["members"]):
        raise ValueError("a name is listed twice")
    epoch = found["epoch"]
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
        raise ValueError(f"the epoch is {epoch!r}")
    signatures = {str(name): bytes.fromhex(s) for name, s in found["signatures"].items()}
    return Roster(
        str(found["consortium"]),
        epoch,
        members,
        date.fromisoformat(found["valid_until"]),
        signatures,
    )


def _key(text: str) -> bytes:
    public = bytes.fromhex(text)
    if len(public) != KEY_BYTES:
        raise ValueError(f"a public key of {len(public)} bytes")
    return public


def _named(path: Path, error: PlanError) -> PlanError:
    text = str(error)
    return error if text.startswith(str(path)) else PlanError(f"{path}: {text}")
