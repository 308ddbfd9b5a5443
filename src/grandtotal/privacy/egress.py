"""The door: the only module whose output leaves a retailer. Read this file to know what leaves.

Where the plan says secure_sum = false, the coordinator's process sees every retailer's summand.
This version has no noise: a plan that asks for epsilon is refused when it is read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from grandtotal.durable import Log, digest
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import Arrays, Field, encode

BLOCK_BYTES = 32 * 2**20  # of a summand in one message

Mask = Callable[[memoryview], None]
"""Adds masks to the bytes of a summand, in place."""


def in_the_clear(summand: memoryview) -> None:
    """Leaves a summand as it is: for a plan that all members agreed to run without secure sums."""


@dataclass(frozen=True)
class Question:
    """What is asked: the same question is answered once, with the same bytes for the same members.

    digest: over plan, query with its parameters, and broadcast.
    query: its name, for the log that people read.
    round: the number that the coordinator gave it.
    """

    digest: str
    query: str
    round: int
    members: tuple[str, ...]
    fields: dict[str, Field]


class Egress:
    """What happens to a summand, in this order:

    1. Its fields must be the agreed ones: same names, same shapes, finite numbers.
    2. Bound: each customer's contribution is limited. Not in this version; see above.
    3. Noise: each retailer adds its share. Not in this version; see above.
    4. Encode: integers modulo 2^64 or 2^32; an entry too large for this many retailers is refused.
    5. Mask: masks that cancel in the sum (secure_sum.py), unless all members agreed to none.
    6. The same question for another set of retailers is refused, since the difference of two
       totals is the difference of two sets. So is the same question with other bytes.
    7. Log: what leaves is on this retailer's disk, in egress.jsonl, before it leaves.
    8. Release: the bytes, in blocks of at most 32 MiB.

    The log holds for each release: round, query, question, members, fields, bytes, the digest of
    the clear summand (which stays here) and the time.
    """

    def __init__(self, path: Path) -> None:
        self._log = Log(path)
        self._released = {record["question"]: record for record in self._log.records}

    def release(
        self, question: Question, answer: Arrays, mask: Mask = in_the_clear
    ) -> list[memoryview]:
        """Returns the blocks of the masked summand, after writing down that they leave."""
        parts = list(self._encoded(question, answer))
        # A co-purchase total is gigabytes: one field is released as it lies, not joined to a copy.
        summand = parts[0] if len(parts) == 1 else memoryview(bytearray().join(parts))
        record = self._record(question, summand)
        before = self._released.get(question.digest)
        if before is None:
            self._log.append(record)
            self._released[question.digest] = record
        else:
            _refuse_another_release(before, record)
        mask(summand)
        return blocks(summand)

    def _encoded(self, question: Question, answer: Arrays) -> Iterator[memoryview]:
        if answer.keys() != question.fields.keys():
            raise AnswerError(
                Code.FIELDS_DIFFER,
                f"'{question.query}' answered {sorted(answer)}, "
                f"agreed was {sorted(question.fields)}",
            )
        for name, field in question.fields.items():
            words = encode(name, np.asarray(answer[name]), field, len(question.members))
            missing = field.bytes - words.nbytes
            content = words.reshape(-1).view(np.uint8)
            yield (np.pad(content, (0, missing)) if missing else content).data

    def _record(self, question: Question, summand: memoryview) -> dict[str, object]:
        return {
            "round": question.round,
            "query": question.query,
            "question": question.digest,
            "members": list(question.members),
            "fields": {
                name: {
                    "shape": list(field.shape),
                    "modulus": f"2^{field.modulus.bit_length() - 1}",
                    "scale": field.scale,
                }
                for name, field in question.fields.items()
            },
            "bytes": len(summand),
            "summand": digest(summand),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def blocks(content: memoryview) -> list[memoryview]:
    """Returns the content cut into blocks of BLOCK_BYTES; an empty content is one empty block."""
    return [content[i : i + BLOCK_BYTES] for i in range(0, len(content) or 1, BLOCK_BYTES)]


def _refuse_another_release(before: dict[str, object], now: dict[str, object]) -> None:
    if before["members"] != now["members"]:
        raise AnswerError(
            Code.OTHER_MEMBERS,
            f"'{now['query']}' was answered for {before['members']}, "
            f"now it is asked for {now['members']}",
        )
    if before["summand"] != now["summand"]:
        raise AnswerError(
            Code.ANSWER_CHANGED,
            f"'{now['query']}' was answered on {before['at']} with other numbers: the tables have "
            f"changed since; start a new run",
        )
