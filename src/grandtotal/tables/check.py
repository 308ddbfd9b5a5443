"""What `grandtotal check` says to a retailer about its own tables, before anyone else asks.

Nothing is raised for bad data: what cannot be used, what was set aside and why, what is there and
what a missing column would enable are all findings, for the terminal or as JSON.
"""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grandtotal.errors import DataError, PlanError
from grandtotal.tables.account import Account, Cause
from grandtotal.tables.config import RetailerConfig
from grandtotal.tables.profile import Counts, Profile, profile
from grandtotal.tables.read import Tables
from grandtotal.tables.rows import suggestion
from grandtotal.tables.schema import REGISTRY, Column

_WIDTH = 80
_LABEL = 14  # columns of the terminal before a finding


@dataclass(frozen=True)
class Facts:
    """What a table holds; None where it has no such column. Days are ISO 8601, shares in [0, 1]."""

    customers: int | None = None
    products: int | None = None
    stores: int | None = None
    first_day: str | None = None
    last_day: str | None = None
    anonymous: float | None = None  # share of the lines used that have no customer
    returns: float | None = None  # share of the lines used with a negative quantity


@dataclass(frozen=True)
class Absent:
    """A column or a table that the retailer does not have, and what it would enable.

    `meant` is a column of the file that is not read and has a similar name, or "".
    """

    name: str
    enables: str
    meant: str = ""


