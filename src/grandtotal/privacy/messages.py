"""What members of a secure sum say: signed JSON, each message of one kind, run, sender and version.

    signature (64 bytes, Ed25519) · JSON {"kind", "version", "setting", "from", ...}

A message that verifies is the sender's whatever way it came; byte strings in it are base64.
"""

import binascii
import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from grandtotal.durable import Json, canonical
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy import refusals
from grandtotal.privacy.identity import Identity, Roster

VERSION = "SA-1 1"
MOST_SLOTS = 1024
KEY_BYTES = 32
_DOMAIN = b"grandtotal secure sum\0"
_SIGNATURE_BYTES = 64

Read = TypeVar("Read")


class Signing(Protocol):
    """What a message needs to know of the setting of a run."""

    @property
    def digest(self) -> bytes: ...
    @property
    def roster(self) -> Roster: ...


def text(content: bytes) -> str:
    """Returns base64."""
    return b64encode(content).decode()


def raw(content: str) -> bytes:
    """Returns the bytes of base64; ValueError if it is none."""
    return b64decode(content, validate=True)


def signed(setting: Signing, name: str, identity: Identity, kind: str, body: Json) -> bytes:
    """Returns a message; the same content has the same bytes."""
    about = {"kind": kind, "version": VERSION, "setting": setting.digest.hex(), "from": name}
    content = canonical({**body, **about})
    return identity.sign(_DOMAIN + content) + content


def opened(setting: Signing, name: str, kind: str, message: bytes) -> Json:
    """Returns the body of a message that the named member signed; AnswerError if it did not."""
    signature, content = bytes(message[:_SIGNATURE_BYTES]), bytes(message[_SIGNATURE_BYTES:])
    refusals.strangers([name], setting.roster.members)
    refusals.foreign_signature(name, setting.roster.members[name], _DOMAIN + content, signature)
    body = _json(name, content)
    refusals.other_version(name, body, VERSION)
    refusals.other_kind(name, body, kind)
    refusals.other_sender(name, body)
    refusals.other_setting(name, body, setting.digest)
    return body


def _json(name: str, content: bytes) -> Json:
    body = parsed(name, lambda: json.loads(content))
    if not isinstance(body, dict):
        raise AnswerError(Code.MALFORMED, f"a message of '{name}' is no JSON object")
    return body


def parsed(name: str, read: Callable[[], Read]) -> Read:
    """Returns what `read` returns; AnswerError where the sender left something out or askew."""
    try:
        return read()
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        binascii.Error,
    ) as error:
        raise AnswerError(
            Code.MALFORMED, f"a message of '{name}' cannot be read: {error!r}"
        ) from None


def number(value: object) -> int:
    """Returns a whole number from 0 on; ValueError for anything else."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no whole number")
    return value


def pieces(content: bytes, size: int) -> tuple[bytes, ...]:
    """Returns the content cut into pieces of one size, the last one as it is."""
    return tuple(content[i : i + size] for i in range(0, len(content), size))


def part(reply: bytes, peer: str) -> bytes:
    """Returns what of a reply of `Member.share` is relayed to one peer."""
    found = json.loads(reply)
    return canonical({"list": found["list"], "sealed": found["sealed"][peer]})


def read_part(content: bytes) -> tuple[bytes, bytes]:
    """Returns the signed list and the sealed shares of what `part` cut out."""
    found = json.loads(content)
    return raw(found["list"]), raw(found["sealed"])


def headers_digest(headers: Mapping[str, bytes]) -> str:
    """Returns one digest over who signed which header."""
    each = {name: hashlib.sha256(headers[name]).hexdigest() for name in headers}
    return hashlib.sha256(canonical(each)).hexdigest()


@dataclass(frozen=True)
class Advertisement:
    """A member's public keys for a batch: one to seal shares to, and for each slot a mask key and
    the commitment to a seed. note: opaque, shown to the peers."""

    name: str
    batch: int
    first_slot: int
    slots: int
    seal: bytes
    keys: tuple[bytes, ...]
    commitments: tuple[bytes, ...]
    note: bytes
    message: bytes

    @staticmethod
    def body(
        batch: int,
        first_slot: int,
        seal: bytes,
        keys: list[bytes],
        commitments: list[bytes],
        note: bytes,
    ) -> Json:
        """Returns what is signed."""
        return {
            "batch": batch,
            "first_slot": first_slot,
            "slots": len(keys),
            "seal": text(seal),
            "keys": text(b"".join(keys)),
            "commitments": text(b"".join(commitments)),
            "note": text(note),
        }

    @classmethod
    def read(cls, setting: Signing, name: str, message: bytes) -> "Advertisement":
        """Returns the advertisement that a member signed."""
        body = opened(setting, name, "advertisement", message)
        found = parsed(
            name,
            lambda: cls(
                name,
                number(body["batch"]),
                number(body["first_slot"]),
                number(body["slots"]),
                raw(body["seal"]),
                pieces(raw(body["keys"]), KEY_BYTES),
                pieces(raw(body["commitments"]), KEY_BYTES),
                raw(body["note"]),
                bytes(message),
            ),
        )
        refusals.batch_size(found.slots, MOST_SLOTS)
        refusals.key_counts(found)
        return found


@dataclass(frozen=True)
class Header:
    """What a member signs of its masked vector. masked: its SHA-256 in hexadecimal digits."""

    name: str
    slot: int
    context: bytes
    masked: str
    note: bytes
    message: bytes

    @staticmethod
    def body(slot: int, context: bytes, masked: str, note: bytes) -> Json:
        """Returns what is signed."""
        return {"slot": slot, "context": context.hex(), "masked": masked, "note": text(note)}

    @classmethod
    def read(cls, setting: Signing, name: str, message: bytes) -> "Header":
        """Returns the header that a member signed."""
        body = opened(setting, name, "header", message)
        return parsed(
            name,
            lambda: cls(
                name,
                number(body["slot"]),
                bytes.fromhex(body["context"]),
                str(body["masked"]),
                raw(body["note"]),
                bytes(message),
            ),
        )


def survivors_body(slot: int, context: bytes, members: tuple[str, ...], headers: str) -> Json:
    """Returns what a member signs of who is left, with the digest of their headers."""
    return {
        "slot": slot,
        "context": context.hex(),
        "members": sorted(members),
        "headers": headers,
    }


@dataclass(frozen=True)
class Release:
    """The shares that a member reveals for one slot: of seeds of survivors, of keys of the others.

    headers: digest of the headers that it has seen.
    """

    name: str
    slot: int
    context: bytes
    headers: str
    seeds: Mapping[str, bytes]
    keys: Mapping[str, bytes]

    @property
    def body(self) -> Json:
        """Returns what is signed."""
        return {
            "slot": self.slot,
            "context": self.context.hex(),
            "headers": self.headers,
            "seeds": {name: text(share) for name, share in self.seeds.items()},
            "keys": {name: text(share) for name, share in self.keys.items()},
        }

    @classmethod
    def read(cls, setting: Signing, name: str, message: bytes) -> "Release":
        """Returns the release that a member signed."""
        body = opened(setting, name, "release", message)
        found = parsed(
            name,
            lambda: cls(
                name,
                number(body["slot"]),
                bytes.fromhex(body["context"]),
                str(body["headers"]),
                {peer: raw(share) for peer, share in body["seeds"].items()},
                {peer: raw(share) for peer, share in body["keys"].items()},
            ),
        )
        refusals.both_secrets(found.seeds, found.keys)
        return found
