"""The secure sum at a retailer, SA-1: everybody learns the total, nobody a summand.

The protocol of Bonawitz et al. (2017) with a coordinator that may lie, on the complete graph, for
3 to 50 retailers. The coordinator relays; whose word counts is in the roster (`identity`).

    set-up, once for a batch of K slots
    0  advertise   K fresh X25519 mask keys, K commitments to fresh seeds, one key to seal with
    1  share       having verified all: signs the list of all keys of all; Shamir shares of each
                   private mask key and of each seed, sealed to each peer
    -  receive     all signed the identical list: keeps its shares of everybody's secrets
    one slot, one question, one attempt
    2  mask        y = x + PRG(seed) + sum of +-PRG(pair), and a signed header that commits to y
    3  survivors   only where somebody dropped out: signs the set whose headers it was shown
    4  unmask      shares of the seeds of those in the total, and of the mask keys of those who are
                   not; of nobody both
    -  close       deletes the secrets of the slot

Without dropouts step 3 falls away: the headers of the full active set say the same, since the
active set is in the context that each of them signs. At most one path is gone in a slot, and which
one is on the disk before anything that depends on it leaves.

Why a batch is as safe as K set-ups made apart. (1) Nothing is expanded: each slot has a mask key
pair, a seed and two polynomials of its own, drawn independently, so that what is revealed of one
slot (at most one secret of each member) is independent of all secrets of the others. (2) What is
common is the key that seals shares, which is never shared itself and erased when the set-up is
complete; and K shares to one peer in one ciphertext are what K ciphertexts would say, to the same
peer. (3) The signed list covers all keys of all slots, so that K lists agree if and only if the one
does; a retailer signs one list for a batch number. (4) Every stream is derived with the context of
its slot, which holds the list, the slot's number, question, broadcast, fields and active set: a
mask of one slot cancels in no other. (5) Slots are used in rising order, each for one attempt, and
closed one by one; that the keys of later slots wait on the disk is the one thing that differs: who
breaks into a retailer finds them, beside the tables that they protect.

A new attempt at a question is free until a total of it was released, with whoever is left; it ends
all earlier attempts. After that only the attempt that released can be completed. All t members that
a release needs stand behind one of two contradicting ones, see `protocol`.

Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", 2017,
https://doi.org/10.1145/3133956.3133982
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from grandtotal.durable import canonical
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy import refusals
from grandtotal.privacy.identity import Identity, refuse_foreign_signatures, refuse_unsigned
from grandtotal.privacy.masks import (
    Mask,
    add_masks,
    agreed,
    commitment,
    derived,
    pair_mask,
    public_key,
    self_mask,
    spans,
)
from grandtotal.privacy.messages import (
    MOST_SLOTS,
    Advertisement,
    Header,
    Release,
    headers_digest,
    opened,
    parsed,
    pieces,
    read_part,
    signed,
    survivors_body,
    text,
)
from grandtotal.privacy.protocol import Ask, Setting, Setup, seed_context
from grandtotal.privacy.shamir import SHARE_BYTES, Entropy, split
from grandtotal.privacy.slots import Attempt, BatchState, Slots, SlotSecrets

Witness = Callable[[Mapping[str, bytes]], None]
"""Called with the peers' verified notes before anything is signed that rests on their messages;
what it raises is a refusal."""

_ONCE = bytes(12)  # the nonce of a key that seals one message


def unwitnessed(notes: Mapping[str, bytes]) -> None:
    """Looks at no note."""


class Member:
    """One retailer in the secure sums of one run: a state machine with a folder.

    A reply depends on what is on the disk and on the request alone: after a crash the same request
    has the same reply. What it refuses is an AnswerError; a disk that fails is an OSError, and
    nothing has left.
    """

    def __init__(
        self,
        name: str,
        identity: Identity,
        setting: Setting,
        folder: Path,
        entropy: Entropy = os.urandom,
        witness: Witness = unwitnessed,
    ) -> None:
        refusals.another_identity(name, identity.public, setting.roster.members.get(name))
        refuse_unsigned(setting.roster)
        refuse_foreign_signatures(setting.roster)
        self.name = name
        self._identity = identity
        self._setting = setting
        self._entropy = entropy
        self._witness = witness
        self._slots = Slots(folder, setting, name)
        self._setup = lru_cache(maxsize=4)(self._read_setup)

    @property
    def active(self) -> tuple[str, ...]:
        """Returns who has not dropped out of this run, as far as this retailer has seen."""
        return self._slots.active

    def setup(self, batch: int) -> Setup:
        """Returns the verified list of all keys of a batch, as this retailer signed it."""
        state = self._slots.batches.get(batch)
        if state is None or not state.context:
            raise AnswerError(Code.MALFORMED, f"batch {batch}: no list of keys was signed here")
        return self._setup(batch)

    # --- the set-up of a batch ---

    def advertise(self, batch: int, first_slot: int, slots: int, note: bytes = b"") -> bytes:
        """Returns this retailer's signed public keys for a new batch of slots.

        batch and slots are numbered upwards through the run, with or without gaps.
        """
        known = self._slots.batches.get(batch)
        if known is not None:
            refusals.changed_batch(batch, (first_slot, slots), (known.first_slot, known.slots))
            return known.advertisement
        refusals.batch_size(slots, MOST_SLOTS)
        refusals.used_slots(batch, first_slot, self._slots.last_batch, self._slots.next_slot)
        seal = self._entropy(32)
        own = [SlotSecrets(self._entropy(32), self._entropy(32)) for _ in range(slots)]
        body = Advertisement.body(
            batch,
            first_slot,
            public_key(seal),
            [public_key(secret.private) for secret in own],
            [
                commitment(secret.seed, seed_context(self._setting, first_slot + i), self.name)
                for i, secret in enumerate(own)
            ],
            note,
        )
        message = self._signed("advertisement", body)
        self._slots.advertise(batch, first_slot, seal, own, message)
        return message

    def share(self, batch: int, advertisements: Mapping[str, bytes]) -> bytes:
        """Returns the signature on the list of all keys, with the shares sealed for each peer.

        advertisements: of all that take part in the batch, this retailer included.
        """
        state = self._advertised(batch)
        setup = Setup.read(self._setting, batch, advertisements)
        refusals.without_me(self.name, setup.active)
        refusals.own_keys_changed(state.advertisement, advertisements[self.name])
        if state.context:
            refusals.second_list(batch, setup.context, state.context)
            return self._slots.listed(batch)[1]
        refusals.returned(setup.active, self._slots.active)
        self._witness({name: found.note for name, found in setup.advertisements.items()})
        own, shares = self._split(batch, setup)
        reply = self._sealed(batch, setup, shares)
        self._slots.list_keys(batch, setup.context, setup.messages, reply, own)
        return reply

    def receive(self, batch: int, parts: Mapping[str, bytes]) -> bytes:
        """Keeps the shares of all peers and returns the acknowledgement.

        parts: from each peer what the coordinator cut out for this retailer (`Batch.relay`).
        """
        setup = self.setup(batch)
        ready = {"batch": batch, "context": setup.context.hex()}
        if not self._slots.batches[batch].received:
            refusals.missing_lists({*parts, self.name}, setup.active)
            contents = {
                peer: self._opened_part(batch, setup, peer, message)
                for peer, message in parts.items()
                if peer != self.name
            }
            self._slots.receive(batch, self._with_shares(batch, setup, contents))
        return self._signed("ready", ready)

    def _advertised(self, batch: int) -> BatchState:
        state = self._slots.batches.get(batch)
        if state is None:
            raise AnswerError(Code.MALFORMED, f"batch {batch} was not advertised here")
        return state

    def _read_setup(self, batch: int) -> Setup:
        return Setup.read(self._setting, batch, self._slots.listed(batch)[0])

    def _split(
        self, batch: int, setup: Setup
    ) -> tuple[dict[int, SlotSecrets], dict[str, list[bytes]]]:
        """Returns one's own secrets with one's own shares, and for each peer its shares."""
        members, threshold = self._setting.members, self._setting.threshold
        own, shares = {}, {name: [] for name in setup.active}  # type: ignore[var-annotated]
        for slot in range(setup.first_slot, setup.first_slot + setup.slots):
            secret = self._slots.secrets(batch, slot)
            for private in (secret.seed, secret.private):
                dealt = split(private, len(members), threshold, self._entropy)
                for name, share in zip(members, dealt, strict=True):
                    if name in shares:
                        shares[name].append(share)
            seed_share, key_share = shares[self.name][-2:]
            own[slot] = SlotSecrets(
                secret.seed, secret.private, {self.name: seed_share}, {self.name: key_share}
            )
        return own, shares

    def _sealed(self, batch: int, setup: Setup, shares: Mapping[str, list[bytes]]) -> bytes:
        private = self._slots.seal(batch)
        sealed = {}
        for peer, theirs in shares.items():
            if peer != self.name:
                box, bound = self._box(private, setup, peer, self.name, peer)
                sealed[peer] = text(box.encrypt(_ONCE, b"".join(theirs), bound))
        signature = self._signed("list", {"batch": batch, "context": setup.context.hex()})
        return canonical({"list": text(signature), "sealed": sealed})

    def _box(
        self, private: bytes, setup: Setup, peer: str, sender: str, receiver: str
    ) -> tuple[ChaCha20Poly1305, bytes]:
        secret = agreed(private, setup.advertisements[peer].seal)
        key = derived(secret, "seal", setup.context, sender, receiver)
        return ChaCha20Poly1305(key), canonical([setup.context.hex(), sender, receiver])

    def _opened_part(
        self, batch: int, setup: Setup, peer: str, message: bytes
    ) -> tuple[bytes, ...]:
        signature, sealed = parsed(peer, lambda: read_part(message))
        body = opened(self._setting, peer, "list", signature)
        context = parsed(peer, lambda: bytes.fromhex(body["context"]))
        refusals.differing_lists(peer, context, setup.context)
        box, bound = self._box(self._slots.seal(batch), setup, peer, peer, self.name)
        try:
            content = box.decrypt(_ONCE, sealed, bound)
        except InvalidTag:
            raise AnswerError(
                Code.NOT_SIGNED, f"the shares of '{peer}' were not sealed by it for this retailer"
            ) from None
        refusals.share_lengths(peer, content, 2 * SHARE_BYTES * setup.slots)
        return pieces(content, SHARE_BYTES)

    def _with_shares(
        self, batch: int, setup: Setup, contents: Mapping[str, tuple[bytes, ...]]
    ) -> dict[int, SlotSecrets]:
        found = {}
        for i in range(setup.slots):
            secret = self._slots.secrets(batch, setup.first_slot + i)
            for peer, shares in contents.items():
                secret.seeds[peer], secret.keys[peer] = shares[2 * i], shares[2 * i + 1]
            found[setup.first_slot + i] = secret
        return found

    # --- one slot ---

    def mask(self, ask: Ask, words: memoryview, note: bytes = b"") -> bytes:
        """Adds the masks to the words in place and returns the signed header.

        words: the writable bytes of all fields in their order, each padded to 8 bytes. The header
        is on the disk when this returns; the masked words may then leave. After a refusal the
        words may be half masked: they are to be thrown away.
        """
        batch = self._batch_of(ask.slot)
        secrets = self._secrets(batch, ask.slot)
        setup = self.setup(batch)
        context = ask.context(setup.context)
        attempt = self._slots.attempts.get(ask.slot)
        if attempt is None:
            self._refuse_new_attempt(ask, setup)
        else:
            refusals.burnt_slot(attempt, context)
        content = np.frombuffer(words, np.uint8)
        refusals.other_length(len(content), ask.size)
        add_masks(content, spans(ask.fields), self._masks(ask, setup, context, secrets))
        masked = hashlib.sha256(content.data).hexdigest()
        if attempt is not None:
            refusals.other_words(attempt, masked)
            return attempt.header
        header = self._signed("header", Header.body(ask.slot, context, masked, note))
        self._slots.mask(
            batch,
            Attempt(ask.slot, context, ask.question, ask.active, masked, header),
        )
        return header

    def _refuse_new_attempt(self, ask: Ask, setup: Setup) -> None:
        refusals.earlier_slot(ask.slot, self._slots.last_slot)
        refusals.without_me(self.name, ask.active)
        refusals.strangers(ask.active, setup.active)
        refusals.returned(ask.active, self._slots.active)
        refusals.too_few(ask.active, self._setting.least)
        refusals.released_question(ask.slot, self._slots.released.get(ask.question))

    def _masks(self, ask: Ask, setup: Setup, context: bytes, secrets: SlotSecrets) -> list[Mask]:
        pairs = [
            pair_mask(secrets.private, setup.key(peer, ask.slot), context, self.name, peer)
            for peer in ask.active
            if peer != self.name
        ]
        return [self_mask(secrets.seed, context, self.name), *pairs]

    def question(self, slot: int) -> str:
        """Returns the digest of the question that was answered in a slot; AnswerError if none."""
        return self._open_attempt(slot).question

    def survivors(self, slot: int, headers: Mapping[str, bytes]) -> bytes:
        """Returns this retailer's signature on the set whose headers it was shown.

        Only with a dropout. From then on this slot is released for this set or not at all.
        """
        attempt = self._open_attempt(slot)
        self._read_headers(attempt, headers)
        shown = headers_digest(headers)
        refusals.other_path(attempt, "survivors", headers, shown)
        refusals.too_few(headers, self._setting.least)
        if not attempt.path:
            self._slots.take_path(slot, "survivors", tuple(headers), shown, released=False)
        body = survivors_body(slot, attempt.context, tuple(headers), shown)
        return self._signed("survivors", body)

    def unmask(
        self,
        slot: int,
        headers: Mapping[str, bytes],
        signatures: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """Returns the signed shares that take the masks off the sum of these headers' vectors.

        signatures: of at least t survivors on their set, where somebody dropped out; None where
        the headers are those of the full active set.
        """
        attempt = self._open_attempt(slot)
        self._read_headers(attempt, headers)
        shown = headers_digest(headers)
        if signatures is None:
            path = "full"
            refusals.missing_headers(headers, attempt.active)
        else:
            path = "survivors"
            refusals.no_survivors_signed(attempt)
            self._read_survivors(attempt, headers, signatures)
        refusals.other_path(attempt, path, headers, shown)
        secrets = self._secrets(self._batch_of(slot), slot)
        if not attempt.released:
            self._slots.take_path(slot, path, tuple(headers), shown, released=True)
        return self._release(attempt, secrets, headers)

    def close(self, *slots: int) -> None:
        """Deletes the secrets of slots from the disk; nothing is released for them any more.

        Whether they were used or not; several of one batch cost one write.
        """
        for batch, state in list(self._slots.batches.items()):
            last = state.first_slot + state.slots
            closing = [slot for slot in slots if state.first_slot <= slot < last]
            if closing:
                self._slots.erase(batch, closing)

    def finish(self) -> None:
        """Deletes all secrets of the run, those of slots that were never used among them."""
        for state in list(self._slots.batches.values()):
            self.close(*range(state.first_slot, state.first_slot + state.slots))

    def _open_attempt(self, slot: int) -> Attempt:
        attempt = self._slots.attempts.get(slot)
        if attempt is None:
            raise AnswerError(
                Code.SLOT_USED, f"slot {slot}: this retailer has masked nothing in it"
            )
        refusals.superseded(slot, self._slots.latest[attempt.question])
        return attempt

    def _read_headers(self, attempt: Attempt, headers: Mapping[str, bytes]) -> None:
        refusals.own_header_changed(attempt.header, headers.get(self.name))
        refusals.strangers(headers, attempt.active)
        notes = {}
        for name, message in headers.items():
            header = Header.read(self._setting, name, message)
            refusals.other_context(header, attempt.slot, attempt.context)
            notes[name] = header.note
        self._witness(notes)

    def _read_survivors(
        self, attempt: Attempt, headers: Mapping[str, bytes], signatures: Mapping[str, bytes]
    ) -> None:
        refusals.strangers(signatures, tuple(headers))
        refusals.few_signatures(signatures, self._setting.threshold)
        mine = survivors_body(
            attempt.slot, attempt.context, tuple(headers), headers_digest(headers)
        )
        for name, message in signatures.items():
            body = opened(self._setting, name, "survivors", message)
            refusals.other_survivors(name, {key: body.get(key) for key in mine}, mine)

    def _release(
        self, attempt: Attempt, secrets: SlotSecrets, headers: Mapping[str, bytes]
    ) -> bytes:
        release = Release(
            self.name,
            attempt.slot,
            attempt.context,
            headers_digest(headers),
            {name: secrets.seeds[name] for name in sorted(headers)},
            {name: secrets.keys[name] for name in attempt.active if name not in headers},
        )
        return self._signed("release", release.body)

    def _batch_of(self, slot: int) -> int:
        batch = self._slots.batch_of(slot)
        if batch is None:
            raise AnswerError(
                Code.MALFORMED, f"slot {slot} is in no batch whose set-up is complete here"
            )
        return batch

    def _secrets(self, batch: int, slot: int) -> SlotSecrets:
        secrets = self._slots.secrets(batch, slot)
        refusals.closed(slot, secrets.erased)
        return secrets

    def _signed(self, kind: str, body: dict[str, object]) -> bytes:
        return signed(self._setting, self.name, self._identity, kind, body)
