"""Kills real processes at random moments until runs are over, and checks that nothing shows.

python -m chaos [--pipes KILLS] [--flare KILLS] [--seed SEED]

Each kill is a SIGKILL of one party at a moment drawn at random. A run that is over must have the
totals, the models and the releases of a run that nobody disturbed, and `verify` must find nothing.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from conftest import SMALL
from grandtotal.durable import read_json, read_log
from grandtotal.loopback import Loopback
from grandtotal.plan import Plan
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import find_configs, simulate, start
from grandtotal.tables.example import make_example
from grandtotal.verify import verify

RETAILERS = ("north", "south", "west")
COORDINATOR = "coordinator"
WORK = """
import sys
from pathlib import Path
from grandtotal.consortium.transport import PipeTransport
from grandtotal.coordinate import coordinate
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import process_command

folder = RunFolder(Path(sys.argv[1]))
commands = {
    name: (process_command(name, Path(config), folder.retailer(name)), folder.retailer(name))
    for name, config in folder.launch()["retailers"].items()
}
transport = PipeTransport(commands)
try:
    coordinate(folder.plan(), transport, folder)
finally:
    transport.close()
"""


def main() -> int:
    """Returns 0 where every run ended as if nobody had been killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipes", type=int, default=200, help="kills over pipes")
    parser.add_argument("--flare", type=int, default=20, help="kills through FLARE")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with TemporaryDirectory(prefix="grandtotal-chaos-") as folder:
        example = make_example(Path(folder) / "example")
        few = (example / "catalogue.csv").read_text().splitlines()[:13]
        (example / "few.csv").write_text("\n".join(few) + "\n")
        (example / "plan.toml").write_text(SMALL)
        plan = Plan.read(example / "plan.toml")
        whole = start(plan, find_configs(plan, example), Path(folder) / "whole", False)
        begun = time.monotonic()
        simulate(whole)
        print(f"undisturbed: {time.monotonic() - begun:.1f} s, seed {asked.seed}")
        over_pipes(example, Path(folder) / "pipes", whole, asked.pipes, draw)
        through_flare(example, Path(folder) / "flare", whole, asked.flare, draw)
    return 0


def over_pipes(
    example: Path, runs: Path, whole: RunFolder, kills: int, draw: random.Random
) -> None:
    """Kills over pipes until there were so many, each run going on until it is over."""
    plan = Plan.read(example / "plan.toml")
    killed, done = Counter[str](), 0
    while killed.total() < kills:
        run = start(plan, find_configs(plan, example), runs, True)
        while not run.finished():
            if killed.total() < kills:
                killed.update(_disturbed(run, draw))
            else:
                _work(run).wait()
        _check(run, whole, run.retailer)
        shutil.rmtree(run.path)
        done += 1
    _say("pipes", killed, done)


def _disturbed(run: RunFolder, draw: random.Random) -> list[str]:
    """Works on a run and kills one party after a while; returns whom, if it was in time."""
    work, whom = _work(run), draw.choice((COORDINATOR, *RETAILERS))
    time.sleep(draw.uniform(0.3, 4.0))
    victim = work.pid if whom == COORDINATOR else _retailer(work.pid, whom)
    in_time = work.poll() is None and victim is not None
    if in_time:
        os.kill(victim, signal.SIGKILL)
    work.wait()
    return [whom] if in_time else []


def _work(run: RunFolder) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORK, str(run.path)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _retailer(parent: int, name: str) -> int | None:
    """Returns the process of a retailer, by its command line; None where it has not begun."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    for child in children.read_text().split() if children.exists() else ():
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if name.encode() in words:
            return int(child)
    return None


def through_flare(
    example: Path, folder: Path, whole: RunFolder, kills: int, draw: random.Random
) -> None:
    """The same through FLARE: whoever is killed is started again, as systemd would."""
    homes = {name: folder / name for name in RETAILERS}
    for name, home in homes.items():
        shutil.copytree(example / name, home, ignore=shutil.ignore_patterns("door"))
    parties = Loopback(folder, example / "plan.toml", homes, patience_s=6.0)
    if kills:
        parties.prepare()
    killed, done = Counter[str](), 0
    try:
        while killed.total() < kills:
            parties.start(*(party for party in parties.parties if not parties.alive(party)))
            run = parties.submit()
            parties.decide(run, within_s=120.0)
            while run.folder.finished() is None and killed.total() < kills:
                time.sleep(draw.uniform(0.0, 3.0 if run.busy else 0.5))
                if run.busy:
                    whom = draw.choice(parties.parties)
                    parties.kill(whom)
                    parties.start(whom)
                    killed.update([whom])
            state = parties.wait(run, within_s=300.0)
            assert state == "finished", (state, run.segments)
            name = f"small-{read_json(run.folder.coordinator / 'run.json')['run'][:12]}"
            _check(
                run.folder,
                whole,
                lambda who, name=name: parties.kit(who) / "runs" / name / "retailers" / who,
            )
            done += 1
    finally:
        parties.stop()
    _say("FLARE", killed, done)


def _check(run: RunFolder, whole: RunFolder, folder_of) -> None:
    found, expected = run.finished(), whole.finished()
    assert found is not None
    assert expected is not None
    assert found["models"] == expected["models"], run.path
    totals = [[r["total"] for r in each.rounds() if "total" in r] for each in (run, whole)]
    assert totals[0] == totals[1], run.path
    asked = [record["question"] for record in run.rounds() if "total" in record]
    for name in RETAILERS:
        egress = read_log(folder_of(name) / "egress.jsonl")
        assert [record["question"] for record in egress] == asked, (name, run.path)
    wrong = [finding for finding in verify(run) if not finding.ok]
    assert not wrong, wrong


def _say(line: str, killed: Counter[str], done: int) -> None:
    whom = ", ".join(f"{name} {count}" for name, count in sorted(killed.items()))
    print(f"{line}: {killed.total()} kills ({whom or 'nobody'}) in {done} runs; all as undisturbed")


if __name__ == "__main__":
    sys.exit(main())
