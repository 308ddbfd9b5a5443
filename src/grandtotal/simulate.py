"""A simulation: one machine holds everybody's rows, so it may do what no consortium can.

It starts all retailers, in this process or one process each, and afterwards trains on the pooled
rows and lays all retailers' tables side by side. Nothing here exists across companies.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import cast

from grandtotal.algorithms.model import load_arrays
from grandtotal.consortium.consortium import Listener, unheard
from grandtotal.consortium.query import Rows
from grandtotal.consortium.retailer import Participation, Retailer
from grandtotal.consortium.totals import Local
from grandtotal.consortium.transport import EmbeddedTransport, PipeTransport, Transport
from grandtotal.coordinate import coordinate
from grandtotal.durable import Json, arrays_digest, read_json, write_json
from grandtotal.errors import PlanError, RetailerError
from grandtotal.participate import (
    Participant,
    agreeing,
    describe,
    door_of,
    load_rows,
    model_path,
    opener,
    scores_summary,
)
from grandtotal.plan import Plan
from grandtotal.privacy.door import Door
from grandtotal.privacy.fingerprint import new_key, write_key
from grandtotal.privacy.identity import Roster, make_identity, read_unverified, write_roster
from grandtotal.runfolder import RunFolder
from grandtotal.tasks.scores import ROWS, UnitScores
from grandtotal.tasks.task import Fitted, Task, at_home, finished

ROSTER_LIFE = timedelta(days=365)


def find_configs(plan: Plan, folder: Path) -> dict[str, Path]:
    """Returns the retailer.toml of every member, `<folder>/<member>/retailer.toml`."""
    configs = {name: folder / name / "retailer.toml" for name in plan.members}
    missing = [str(path) for path in configs.values() if not path.exists()]
    if missing:
        raise PlanError(
            f"no {', '.join(missing)}: a simulation needs the file of every member, at "
            f"<member>/retailer.toml beside the plan"
        )
    return configs


def start(plan: Plan, configs: Mapping[str, Path], runs: Path, processes: bool) -> RunFolder:
    """Returns the folder of a new run."""
    launch = {
        "retailers": {name: str(configs[name].resolve()) for name in plan.members},
        "processes": processes,
    }
    plan.budget()  # a task without a private form is refused before anything is written
    folder = RunFolder.create(runs, plan, launch)
    if plan.common.privacy.secure_sum:
        _share_roster(plan, configs, folder)
    if plan.matching is not None:
        _share_key(plan, folder)
    return folder


def _share_key(plan: Plan, folder: RunFolder) -> None:
    # For retailers whose retailer.toml names no key; the coordinator's folder never holds one.
    key = new_key()
    for name in plan.members:
        write_key(folder.retailer(name) / "catalogue.key", key)


def simulate(folder: RunFolder, listener: Listener = unheard) -> None:
    """Runs a plan with all its retailers, new or where a killed run stopped, and compares."""
    plan, launch = folder.plan(), folder.launch()
    configs = {name: Path(path) for name, path in launch["retailers"].items()}
    transport, retailers = _transport(folder, configs, launch["processes"])
    try:
        coordinate(plan, transport, folder, listener)
    except RetailerError as error:
        raise RetailerError(f"{error}\n{_own_words(folder, plan)}") from error
    finally:
        transport.close()
    # The catalogue may be known only now.
    compare(folder.plan(), folder, retailers or _prepared(plan, folder, configs), listener)


def _share_roster(plan: Plan, configs: Mapping[str, Path], folder: RunFolder) -> None:
    """Gives every retailer on this machine a key, if it has none, and all the same roster."""
    doors = {name: door_of(path) for name, path in configs.items()}
    for door in doors.values():
        if not door.key_path.exists():
            make_identity(door.key_path)
    keys = {name: door.identity() for name, door in doors.items()}
    public = {name: key.public for name, key in keys.items()}
    roster = _agreed(plan, doors, public)
    if roster is None:
        epoch = 1 + max(_epoch(door.roster_path(plan.name)) for door in doors.values())
        roster = Roster(plan.name, epoch, public, date.today() + ROSTER_LIFE)
        for name, key in keys.items():
            roster = roster.signed(name, key)
        for door in doors.values():
            write_roster(door.roster_path(plan.name), roster)
    write_roster(folder.coordinator / "roster.json", roster)


def _agreed(plan: Plan, doors: Mapping[str, Door], public: Mapping[str, bytes]) -> Roster | None:
    """Returns the roster that all of them hold already; None where they hold none or several."""
    try:
        held = [door.roster(plan.name, plan.members) for door in doors.values()]
    except PlanError:
        return None
    same = len({roster.digest for roster in held}) == 1
    return held[0] if same and dict(held[0].members) == dict(public) else None


def _epoch(path: Path) -> int:
    try:
        return read_unverified(path).epoch
    except PlanError:
        return 0


Prepared = Mapping[str, Mapping[str, Participation]]
"""The parts of every retailer, by retailer and task."""


def _transport(
    folder: RunFolder, configs: Mapping[str, Path], processes: bool
) -> tuple[Transport, dict[str, Mapping[str, Participation]]]:
    if processes:
        commands = {
            name: (process_command(name, path, folder.retailer(name)), folder.retailer(name))
            for name, path in configs.items()
        }
        return PipeTransport(commands), {}
    prepared: dict[str, Mapping[str, Participation]] = {}
    retailers = {
        name: Retailer(
            name,
            folder.retailer(name),
            _kept(prepared, name, path, folder),
            door_of(path),
            agreeing(path, folder.retailer(name)),
        )
        for name, path in configs.items()
    }
    return EmbeddedTransport(retailers), prepared


def _kept(
    prepared: dict[str, Mapping[str, Participation]], name: str, path: Path, folder: RunFolder
) -> Callable[[bytes], Mapping[str, Participation]]:
    opened = opener(name, path, folder.retailer(name))

    def open_plan(content: bytes) -> Mapping[str, Participation]:
        prepared[name] = opened(content)
        return prepared[name]

    return open_plan


def process_command(name: str, config: Path, folder: Path) -> list[str]:
    """Returns the command of a retailer's own process."""
    return [
        sys.executable,
        "-m",
        "grandtotal.retailer_process",
        name,
        str(config.resolve()),
        str(folder.resolve()),
    ]