@dataclass(frozen=True)
class TableFindings:
    """What was found about one table; `problem` is "" if it can be used."""

    name: str
    problem: str
    account: Account | None = None
    facts: Facts | None = None
    profile: Profile | None = None
    present: tuple[str, ...] = ()
    absent: tuple[Absent, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What was found about all tables of a retailer; `ok` if every one of them can be used.

    Currency, time zone and consent columns are what retailer.toml says.
    """

    retailer: str
    currency: str
    time_zone: str
    consent: tuple[str, ...]
    tables: tuple[TableFindings, ...]
    absent: tuple[Absent, ...]

    @property
    def ok(self) -> bool:
        """True if no table has a problem; rows that were set aside are none."""
        return not any(table.problem for table in self.tables)

    def has(self, table: str) -> bool:
        """Returns whether the retailer has this table and it can be used."""
        return any(found.name == table and not found.problem for found in self.tables)

    def text(self) -> str:
        """Returns the findings for a terminal of 80 columns, without colours."""
        wrong = sum(1 for table in self.tables if table.problem)
        state = f"{wrong} of {len(self.tables)} tables cannot be used" if wrong else "can be used"
        lines = [f"{self.retailer}: {state}"]
        for table in self.tables:
            lines += ["", table.name, *_table_lines(table)]
        absent = self.absent if self.has("transactions") else ()
        lines += [""] if absent else []
        lines += [line for a in absent for line in labelled("no " + a.name, a.enables)]
        return "\n".join(lines) + "\n"

    def json(self) -> dict[str, Any]:
        """Returns the findings as dicts, lists, texts, numbers, booleans and None."""
        return {
            "retailer": self.retailer,
            "currency": self.currency,
            "time_zone": self.time_zone,
            "consent": list(self.consent),
            "ok": self.ok,
            "tables": {table.name: asdict(table) for table in self.tables},
            "absent": [asdict(absent) for absent in self.absent],
        }


def check(config: RetailerConfig, set_aside_folder: Path | None = None) -> Findings:
    """Reads every table that retailer.toml names, and the transactions, which it must.

    Rows that cannot be used are written to <set_aside_folder>/<table>.csv, unless that is None.
    """
    return check_tables(Tables(config, set_aside_folder))


def check_tables(tables: Tables) -> Findings:
    """Returns the same of tables that are then read, and can be asked for more."""
    names = [name for name in REGISTRY if name in tables or name == "transactions"]
    others = [table for name, table in REGISTRY.items() if name not in names]
    return Findings(
        tables.config.retailer,
        tables.config.currency,
        tables.config.time_zone,
        tables.config.consent,
        tuple(_table_findings(tables, name) for name in names),
        tuple(Absent(table.name, table.enables) for table in others),
    )


def _table_findings(tables: Tables, name: str) -> TableFindings:
    try:
        present = tables.columns(name)
    except (DataError, PlanError) as error:
        return TableFindings(name, str(error))
    account = tables.accounts[name]
    columns = [column for column in REGISTRY[name].columns if column.name not in present]
    found, counts = profile(tables, name)
    return TableFindings(
        name,
        "",
        account,
        _facts(found, counts, account.used),
        found,
        tuple(present),
        tuple(_absent(column, account) for column in columns),
    )


def _absent(column: Column, account: Account) -> Absent:
    meant = suggestion(column, column.name, account.unused_columns)
    return Absent(column.name, column.enables, meant or "")


def _facts(found: Profile, counts: Mapping[str, Counts], rows: int) -> Facts:
    by_name = {column.name: column for column in found.columns}
    distinct: dict[str, Any] = {
        f"{name}s": by_name[name].distinct
        for name in ("customer", "product", "store")
        if name in by_name
    }
    days: dict[str, Any] = {}
    day = next((by_name[name] for name in ("time", "date", "start") if name in by_name), None)
    if day:
        days = {"first_day": _day(day.least), "last_day": _day(day.most)}
    shares: dict[str, Any] = {}
    if "quantity" in by_name:
        shares["returns"] = counts["quantity"].below(0) / rows
        if "customer" in by_name:
            shares["anonymous"] = by_name["customer"].missing / rows
    return Facts(**distinct, **days, **shares)


def _day(value: float | str | None) -> str:
    return str(value)[: len("2024-01-31")]


def _table_lines(table: TableFindings) -> Iterator[str]:
    if table.account is None or table.facts is None:
        yield from labelled("CANNOT BE USED", table.problem)
        return
    yield from labelled("rows", _rows_text(table.account))
    for label, text in _fact_texts(table.facts):
        yield from labelled(label, text)
    for label, text in _profile_texts(table.profile) if table.profile else ():
        yield from labelled(label, text)
    yield from labelled("columns", ", ".join(table.present))
    for absent in table.absent:
        meant = f"; did you mean '{absent.meant}'?" if absent.meant else ""
        yield from labelled(f"no {absent.name}", absent.enables + meant)
    for cause in table.account.causes:
        yield from labelled("set aside", _cause_text(cause))
    for cause in table.account.warnings:
        yield from labelled("look at", _cause_text(cause))


def _cause_text(cause: Cause) -> str:
    rows = f"{cause.rows:,} {'row' if cause.rows == 1 else 'rows'}"
    return f"{rows}: {cause.reason} ({', '.join(cause.examples)}); {cause.remedy}"


def _rows_text(account: Account) -> str:
    parts = [f"{account.read:,} read", f"{account.used:,} used"]
    set_aside = sum(account.set_aside.values())
    parts += [f"{set_aside:,} set aside"] if set_aside else []
    parts += [f"{account.no_consent:,} without consent"] if account.no_consent else []
    return ", ".join(parts)


def _fact_texts(facts: Facts) -> Iterator[tuple[str, str]]:
    for label in ("customers", "products", "stores"):
        count = getattr(facts, label)
        if count is not None:
            yield label, f"{count:,}"
    if facts.first_day is not None:
        yield "days", f"{facts.first_day} to {facts.last_day}"
    if facts.anonymous is not None:
        yield "anonymous", f"{facts.anonymous:.1%} of the lines"
    if facts.returns is not None:
        yield "returns", f"{facts.returns:.1%} of the lines"


def _profile_texts(found: Profile) -> Iterator[tuple[str, str]]:
    if found.days_without:
        longest = max(found.gaps, key=lambda gap: gap.days)
        days = "1 day" if found.days_without == 1 else f"{found.days_without:,} days"
        yield "gaps", f"{days} without a line; the longest from {longest.first_day}: {longest.days}"
    gaps = [f"{c.name} {c.missing:,}" for c in found.columns if c.missing]
    if gaps:
        yield "empty cells", ", ".join(gaps)


def labelled(label: str, text: str) -> list[str]:
    """Returns the lines of a text for a terminal of 80 columns, its label to the left."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"  {label:<{_LABEL}} ",
        subsequent_indent=" " * (_LABEL + 3),
        break_long_words=False,
        break_on_hyphens=False,
    )
