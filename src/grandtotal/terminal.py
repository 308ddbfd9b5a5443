"""What the command line shows: the table of four rows, the list of runs, and progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from grandtotal.algorithms.model import load_arrays
from grandtotal.consortium.consortium import Listener
from grandtotal.durable import Json, read_json
from grandtotal.errors import GrandtotalError
from grandtotal.participate import account_path
from grandtotal.plan import CATALOGUE, catalogue_path
from grandtotal.runfolder import RunFolder

ROWS = ("baseline", "alone", "federated", "pooled")
_STEPS = 3  # of a task that a bar can show: trained, delivered and scored, compared with pooled


@contextmanager
def progress(tasks: int, console: Console) -> Iterator[Listener]:
    """Yields a listener that moves a bar on the console while a run works."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task("reading tables", total=_STEPS * tasks)

        def listen(record: Json) -> None:
            advance, text = _step(record)
            bar.update(shown, advance=advance, description=text)

        yield listen


def _step(record: Json) -> tuple[int, str]:
    name = record["task"]
    if name == CATALOGUE:
        return 0, "catalogue: looking for the products that enough retailers sell"
    if "pooled" in record:
        return 1, f"{name}: compared with pooled rows"
    if "deliver" in record:
        return 1, f"{name}: delivered, trained alone and scored"
    if record["query"] == "test-scores":
        return 1, f"{name}: scores added up"
    return 0, f"{name}: round {record['round']} · {record['query']}"


def score_table(name: str, task: Json) -> Table:
    """Returns one task's table: a line per retailer, 95 % intervals below the values."""
    overall = task["overall"] or next(iter(task["retailers"].values()))
    best = "higher is better" if overall["higher_is_better"] else "lower is better"
    title = f"\n{name}: {overall['headline']}, {best}; n = {overall['units']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("retailer", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for heading in (*ROWS, "over alone"):
        table.add_column(heading, justify="right", no_wrap=True)
    for retailer, scores in task["retailers"].items():
        table.add_row(*_cells(retailer, scores))
    if task["overall"]:
        table.add_section()
        table.add_row(*_cells("all", overall))
    return table


def _cells(retailer: str, scores: Json) -> list[str]:
    headline = scores["headline"]
    rows = [_value(scores["rows"].get(row, {}).get(headline, {"value": None})) for row in ROWS]
    sample = "–" if scores["sample"] is None else f"{scores['sample']:,}"
    return [retailer, sample, *rows, _gain(scores["gain"].get("alone", {"relative": None}))]


def _value(found: Json) -> str:
    if found["value"] is None:
        return "–"
    if "low" not in found:  # totals have no interval: it takes the units, and they stay at home
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f}\n[dim]{_short(found['low'])}–{_short(found['high'])}[/dim]"


def _short(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.3f}".removeprefix("0") if abs(value) < 1 else f"{value:.2f}"


def _gain(gain: Json) -> str:
    if gain.get("relative") is None:
        return "–"
    if gain.get("relative_low") is None:
        return f"{100 * gain['relative']:+.1f} %" if "relative_low" not in gain else "–"
    low, high = gain["relative_low"], gain["relative_high"]
    verdict = "" if low > 0 else "loss " if high < 0 else "? "
    return (
        f"{verdict}{100 * gain['relative']:+.1f} %\n[dim]{100 * low:+.1f}…{100 * high:+.1f}[/dim]"
    )


def costs(folder: RunFolder) -> str:
    """Returns rounds, bytes out per retailer and seconds, a line per task."""
    finished = folder.finished() or {}
    lines = []
    for name in dict.fromkeys(record["task"] for record in folder.rounds()):
        rounds = [r for r in folder.rounds() if r["task"] == name]
        asked = [r for r in rounds if "query" in r]
        out = sum(max(r["bytes_out"].values()) for r in asked)
        seconds = sum(r["seconds"] for r in rounds)
        lines.append(
            f"{name}: {len(asked)} rounds, {megabytes(out)} out of each retailer, {seconds:.1f} s"
        )
    if finished:
        lines.append(
            f"in all {finished['seconds']:.1f} s, {finished['peak_memory_mb']:,} MB at most"
        )
    return "\n".join(lines)


def private_catalogue(folder: RunFolder) -> str:
    """Returns what a private catalogue holds and what it told whom; "" where there is none."""
    plan = folder.plan()
    path = catalogue_path(folder.coordinator)
    if plan.matching is None or not path.exists():
        return ""
    counts = load_arrays(path)[0]["retailers"]
    least, members = plan.matching.minimum, len(plan.members)
    others = "all others sell it" if least == members else f"{least - 1} others or more sell it"
    lines = [
        f"catalogue: {len(counts):,} products that at least {least} of {members} retailers sell, "
        f"{int((counts == members).sum()):,} of them sold by all.",
        f"  Each retailer learned of each of its own products whether {others};",
        "  the coordinator learned how many retailers sell each number.",
        *(
            f"  {name}: {left_out(read_json(account_path(folder.retailer(name))))}"
            for name in plan.members
            if account_path(folder.retailer(name)).exists()
        ),
    ]
    return "\n".join(lines) + "\n"


