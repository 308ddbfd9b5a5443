"""One secure sum at the coordinator: adds what is masked, takes the masks off the sum.

It holds the running sum, the block that has just come, and chunks of masks. See `secure_sum` for
the protocol and `secure_sum_batch` for the set-up.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from grandtotal.durable import Json, canonical, read_json, write, write_json
from grandtotal.errors import AnswerError, RefusedError, RetailerError, RunError
from grandtotal.privacy import refusals
from grandtotal.privacy.fixedpoint import Words
from grandtotal.privacy.masks import (
    Mask,
    add_masks,
    add_words,
    by_field,
    pair_mask,
    public_key,
    self_mask,
    spans,
)
from grandtotal.privacy.messages import (
    VERSION,
    Header,
    Release,
    headers_digest,
    opened,
    parsed,
    raw,
    survivors_body,
    text,
)
from grandtotal.privacy.protocol import Ask, Setup
from grandtotal.privacy.secure_sum_batch import blamed
from grandtotal.privacy.shamir import combine

if TYPE_CHECKING:
    from hashlib import _Hash

_WORTH_A_THREAD = 2**20  # bytes of a block from which hashing runs beside the addition


class Adder:
    """One slot: adds masked blocks as they come, then takes the masks off.

    A vector that is not what its header commits to, or that stops midway, spoils the sum: either
    the caller kept its blocks and withdraws them, or the question is asked again in another slot.
    """

    def __init__(self, setup: Setup, ask: Ask) -> None:
        self._setup = setup
        self.ask = ask
        self._context = ask.context(setup.context)
        self._layout = spans(ask.fields)
        self._sum = np.zeros(ask.size, np.uint8)
        self._hashes: dict[str, _Hash] = {}
        self._taken: dict[str, int] = {}
        self._signed_headers: dict[str, Header] = {}
        self._ended = False
        self._unmasked = False
        self.headers: dict[str, bytes] = {}  # once `end` was called: of whom is in the sum
        self._signatures: dict[str, bytes] = {}
        self._releases: dict[str, bytes] = {}

    # --- masked vectors ---

    def header(self, name: str, message: bytes) -> None:
        """Takes a signed header; before, between or after the blocks. A late one is ignored."""
        if self._ended:
            return
        with blamed(name):
            refusals.strangers([name], self.ask.active)
            header = Header.read(self._setup.setting, name, message)
            refusals.other_context(header, self.ask.slot, self._context)
        self._signed_headers[name] = header

    def add(self, name: str, start: int, block: memoryview) -> None:
        """Adds a block of a member's masked vector, from byte `start` on, in their order.

        A block that was added before, or comes after the end, is ignored. RetailerError where one
        is left out, or is longer than what is missing.
        """
        with blamed(name):
            refusals.strangers([name], self.ask.active)
        taken = self._taken.get(name, 0)
        if self._ended or (name in self._taken and start < max(taken, 1)):
            return
        content = np.frombuffer(block, np.uint8)
        if start != taken or len(content) > len(self._sum) - taken or len(content) % 8:
            raise RetailerError(
                f"slot {self.ask.slot}: '{name}' sent {len(content):,} bytes from {start:,} on, "
                f"after {taken:,} of {len(self._sum):,}"
            )
        state = self._hashes.setdefault(name, hashlib.sha256())
        _side_by_side(
            lambda: state.update(content.data),
            lambda: add_words(self._sum, content, self._layout, start),
            len(content),
        )
        self._taken[name] = taken + len(content)

    def withdraw(self, name: str, blocks: Iterable[memoryview]) -> None:
        """Subtracts again the blocks of a member that dropped out or sent what it did not sign."""
        taken, start = self._taken.pop(name, 0), 0
        before, state = self._hashes.pop(name, hashlib.sha256()), hashlib.sha256()
        self._signed_headers.pop(name, None)
        for block in blocks:
            content = np.frombuffer(block, np.uint8)
            state.update(content.data)
            add_words(self._sum, content, self._layout, start, subtracted=True)
            start += len(content)
        if start != taken or state.digest() != before.digest():
            raise RunError(
                f"slot {self.ask.slot}: the blocks withdrawn are not those that '{name}' sent; "
                f"the sum is lost, ask again in another slot"
            )

    @property
    def unfinished(self) -> dict[str, str]:
        """Returns whose vector in the sum is not whole or not what was signed, and why."""
        found = {}
        for name, taken in self._taken.items():
            header = self._signed_headers.get(name)
            if taken != len(self._sum):
                found[name] = f"sent {taken:,} of {len(self._sum):,} bytes"
            elif header is None:
                found[name] = "sent no header"
            else:
                try:
                    refusals.other_vector(name, self._hashes[name].hexdigest(), header.masked)
                except AnswerError as error:
                    found[name] = str(error)
        return found

    def end(self) -> dict[str, bytes]:
        """Returns the headers of those in the sum; what comes later is ignored.

        RetailerError if a vector in the sum is not whole or is not the one that was signed.
        """
        if not self._ended:
            if self.unfinished:
                raise RetailerError(
                    f"slot {self.ask.slot}: "
                    + "; ".join(f"'{name}' {why}" for name, why in self.unfinished.items())
                    + "; withdraw its blocks, or ask again without it in another slot"
                )
            self.headers = {n: self._signed_headers[n].message for n in sorted(self._taken)}
            self._ended = True
        return self.headers

    # --- across a restart ---

    def keep(self, folder: Path) -> None:
        """Puts sum and headers on the disk; to be done before any unmask message is sent."""
        headers = self.end()
        write(_sum_path(folder, self.ask.slot), self._sum.data)
        write_json(
            _state_path(folder, self.ask.slot),
            {
                "version": VERSION,
                "ask": self.ask.described,
                "setup": self._setup.context.hex(),
                "sum": hashlib.sha256(self._sum.data).hexdigest(),
                "headers": _texts(headers),
            },
        )

    @classmethod
    def resume(cls, setup: Setup, folder: Path, slot: int) -> "Adder":
        """Returns the adder that `keep` wrote; RunError if the files are not what they were."""
        path = _state_path(folder, slot)
        try:
            state = read_json(path)
            content = bytearray(_sum_path(folder, slot).read_bytes())
            version, kept = state["version"], (state["setup"], state["sum"])
            ask, headers = state["ask"], {n: raw(h) for n, h in state["headers"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path}: the sum of slot {slot} cannot be read ({error!r})") from None
        if version != VERSION:
            raise RunError(f"{path}: written by version {version!r}, this is {VERSION!r}")
        if kept != (setup.context.hex(), hashlib.sha256(content).hexdigest()):
            raise RunError(f"{path}: not the sum of this slot and set-up; ask again in a new slot")
        adder = cls(setup, Ask.read(ask))
        adder._restore(content, headers)
        return adder

    def _restore(self, content: bytearray, headers: Mapping[str, bytes]) -> None:
        self._sum = np.frombuffer(content, np.uint8)
        for name, message in headers.items():
            self.header(name, message)
        self.headers = dict(headers)
        self._ended = True

    @staticmethod
    def forget(folder: Path, slot: int) -> None:
        """Removes what `keep` wrote, once the total is on the disk."""
        for path in (_state_path(folder, slot), _sum_path(folder, slot)):
            path.unlink(missing_ok=True)

    # --- taking the masks off ---

    def signed(self, name: str, message: bytes) -> None:
        """Takes a survivor's signature; only with dropouts."""
        headers = self.end()
        mine = survivors_body(self.ask.slot, self._context, tuple(headers), headers_digest(headers))
        with blamed(name):
            refusals.strangers([name], tuple(headers))
            body = opened(self._setup.setting, name, "survivors", message)
            refusals.other_survivors(name, {key: body.get(key) for key in mine}, mine)
        self._signatures[name] = bytes(message)

    @property
    def signatures(self) -> dict[str, bytes] | None:
        """Returns the signatures to show to the survivors; None where nobody dropped out."""
        return dict(self._signatures) if self.dropped else None

    @property
    def dropped(self) -> tuple[str, ...]:
        """Returns who was asked and is not in the sum."""
        return tuple(sorted(set(self.ask.active) - set(self.end())))

    def unmask(self, replies: Mapping[str, bytes]) -> dict[str, Words]:
        """Returns the total's words of each field, from at least `threshold` unmask replies.

        A share that does not agree with the others is left out where enough remain. May be called
        again after an error, with more replies.
        """
        if self._unmasked:
            return by_field(self._sum, self.ask.fields)
        headers = self.end()
        releases = [self._read_release(name, reply, headers) for name, reply in replies.items()]
        self._releases = {name: bytes(reply) for name, reply in replies.items()}
        self._refuse_few(releases)
        masks = [mask.taken_off() for mask in self._masks(releases, headers)]
        add_masks(self._sum, self._layout, masks)
        self._unmasked = True
        return by_field(self._sum, self.ask.fields)

    def _refuse_few(self, releases: list[Release]) -> None:
        try:
            refusals.few_releases([r.name for r in releases], self._setup.setting.threshold)
        except AnswerError as error:
            raise RetailerError(f"slot {self.ask.slot}: {error}") from error

    def _read_release(self, name: str, reply: bytes, headers: Mapping[str, bytes]) -> Release:
        with blamed(name):
            refusals.strangers([name], tuple(headers))
            release = Release.read(self._setup.setting, name, reply)
            refusals.other_release(release, self.ask.slot, self._context, headers_digest(headers))
            refusals.other_releases(release, tuple(headers), self.dropped)
        return release

    def _masks(self, releases: list[Release], headers: Mapping[str, bytes]) -> Iterator[Mask]:
        slot, context = self.ask.slot, self._context
        for name in headers:
            shares = self._by_number({r.name: r.seeds[name] for r in releases})
            seed = self._secret(
                name,
                shares,
                lambda s, name=name: self._setup.refuse_other_seed(name, slot, s),  # type: ignore[misc]
            )
            yield self_mask(seed, context, name)
        for name in self.dropped:
            shares = self._by_number({r.name: r.keys[name] for r in releases})
            private = self._secret(
                name,
                shares,
                lambda s, name=name: self._setup.refuse_other_private(name, slot, public_key(s)),  # type: ignore[misc]
            )
            for peer in headers:
                yield pair_mask(private, self._setup.key(peer, slot), context, peer, name)

    def _by_number(self, shares: Mapping[str, bytes]) -> dict[int, bytes]:
        members = self._setup.setting.members
        return {members.index(name) + 1: share for name, share in shares.items()}

    def _secret(
        self, name: str, shares: Mapping[int, bytes], refuse_other: Callable[[bytes], None]
    ) -> bytes:
        """Returns the secret that the set-up published; with one share wrong, from the others."""
        for wrong in (None, *shares):
            left = {x: share for x, share in shares.items() if x != wrong}
            try:
                secret = combine(left, self._setup.setting.threshold)
                refuse_other(secret)
            except (RefusedError, AnswerError) as error:
                reason = error
                if wrong is None:
                    first = reason
            else:
                return secret
        raise RetailerError(f"slot {self.ask.slot}: the shares of '{name}': {first}")

    def transcript(self) -> bytes:
        """Returns what `recompute` needs, but for the masked vectors and the set-up."""
        described: Json = {
            "version": VERSION,
            "setup": self._setup.context.hex(),
            "ask": self.ask.described,
            "headers": _texts(self.end()),
            "signatures": _texts(self._signatures),
            "releases": _texts(self._releases),
        }
        return canonical(described)


