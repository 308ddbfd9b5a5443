"""What a secure sum costs a retailer and the coordinator, without the network between them.

Every row is measured on the code that runs: each retailer that is left masks a summand of 64-bit
words, signs its header (on the disk, with fsync) and the set of survivors, and releases its shares;
the coordinator adds blocks of 32 MiB, hashing each vector against its header, and takes off the
self masks of the survivors and the pairwise masks of the dropped. One process, a thread for each
core where that helps; processor time is what one core would take, whoever else is on the machine.
Every total is compared with the sum in the clear. Times of retailers are medians over all of them.
`kept` is the coordinator's sum on its disk before it asks for shares.

Mask speed: ten streams added to 100 MB, over AES-256-CTR of as many bytes into a buffer; seconds of
one thread's processor time, alternating, medians of five. Flower: the functions with which the
SecAgg+ clients of its version 1.42 mask (pseudo_rand_gen, parameters_addition), measured in the
same way where the package is installed.

Bonawitz et al., 2017, https://doi.org/10.1145/3133956.3133982
"""

import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from benchmarks.rows import Row, at_least, at_most
from grandtotal.privacy.egress import BLOCK_BYTES
from grandtotal.privacy.fixedpoint import Field
from grandtotal.privacy.identity import Identity, Roster
from grandtotal.privacy.masks import CHUNK_BYTES, Mask, add_masks, spans
from grandtotal.privacy.protocol import Ask, Setting, Setup
from grandtotal.privacy.secure_sum import Member
from grandtotal.privacy.secure_sum_batch import Batch
from grandtotal.privacy.secure_sum_coordinator import Adder

MB = 10**6
SLOTS = 64  # of a batch
_REPEATED = 5

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Case:
    """One row of the table. client, coordinator: the most seconds."""

    members: int
    megabytes: int
    dropped: int
    client: float
    coordinator: float | None


CASES = (
    Case(10, 100, 1, 0.6, 1.0),
    Case(50, 10, 5, 0.25, None),
    Case(50, 100, 5, 5.0, 10.0),
)


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns seconds of retailers and coordinator, bytes sent, and the speed of the masks."""
    rows: list[Row] = []
    for case in CASES[:2] if quick else CASES:
        size = case.megabytes * MB // (10 if quick else 1)
        rows += _case_rows(case, size)
    rows += _mask_rows(MB if quick else 100 * MB)
    return [*rows, *_flower_rows(MB if quick else 100 * MB)]


# --- whole sums ---


@dataclass
class Sums:
    """A consortium in this process, and what each step took and sent."""

    folder: Path
    members: dict[str, Member]
    setup: Setup
    setup_seconds: float
    setup_bytes: float
    seconds: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    apart: int = 0  # entries that differ from the sum in the clear

    def client(self, seconds: dict[str, float]) -> float:
        """Returns the median of the seconds of the members that are in the sum."""
        return statistics.median(seconds[name] for name in self.sent)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds of the block to the name's."""
        started, processor = time.perf_counter(), time.process_time()
        yield
        processor = time.process_time() - processor
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self.processor[name] = self.processor.get(name, 0.0) + processor

    def said(self, name: str, message: bytes) -> bytes:
        """Returns the message, counted."""
        self.sent[name] = self.sent.get(name, 0) + len(message)
        return message


