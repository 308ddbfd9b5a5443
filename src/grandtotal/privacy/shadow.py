"""A run of made-up customers through the door of every retailer: what a privacy audit looks at.

It uses what a run uses, and nothing of its own between: `clipping` clips, rounds, checks and adds,
`Egress` encodes, reserves and adds noise, and the words are added and decoded as a coordinator
does. No real row is in it and no model comes out, so that canaries are never in either. The doors
are new folders: no ledger of a retailer is charged.
"""

import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.durable import digest
from grandtotal.privacy import clipping
from grandtotal.privacy.accounting import MOST_EPSILON, Budget, Scheduled
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound
from grandtotal.privacy.egress import Egress, Question
from grandtotal.privacy.fixedpoint import Field, decode, encode
from grandtotal.privacy.ledger import Cap
from grandtotal.privacy.noise import Entropy
from grandtotal.privacy.terms import Terms

CELLS = 4  # of one canary: every whole number is a sum of at most so many squares
_TOO_LONG = 4.0  # times the bound: what a canary asks to contribute before it is clipped
_REPEATED = 4096  # entries that two processes compare

Asked = tuple[str, str]
"""Task and query."""


@dataclass(frozen=True)
class Totals:
    """What a shadow run released for one question.

    noisy: the total as everybody sees it. clear: without noise, which nobody ever has in a run.
    sigma: of the noise, in steps, that the plan promises.
    """

    noisy: NDArray[np.int64]
    clear: NDArray[np.int64]
    sigma: float


