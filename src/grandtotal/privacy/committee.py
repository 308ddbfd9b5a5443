"""The second secure sum, SA-2: additive shares to a committee of at least three aggregators.

A retailer splits its words x modulo 2^64 or 2^32 into m shares that add up to x: m - 1 of them are
streams of AES-256-CTR from seeds of 32 bytes, the last is x minus these streams. One message to
each aggregator; any m - 1 of them see random words. The aggregators first sign the digest of whose
shares they hold; none publishes its sum before all m have signed the identical set, so that no two
of their sums are of different sets of retailers. Who is missing at one aggregator is left out by
all. It takes m hosts that are always on, of owners who do not all collude.

Share and sum are bound to a context (run, question, broadcast, fields), and shares travel sealed to
their aggregator by whatever carries them; this file holds the arithmetic and the agreement.

Additive sharing: Bogdanov, Laur and Willemson, "Sharemind", 2008,
https://doi.org/10.1007/978-3-540-88313-5_13
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from grandtotal.durable import canonical
from grandtotal.errors import RefusedError
from grandtotal.privacy.fixedpoint import Field, Words
from grandtotal.privacy.identity import Identity, signed_by
from grandtotal.privacy.masks import Mask, add_masks, add_words, by_field, derived, spans
from grandtotal.privacy.shamir import Entropy

FEWEST = 3
_SEED_BYTES = 32
_DOMAIN = b"grandtotal committee\0"


@dataclass(frozen=True)
class Share:
    """What one aggregator gets of one retailer: a seed, or at the last one the vector."""

    seed: bytes = b""
    words: bytes | bytearray = b""

    @property
    def digest(self) -> str:
        """Returns what both sides can compare, 64 hexadecimal digits."""
        return hashlib.sha256(
            canonical([self.seed.hex(), len(self.words)]) + self.words
        ).hexdigest()


def deal(
    words: bytearray,
    fields: Mapping[str, Field],
    context: bytes,
    aggregators: int,
    entropy: Entropy = os.urandom,
) -> list[Share]:
    """Returns a share for each aggregator; the words, in place, become the last one."""
    if aggregators < FEWEST:
        raise RefusedError(f"{aggregators} aggregators, expected at least {FEWEST}")
    seeds = [entropy(_SEED_BYTES) for _ in range(aggregators - 1)]
    _refuse_length(len(words), fields)
    add_masks(
        np.frombuffer(words, np.uint8), spans(fields), [_stream(s, context, True) for s in seeds]
    )
    return [*map(Share, seeds), Share(words=words)]


class Aggregator:
    """One of the committee: collects shares of one question, agrees on whose, publishes its sum."""

    def __init__(
        self,
        name: str,
        identity: Identity,
        committee: Mapping[str, bytes],  # names and public keys of all aggregators
        fields: Mapping[str, Field],
        context: bytes,
        least: int,  # retailers that a total needs
    ) -> None:
        if len(committee) < FEWEST or len(set(committee.values())) < len(committee):
            raise RefusedError(f"{len(committee)} aggregators, expected {FEWEST} with own keys")
        self.name = name
        self._identity = identity
        self._committee = committee
        self._fields = fields
        self._context = context
        self._least = max(least, FEWEST)
        self._shares: dict[str, Share] = {}
        self._agreed: bytes | None = None

    def take(self, retailer: str, share: Share) -> None:
        """Takes a share; the first of a retailer counts, and none after the set is signed."""
        if share.seed and len(share.seed) != _SEED_BYTES:
            raise RefusedError(f"'{retailer}' sent a seed of {len(share.seed)} bytes")
        if not share.seed:
            _refuse_length(len(share.words), self._fields)
        if self._agreed is None:
            self._shares.setdefault(retailer, share)

    @property
    def holds(self) -> tuple[str, ...]:
        """Returns the retailers whose shares are here."""
        return tuple(sorted(self._shares))

    def agree(self, retailers: tuple[str, ...]) -> bytes:
        """Returns the signature on the set that will be published; one set, once and for all."""
        missing = sorted(set(retailers) - set(self._shares))
        if missing or len(set(retailers)) < self._least:
            raise RefusedError(
                f"a sum of {sorted(retailers)}: '{self.name}' has no share of {missing}, and at "
                f"least {self._least} retailers are needed"
            )
        content = self._content(retailers)
        if self._agreed is not None and content != self._agreed:
            raise RefusedError(f"'{self.name}' has signed another set of retailers")
        self._agreed = content
        return self._identity.sign(content)

    def publish(self, retailers: tuple[str, ...], signatures: Mapping[str, bytes]) -> bytearray:
        """Returns the sum of the shares here of these retailers, once all signed this set."""
        content = self._content(retailers)
        if content != self._agreed:
            raise RefusedError(f"'{self.name}' has not signed this set of retailers")
        for name, public in self._committee.items():
            if not signed_by(public, content, signatures.get(name, b"")):
                raise RefusedError(f"the set of retailers is not signed by the aggregator '{name}'")
        shares = [self._shares[retailer] for retailer in sorted(set(retailers))]
        layout = spans(self._fields)
        total = np.zeros(sum(field.bytes for field in self._fields.values()), np.uint8)
        add_masks(total, layout, [_stream(s.seed, self._context) for s in shares if s.seed])
        for share in shares:
            if not share.seed:
                add_words(total, np.frombuffer(share.words, np.uint8), layout)
        return bytearray(total.data)

    def _content(self, retailers: tuple[str, ...]) -> bytes:
        members = [[name, public.hex()] for name, public in sorted(self._committee.items())]
        return _DOMAIN + canonical([self._context.hex(), sorted(set(retailers)), members])


def total(
    sums: Mapping[str, bytes | bytearray], committee: Collection[str], fields: Mapping[str, Field]
) -> dict[str, Words]:
    """Returns the words of each field of the total, from the sums of all of the committee."""
    if set(sums) != set(committee):
        raise RefusedError(f"sums of {sorted(sums)}, expected those of {sorted(committee)}")
    content = np.zeros(sum(field.bytes for field in fields.values()), np.uint8)
    for published in sums.values():
        _refuse_length(len(published), fields)
        add_words(content, np.frombuffer(published, np.uint8), spans(fields))
    return by_field(content, fields)


def _stream(seed: bytes, context: bytes, subtracted: bool = False) -> Mask:
    return Mask(derived(seed, "committee", context), subtracted)


def _refuse_length(length: int, fields: Mapping[str, Field]) -> None:
    expected = sum(field.bytes for field in fields.values())
    if length != expected:
        raise RefusedError(f"{length} bytes of words, the fields have {expected}")
