"""Where the numbers come from: the rows that were used, and all it takes to make them again."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from grandtotal.durable import Json
from grandtotal.report.markup import (
    MISSING,
    Group,
    Html,
    Row,
    folded,
    joined,
    listed,
    paragraph,
    table,
    tag,
)
from grandtotal.report.source import Source, View
from grandtotal.report.words import plain
from grandtotal.tasks.task import Task

_ORDER = ("grandtotal", "code", "python", "numpy", "scipy", "polars", "safetensors")


def data_used(source: Source) -> Html:
    """Returns what became of every row, by retailer and table; a coordinator does not know."""
    if source.view is View.CONSORTIUM:
        return paragraph(
            "How many rows each retailer read, used or set aside is known to that retailer alone, "
            "and stands in its own report."
        )
    heads = ("Table", "Rows read", "Used", "Set aside", "Without consent")
    groups = [
        Group(who, tuple(_account(name, account) for name, account in accounts.items()))
        for who, accounts in source.tables.items()
    ]
    return joined(
        [
            paragraph(
                "Every row that was read was used, set aside for a reason, or left out because "
                "its customer did not consent."
            ),
            table("Rows by retailer and table", heads, groups),
            _reasons(source),
        ]
    )


def _account(name: str, account: Json) -> Row:
    aside = sum(cause["rows"] for cause in account["causes"])
    numbers = (account["read"], account["used"], aside, account["no_consent"])
    return Row(name, tuple(f"{count:,}" for count in numbers))


def _reasons(source: Source) -> Html:
    # Examples quote the rows themselves; they stay in the retailer's set_aside folder.
    found = [
        f"{who}, {name}: {cause['rows']:,} × {cause['reason']}"
        for who, accounts in source.tables.items()
        for name, account in accounts.items()
        for cause in account["causes"]
    ]
    if not found:
        return paragraph("No row was set aside.", class_="note")
    return folded("Why rows were set aside", listed(found))


def how_made(source: Source) -> Html:
    """Returns plan, versions and digests, and how to make the numbers again."""
    return joined(
        [
            _facts(source),
            tag("h3", "The plan that all members agreed on"),
            table("Settings of the plan", ("Setting", "Value"), list(_settings(source)), words=2),
            _versions(source),
            tag("h3", "To make it again"),
            paragraph(
                "With the same plan, tables and versions, ",
                tag("code", "grandtotal run plan.toml"),
                " gives the same totals digit for digit on any machine, and the same model files "
                "on a processor of the same type with the same number of threads. The digests "
                "below tell whether it did. Random draws are made for the intervals only, from "
                f"the seed {source.plan.common.seed}.",
            ),
            table("Digests", ("Of", "SHA-256"), list(_digests(source)), words=2),
        ]
    )


def _facts(source: Source) -> Html:
    members = ", ".join(source.plan.members)
    told = {
        "Run": source.run,
        "Members": members,
        "Summands left": " to ".join(dict.fromkeys(_moment(at) for at in source.times or ())),
        "Made on": str(source.versions.get("processor", "")),
    }
    pairs = [joined([tag("dt", name), tag("dd", said)]) for name, said in told.items() if said]
    return tag("dl", *pairs)


def _moment(at: str) -> str:
    return at[:16].replace("T", " ") + " UTC"


def _settings(source: Source) -> Iterator[Row]:
    common = source.plan.common
    yield Row("plan", (source.plan.name,))
    yield Row("first day in nobody’s tables", (common.today.isoformat(),))
    matching = source.plan.matching
    told = f"that at least {matching.minimum} retailers sell, " if matching else ""
    yield Row("catalogue", (f"{len(common.catalogue):,} products {told}by {common.key}",))
    yield Row("seed", (plain(common.seed),))
    for name, found in source.tasks.items():
        yield Row(name, (_task_settings(found.task),))


def _task_settings(task: Task) -> str:
    values: dict[str, Any] = {
        field.name: getattr(task, field.name)
        for field in fields(task)  # type: ignore[arg-type]
        if field.name != "common"
    }
    told = [f"{name.replace('_', ' ')}: {plain(value)}" for name, value in values.items()]
    return "; ".join([f"kind: {task.kind}", *told])


def _versions(source: Source) -> Html:
    if not source.versions:
        return paragraph(
            "Versions and machine stand in the coordinator’s report; every member must run the "
            "same version, or it is refused.",
            class_="note",
        )
    names = [*_ORDER, *(name for name in source.versions if name not in _ORDER)]
    rows = [Row(name, (plain(source.versions[name]),)) for name in names if name in source.versions]
    return folded("Versions and machine", table("Versions", ("What", "Version"), rows, words=2))


def _digests(source: Source) -> Iterator[Row]:
    yield Row("plan", (_code(source.plan_digest),))
    if "totals" in source.finished:
        yield Row("all totals", (_code(source.finished["totals"]),))
    for name, found in source.tasks.items():
        yield Row(f"model of {name}", (_code(found.model),))
        if found.pooled is not None:
            yield Row(f"pooled model of {name}", (_code(found.pooled["digest"]),))


def _code(text: str) -> Html:
    return tag("code", text or MISSING)
