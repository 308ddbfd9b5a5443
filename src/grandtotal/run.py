"""A run: the coordinator's side of a plan, and the folder that it leaves behind.

runs/<id>/
    launch.json            where the retailers' files are, and how they are reached
    coordinator/           plan, rounds, totals, models, versions, scores of the consortium
    retailers/<name>/      plan, egress log, model, own scores, rows set aside, own log
    simulation.json        only where one machine holds everybody's rows: the pooled rows
    report.html            one offline page
"""

import hashlib
import os
import platform
import re
import resource
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grandtotal import __version__
from grandtotal.algorithms.model import save_arrays
from grandtotal.consortium.consortium import Consortium, Listener
from grandtotal.consortium.totals import Totals
from grandtotal.consortium.transport import Transport
from grandtotal.durable import (
    Json,
    arrays_digest,
    canonical,
    digest,
    read_json,
    read_log,
    write,
    write_json,
)
from grandtotal.errors import RunError
from grandtotal.plan import Plan
from grandtotal.tasks.scores import ROWS, TestScores, values_of
from grandtotal.tasks.task import Task


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, `runs/<id>`."""

    path: Path

    @property
    def coordinator(self) -> Path:
        """The coordinator's own folder."""
        return self.path / "coordinator"

    def retailer(self, name: str) -> Path:
        """A retailer's own folder; in a consortium of companies it is on their machine."""
        return self.path / "retailers" / name

    @property
    def report(self) -> Path:
        """The one-file report."""
        return self.path / "report.html"

    def plan(self) -> Plan:
        """Returns the plan that was run."""
        return Plan.parse((self.coordinator / "plan.json").read_bytes())

    def launch(self) -> Json:
        """Returns how the run was started."""
        found: Json = read_json(self.path / "launch.json")
        return found

    def rounds(self) -> list[Json]:
        """Returns the records of all rounds so far."""
        return read_log(self.coordinator / "rounds.jsonl")

    def finished(self) -> Json | None:
        """Returns the closing record: digests, seconds; None while the run is unfinished."""
        path = self.coordinator / "finished.json"
        return read_json(path) if path.exists() else None

    @staticmethod
    def create(runs: Path, plan: Plan, launch: Json) -> "RunFolder":
        """Returns a new folder, named after the plan and the time."""
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", plan.name) or "run"
        path = runs / f"{name}-{stamp}"
        for attempt in range(2, 100):
            if not path.exists():
                break
            path = runs / f"{name}-{stamp}-{attempt}"
        folder = RunFolder(path)
        write(folder.coordinator / "plan.json", plan.content)
        write_json(path / "launch.json", launch)
        return folder

    @staticmethod
    def find(runs: Path, name: str) -> "RunFolder":
        """Returns the run of that id or path; "latest" is the newest. RunError where there is none."""
        known = sorted(p.parent for p in runs.glob("*/launch.json"))
        if name == "latest" and known:
            return RunFolder(max(known, key=lambda p: (p / "launch.json").stat().st_mtime))
        for path in (Path(name), runs / name):
            if (path / "launch.json").exists():
                return RunFolder(path)
        listed = ", ".join(p.name for p in known[-3:]) or "none yet"
        raise RunError(f"no run '{name}' in {runs}/; there are: {listed}")


def coordinate(
    plan: Plan, transport: Transport, folder: RunFolder, listener: Listener = lambda record: None
) -> None:
    """Runs the plan as the coordinator: totals in, models out. Goes on where a killed run stopped.

    The process that calls this needs none of the retailers' files and never imports their tables.
    """
    started = time.monotonic()
    here = folder.coordinator
    write_json(here / "versions.json", versions())
    consortium = Consortium(plan.members, transport, here, listener)
    consortium.open(plan.content)
    models = {name: _train(name, task, consortium, here) for name, task in plan.tasks.items()}
    consortium.close()
    write_json(
        here / "finished.json",
        {
            "models": models,
            "totals": digest(*(r["total"].encode() for r in folder.rounds() if "total" in r)),
            "rounds": sum("total" in record for record in folder.rounds()),
            "seconds": round(time.monotonic() - started, 2),
            "peak_memory_mb": peak_memory_mb(),
        },
    )


def _train(name: str, task: Task, consortium: Consortium, folder: Path) -> str:
    totals = consortium.of(name)
    fitted = task.fit(totals)
    meta = {"task": name, "kind": task.kind, "model": fitted.model.meta, "choice": fitted.choice}
    save_arrays(folder / "models" / f"{name}.safetensors", fitted.model.arrays, meta)
    consortium.deliver(name, meta, fitted.model.arrays)
    scores = {"kind": task.kind, "choice": fitted.choice, "rows": _test_scores(name, task, totals)}
    write_json(folder / "scores" / f"{name}.json", scores)
    return arrays_digest(fitted.model.arrays)


def _test_scores(name: str, task: Task, totals: Totals) -> Json:
    """Returns the consortium's rows: no retailer's share of them is known here."""
    sums: Any = totals.total(TestScores(name, len(task.metrics), task.shown))
    return {
        row: {
            **values_of(
                task.metrics,
                sums[f"{row} numerators"] / [m.steps for m in task.metrics],
                sums[f"{row} denominators"] / [m.steps for m in task.metrics],
                sums[f"{row} shown"],
            ),
            task.units: int(sums[f"{row} units"][0]),
        }
        for row in ROWS
    }


@cache
def versions() -> Json:
    """Returns what the numbers depend on: software, machine, threads."""
    packages = ("numpy", "scipy", "polars", "safetensors")
    return {
        "grandtotal": __version__,
        "code": code_digest(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
    }


@cache
def code_digest() -> str:
    """Returns one digest over the package's source files."""
    root = Path(__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(canonical([str(path.relative_to(root)), path.read_text()]))
    return state.hexdigest()


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found.group(1) if found else platform.processor()


def peak_memory_mb() -> int:
    """Returns the largest resident size of this process so far, in MiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / (2**20 if sys.platform == "darwin" else 2**10))
