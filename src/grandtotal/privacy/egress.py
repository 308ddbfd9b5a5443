"""The door: the only module whose output leaves a retailer. Read this file to know what leaves."""

import math
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.durable import Json, Log, digest
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.account import Released
from grandtotal.privacy.bound import Bound, NoCustomers, Stated
from grandtotal.privacy.fixedpoint import Arrays, Field, encode
from grandtotal.privacy.ledger import Charge, Ledger
from grandtotal.privacy.noise import Entropy, NoiseKeys, NoiseStream
from grandtotal.privacy.terms import Terms

BLOCK_BYTES = 8 * 2**20  # of a summand in one message: every retailer's is in memory at once
_ROOM = 8.0  # standard deviations of a retailer's noise that its capacity leaves free

Mask = Callable[[memoryview], None]
"""Adds masks to the bytes of a summand, in place."""


def in_the_clear(summand: memoryview) -> None:
    """Leaves a summand as it is: for a plan that all members agreed to run without secure sums."""


@dataclass(frozen=True)
class Question:
    """What is asked: the same question is answered once, with the same bytes for the same members.

    digest: over plan, task, query with its parameters, and broadcast. asked: over query, parameters
    and broadcast alone. query, task: their names. bound: what the query states of itself.
    round: the number that the coordinator gave it.
    """

    digest: str
    query: str
    round: int
    members: tuple[str, ...]
    fields: dict[str, Field]
    task: str = ""
    asked: str = ""
    bound: Stated = None


class Egress:
    """What happens to a summand, in this order:

    1. Fields: they must be the agreed ones: same names, same shapes, finite numbers.
    2. Bound: under epsilon a query states how far one unit (by default a customer) can move its
       answer, in whole steps after rounding, or why none can. What states neither is refused; so
       are answers that are not integers, and questions that the plan did not schedule.
    3. Encode: integers modulo 2^64 or 2^32; an entry too large for this many retailers, or without
       room for the noise, is refused.
    4. Reserve: the ledger refuses the same question for other members or with other numbers, and
       what passes this retailer's own cap. What it accepts is on the disk before it leaves, and is
       never refunded; the key of the noise is on the disk even before that.
    5. Noise: under epsilon every entry gets this retailer's share, modulo the same 2^64 or 2^32.
       The same question again has the same noise, until `committed` deletes its key; then never.
    6. Log: what leaves is in egress.jsonl of this run, for people to read, before it leaves.
    7. Mask: masks that cancel in the sum (secure_sum.py), unless all members agreed to none: then
       the coordinator's process sees every retailer's summand.
    8. Release: the bytes, in blocks of at most 32 MiB.

    The log holds for each release: round, query, question, members, fields, bytes, the digest of
    the clear summand (which stays here) and the time; the ledger also rho, unit, norm and sigma.
    """

    def __init__(
        self,
        path: Path,
        terms: Terms,
        plan: str = "",
        members: tuple[str, ...] = (),
        entropy: Entropy = os.urandom,
    ) -> None:
        self._terms = terms
        self._plan = plan
        self._run = str(path.parent.resolve())
        self._keys = NoiseKeys(terms.door / "noise" / digest(self._run.encode()), entropy)
        self._logged: set[str] = set()
        self._log = Log(path, lambda record: self._logged.add(record["question"]))
        self.ledger = Ledger(terms.door, terms.cap)
        try:
            self.ledger.admit(self._run, plan, terms.name, members, terms.planned)
        except BaseException:
            self.close()
            raise

    def release(
        self, question: Question, answer: Arrays, mask: Mask = in_the_clear
    ) -> list[memoryview]:
        """Returns the blocks of the masked summand, after writing down that they leave."""
        _refuse_other_fields(question, answer)
        bound = self._bound(question, answer)
        sigma = self._sigma(question, bound) if bound else 0.0
        parts = list(_encoded(question, answer, math.ceil(_ROOM * sigma)))
        # A co-purchase total is gigabytes: one field is released as it lies, not joined to a copy.
        summand = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, np.uint8)])
        charge = self._charge(question, summand, bound, sigma)
        key = self._key(question) if bound else b""
        self.ledger.reserve(charge, narrowing=mask is not in_the_clear)
        if bound:
            _add_noise(question, summand, NoiseStream(sigma, key))
        self._write_down(question, charge)
        mask(summand.data)
        return blocks(summand.data)

    def narrow(self, question: str, members: Collection[str]) -> None:
        """Writes down that the total of an answered question will be one of fewer members."""
        self.ledger.narrow(self._run, question, members)

    def committed(self, question: str) -> None:
        """Forgets the noise of a question whose total everybody has: it is never sent again."""
        self._keys.forget(question)

    def finish(self) -> None:
        """Forgets all noise of this run: nothing of it is ever sent again."""
        self._keys.forget_all()

    def close(self) -> None:
        """Lets another run of this retailer begin, or this one go on later."""
        self.ledger.close()

    def _bound(self, question: Question, answer: Arrays) -> Bound | None:
        """Returns the bound that the noise is made for, None where none is needed."""
        budget, bound = self._terms.budget, question.bound
        if budget is None or isinstance(bound, NoCustomers):
            return None
        _refuse_no_bound(question)
        _refuse_floats(question, answer)
        scheduled = budget.asked(question.task, question.query)
        if self.ledger.reserved(self._run, question.digest) is None:
            before = self.ledger.asked(self._run, question.task, question.query)
            _refuse_more_often(question, before, scheduled.times)
        return bound

    def _sigma(self, question: Question, bound: Bound) -> float:
        assert self._terms.budget is not None
        entries = sum(field.length for field in question.fields.values())
        return self._terms.budget.share(question.task, question.query, bound, entries)

    def _charge(
        self, question: Question, summand: NDArray[Any], bound: Bound | None, sigma: float
    ) -> Charge:
        charge = Charge(
            run=self._run,
            plan=self._plan,
            task=question.task,
            purpose=self._terms.purposes.get(question.task, question.task),
            query=question.query,
            question=question.digest,
            subject=digest(question.asked.encode(), self._terms.tables.encode()),
            summand=digest(summand.data),
            members=question.members,
            bytes=summand.nbytes,
            exempt=question.bound.reason if isinstance(question.bound, NoCustomers) else "",
        )
        if bound is None or self._terms.budget is None:
            return charge
        rho = self._terms.budget.asked(question.task, question.query).rho
        return replace(charge, rho=rho, unit=bound.unit, norm=bound.norm, sigma=sigma)

    def _key(self, question: Question) -> bytes:
        """Returns the key of the question's noise: a new one is on the disk before it is used."""
        key = self._keys.kept(question.digest)
        if key is None:
            _refuse_other_noise(question, self.ledger.reserved(self._run, question.digest))
        return key or self._keys.new(question.digest)

    def _write_down(self, question: Question, charge: Charge) -> None:
        if question.digest not in self._logged:
            self._log.append(_record(question, charge))
            self._logged.add(question.digest)


