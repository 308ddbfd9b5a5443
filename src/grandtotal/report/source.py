"""What a report is made of, read from one party's files and checked once.

simulation   everything: one machine held all retailers' rows, so they may stand side by side
consortium   the coordinator's folder alone: totals over the retailers, no interval, no one's share
retailer     retailers/<name>/ alone: that retailer's own rows, and what left it
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from grandtotal.durable import Json, digest, read_json, read_log
from grandtotal.errors import PlanError, RunError
from grandtotal.plan import Plan, plan_in
from grandtotal.runfolder import RunFolder
from grandtotal.tasks.scores import ROWS
from grandtotal.tasks.task import Task, metric_of

_DESCRIBED = ("headline", "higher_is_better", "metrics", "units", "sample", "rows", "gain")
_COUNTED = ("read", "used", "causes", "no_consent")


class View(Enum):
    """Whose files are read."""

    SIMULATION = "simulation"
    CONSORTIUM = "consortium"
    RETAILER = "retailer"


@dataclass(frozen=True)
class Release:
    """One summand that left every retailer, or the one whose report this is.

    bytes: by retailer. task, seconds and broadcast_bytes: None where only egress.jsonl is read.
    """

    query: str
    fields: Mapping[str, tuple[int, ...]]
    bytes: Mapping[str, int]
    task: str | None = None
    seconds: float | None = None
    broadcast_bytes: int | None = None


@dataclass(frozen=True)
class Delivery:
    """A finished model on its way to the retailers."""

    task: str
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Findings:
    """The scores of one task: of each retailer that may be shown, and over all.

    retailers, overall: {"rows": {row: {metric: {value, low, high}}}, "gain": {row: ...}, ...}.
    choice: of the federated model. pooled: {"same_as_federated", "digest"}, in simulation.
    model: the digest of the delivered model.
    """

    task: Task
    retailers: Mapping[str, Json]
    overall: Json | None
    choice: Json
    model: str
    pooled: Json | None = None

    @property
    def first(self) -> Json:
        """Any of the descriptions: headline, metrics and units are the same in all."""
        return self.overall if self.overall is not None else next(iter(self.retailers.values()))


@dataclass(frozen=True)
class Source:
    """Everything that is on the page.

    tables: by retailer, what became of the rows of each table; empty for a consortium.
    times: when the first and the last summand left, where that is known.
    left: who dropped out during the run.
    """

    view: View
    run: str
    retailer: str | None
    plan: Plan
    tasks: Mapping[str, Findings]
    releases: tuple[Release, ...]
    deliveries: tuple[Delivery, ...] = ()
    tables: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    versions: Json = dataclasses.field(default_factory=dict)
    finished: Json = dataclasses.field(default_factory=dict)
    times: tuple[str, str] | None = None
    left: tuple[str, ...] = ()

    @property
    def plan_digest(self) -> str:
        """The digest that every question names."""
        return digest(self.plan.content)


def read_run(folder: RunFolder) -> Source:
    """Returns a finished run: everybody's rows where simulation.json is, else totals only."""
    plan = _plan(folder.coordinator / "plan.json")
    finished = _checked(folder.coordinator / "finished.json", ("models", "totals", "rounds"))
    rounds = _rounds(folder.coordinator / "rounds.jsonl", finished["rounds"])
    simulated = (folder.path / "simulation.json").exists()
    models = finished["models"]
    source = Source(
        view=View.SIMULATION if simulated else View.CONSORTIUM,
        run=folder.path.resolve().name,
        retailer=None,
        plan=plan,
        tasks=_side_by_side(folder, plan, models) if simulated else _totals(folder, plan, models),
        releases=tuple(_asked(record) for record in rounds if "total" in record),
        deliveries=tuple(_delivery(record) for record in rounds if "deliver" in record),
        versions=_checked(folder.coordinator / "versions.json", ("grandtotal",)),
        finished=finished,
        left=folder.left(),
    )
    return _with_everybody(source, folder) if simulated else source


def read_own(folder: RunFolder) -> Source:
    """Returns what the party has on whose machine the folder is: the coordinator, or a retailer."""
    return (
        read_run(folder) if folder.coordinator.exists() else read_retailer(folder, folder.own.name)
    )


def read_retailer(folder: RunFolder, name: str) -> Source:
    """Returns what one retailer holds of a run; no other folder is opened."""
    here = folder.retailer(name)
    if name not in _names(here.parent):
        known = ", ".join(_names(here.parent)) or "none"
        raise RunError(f"{here.parent}: no retailer '{name}' in this run; there are: {known}")
    plan = _plan(here / "plan.json")
    egress = _log(here / "egress.jsonl")
    own = {task: _own(name, here, task, plan.tasks[task]) for task in plan.tasks}
    last = egress[-1].get("members", plan.members)
    return Source(
        view=View.RETAILER,
        run=folder.path.resolve().name,
        retailer=name,
        plan=plan,
        tasks=own,
        releases=tuple(_left(record, name) for record in egress),
        tables={name: _accounts(here / "tables.json")},
        times=(egress[0]["at"], egress[-1]["at"]),
        left=tuple(member for member in plan.members if member not in last),
    )


