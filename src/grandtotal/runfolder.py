"""The folder that a run leaves behind.

runs/<id>/
    launch.json            where the retailers' files are, and how they are reached
    coordinator/           plan, rounds, totals, models, versions, scores of the consortium
    retailers/<name>/      plan, egress log, model, own scores, rows set aside, own log
    .../catalogue.safetensors  a private catalogue once it is found: numbers of products
    simulation.json        only where one machine holds everybody's rows: the pooled rows
    report.html            one offline page
"""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from grandtotal.durable import Json, read_json, read_log, write, write_json
from grandtotal.errors import RunError
from grandtotal.plan import Plan, plan_in


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
        """Returns the plan that was run, with its catalogue once that is known."""
        return plan_in(self.own)

    @property
    def own(self) -> Path:
        """The coordinator's folder; at a retailer across companies, who has no such, its own."""
        if self.coordinator.exists():
            return self.coordinator
        mine = [folder.parent for folder in self.path.glob("retailers/*/plan.json")]
        return mine[0] if mine else self.coordinator

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

    def left(self) -> tuple[str, ...]:
        """Returns who dropped out of the run, as far as the plan allows it."""
        path = self.coordinator / "left.json"
        return tuple(read_json(path)) if path.exists() else ()

    def is_complete(self) -> bool:
        """Whether nothing is left to do; across companies nothing is compared with pooled rows."""
        if "engine" in self.launch() and self.coordinator.exists():
            return self.finished() is not None
        if "engine" in self.launch():
            return all(
                (self.own / "scores" / f"{task}.json").exists() for task in self.plan().tasks
            )
        return (self.path / "simulation.json").exists()

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
    def all(runs: Path) -> "list[RunFolder]":
        """Returns all runs of a folder, newest first."""
        marks = sorted(runs.glob("*/launch.json"), key=lambda path: -path.stat().st_mtime)
        return [RunFolder(path.parent) for path in marks]

    @staticmethod
    def find(runs: Path, name: str) -> "RunFolder":
        """Returns the run of that id or path; "latest" is the newest. RunError if there is none."""
        known = RunFolder.all(runs)
        if name == "latest" and known:
            return known[0]
        for path in (Path(name), runs / name):
            if (path / "launch.json").exists():
                return RunFolder(path)
        listed = ", ".join(folder.path.name for folder in known[:3]) or "none yet"
        raise RunError(f"no run '{name}' in {runs}/; the newest are: {listed}")