def _prepared(plan: Plan, folder: RunFolder, configs: Mapping[str, Path]) -> Prepared:
    return {
        name: opener(name, path, folder.retailer(name))(plan.content)
        for name, path in configs.items()
    }


def compare(
    plan: Plan, folder: RunFolder, prepared: Prepared, listener: Listener = unheard
) -> None:
    """Writes simulation.json: the pooled rows, and every retailer's table side by side.

    Of those that stayed to the end: whoever dropped out has scored nothing.
    """
    tasks = {}
    stayed = [who for who in plan.members if who not in folder.left()]
    for name, task in plan.tasks.items():
        parts = {who: cast(Participant, prepared[who][name]) for who in stayed}
        tasks[name] = _compare(name, task, folder, parts)
        listener({"task": name, "pooled": tasks[name]["pooled_model"]})
    write_json(folder.path / "simulation.json", {"members": stayed, "tasks": tasks})


def _compare(name: str, task: Task, folder: RunFolder, parts: Mapping[str, Participant]) -> Json:
    rows: dict[str, Rows] = {retailer: part.rows for retailer, part in parts.items()}
    fitted = at_home(task).fit(Local(task.pooled(list(rows.values()))))
    federated, _ = load_arrays(model_path(folder.coordinator, name))
    same = arrays_digest(fitted.model.arrays) == arrays_digest(federated)
    tables = {}
    scores = {}
    for retailer, part in parts.items():
        kept = load_rows(part.folder, name, task, ROWS)
        # The same model gives the same scores: only another one has to be scored.
        pooled = kept["federated"] if same else _score(task, fitted, part)
        scores[retailer] = {**kept, "pooled": pooled}
        own = read_json(scores_summary(part.folder, name))
        described = describe(task, scores[retailer], task.common.seed)
        tables[retailer] = {**described, "choices": own["choices"], "detail": own["detail"]}
    joined = {
        row: UnitScores.joined([found[row] for found in scores.values()])
        for row in (*ROWS, "pooled")
    }
    return {
        "pooled_model": {
            "same_as_federated": same,
            "digest": arrays_digest(fitted.model.arrays),
            "choice": fitted.choice,
        },
        "retailers": tables,
        "overall": describe(task, joined, task.common.seed),
    }


def _score(task: Task, fitted: Fitted, part: Participant) -> UnitScores:
    model, _ = finished(task, fitted, part.rows)
    return task.score(model, part.rows, "test")


def _own_words(folder: RunFolder, plan: Plan) -> str:
    """Returns the last line of each retailer's own log: a simulation may read them all."""
    words = []
    for name in plan.members:
        path = folder.retailer(name) / "log.txt"
        if path.exists() and (lines := path.read_text().strip().splitlines()):
            words.append(f"{name}/log.txt: {lines[-1]}")
    return "\n".join(words)
