"""Parties whose only work is a round of so many bytes, over each of the three lines.

The question and its task are a package of their own, as anybody's would be: in a folder on the path
of every process, named in its entry points, its version in the digest of the code.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory

from benchmarks.slow_line import SlowLine
from grandtotal.engine.conduct import Held
from grandtotal.loopback import Loopback
from grandtotal.runfolder import RunFolder
from grandtotal.tables.example import make_example

NAMES = ("north", "south", "west", "east", "coast", "hills", "lakes", "city", "isles", "plain")
SIZES = {"1 KB": 10**3, "1 MB": 10**6, "20 MB": 2 * 10**7, "100 MB": 10**8}

PACKAGE = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from grandtotal.privacy.bound import NoCustomers
from grandtotal.privacy.fixedpoint import Field
from grandtotal.tasks.scores import Metric, UnitScores
from grandtotal.tasks.task import Common, Fitted

METRICS = (Metric("right", True, "always 1"),)


@dataclass(frozen=True)
class Words:
    name: ClassVar[str] = "sized-words"
    words: int
    turn: int
    bound = NoCustomers("made of nothing")

    def fields(self, broadcast):
        return {"words": Field((self.words,), largest=2**20)}

    def answer(self, rows, state, broadcast):
        return {"words": np.full(self.words, self.turn, np.int64)}


@dataclass(frozen=True)
class Nothing:
    arrays: dict
    meta: dict


@dataclass(frozen=True)
class Rounds:
    kind: ClassVar[str] = "sized-rounds"
    headline: ClassVar[str] = "right"
    units: ClassVar[str] = "units"
    common: Common
    words: int
    rounds: int
    metrics = METRICS
    shown = 0

    def fit(self, totals):
        for turn in range(self.rounds):
            last = totals.total(Words(self.words, turn))["words"]
        return Fitted(Nothing({"last": last[:1]}, {}), {"chosen": {}, "tried": []})

    def rows(self, tables):
        return {"test": (), "validation": ()}

    def build(self, arrays, meta):
        return Nothing(arrays, meta)

    def adapt(self, model, rows):
        return model

    def baseline(self, rows):
        return Nothing({}, {}), "nothing"

    def score(self, model, rows, split):
        one = np.ones(1)
        return UnitScores.of(METRICS, [one], [one])

    def detail(self, model, rows):
        return {}
"""
TREES = """

import zlib

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.tree_growth import Growth
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.trees import Boosting


@dataclass(frozen=True)
class Forest(Rounds):
    kind: ClassVar[str] = "sized-trees"
    common: Common
    words: int
    rounds: int

    def fit(self, totals):
        boosting = Boosting(trees=self.rounds, growth=Growth(leaves=64, depth=6))
        names = tuple(f"x{number}" for number in range(30))
        trees, _ = boosting.fit(totals, Data("y", names))
        return Fitted(Nothing(trees.arrays, {}), {"chosen": {}, "tried": []})

    def rows(self, tables):
        draw = np.random.default_rng(zlib.crc32(tables.config.retailer.encode()))
        numbers = {f"x{number}": draw.normal(size=self.words) for number in range(30)}
        x = list(numbers.values())
        numbers["y"] = x[0] * x[1] + np.sin(3 * x[2]) + 0.1 * draw.normal(size=self.words)
        keys = draw.integers(0, 2**63, self.words, dtype=np.uint64)
        return {"train": Columns(numbers, {}, keys), "test": (), "validation": ()}
"""
ENTRIES = """[grandtotal.queries]
sized-words = sized:Words

[grandtotal.tasks]
sized-rounds = sized:Rounds
sized-trees = sized:Forest
"""
IN_ONE = """
import sys
from pathlib import Path
from grandtotal.consortium.transport import EmbeddedTransport, PipeTransport
from grandtotal.consortium.retailer import Retailer
from grandtotal.coordinate import coordinate
from grandtotal.participate import agreeing, door_of, opener
from grandtotal.plan import Plan
from grandtotal.simulate import find_configs, process_command, start

plan = Plan.read(Path(sys.argv[1]))
run = start(plan, find_configs(plan, Path(sys.argv[1]).parent), Path(sys.argv[2]), False)
homes = {name: (Path(path), run.retailer(name)) for name, path in run.launch()["retailers"].items()}
if sys.argv[3] == "pipes":
    line = PipeTransport({n: (process_command(n, c, f), f) for n, (c, f) in homes.items()})
else:
    line = EmbeddedTransport({
        n: Retailer(n, f, opener(n, c, f), door_of(c), agreeing(c, f))
        for n, (c, f) in homes.items()
    })
try:
    coordinate(plan, line, run)
finally:
    line.close()
print(run.path)
"""