def left_out(account: Json) -> str:
    """Returns how many of a retailer's products a private catalogue serves, and why not all."""
    reasons = {
        "not shared": "sold by too few retailers",
        "doubled": "a second entry for a product that sells more",
        "without key": "no usable key in the products table",
        "unlisted": "not in the products table",
    }
    told = [f"{account[name]:,} {why}" for name, why in reasons.items() if account[name]]
    every = account["shared"] + sum(account[name] for name in reasons)
    text = f"{account['shared']:,} of {every:,} products are in the shared catalogue"
    return f"{text}; its own model serves the others: {'; '.join(told)}" if told else text


def set_aside(folder: RunFolder) -> str:
    """Returns a line for every table of which rows were not used, with where they are."""
    lines = []
    for retailer in folder.plan().members:
        own = folder.retailer(retailer)
        if not (own / "tables.json").exists():  # on its own machine, or it dropped out
            continue
        for table, account in read_json(own / "tables.json").items():
            aside = account["read"] - account["used"] - account["no_consent"]
            if aside:
                lines.append(
                    f"{retailer}: {aside:,} of {account['read']:,} rows of {table} were set aside, "
                    f"with the reason for each: {own / 'set_aside' / table}.csv"
                )
    return "\n".join(lines)


def comparison(found: Json) -> Iterator[Any]:
    """Yields what `runs compare` shows, part by part."""
    yield _pairs("what differs", found["runs"], dict(_different(found)))
    for name, task in found["tasks"].items():
        yield _score_pairs(name, found["runs"], task)
    equal = "the same" if found["totals"] else "other"
    models = ", ".join(
        f"{name} {'the same' if task['same_model'] else 'another'} model"
        for name, task in found["tasks"].items()
    )
    yield f"digests: {equal} totals; {models}"


def _different(found: Json) -> Iterator[tuple[str, list[Any]]]:
    """Yields name and pair of everything that has two values and no interval."""
    yield from found["plan"].items()
    for what, names in found["members"].items():
        if names:
            yield f"members who {what}", ["", ", ".join(names)]
    for retailer, tables in found["data"].items():
        for table, rows in tables.items():
            for what, pair in rows.items():
                if pair[0] != pair[1]:
                    yield f"{retailer}: {table} rows {what}", [f"{value:,}" for value in pair]
    yield from found["versions"].items()
    for name, task in found["tasks"].items():
        if task["models"][0] != task["models"][1]:
            yield f"{name}: chosen", task["models"]
    costs = found["costs"]
    yield "rounds", costs["rounds"]
    yield "out of a retailer", [megabytes(size) for size in costs["bytes_out"]]
    yield "seconds", costs["seconds"]


def _pairs(title: str, runs: list[str], pairs: Mapping[str, list[Any]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("", *runs):
        table.add_column(column, overflow="fold")
    for name, pair in pairs.items():
        # Brackets of a list would be read as markup.
        table.add_row(name, *(Text("–" if value is None else str(value)) for value in pair))
    return table


def _score_pairs(name: str, runs: list[str], task: Json) -> Table:
    title = f"{name}: {task['headline'] or 'scored by different metrics'}, federated"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("retailer", *runs, "difference", ""):
        table.add_column(column, justify="left" if column == "retailer" else "right")
    for party, score in task["scores"].items():
        values = [_value(value) for value in score["values"]]
        table.add_row(party, *values, *_difference(score["difference"]))
    return table


def _difference(found: Json | None) -> tuple[str, str]:
    if found is None:
        return "–", ""
    low, high = found["low"], found["high"]
    shown = f"{found['value']:+.3f}\n[dim]{low:+.3f}…{high:+.3f}[/dim]"
    return shown, "beyond chance" if found["beyond"] else "within chance"


def megabytes(size: float) -> str:
    """Returns bytes for people."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def run_table(folders: list[RunFolder]) -> Table:
    """Returns the list of runs."""
    table = Table()
    for column in ("run", "members", "tasks", "rounds", "state"):
        table.add_column(column)
    for folder in folders:
        table.add_row(*(str(value) for value in run_facts(folder).values()))
    return table


def run_facts(folder: RunFolder) -> dict[str, Any]:
    """Returns what `runs list` says of one run; of one that is damaged, that it is."""
    facts = {"run": folder.path.name, "members": 0, "tasks": "", "rounds": 0}
    try:
        plan = folder.plan()
        return facts | {
            "members": len(plan.members),
            "tasks": ", ".join(plan.tasks),
            "rounds": sum("query" in record for record in folder.rounds()),
            "state": _state(folder),
        }
    except GrandtotalError as error:
        return facts | {"state": f"cannot be read: {error}"}


def _state(folder: RunFolder) -> str:
    path = folder.coordinator / "state.json"
    if "engine" in folder.launch() and path.exists():
        found = read_json(path)
        return f"{found['state']}: {found['why']}" if found["why"] else str(found["state"])
    if "engine" in folder.launch():
        return "finished" if folder.is_complete() else "goes on"
    return "finished" if folder.is_complete() else "stopped; `runs resume` goes on"