@dataclass(frozen=True)
class Shadow:
    """Shadow runs of one plan's privacy.

    budget: of the plan. bounds: of its queries, by task and query; where one is not known, about
    the largest that clipping makes. entropy: of noise and canaries; `os.urandom`, but in tests.

    The worst case that the plan allows: only n - c - d shares of noise are in a total, since the
    colluders know theirs, and a canary is known to as many retailers as a customer may be.
    """

    budget: Budget
    bounds: Mapping[Asked, Bound] = field(default_factory=dict)
    entropy: Entropy = os.urandom

    def bound(self, asked: Asked) -> Bound:
        """Returns how far one unit moves a retailer's answer to this question."""
        return self.bounds.get(asked, Bound(float(clipping.STEPS)))

    def included(self, canaries: int) -> NDArray[np.bool_]:
        """Returns a fair coin for each canary, (canaries,): whether it is in."""
        coins = np.frombuffer(self.entropy(-(-canaries // 8)), np.uint8)
        return np.unpackbits(coins, count=canaries).astype(np.bool_)

    def scores(self, included: NDArray[np.bool_]) -> tuple[NDArray[np.float64], list[Totals]]:
        """Returns the score of every canary over all releases of the plan, and the totals.

        included: (canaries,). Each canary has cells of its own in every total, so that
        canaries do not disturb each other: all that hides one is noise. A score is the logarithm
        of how much likelier the totals are with the canary in, up to a constant.
        """
        scores, totals = np.zeros(len(included)), []
        for asked in self.budget.scheduled:
            bound = self.bound(asked)
            direction = _direction(bound.norm)
            for total in self.each_total(asked, included):
                seen = total.noisy.reshape(len(included), CELLS) @ direction
                scores += seen * self._known_to(bound) / total.sigma**2
                totals.append(total)
        return scores, totals

    def each_total(self, asked: Asked, included: NDArray[np.bool_]) -> Iterator[Totals]:
        """Yields the totals of one question, for each time that the plan says it may be asked."""
        rows = _rows(_direction(self.bound(asked).norm), included)
        yield from self._totals(asked, self.budget.asked(*asked), rows)

    def noise(self) -> NDArray[np.int64]:
        """Returns one total of nobody, which is noise alone: (_REPEATED,)."""
        asked = next(iter(self.budget.scheduled))
        nobody = csr_array((1, _REPEATED), dtype=np.float64)
        return next(self._totals(asked, Scheduled(self.budget.asked(*asked).rho, 1), nobody)).noisy

    @property
    def distance(self) -> float:
        """How far apart the plan promises in and out to be at most, in standard deviations: mu."""
        return math.sqrt(2 * sum(s.rho * s.times for s in self.budget.scheduled.values()))

    def _known_to(self, bound: Bound) -> int:
        present = self.budget.members - self.budget.agreement.dropouts
        return min(round(self.budget.moves(bound) / bound.norm), present)

    def _totals(self, asked: Asked, scheduled: Scheduled, rows: csr_array) -> Iterator[Totals]:
        """Yields a total of the rows for each time that the question may be asked."""
        bound = self.bound(asked)
        members = tuple(f"retailer{k}" for k in range(self.budget.members))
        fields = {"cells": Field((rows.shape[1],))}
        sigma = self.budget.moves(bound) / math.sqrt(2 * scheduled.rho)
        with tempfile.TemporaryDirectory() as folder, ExitStack() as doors:
            noisy = [
                doors.enter_context(self._door(Path(folder) / name, asked[0], members))
                for name in members[: self.budget.shares]
            ]
            for time in range(scheduled.times):
                name = digest(json.dumps([*asked, time]).encode())
                question = Question(
                    name, asked[1], time + 1, members, fields, asked[0], name, bound
                )
                words, clear = np.zeros(rows.shape[1], np.uint64), np.zeros(rows.shape[1], np.int64)
                for k in range(self.budget.members):
                    summand = self._summand(rows, bound, k)
                    clear += summand
                    if k < len(noisy):
                        sent = noisy[k].release(question, {"cells": summand})
                        words += np.concatenate([np.frombuffer(b, np.uint64) for b in sent])
                    else:
                        # A colluder's own noise is known, and is subtracted.
                        words += encode("cells", summand, fields["cells"], len(members))
                yield Totals(decode(words, fields["cells"]).astype(np.int64), clear, sigma)

    def _door(self, folder: Path, task: str, members: tuple[str, ...]) -> "_Door":
        cap = Cap(MOST_EPSILON, self.budget.agreement.delta or 0.0)
        terms = Terms(folder / "door", cap, "audit", {task: task}, self.budget)
        path = folder / "run" / "egress.jsonl"
        return _Door(path, terms, "audit", members, entropy=self.entropy)

    def _summand(self, rows: csr_array, bound: Bound, retailer: int) -> NDArray[np.int64]:
        if retailer >= self._known_to(bound):
            return np.zeros(rows.shape[1], np.int64)
        return clipping.checked_sum(clipping.clip_sparse(rows, bound.norm), bound.norm)


class _Door(Egress):
    """An egress that is closed at the end of a with."""

    def __enter__(self) -> Egress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _direction(norm: float) -> NDArray[np.int64]:
    """Returns the longest row of CELLS whole numbers within a norm, as far as greed finds it."""
    left, cells = math.floor(norm**2), []
    for _ in range(CELLS):
        cells.append(math.isqrt(left))
        left -= cells[-1] ** 2
    return np.array(cells)


def _rows(direction: NDArray[np.int64], included: NDArray[np.bool_]) -> csr_array:
    """Returns what each canary wants to add: (canaries, cells of all), nothing where it is out."""
    width = CELLS * len(included)
    data = np.outer(included, direction * _TOO_LONG)
    starts = np.arange(0, width + 1, CELLS)
    rows = csr_array((data.reshape(-1), np.arange(width), starts), (len(included), width))
    rows.eliminate_zeros()
    return rows


def main() -> None:
    """Prints the digest of one total of nobody: what two processes must not have in common."""
    told = json.loads(sys.stdin.read())
    scheduled = {tuple(key): Scheduled(**spent) for key, spent in told["scheduled"]}
    budget = Budget(Agreement(**told["agreement"]), told["members"], told["rho"], scheduled)
    print(fingerprint(budget))


def fingerprint(budget: Budget) -> str:
    """Returns the digest of the noise in one total."""
    return digest(Shadow(budget).noise().tobytes())


def told(budget: Budget) -> str:
    """Returns what `main` reads from its standard input."""
    scheduled = [[list(key), asdict(spent)] for key, spent in budget.scheduled.items()]
    agreement = asdict(budget.agreement)
    return json.dumps(
        {
            "agreement": agreement,
            "members": budget.members,
            "rho": budget.rho,
            "scheduled": scheduled,
        }
    )


if __name__ == "__main__":
    main()
