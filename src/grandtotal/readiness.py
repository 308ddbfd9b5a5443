"""Can this retailer take part? Its tables against the installed tasks, and against a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, cast

from grandtotal.consortium.query import installed
from grandtotal.errors import DataError, PlanError
from grandtotal.plan import Plan
from grandtotal.tasks.assortment import read_assortment, shared_key
from grandtotal.tasks.needs import Need, Standing, Verdict, needs_of, standing_of

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.check import Findings
    from grandtotal.tables.read import Tables

_FEW = 0.1  # of the plan's products sold here; below, a look at the key is worth it

_CLOSED_DAYS = 3  # a shop may be closed so long before today, as over Easter


@dataclass(frozen=True)
class Use:
    """What one installed task could do with the tables that are there."""

    task: str
    has: tuple[Need, ...]
    lacks: tuple[Need, ...]

    @property
    def possible(self) -> bool:
        """True if no required column is lacking."""
        return not any(need.required for need in self.lacks)


@dataclass(frozen=True)
class Checked:
    """What was found about a retailer's tables, its tasks and, if one was given, a plan."""

    findings: Findings
    uses: tuple[Use, ...]
    plan: str | None = None
    standings: tuple[Standing, ...] = ()

    @property
    def ok(self) -> bool:
        """True if every table can be used and the plan, if there is one, can run here."""
        return self.findings.ok and not any(s.verdict == "no" for s in self.standings)

    def text(self) -> str:
        """Returns all of it for a terminal of 80 columns, without colours."""
        from grandtotal.tables.check import labelled

        lines = [self.findings.text().rstrip("\n")]
        # Without transactions every task lacks everything; their own problem is what counts.
        shown = self.uses if self.findings.has("transactions") else ()
        lines += ["", "tasks"] if shown else []
        for use in shown:
            lines += labelled(use.task, "can be done" if use.possible else "CANNOT BE DONE")
            for need in use.lacks:
                word = "needs" if need.required else "without"
                lines += labelled("", f"{word} {need.table}.{need.column}: {need.what}")
        if self.plan is not None:
            can = all(s.verdict != "no" for s in self.standings)
            state = "can run here" if can else "CANNOT RUN HERE"
            lines += ["", f"plan {self.plan}: {state}"]
            for standing in self.standings:
                lines += labelled(standing.verdict, _standing_text(standing))
        return "\n".join(lines) + "\n"

    def json(self) -> dict[str, Any]:
        """Returns all of it as dicts, lists, texts, numbers, booleans and None."""
        uses = {use.task: {"possible": use.possible, **asdict(use)} for use in self.uses}
        plan = {"name": self.plan, "standings": [asdict(s) for s in self.standings]}
        found = {**self.findings.json(), "ok": self.ok, "tasks": uses}
        return {**found, "plan": plan if self.plan is not None else None}


def _standing_text(standing: Standing) -> str:
    text = f"{standing.point}: {standing.found}"
    if standing.verdict == "yes":
        return text
    text += f"; expected: {standing.expected}"
    return f"{text}; {standing.remedy}" if standing.remedy else text


def uses(findings: Findings) -> tuple[Use, ...]:
    """Returns for every installed task what it needs of the tables and has, or lacks."""
    there = {
        (table.name, column)
        for table in findings.tables
        if not table.problem
        for column in table.present
    }
    return tuple(_use(name, needs_of(kind), there) for name, kind in installed("tasks").items())


def _use(name: str, needs: tuple[Need, ...], there: set[tuple[str, str]]) -> Use:
    has = tuple(need for need in needs if (need.table, need.column) in there)
    return Use(name, has, tuple(need for need in needs if need not in has))


def standings(plan: Plan, tables: Tables) -> tuple[Standing, ...]:
    """Returns how the retailer stands on every point of the plan.

    Where the transactions cannot be used, that is the only one; where the retailer or its products
    are not those of the plan, its tasks are left out.
    """
    try:
        tables.columns("transactions")
    except (DataError, PlanError) as error:
        found = Standing("transactions", "no", str(error), "a table that can be used")
        return (found,)
    points = [_member(plan, tables.config.retailer)]
    if plan.matching is None:
        points += _catalogue(plan, tables)
    else:
        point, plan = _private_catalogue(plan, tables)
        points.append(point)
    points.append(_today(plan, tables))
    if any(point.verdict == "no" for point in points):
        return tuple(points)  # every task would say the same again
    return (*points, *(point for name in plan.tasks for point in _task(plan, name, tables)))


