"""Processes killed at random moments, over pipes and through FLARE: does anything show?

Each kill is a SIGKILL of one party, coordinator or retailer, at a moment drawn at random; the run
then goes on from what is on the disks. It counts where the run had not ended. A run that is over
must have the totals, the models and the releases of one that nobody disturbed, and `verify` must
find nothing. Three retailers, masked sums, 14 totals in a run.

Over pipes the processes are forked with everything imported, which makes a kill cheap; through
FLARE they are the real ones, and whoever is killed is started again, as systemd would.

python -m benchmarks.chaos [--pipes KILLS] [--flare KILLS] [--seed SEED] [--minutes MOST] [--write]
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.forked import Forked, retailer_of, work_on
from benchmarks.rows import Row, at_least, at_most
from grandtotal.durable import read_json, read_log, write_json
from grandtotal.loopback import Loopback
from grandtotal.plan import Plan
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import find_configs, simulate, start
from grandtotal.tables.example import make_example
from grandtotal.verify import verify

RETAILERS = ("north", "south", "west")
COORDINATOR = "coordinator"
PLAN = Path(__file__).with_name("small_plan.toml")
ASKED = {"pipes": 10_000, "flare": 100}
QUICK = {"pipes": 20, "flare": 0}


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns kills by whom they hit, runs, and what differed; in a process that may fork."""
    words = [f"--{line}={count}" for line, count in (QUICK if quick else ASKED).items()]
    command = [sys.executable, "-m", "benchmarks.chaos", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def main() -> int:
    """Prints the table's rows, as text and as JSON; 1 where a run ended in another way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipes", type=int, default=ASKED["pipes"], help="kills over pipes")
    parser.add_argument("--flare", type=int, default=ASKED["flare"], help="kills through FLARE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="at most, of each line")
    parser.add_argument("--write", action="store_true", help="put it into results.md")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    begun = time.monotonic()
    memory = Path("/dev/shm")  # what is killed is processes, not the machine: no disk is needed
    here = memory if os.access(memory, os.W_OK) else None
    with TemporaryDirectory(prefix="grandtotal-chaos-", dir=here) as folder:
        chaos = Chaos(Path(folder), asked.seed, 60 * asked.minutes)
        rows = [*chaos.pipes(asked.pipes), *chaos.flare(asked.flare)]
    if asked.write:
        from benchmarks.__main__ import write_section  # which imports this

        write_section("chaos", rows, time.monotonic() - begun)
    print(json.dumps([vars(row) for row in rows]))
    return 0


class Chaos:
    """An example with an undisturbed run, and the draws of who is killed when."""

    parties = (COORDINATOR, *RETAILERS)

    def __init__(self, folder: Path, seed: int = 0, most_s: float = 0.0) -> None:
        self._folder, self._seed, self._most_s = folder, seed, most_s
        self._draw = random.Random(seed)
        self.example = folder / "example"
        # In a process of its own: whoever has used polars may not fork.
        if Forked(self._prepare).wait():
            raise RuntimeError("the undisturbed run failed")
        self._whole = RunFolder.all(folder / "whole")[0]
        finished = self._whole.finished()
        assert finished is not None
        self._seconds = float(finished["seconds"])

    def _prepare(self) -> None:
        make_example(self.example)
        few = (self.example / "catalogue.csv").read_text().splitlines()[:13]
        (self.example / "few.csv").write_text("\n".join(few) + "\n")
        shutil.copy(PLAN, self.example / "plan.toml")
        simulate(self.begin("whole", processes=False))

    def begin(self, runs: str, processes: bool = True) -> RunFolder:
        """Returns the folder of a new run, for new doors: ledgers do not grow from run to run."""
        for name in RETAILERS:
            shutil.rmtree(self.example / name / "door", ignore_errors=True)
        plan = Plan.read(self.example / "plan.toml")
        configs = find_configs(plan, self.example)
        return start(plan, configs, self._folder / runs, processes)

    # --- over pipes ---

    def pipes(self, kills: int) -> list[Row]:
        """Kills over pipes until there were so many, each run going on until it is over."""
        begun = time.monotonic()
        beside = 2 * (os.cpu_count() or 1)  # each waits about half its time for the moment to kill
        share = -(-kills // beside)
        works = [Forked(partial(self._killing, number, share)) for number in range(beside)]
        if any(work.wait() for work in works):
            raise RuntimeError("a run ended otherwise than undisturbed; what is above says how")
        killed, runs = Counter[str](), 0
        for number in range(beside):
            found = read_json(self._folder / f"killed-{number}.json")
            killed.update(found["killed"])
            runs += found["runs"]
        return _rows("pipes", kills, killed, runs, time.monotonic() - begun)

    def _killing(self, number: int, kills: int) -> None:
        """Kills in a process of its own, with doors of its own, beside others that do the same."""
        shutil.copytree(self.example, self.example.with_name(f"example-{number}"))
        self.example = self.example.with_name(f"example-{number}")
        self._draw = random.Random(f"{self._seed} {number}")
        killed, runs, begun = Counter[str](), 0, time.monotonic()
        while killed.total() < kills and time.monotonic() - begun < self._most_s:
            run = self.begin(f"pipes-{number}")
            while run.finished() is None:
                killed.update(self._disturbed(run))
            self.check(run, run.retailer)
            shutil.rmtree(run.path)
            runs += 1
        write_json(self._folder / f"killed-{number}.json", {"killed": killed, "runs": runs})

    def _disturbed(self, run: RunFolder) -> list[str]:
        """Works on a run and kills one party after a while; returns whom, if it was in time."""
        work, whom = work_on(run), self._draw.choice(self.parties)
        time.sleep(self._draw.uniform(0.0, 1.5 * self._seconds))
        victim = work.pid
        if whom != COORDINATOR:
            victim = retailer_of(work.pid, self.parties.index(whom) - 1) or 0
        if victim and work.poll() is None:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                victim = 0
        return [whom] if work.wait() != 0 and victim else []

    # --- through FLARE ---

    def flare(self, kills: int) -> list[Row]:
        """The same through FLARE."""
        if not kills:
            return []
        folder = self._folder / "flare"
        homes = {name: folder / name for name in RETAILERS}
        for name, home in homes.items():
            ignored = shutil.ignore_patterns("door")
            shutil.copytree(self.example / name, home, ignore=ignored)
        parties = Loopback(folder, self.example / "plan.toml", homes, patience_s=6.0)
        parties.prepare()
        killed, runs, begun = Counter[str](), 0, time.monotonic()
        parties.start()
        try:
            while killed.total() < kills and time.monotonic() - begun < self._most_s:
                self._through(parties, killed, kills)
                runs += 1
        finally:
            parties.stop()
        return _rows("FLARE", kills, killed, runs, time.monotonic() - begun)

    def _through(self, parties: Loopback, killed: Counter[str], kills: int) -> None:
        run = parties.submit()
        parties.decide(run, within_s=300.0)
        while run.folder.finished() is None and killed.total() < kills:
            time.sleep(self._draw.uniform(0.0, self._seconds if run.busy else 0.5))
            if run.busy:
                whom = self._draw.choice(parties.parties)
                parties.kill(whom)
                parties.start(whom)
                killed.update([whom])
        state = parties.wait(run, within_s=900.0)
        assert state == "finished", (state, run.segments)
        name = f"small-{read_json(run.folder.coordinator / 'run.json')['run'][:12]}"
        self.check(run.folder, lambda who: parties.kit(who) / "runs" / name / "retailers" / who)

    def check(self, run: RunFolder, folder_of: Callable[[str], Path]) -> None:
        """AssertionError unless a run ended as the one that nobody disturbed."""
        found, expected = run.finished(), self._whole.finished()
        assert found is not None
        assert expected is not None
        assert found["models"] == expected["models"], run.path
        totals = [[r["total"] for r in e.rounds() if "total" in r] for e in (run, self._whole)]
        assert totals[0] == totals[1], run.path
        asked = [record["question"] for record in run.rounds() if "total" in record]
        for name in RETAILERS:
            egress = read_log(folder_of(name) / "egress.jsonl")
            assert [record["question"] for record in egress] == asked, (name, run.path)
        wrong = [finding for finding in verify(run) if not finding.ok]
        assert not wrong, wrong


def _rows(line: str, asked: int, killed: Counter[str], runs: int, spent_s: float) -> list[Row]:
    """Returns the rows of a line; there is none for a run that ended otherwise: it is an error."""
    total = killed.total()
    rows = [
        at_least(asked, f"{line}: kills", total),
        *(Row(f"{line}: of {whom}", killed[whom]) for whom in (COORDINATOR, *RETAILERS)),
        Row(f"{line}: runs that were killed until they ended", runs),
        at_most(0, f"{line}: runs that ended otherwise than undisturbed", 0),
        Row(f"{line}: kills a minute", 60 * total / spent_s if total else 0.0),
    ]
    for row in rows:
        print(f"{row.name}: {row.value:g}", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