def recompute(
    setup: Setup, transcript: bytes, masked: Mapping[str, Iterable[memoryview]]
) -> dict[str, Words]:
    """Returns the total once more: from signed headers, masked vectors and revealed shares.

    setup: as the retailer that asks has signed it (`Member.setup`). RetailerError or RunError says
    what does not fit; a total that differs from what the coordinator said is the coordinator's.
    """
    with blamed("coordinator"):
        found = parsed("coordinator", lambda: json.loads(transcript))
        if (found.get("version"), found.get("setup")) != (VERSION, setup.context.hex()):
            raise RunError("the transcript is of another version or set-up")
        ask = parsed("coordinator", lambda: Ask.read(found["ask"]))
        headers, signatures, releases = parsed(
            "coordinator",
            lambda: [
                {name: raw(message) for name, message in found[what].items()}
                for what in ("headers", "signatures", "releases")
            ],
        )
    adder = Adder(setup, ask)
    for name, message in headers.items():
        adder.header(name, message)
        start = 0
        for block in masked[name]:
            adder.add(name, start, block)
            start += len(block)
    for name, message in signatures.items():
        adder.signed(name, message)
    return adder.unmask(releases)


def _side_by_side(first: Callable[[], Any], second: Callable[[], Any], size: int) -> None:
    """Runs both, in two threads where that is worth it; hashing and adding let each other run."""
    if size < _WORTH_A_THREAD:
        first()
        second()
        return
    thread = Thread(target=first)
    thread.start()
    second()
    thread.join()


def _texts(messages: Mapping[str, bytes]) -> dict[str, str]:
    return {name: text(message) for name, message in messages.items()}


def _sum_path(folder: Path, slot: int) -> Path:
    return folder / f"slot-{slot}.sum"


def _state_path(folder: Path, slot: int) -> Path:
    return folder / f"slot-{slot}.json"