def blocks(content: memoryview) -> list[memoryview]:
    """Returns the content cut into blocks of BLOCK_BYTES; an empty content is one empty block."""
    return [content[i : i + BLOCK_BYTES] for i in range(0, len(content) or 1, BLOCK_BYTES)]


def _refuse_other_fields(question: Question, answer: Arrays) -> None:
    if answer.keys() != question.fields.keys():
        raise AnswerError(
            Code.FIELDS_DIFFER,
            f"'{question.query}' answered {sorted(answer)}, agreed was {sorted(question.fields)}",
        )


def _refuse_no_bound(question: Question) -> None:
    if question.bound is None:
        raise AnswerError(
            Code.NO_BOUND,
            f"'{question.query}' does not say how far one customer can move it, nor why none "
            f"can; under epsilon it is not answered",
        )


def _refuse_floats(question: Question, answer: Arrays) -> None:
    for name, values in answer.items():
        if np.asarray(values).dtype.kind not in "iu":
            raise AnswerError(
                Code.NO_BOUND,
                f"'{question.query}': field '{name}' is not in whole steps, so that its bound "
                f"does not hold after rounding; under epsilon it is not answered",
            )


def _refuse_more_often(question: Question, before: int, times: int) -> None:
    if before >= times:
        raise AnswerError(
            Code.BUDGET,
            f"'{question.query}' of '{question.task}' was answered {before} times, as often as "
            f"the plan's schedule says",
        )


def _refuse_other_noise(question: Question, before: Released | None) -> None:
    if before is not None:
        raise AnswerError(
            Code.ANSWER_CHANGED,
            f"'{question.query}' was answered and its total committed: other noise on the same "
            f"numbers would be a second release",
        )


def _encoded(question: Question, answer: Arrays, room: int) -> Iterator[NDArray[np.uint8]]:
    for name, field_ in question.fields.items():
        words = encode(name, np.asarray(answer[name]), field_, len(question.members), room)
        missing = field_.bytes - words.nbytes
        content = words.reshape(-1).view(np.uint8)
        yield np.pad(content, (0, missing)) if missing else content


def _add_noise(question: Question, summand: NDArray[np.uint8], noise: NoiseStream) -> None:
    start = 0
    for field_ in question.fields.values():
        stop = start + field_.bytes
        noise.add(summand[start:stop].view(field_.word)[: field_.length])
        start = stop


def _record(question: Question, charge: Charge) -> Json:
    return {
        "round": question.round,
        "query": question.query,
        "question": question.digest,
        "members": list(question.members),
        "fields": {name: field_.described for name, field_ in question.fields.items()},
        "bytes": charge.bytes,
        "summand": charge.summand,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