def _with_everybody(source: Source, folder: RunFolder) -> Source:
    members = source.plan.members
    times = [r["at"] for m in members for r in _log(folder.retailer(m) / "egress.jsonl")]
    return dataclasses.replace(
        source,
        tables={m: _accounts(folder.retailer(m) / "tables.json") for m in members},
        times=(min(times), max(times)),
    )


def _side_by_side(folder: RunFolder, plan: Plan, models: Json) -> dict[str, Findings]:
    path = folder.path / "simulation.json"
    tasks = _checked(path, ("tasks",))["tasks"]
    return {
        name: _simulated(path, task, tasks.get(name, {}), models.get(name, ""))
        for name, task in plan.tasks.items()
    }


def _simulated(path: Path, task: Task, content: Json, model: str) -> Findings:
    found = _having(content, ("retailers", "overall", "pooled_model"), path)
    for described in (*found["retailers"].values(), found["overall"]):
        _having(described, _DESCRIBED, path)
    choice = _federated_choice(found["retailers"], path)
    return Findings(
        task, found["retailers"], found["overall"], choice, model, found["pooled_model"]
    )


def _totals(folder: RunFolder, plan: Plan, models: Json) -> dict[str, Findings]:
    scores = folder.coordinator / "scores"
    return {
        name: _summed(
            task, _checked(scores / f"{name}.json", ("rows", "choice")), models.get(name, "")
        )
        for name, task in plan.tasks.items()
    }


def _summed(task: Task, scores: Json, model: str) -> Findings:
    """Returns the coordinator's scores in the shape of a retailer's, without intervals."""
    rows = scores["rows"]
    described = {
        "headline": task.headline,
        "higher_is_better": metric_of(task).higher_is_better,
        "metrics": {metric.name: metric.meaning for metric in task.metrics},
        "units": task.units,
        "sample": rows["federated"][task.units],
        "rows": {row: _values(rows[row], task.units) for row in ROWS if row in rows},
        "gain": {
            row: _gain(task, rows["federated"], rows[row]) for row in ROWS[:-1] if row in rows
        },
    }
    return Findings(task, {}, described, scores["choice"], model)


def _values(row: Json, units: str) -> Json:
    return {
        name: {"value": value if value is not None and math.isfinite(value) else None}
        for name, value in row.items()
        if name != units
    }


def _gain(task: Task, mine: Json, theirs: Json) -> Json:
    metric = metric_of(task)
    gain = (mine[metric.name] - theirs[metric.name]) * (1 if metric.higher_is_better else -1)
    if not math.isfinite(gain):
        return {"value": None}
    return {"value": gain, "relative": gain / theirs[metric.name] if theirs[metric.name] else None}


def _own(retailer: str, folder: Path, name: str, task: Task) -> Findings:
    path = folder / "scores" / f"{name}.json"
    scores = _checked(path, _DESCRIBED)
    retailers = {retailer: scores}
    choice = _federated_choice(retailers, path)
    return Findings(task, retailers, None, choice, scores.get("model", ""))


def _federated_choice(retailers: Mapping[str, Json], path: Path) -> Json:
    # Every retailer was given the same model, chosen once.
    for described in retailers.values():
        found: Json = _having(described.get("choices"), ("federated",), path)["federated"]
        return found
    raise RunError(f"{path}: no retailer in it: damaged, or of another version")


def _asked(record: Json) -> Release:
    fields = {name: tuple(shape) for name, shape in record["fields"].items()}
    return Release(
        record["query"],
        fields,
        record["bytes_out"],
        record["task"],
        record["seconds"],
        record["bytes_in"],
    )


def _delivery(record: Json) -> Delivery:
    return Delivery(record["task"], record["bytes_in"], record["seconds"])


def _left(record: Json, retailer: str) -> Release:
    fields = {name: tuple(field["shape"]) for name, field in record["fields"].items()}
    return Release(record["query"], fields, {retailer: record["bytes"]})


def _plan(path: Path) -> Plan:
    try:
        return plan_in(path.parent)
    except (OSError, ValueError, PlanError) as error:
        raise RunError(f"{path}: no plan can be read from it ({error})") from error


def _rounds(path: Path, expected: int) -> list[Json]:
    records = _log(path)
    found = sum("total" in record for record in records)
    if found != expected:
        raise RunError(f"{path}: {found} whole rounds, finished.json counts {expected}: damaged")
    return records


def _log(path: Path) -> list[Json]:
    records = read_log(path)
    if not records:
        raise RunError(f"{path}: missing or empty; the report is made of finished runs only")
    return records


def _accounts(path: Path) -> Json:
    accounts = _checked(path, ())
    for account in accounts.values():
        _having(account, _COUNTED, path)
    return accounts


def _checked(path: Path, keys: tuple[str, ...]) -> Json:
    try:
        return _having(read_json(path), keys, path)
    except FileNotFoundError:
        raise RunError(f"{path}: missing; the report is made of finished runs only") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error


def _having(value: Any, keys: tuple[str, ...], path: Path) -> Json:
    missing = [key for key in keys if key not in value] if isinstance(value, dict) else list(keys)
    if missing:
        raise RunError(f"{path}: no {', '.join(missing)} in it: damaged, or of another version")
    found: Json = value
    return found


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
