"""A consortium of secure sums in this process, with keys and masks from a fixed stream of bytes."""

import hashlib
from datetime import date

import numpy as np

from grandtotal.privacy.fixedpoint import Field
from grandtotal.privacy.identity import Identity, Roster
from grandtotal.privacy.protocol import Ask, Setting
from grandtotal.privacy.secure_sum import Member
from grandtotal.privacy.secure_sum_batch import Batch
from grandtotal.privacy.secure_sum_coordinator import Adder

FIELDS = {
    "gram": Field((5,), modulus=2**32),
    "nothing": Field((0,)),
    "sums": Field((2, 3), scale=8),
    "one": Field((), modulus=2**32),
}


def stream(seed):
    """Returns a source of bytes that is the same every time: SHAKE-256 of the seed and a count."""
    count = 0

    def entropy(size):
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed} {count}".encode()).digest(size)

    return entropy


def names(n):
    return tuple(f"r{i:02}" for i in range(n))


def identities(n):
    return {name: Identity(hashlib.sha256(name.encode()).digest()) for name in names(n)}


def roster(n, epoch=1, consortium="test"):
    keys = identities(n)
    found = Roster(
        consortium, epoch, {name: key.public for name, key in keys.items()}, date(2027, 1, 1)
    )
    for name, key in keys.items():
        found = found.signed(name, key)
    return found


def setting(n, dropouts=None, run="run", **changed):
    dropouts = n if dropouts is None else dropouts
    return Setting(
        **{
            "code": "c0",
            "run": run,
            "plan": "p0",
            "roster": roster(n),
            "dropouts": dropouts,
            **changed,
        }
    )


def ask(slot, active, question="q", fields=FIELDS, broadcast="b"):
    return Ask(slot, question, broadcast, dict(fields), tuple(active))


def summand(seed, fields=FIELDS):
    """Returns the bytes of random words of all fields, padding 0."""
    rng = np.random.default_rng(seed)
    parts = []
    for field in fields.values():
        words = rng.integers(0, field.modulus, field.length, field.word.type, endpoint=False)
        parts.append(words.astype(field.word).tobytes().ljust(field.bytes, b"\0"))
    return bytearray(b"".join(parts))


def clear_total(summands, fields=FIELDS):
    """Returns the words of each field summed in the clear, by Python's integers."""
    summands, total, start = list(summands), {}, 0
    for name, field in fields.items():
        stop = start + field.length * field.word.itemsize
        each = [np.frombuffer(bytes(s[start:stop]), field.word).tolist() for s in summands]
        total[name] = [sum(column) % field.modulus for column in zip(*each, strict=True)]
        start += field.bytes
    return total


def as_lists(words):
    return {name: values.tolist() for name, values in words.items()}


class Sums:
    """Members and coordinator of one setting, driven by hand."""

    def __init__(self, folder, n, dropouts=None, **changed):
        self.folder = folder
        self.setting = setting(n, dropouts, **changed)
        self.keys = identities(n)
        self.members = {name: self.open(name) for name in names(n)}

    def open(self, name, **options):
        """Returns a member as it starts (again) from its folder."""
        entropy = options.pop("entropy", stream(name))
        return Member(name, self.keys[name], self.setting, self.folder / name, entropy, **options)

    def restart(self, name):
        self.members[name] = self.open(name)
        return self.members[name]

    def set_up(self, batch=0, first=0, slots=2, active=None):
        active = active or tuple(self.members)
        relay = Batch(self.setting, batch, first, slots, active)
        for name in active:
            relay.advertised(
                name, self.members[name].advertise(batch, first, slots, b"note " + name.encode())
            )
        for name in active:
            relay.shared(name, self.members[name].share(batch, relay.advertisements))
        for name in active:
            relay.ready(name, self.members[name].receive(batch, relay.relay(name)))
        assert relay.complete
        return relay.setup

    def mask(self, asked, masking=None, summands=None):
        """Returns (summands, headers, masked vectors) of those that mask."""
        masking = asked.active if masking is None else masking
        summands = summands or {name: summand(name_seed(name), asked.fields) for name in masking}
        masked = {name: bytearray(summands[name]) for name in masking}
        headers = {
            name: self.members[name].mask(asked, memoryview(masked[name]), b"head " + name.encode())
            for name in masking
        }
        return summands, headers, masked

    def adder(self, setup, asked, headers, masked):
        adder = Adder(setup, asked)
        for name, header in headers.items():
            adder.add(name, 0, memoryview(masked[name]))
            adder.header(name, header)
        return adder

    def unmasked(self, adder, asked, releasing=None):
        """Returns the total's words, by the members that release."""
        headers = adder.end()
        releasing = tuple(headers) if releasing is None else releasing
        if adder.dropped:
            for name in releasing:
                adder.signed(name, self.members[name].survivors(asked.slot, headers))
        replies = {
            name: self.members[name].unmask(asked.slot, headers, adder.signatures)
            for name in releasing
        }
        return adder.unmask(replies)


def name_seed(name):
    return int.from_bytes(name.encode())
