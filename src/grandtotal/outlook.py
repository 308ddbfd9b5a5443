"""What a plan's epsilon will cost, known before anything is asked.

The noise of every release follows from the plan. What it hides follows from how many customers
there are: at best each of them moves a total by its whole norm in one direction, so that a total of
d entries over U customers has noise / signal of at least z sqrt(d) / U, where z = sigma / norm.
Real customers differ from each other, so real models suffer more, never less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from grandtotal.consortium.query import Query
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, GrandtotalError, RefusedError
from grandtotal.participate import cap_of, customers_of, tables_of
from grandtotal.plan import Plan
from grandtotal.privacy.account import Account
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.bound import Bound
from grandtotal.privacy.chain import verify
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.privacy.ledger import FILE
from grandtotal.privacy.terms import Terms
from grandtotal.tasks.task import Task

WARN = 0.1  # noise / signal
SIZES = (3_000, 50_000, 1_000_000)  # customers, where nobody says how many there are
_MOST_ENTRIES = 4_000_000  # of a total that a rehearsal makes


@dataclass(frozen=True)
class Asking:
    """One query of one task, and its noise.

    share: of the plan's rho, all releases together. blur: sigma of one number of the total, in
    whole customers (or other units) that contribute all they may. entries: numbers in the total; 0
    where only the tables say. sigma: in steps; 0 where the norm is not known beforehand.
    """

    task: str
    query: str
    times: int
    share: float
    blur: float
    unit: str
    entries: int
    sigma: float

    def ratio(self, customers: int) -> float:
        """Returns the least noise / signal, of the vector of all entries."""
        return self.blur * math.sqrt(max(self.entries, 1)) / customers


@dataclass(frozen=True)
class Outlook:
    """What a plan promises and what that costs.

    customers: counted in the tables that were found, by retailer; or as they were given.
    """

    plan: Plan
    askings: tuple[Asking, ...]
    customers: Mapping[str, int]

    def text(self) -> str:
        """Returns all of it for a terminal."""
        return "\n".join(self._lines()) + "\n"

    def json(self) -> Json:
        """Returns all of it as JSON, with noise / signal by number of customers."""
        asked = [
            {**asdict(a), "noise_to_signal": {str(u): a.ratio(u) for u in self._sizes()}}
            for a in self.askings
        ]
        promised = asdict(self.plan.common.privacy)
        return {"privacy": promised, "releases": asked, "customers": dict(self.customers)}

    @property
    def warns(self) -> bool:
        """Whether some total has noise above a tenth of its signal, at the customers counted."""
        total = sum(self.customers.values())
        return bool(total) and any(a.ratio(total) > WARN for a in self.askings)

    def _sizes(self) -> tuple[int, ...]:
        total = sum(self.customers.values())
        return (total,) if total else SIZES

    def _lines(self) -> Iterator[str]:
        asked, members = self.plan.common.privacy, len(self.plan.members)
        if not asked.private:
            yield "No epsilon in [privacy]: totals are exact, and so is what they tell."
            return
        known = asked.known_to(members)
        yield (
            f"epsilon = {asked.epsilon:g} at delta = {asked.delta:g} for the whole run, for a "
            f"customer of at most {known} of the {members} retailers, as long as no more than "
            f"{asked.colluders} collude with the coordinator and no more than {asked.dropouts} "
            f"drop out."
        )
        for task in self.plan.tasks:
            yield f"\n{task}"
            mine = [asking for asking in self.askings if asking.task == task]
            for asking in mine:
                yield "  " + _described(asking)
            worst = max(mine, key=lambda asking: asking.ratio(1))
            for size in self._sizes():
                yield f"  at {size:,} customers: {self._verdict(worst, size)}"
            even = worst.ratio(1)
            yield (
                f"  noise is as large as the signal at {_round(even):,} customers, a tenth of it "
                f"at {_round(even / WARN):,}, a hundredth at {_round(even * 100):,}"
            )
        yield "\nThese are lower bounds of noise / signal: as if all customers were alike."
        yield from (f"{name}: {count:,} customers" for name, count in self.customers.items())

    def _verdict(self, asking: Asking, customers: int) -> str:
        ratio = asking.ratio(customers)
        said = f"noise / signal {ratio:.2g} in {asking.query}"
        epsilon = f"epsilon = {self.plan.common.privacy.epsilon:g}"
        if ratio >= 1:
            return f"{epsilon} destroys this model ({said})"
        if ratio > WARN:
            return f"warning: {epsilon} costs this model much ({said})"
        return f"{epsilon} costs about {100 * ratio:.2g} % of the signal ({said})"


def _described(asking: Asking) -> str:
    times = f"{asking.times} times" if asking.times > 1 else "once"
    entries = f", {asking.entries:,} numbers" if asking.entries else ""
    sigma = f", sigma {asking.sigma:,.1f} steps" if asking.sigma else ""
    return (
        f"{asking.query}: {times}{entries}, {100 * asking.share:.0f} % of the budget; each number "
        f"blurred by {asking.blur:,.3g} whole {asking.unit}s{sigma}"
    )


def _round(count: float) -> int:
    """Returns a number of customers with two digits that mean something."""
    step: int = 10 ** max(0, math.floor(math.log10(max(count, 1))) - 1)
    return math.ceil(count / step) * step


def outlook(path: Path, customers: int | None = None) -> Outlook:
    """Returns what a plan costs; RefusedError where a retailer's file found beside it forbids it.

    customers: how many there are; counted in the tables that are found if it is left out.
    """
    plan = Plan.read(path)
    budget = plan.budget()
    configs = {name: path.parent / name / "retailer.toml" for name in plan.members}
    found = {name: config for name, config in configs.items() if config.exists()}
    for config in found.values():
        _refuse_over_cap(plan, budget, config)
    if customers is not None:
        counted = {"all retailers": customers}
    else:
        counted = {name: customers_of(tables_of(c, None)) for name, c in found.items()}
    _refuse_large_delta(plan, counted)
    return Outlook(plan, tuple(_askings(plan, budget)) if budget else (), counted)


def _refuse_over_cap(plan: Plan, budget: Budget | None, path: Path) -> None:
    from grandtotal.tables.config import load_config

    config = load_config(path)
    terms = Terms(config.door, cap_of(config.limits), plan.name, plan.kinds, budget)
    try:
        spent = Account(verify(config.door / FILE)).spent
        terms.cap.refuse_plan(plan.name, terms.planned, spent)
    except AnswerError as error:
        raise RefusedError(f"{path}: {error}") from error


def _refuse_large_delta(plan: Plan, customers: Mapping[str, int]) -> None:
    delta = plan.common.privacy.delta
    for name, count in customers.items():
        if delta is not None and delta * count >= 1:
            raise RefusedError(
                f"delta = {delta:g} is not below one over the {count:,} customers of '{name}': to "
                f"give one of them away whole would keep that promise; take a much smaller one"
            )


def _askings(plan: Plan, budget: Budget) -> Iterator[Asking]:
    for name, task in plan.tasks.items():
        seen = _rehearsed(task) if plan.matching is None else {}
        for (owner, query), scheduled in budget.scheduled.items():
            if owner != name:
                continue
            bound, entries = seen.get(query, (Bound(0.0), 0))
            # Of the noise of all members: a little more than what is promised of n - c - d.
            present = math.sqrt(budget.members / budget.shares)
            one = budget.sigma(name, query, Bound(1.0, bound.unit), 0) * present
            sigma = budget.sigma(name, query, bound, entries) * present if bound.norm else 0.0
            part = scheduled.rho * scheduled.times / budget.rho
            yield Asking(name, query, scheduled.times, part, one, bound.unit, entries, sigma)


class _EnoughError(Exception):
    """The rest of a rehearsal would be as large as the run itself."""


class _Rehearsal:
    """Totals of nobody: notes what is asked, and answers zeros."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[Bound, int]] = {}

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        fields = query.fields(broadcast or {})
        entries = sum(field.length for field in fields.values())
        if isinstance(query.bound, Bound):
            before = self.seen.get(query.name, (query.bound, 0))
            self.seen[query.name] = (query.bound, max(entries, before[1]))
        if entries > _MOST_ENTRIES:
            raise _EnoughError
        return {
            name: np.zeros(field.shape, np.int64 if field.scale == 1 else np.float64)
            for name, field in fields.items()
        }


def _rehearsed(task: Task) -> dict[str, tuple[Bound, int]]:
    """Returns bound and entries of the queries that a fit asks, as far as zeros carry it."""
    totals = _Rehearsal()
    # Zeros may divide by nothing: whatever was asked until then is known.
    silent = suppress(_EnoughError, ArithmeticError, ValueError, LookupError, GrandtotalError)
    with silent, np.errstate(all="ignore"):
        task.fit(totals)
    return totals.seen