@dataclass(frozen=True)
class Parties:
    """A folder with so many retailers, and the package that asks nothing but bytes."""

    folder: Path
    members: tuple[str, ...]

    def plan(self, masked: bool, rounds: Mapping[str, int]) -> Path:
        """Writes the plan that asks for so many rounds of each size; returns its file."""
        lines = []
        for size, count in rounds.items():
            lines.append(f'[tasks."{size}"]\nkind = "sized-rounds"')
            lines.append(f"words = {SIZES[size] // 8}\nrounds = {count}")
        return self._plan("masked" if masked else "clear", masked, lines)

    def trees(self, masked: bool, trees: int, rows: int) -> Path:
        """Writes the plan of so many trees of six levels on so many rows of each; its file."""
        task = f'[tasks.trees]\nkind = "sized-trees"\nwords = {rows}\nrounds = {trees}'
        return self._plan("masked-trees" if masked else "trees", masked, [task])

    def _plan(self, name: str, masked: bool, tasks: list[str]) -> Path:
        lines = [
            f'[consortium]\nname = "sized"\nmembers = {json.dumps(list(self.members))}',
            'today = 2024-07-15\ncatalogue = "few.csv"',
            f"[privacy]\nsecure_sum = {str(masked).lower()}\nkeep_masked = false",
            *tasks,
        ]
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def in_one(self, plan: Path, line: str) -> RunFolder:
        """Runs a plan embedded or over pipes, in a process of its own."""
        command = [sys.executable, "-c", IN_ONE, str(plan), str(self.folder / "runs"), line]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return RunFolder(Path(done.stdout.split()[-1]))

    @contextmanager
    def companies(self, plan: Path) -> Iterator[Loopback]:
        """Yields the parties as real processes over FLARE with mutual TLS."""
        folder = self.folder / "companies"
        homes = {name: folder / name for name in self.members}
        for name, home in homes.items():
            copytree(self.folder / name, home, ignore=ignore_patterns("door"))
        parties = Loopback(folder, plan, homes, patience_s=60.0)
        parties.prepare()
        parties.start()
        try:
            yield parties
        finally:
            parties.stop()


@contextmanager
def parties_of(members: int) -> Iterator[Parties]:
    """Yields so many retailers, with the package on the path of this process and its children."""
    from grandtotal.consortium.query import installed
    from grandtotal.versions import code_digest

    # A job's process ends a second after its party, and may still write while the folder goes.
    with TemporaryDirectory(prefix="grandtotal-engine-", ignore_cleanup_errors=True) as name:
        folder, package = Path(name), Path(name) / "package"
        (package / "sized-1.dist-info").mkdir(parents=True)
        (package / "sized.py").write_text(PACKAGE + TREES)
        (package / "sized-1.dist-info/METADATA").write_text("Name: sized\nVersion: 1\n")
        (package / "sized-1.dist-info/entry_points.txt").write_text(ENTRIES)
        make_example(folder, NAMES[:members])
        (folder / "few.csv").write_text("product\n1\n")
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(part for part in (str(package), before) if part)
        sys.path.insert(0, str(package))
        _forget(installed, code_digest)
        try:
            yield Parties(folder, NAMES[:members])
        finally:
            sys.path.remove(str(package))
            sys.modules.pop("sized", None)
            os.environ["PYTHONPATH"] = before
            _forget(installed, code_digest)


@contextmanager
def far(parties: Loopback, round_trip_s: float) -> Iterator[None]:
    """Starts the parties again, each retailer at the end of a long line."""
    line = SlowLine(parties.port, round_trip_s / 2)
    parties.stop()
    parties.through = dict.fromkeys(parties.homes, line.port)
    for name in parties.homes:
        parties.lead(name)
    parties.start()
    try:
        yield
    finally:
        parties.stop()
        line.close()


def _forget(*cached: object) -> None:
    for function in cached:
        function.cache_clear()  # type: ignore[attr-defined]


def across(parties: Loopback, plan: Path, within_s: float = 600.0) -> Held:
    """Submits a plan, approves it everywhere, and returns its finished run."""
    (parties.home("coordinator") / plan.name).write_text(plan.read_text())
    run = parties.submit(plan.name)
    parties.decide(run)
    state = parties.wait(run, within_s=within_s)
    if state != "finished":
        raise RuntimeError(f"{state}: {run.segments}")
    return run


def seconds(run: RunFolder) -> dict[str, float]:
    """Returns the median seconds of a round of each size, but for the first, which sets up."""
    spent: dict[str, list[float]] = {}
    for record in run.rounds():
        if record.get("query") == "sized-words":
            spent.setdefault(record["task"], []).append(record["seconds"])
    return {size: statistics.median(each[1:]) for size, each in spent.items()}


def first_round_s(parties: Loopback, plan: Path) -> float:
    """Returns the seconds from starting all processes to the first total, approval included."""
    parties.stop()
    begun = time.monotonic()
    parties.start()
    (parties.home("coordinator") / plan.name).write_text(plan.read_text())
    run = parties.submit(plan.name)
    parties.decide(run)
    while not run.folder.rounds() and run.open:
        time.sleep(0.02)
    took = time.monotonic() - begun
    parties.wait(run)
    return took


def memory_mb(folder: Path) -> dict[str, float]:
    """Returns the resident MB of every process of the parties below a folder, by its part."""
    found: dict[str, float] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            called = (status.parent / "comm").read_text().strip()
            here = os.readlink(status.parent / "cwd")
            text = status.read_text()
        except OSError:
            continue
        if here.startswith(str(folder)) and "VmRSS" in text:
            party = Path(here).relative_to(folder).parts[0]
            part = {"grandtotal-job": "job", "grandtotal-nest": "nursery"}.get(called, "parent")
            found[f"{party} {part}"] = int(text.split("VmRSS:")[1].split()[0]) / 1024
    return found