def _member(plan: Plan, retailer: str) -> Standing:
    members = ", ".join(plan.members)
    if retailer in plan.members:
        return Standing("members", "yes", f"{retailer} is a member", members)
    remedy = 'write retailer = "..." as the plan calls you, or ask to be added'
    return Standing("members", "no", f"{retailer} is not a member", members, remedy)


def _catalogue(plan: Plan, tables: Tables) -> Iterator[Standing]:
    key, listed = plan.common.key, len(plan.common.catalogue)
    expected = f'products known by their "{key}", as in the plan'
    if key == "gtin" and not _has_gtin(tables):
        remedy = "add a products table with the column 'gtin' to retailer.toml"
        yield Standing("key", "no", "no bar codes", expected, remedy)
        return
    sold = _keys(key, tables)
    known = int(sold.is_in(list(plan.common.catalogue)).sum())
    found = f"{known:,} of the plan's {listed:,} products are sold here, of {len(sold):,} in all"
    remedy = f"the first in the plan is '{plan.common.catalogue[0]}'; " + _first_here(sold)
    verdict: Verdict = "no" if not known else "look" if known < _FEW * listed else "yes"
    yield Standing("catalogue", verdict, found, expected, "" if verdict == "yes" else remedy)


def _private_catalogue(plan: Plan, tables: Tables) -> tuple[Standing, Plan]:
    """Returns how it stands, and the plan as if all of the retailer's products were shared."""
    assert plan.matching is not None
    expected = f'products known by their "{plan.common.key}" in the products table, and a key'
    try:
        # What is counted is the same under any key.
        own = read_assortment(tables, plan.common.key, plan.matching.most, b"")
        if tables.config.catalogue_key:
            shared_key(tables, tables.config.folder)
    except (DataError, PlanError) as error:
        return Standing("catalogue", "no", str(error), expected), plan
    left_out = own.doubled + own.without_key + own.unlisted
    found = f"{len(own.products):,} products can be looked for, {left_out:,} cannot"
    known = plan.with_catalogue(own.products, "product")
    if not own.products:
        remedy = f"look at the column '{plan.common.key}' of the products table"
        return Standing("catalogue", "no", found, expected, remedy), known
    if tables.config.catalogue_key is None:
        remedy = "name it in retailer.toml as catalogue_key; only a simulation makes one"
        return Standing("catalogue", "look", f"{found}; no key is named", expected, remedy), known
    return Standing("catalogue", "yes", found, expected), known


def _has_gtin(tables: Tables) -> bool:
    return "products" in tables and "gtin" in tables["products"].columns


def _keys(key: str, tables: Tables) -> pl.Series:
    """Returns the plan's key of every product sold, once; products without one are left out."""
    import polars as pl

    pieces = tables.pieces("transactions", ["product"])
    sold = pl.concat([piece["product"].unique() for piece in pieces]).unique()
    if key == "product":
        return sold
    products = tables["products"]
    return products.filter(products["product"].is_in(sold.implode()))["gtin"].drop_nulls().unique()


def _first_here(sold: pl.Series) -> str:
    return f"the first here is '{sold.sort()[0]}'" if len(sold) else "here is none"


def _today(plan: Plan, tables: Tables) -> Standing:
    today = plan.common.today
    last, later = date.min, 0
    for piece in tables.pieces("transactions", ["time"]):
        days = piece["time"].dt.date()
        last = max(last, cast(date, days.max() or last))
        later += int((days >= today).sum())
    expected = f"the last day before {today}, the plan's today"
    found = f"the last line is of {last}"
    if last >= today:
        remedy = f"{later:,} lines from {today} on are not looked at"
        return Standing("today", "look", found, expected, remedy)
    empty = (today - last).days - 1
    if empty > _CLOSED_DAYS:
        remedy = f"export again, or agree on an earlier today: {empty} days are empty"
        return Standing("today", "look", found, expected, remedy)
    return Standing("today", "yes", found, expected)


def _task(plan: Plan, name: str, tables: Tables) -> Iterator[Standing]:
    task = plan.tasks[name]
    try:
        rows = task.rows(tables)
        for standing in standing_of(task, rows, tables):
            yield replace(standing, point=f"{name}: {standing.point}")
    except (DataError, PlanError) as error:
        yield Standing(name, "no", str(error), "rows for the task")
