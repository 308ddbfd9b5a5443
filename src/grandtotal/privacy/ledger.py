"""A retailer's own account of everything that left it, over all runs: ledger.jsonl in its door.

Every release is reserved here, on the disk, before it leaves, and never refunded. The caps are this
retailer's own. The ledger is a chain, so that a change shows; the peers keep each other's heads, so
that an older copy, a restored backup or snapshot, shows as well and releases nothing.

Units are never mixed: what was spent on customers and on products are two accounts.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from grandtotal.durable import Json, canonical
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.account import Account, Alike, Asked, Released, Spent
from grandtotal.privacy.accounting import epsilon_of, rho_within
from grandtotal.privacy.chain import Chain

FILE = "ledger.jsonl"


@dataclass(frozen=True)
class Cap:
    """What this retailer allows, over all plans there will ever be.

    epsilon, delta: of all purposes together, for each unit. purposes: a smaller epsilon for one
    kind of task. exact_totals: whether plans without epsilon are answered; no cap counts those.
    """

    epsilon: float = 10.0
    delta: float = 1e-6
    purposes: Mapping[str, float] = field(default_factory=dict)
    exact_totals: bool = True

    def rho(self, purpose: str | None = None) -> float:
        """Returns the rho of all purposes, or of one; infinite where that one has no cap."""
        epsilon = self.epsilon if purpose is None else self.purposes.get(purpose)
        return math.inf if epsilon is None else rho_within(epsilon, self.delta)

    def refuse_plan(self, name: str, planned: Mapping[str, float], spent: Spent) -> None:
        """Raises AnswerError if a plan would pass a cap; it may spend `planned` rho by purpose."""
        if not planned and not self.exact_totals:
            raise AnswerError(
                Code.BUDGET,
                f"plan '{name}' asks for exact totals, and [privacy] in this retailer.toml has "
                f"exact_totals = false: agree on epsilon and delta in the plan",
            )
        # Which units its queries have is known when they are asked: it must fit for any.
        for before in spent.values() or ({},):
            self.refuse(f"plan '{name}'", planned, before)

    def refuse(self, what: str, more: Mapping[str, float], spent: Mapping[str, float]) -> None:
        """Raises AnswerError if more rho by purpose, of one unit, would pass a cap."""
        for purpose, rho in more.items():
            before = spent.get(purpose, 0.0)
            self._refuse_beyond(self.rho(purpose), before, rho, f"{what}, for {purpose},")
        self._refuse_beyond(self.rho(), sum(spent.values()), sum(more.values()), what)

    def _refuse_beyond(self, cap: float, spent: float, more: float, what: str) -> None:
        # What was planned to the last digit must not fail by the rounding of a sum.
        if spent + more <= cap * (1 + 1e-9):
            return
        now, most, before = (epsilon_of(rho, self.delta) for rho in (spent + more, cap, spent))
        raise AnswerError(
            Code.BUDGET,
            f"{what} would bring epsilon to {now:.3g} at delta = {self.delta:g}; {before:.3g} was "
            f"spent before and the cap is {most:.3g}. What was spent is never refunded: ask for "
            f"less, or raise the cap in [privacy] of retailer.toml",
        )


@dataclass(frozen=True)
class Charge:
    """One release, as it is reserved.

    run: the folder of the run at this retailer. question: digest of plan, task, query, parameters
    and broadcast. subject: the same without the plan, with the state of the tables. summand: digest
    of the clear summand. purpose: the kind of the task. rho, unit, norm, sigma: None, "", 0 and 0
    of a release without noise. exempt: why no customer can move it; "" if one can.
    """

    run: str
    plan: str
    task: str
    purpose: str
    query: str
    question: str
    subject: str
    summand: str
    members: tuple[str, ...]
    bytes: int
    rho: float | None = None
    unit: str = ""
    norm: float = 0.0
    sigma: float = 0.0
    exempt: str = ""


class Ledger:
    """The ledger of one door folder, open for one run at a time; `close` lets the next one in."""

    def __init__(self, folder: Path, cap: Cap | None = None) -> None:
        self.folder = folder
        self.cap = cap or Cap()
        self.account = Account()
        self._chain = Chain(folder / FILE, self.account.add)

    def close(self) -> None:
        """Lets another run open the ledger."""
        self._chain.close()

    def admit(
        self, run: str, plan: str, name: str, members: tuple[str, ...], planned: Mapping[str, float]
    ) -> None:
        """Writes down a plan before anything is asked; AnswerError if it would pass a cap.

        planned: rho that it may spend, by purpose; empty for a plan without epsilon.
        """
        if (run, plan) in self.account.plans:
            return
        self.cap.refuse_plan(name, planned, self.account.spent)
        facts = {"name": name, "members": list(members), "planned": dict(planned)}
        self._append("plan", {"run": run, "plan": plan, **facts})

    def reserve(self, charge: Charge, narrowing: bool = False) -> None:
        """Writes down a release before it leaves; AnswerError if it must not leave.

        The same question again, of the same run, for the same members and with the same clear
        summand, is what was reserved already: nothing is added.
        narrowing: whether it may be for fewer members than before: under masks, where the secure
            sum lets one attempt at a question be unmasked and no other.
        """
        self._refuse_if_older()
        before = self.reserved(charge.run, charge.question)
        if before is not None:
            _refuse_other_numbers(before, charge)
            self.narrow(charge.run, charge.question, charge.members, narrowing)
            return
        self._refuse_other_members(
            (charge.run, charge.question),
            (charge.subject, (charge.query, charge.summand)),
            frozenset(charge.members),
        )
        if charge.rho is not None:
            spent = self.account.spent.get(charge.unit, {})
            self.cap.refuse(f"'{charge.query}'", {charge.purpose: charge.rho}, spent)
        self._append("release", {**asdict(charge), "members": list(charge.members)})

    def narrow(
        self, run: str, question: str, members: Collection[str], allowed: bool = True
    ) -> None:
        """Writes down that the total of a reserved question is one of fewer members.

        Before anything that depends on it leaves. AnswerError where the same was answered for
        others before, or where the members are not among those that it was reserved for.
        """
        before, now = self.account.released[run, question], frozenset(members)
        if now == before.members:
            return
        _refuse_not_fewer(before, now, allowed)
        self._refuse_other_members((run, question), before.alike, now)
        self._append("narrowed", {"run": run, "question": question, "members": sorted(now)})

    def reserved(self, run: str, question: str) -> Released | None:
        """Returns a release of this run, or None."""
        return self.account.released.get((run, question))

    def asked(self, run: str, task: str, query: str) -> int:
        """Returns how many releases one query of one task had in a run."""
        return self.account.asked[run, task, query]

    def consent(self, members: tuple[str, ...]) -> None:
        """Allows what was answered for other sets of retailers to be answered for this one."""
        self._append("consent", {"members": sorted(members)})

    def note(self, consortium: str, epoch: int, known: bool = False) -> bytes:
        """Returns what the peers are to remember of this ledger; whoever sends it signs it.

        epoch: of the roster of this consortium. known: also what is remembered of each peer, for
        the beginning of a run.
        """
        mine = {
            "records": len(self._chain.digests) - 1,
            "head": self._chain.digests[-1],
            "epoch": epoch,
            "spent": self.account.spent,
        }
        peers = self.account.peers.get(consortium, {}) if known else {}
        return canonical({"mine": mine, "known": peers})

    def witness(self, me: str, consortium: str, epoch: int, notes: Mapping[str, bytes]) -> None:
        """Takes the peers' notes: what they know of this ledger, and what they say of theirs.

        AnswerError where a peer knows a later, or another, ledger of this retailer under the same
        roster: this is an old copy then, and nothing is released from it by any run. Under a roster
        of a later epoch, which all members signed since, it begins again, with what the peers know
        to be spent carried over. AnswerError also where a peer's own ledger went back.
        """
        read = {peer: _read(peer, note) for peer, note in notes.items() if peer != me}
        about_me = {p: known[me] for p, (_, known) in read.items() if me in known}
        self._compare(epoch, about_me)
        last = self.account.peers.get(consortium, {})
        for peer, (note, _) in read.items():
            _refuse_backwards(peer, note, last.get(peer, note))
        peers = {peer: note for peer, (note, _) in read.items()}
        self._append("heads", {"consortium": consortium, "peers": peers})

    def _append(self, kind: str, facts: Json) -> None:
        self.account.add(self._chain.append(kind, facts))

    def _compare(self, epoch: int, mine: Mapping[str, Json]) -> None:
        if not all(
            note["epoch"] < epoch or self._is_before_now(note, epoch) for note in mine.values()
        ):
            if not self.account.older:
                self._append("older", {"peers": dict(mine), "epoch": epoch})
            self._refuse_if_older()
        if self.account.older and not (mine and all(n["epoch"] < epoch for n in mine.values())):
            self._refuse_if_older()
        carried: Spent = {}
        for note in mine.values():
            for (unit, purpose), rho in self._missing(note).items():
                most = carried.setdefault(unit, {})
                most[purpose] = max(most.get(purpose, 0.0), rho)
        if carried or self.account.older:
            self._append("readmitted", {"epoch": epoch, "carried": carried})

    def _is_before_now(self, note: Json, epoch: int) -> bool:
        if note["epoch"] > epoch or note["records"] >= len(self._chain.digests):
            return False
        known: str = note["head"]
        return self._chain.digests[note["records"]] == known

    def _refuse_if_older(self) -> None:
        if self.account.older:
            raise AnswerError(
                Code.LEDGER,
                f"{self._chain.path}: the peers know a later ledger of this retailer, so this is "
                f"an old copy, and what was spent since is not in it. Put the newest copy back, or "
                f"have all members sign a roster of the next epoch, which carries that over",
            )

    def _missing(self, note: Json) -> dict[tuple[str, str], float]:
        """Returns the rho, by unit and purpose, that a peer knows to be spent and this does not."""
        missing = {}
        for unit, purposes in note["spent"].items():
            for purpose, rho in purposes.items():
                here = self.account.spent.get(unit, {}).get(purpose, 0.0)
                # Sums of the same numbers in another order differ in the last digits.
                if rho > here * (1 + 1e-9):
                    missing[unit, purpose] = rho - here
        return missing

    def _refuse_other_members(self, asked: Asked, alike: Alike, members: frozenset[str]) -> None:
        if members in self.account.consented:
            return
        _, (query, _) = alike
        for key in alike:
            for before, others in self.account.alike.get(key, ()):
                if before != asked and others != members:
                    at = self.account.released[before].at
                    raise AnswerError(
                        Code.OTHER_MEMBERS,
                        f"'{query}' was answered for {sorted(others)} on {at}, now it is asked for "
                        f"{sorted(members)}: who has both totals has the difference. `grandtotal "
                        f"ledger --consent {','.join(sorted(members))}` allows it",
                    )


def _read(peer: str, content: bytes) -> tuple[Json, Json]:
    """Returns a peer's note of its own ledger, and what it knows of others' by name."""
    try:
        note: Json = json.loads(content)
        mine, known = note["mine"], note["known"]
        valid = all(_is_note(each) for each in (mine, *known.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise AnswerError(Code.MALFORMED, f"'{peer}' sent a note of its ledger that is none")
    return mine, known


def _is_note(note: Json) -> bool:
    counts = [note["records"], note["epoch"]]
    spent = [rho for purposes in note["spent"].values() for rho in purposes.values()]
    whole = all(type(count) is int and count >= 0 for count in counts)
    named = isinstance(note["head"], str) and len(note) == 4
    return named and whole and all(0 <= rho < math.inf for rho in spent)


def _refuse_backwards(peer: str, note: Json, last: Json) -> None:
    if (note["epoch"], note["records"]) < (last["epoch"], last["records"]):
        raise AnswerError(
            Code.LEDGER,
            f"'{peer}' shows a ledger of {note['records']} records and has shown one of "
            f"{last['records']}: an old copy was put back there; nothing is released with it until "
            f"all members sign a roster of the next epoch",
        )


def _refuse_not_fewer(before: Released, now: frozenset[str], allowed: bool) -> None:
    if not (allowed and now < before.members):
        raise AnswerError(
            Code.OTHER_MEMBERS,
            f"'{before.query}' was answered for {sorted(before.members)}, now it is asked for "
            f"{sorted(now)}",
        )


def _refuse_other_numbers(before: Released, now: Charge) -> None:
    if before.summand != now.summand:
        raise AnswerError(
            Code.ANSWER_CHANGED,
            f"'{now.query}' was answered on {before.at} with other numbers: the tables have "
            f"changed since; start a new run",
        )