def _case_rows(case: Case, size: int) -> list[Row]:
    named = f"{case.members} x {size / MB:g} MB, {case.dropped} dropped"
    with tempfile.TemporaryDirectory() as name:
        sums = _set_up(Path(name), case.members)
        _sum(sums, Ask(0, "q", "b", {"x": Field((size // 8,))}, tuple(sums.members)), case.dropped)
    coordinator = f"{named}: coordinator", sums.seconds["coordinator"], "s"
    bar = case.coordinator
    return [
        at_most(case.client, f"{named}: a retailer", sums.client(sums.seconds), "s"),
        Row(f"{named}: a retailer, processor time", sums.client(sums.processor), "s"),
        Row(*coordinator) if bar is None else at_most(bar, *coordinator),
        Row(f"{named}: coordinator, processor time", sums.processor["coordinator"], "s"),
        Row(f"{named}: coordinator, kept", sums.seconds["kept"], "s"),
        at_most(0, f"{named}: entries that differ from the sum in the clear", sums.apart),
        *_byte_rows(named, sums, size),
        Row(f"{named}: set-up of {SLOTS} slots, a retailer", sums.setup_seconds, "s"),
    ]


def _set_up(folder: Path, count: int) -> Sums:
    keys = {f"r{i:02}": Identity(os.urandom(32)) for i in range(count)}
    public = {name: key.public for name, key in keys.items()}
    roster = Roster("benchmark", 1, public, date.max)
    for name, key in keys.items():
        roster = roster.signed(name, key)
    setting = Setting("code", "run", "plan", roster, count)
    members = {name: Member(name, key, setting, folder / name) for name, key in keys.items()}
    batch, started, sent = Batch(setting, 0, 0, SLOTS, tuple(members)), time.perf_counter(), 0
    for name, member in members.items():
        message = member.advertise(0, 0, SLOTS)
        sent += len(message)
        batch.advertised(name, message)
    for name, member in members.items():
        reply = member.share(0, batch.advertisements)
        sent += len(reply)
        batch.shared(name, reply)
    for name, member in members.items():
        batch.ready(name, member.receive(0, batch.relay(name)))
    seconds = (time.perf_counter() - started) / count
    return Sums(folder, members, batch.setup, seconds, sent / count)


def _sum(sums: Sums, asked: Ask, dropped: int) -> None:
    """Makes one sum without the first so many members, and notes what it took."""
    here = tuple(sums.members)[dropped:]
    adder = Adder(sums.setup, asked)
    expected = np.zeros(asked.size // 8, np.uint64)
    for name in here:
        words = _summand(name, asked.size)
        expected += words
        content = words.view(np.uint8).data
        with sums.timed(name):
            header = sums.said(name, sums.members[name].mask(asked, content))
        sums.sent[name] += len(content)
        with sums.timed("coordinator"):
            adder.header(name, header)
            for start in range(0, asked.size, BLOCK_BYTES):
                adder.add(name, start, content[start : start + BLOCK_BYTES])
    with sums.timed("kept"):
        adder.keep(sums.folder)
    headers = adder.end()
    for name in here if dropped else ():
        with sums.timed(name):
            signature = sums.said(name, sums.members[name].survivors(asked.slot, headers))
        with sums.timed("coordinator"):
            adder.signed(name, signature)
    replies = {}
    for name in here:
        with sums.timed(name):
            reply = sums.members[name].unmask(asked.slot, headers, adder.signatures)
        replies[name] = sums.said(name, reply)
    with sums.timed("coordinator"):
        total = adder.unmask(replies)["x"]
    sums.apart = int(np.count_nonzero(total != expected))


def _summand(name: str, size: int) -> Words:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    drawn: Words = np.random.default_rng(seed).integers(0, 2**40, size // 8, np.uint64)
    return drawn


def _byte_rows(named: str, sums: Sums, size: int) -> list[Row]:
    sent = statistics.median(sums.sent.values()) + sums.setup_bytes / SLOTS
    sparse = 12 * size // 8 // 100  # index and value of one entry in a hundred
    return [
        at_most(1.02, f"{named}: upload over the plain dense vector", sent / size, "x"),
        Row(f"{named}: upload over a sparse vector, 1 % of it not 0", sent / sparse, "x"),
    ]


# --- the masks alone ---


def _mask_rows(size: int) -> list[Row]:
    layout = spans({"x": Field((size // 8,))})
    words = np.zeros(size, np.uint8)
    masks = [Mask(os.urandom(32), subtracted=i % 2 == 1) for i in range(10)]
    ours, alone = _alternating(
        lambda: add_masks(words, layout, masks, cores=1), lambda: _aes(size, len(masks))
    )
    both = _median(lambda: add_masks(words, layout, masks))
    each = len(masks) * size / 10**9
    return [
        Row("AES-256-CTR alone, one core", each / alone, "GB/s"),
        Row("masks, one core", each / ours, "GB/s"),
        Row("masks, all cores", each / both, "GB/s"),
        at_least(0.8, "mask speed over AES-CTR alone, one core", alone / ours, "x"),
    ]


def _aes(size: int, streams: int) -> None:
    zeros, buffer = bytes(CHUNK_BYTES), bytearray(CHUNK_BYTES)
    for _ in range(streams):
        stream = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
        for start in range(0, size, CHUNK_BYTES):
            stream.update_into(zeros[: size - start], buffer)


def _alternating(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[float, float]:
    pairs = [(_processor_time(first), _processor_time(second)) for _ in range(_REPEATED)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def _processor_time(work: Callable[[], Any]) -> float:
    """Returns seconds of this thread alone, whoever else is on the core."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def _median(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(_REPEATED):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


# --- another framework's, where it is installed ---


def _flower_rows(size: int) -> list[Row]:
    try:
        from flwr.common.secure_aggregation.ndarrays_arithmetic import (  # type: ignore[import-not-found]
            parameters_addition,
        )
        from flwr.common.secure_aggregation.secaggplus_utils import (  # type: ignore[import-not-found]
            pseudo_rand_gen,
        )
    except ImportError:
        return [Row("Flower's SecAgg+ masks: skipped, flwr is not installed", None)]
    entries, streams = size // 8, 10

    def theirs() -> None:
        words = [np.zeros(entries, np.int64)]
        for _ in range(streams):
            mask = pseudo_rand_gen(os.urandom(32), 2**32, [(entries,)])
            words = parameters_addition(words, mask)

    layout = spans({"x": Field((entries,))})
    content = np.zeros(size, np.uint8)
    masks = [Mask(os.urandom(32)) for _ in range(streams)]
    flower, ours = _alternating(theirs, lambda: add_masks(content, layout, masks, cores=1))
    named = f"ten masks on {size / MB:g} MB, one core"
    return [
        Row(f"{named}: Flower's SecAgg+", flower, "s"),
        Row(f"{named}: ours", ours, "s"),
        at_most(1.0, f"{named}: ours over Flower's", ours / flower, "x"),
    ]
