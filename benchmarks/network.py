"""Runs across companies whose lines are network devices: narrow, late, lossy, cut.

Four retailers, each in a network namespace of its own, with a pair of veth devices to the
coordinator; `tc` makes them narrow (tbf, 20 Mbit/s) and, where the kernel has netem, late (25 ms
each way) and lossy (1 %). A partition is a device that is down. It needs root, `ip` and `tc`; where
one is missing it says so, and the relay (`slow_line.py`) is what was tried.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rows import Row, at_most
from grandtotal.engine.conduct import Held
from grandtotal.loopback import Loopback
from grandtotal.plan import Plan
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import find_configs, simulate, start
from grandtotal.tables.example import make_example
from grandtotal.verify import verify

RETAILERS = ("north", "south", "west", "east")
ADDRESS = "10.77.0.1"
PATIENCE_S = 8
PLAN = f"""\
[consortium]
name = "network"
members = ["north", "south", "west", "east"]
today = 2024-07-15
catalogue = "few.csv"
patience_s = {PATIENCE_S}

[privacy]
dropouts = 1

[tasks.demand]
kind = "demand"
models = ["ridge"]
horizon = 2
test = 4
history = 30
"""
NARROW = ("tbf", "rate", "20mbit", "burst", "64kb", "latency", "400ms")
LATE = ("netem", "delay", "25ms", "loss", "1%", "rate", "20mbit")


class Apart(Loopback):
    """Parties of which each retailer is in a network namespace of its own."""

    def command(self, party: str) -> list[str]:
        """Returns what starts a party in its namespace."""
        inside = ["ip", "netns", "exec", f"gt-{party}"] if party in self.homes else []
        return [*inside, *super().command(party)]


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns what came of a run on narrow lines, one that was cut and healed, and one cut off."""
    if reason := why_not():
        return [Row(f"not run here: {reason}", None)]
    with TemporaryDirectory(prefix="grandtotal-network-") as name, namespaces():
        folder = Path(name)
        example = make_example(folder / "example", RETAILERS)
        few = (example / "catalogue.csv").read_text().splitlines()[:13]
        (example / "few.csv").write_text("\n".join(few) + "\n")
        (example / "plan.toml").write_text(PLAN)
        whole = _embedded(example, folder / "runs")
        homes = {retailer: folder / retailer for retailer in RETAILERS}
        for retailer, home in homes.items():
            shutil.copytree(example / retailer, home, ignore=shutil.ignore_patterns("door"))
        parties = Apart(folder, example / "plan.toml", homes, host=ADDRESS)
        parties.prepare()
        # Without it nobody answers for three what was answered for four: the difference is east's.
        for retailer in RETAILERS[:-1]:
            consent = ("--consent", ",".join(RETAILERS[:-1]))
            parties.type(retailer, "ledger", "retailer.toml", *consent)
        parties.start()
        try:
            return list(_rows(parties, whole))
        finally:
            parties.stop()


def _embedded(example: Path, runs: Path) -> RunFolder:
    plan = Plan.read(example / "plan.toml")
    folder = start(plan, find_configs(plan, example), runs, False)
    simulate(folder)
    return folder


def _rows(parties: Loopback, whole: RunFolder) -> Iterator[Row]:
    yield from _run_on(parties, whole, "20 Mbit/s", NARROW)
    if has_netem():
        yield from _run_on(parties, whole, "20 Mbit/s, 25 ms each way, 1 % lost", LATE)
    else:
        yield Row("delay and loss: the kernel has no netem", None)
    held = _begun(parties)
    _link("east", "down")
    time.sleep(PATIENCE_S / 4)
    _link("east", "up")
    yield _same("a partition that heals in time: digests that differ", parties, held, whole)
    held = _begun(parties)
    _link("east", "down")
    state = parties.wait(held, within_s=600.0)
    _link("east", "up")
    went_on = (
        state == "finished"
        and held.folder.left() == ("east",)
        and all(finding.ok for finding in verify(held.folder))
    )
    yield at_most(0, "a partition that stays: runs that did not go on without it", not went_on)


def _run_on(parties: Loopback, whole: RunFolder, name: str, kind: tuple[str, ...]) -> Iterator[Row]:
    for retailer in RETAILERS:
        for device in _devices(retailer):
            _do("tc", "qdisc", "replace", "dev", *device[-1:], "root", *kind, inside=device[:-1])
    held = _begun(parties)
    yield _same(f"{name}: digests that differ", parties, held, whole)
    rounds = [record["seconds"] for record in held.folder.rounds() if "total" in record]
    yield Row(f"{name}: a round", sum(rounds) / len(rounds), "s")
    for retailer in RETAILERS:
        for device in _devices(retailer):
            _do("tc", "qdisc", "del", "dev", *device[-1:], "root", inside=device[:-1])


def _begun(parties: Loopback) -> Held:
    held = parties.submit()
    parties.decide(held)
    while not held.folder.rounds():
        time.sleep(0.01)
    return held


def _same(name: str, parties: Loopback, held: Held, whole: RunFolder) -> Row:
    state = parties.wait(held, within_s=600.0)
    found, expected = held.folder.finished(), whole.finished()
    assert expected is not None
    same = found is not None and all(found[key] == expected[key] for key in ("models", "totals"))
    return at_most(0, name, not (state == "finished" and same))


# --- namespaces ---


@contextmanager
def namespaces() -> Iterator[None]:
    """Makes a namespace for each retailer, with a way to the coordinator's address and no other."""
    try:
        _do("ip", "addr", "replace", f"{ADDRESS}/32", "dev", "lo")
        for number, name in enumerate(RETAILERS, 1):
            space, net = f"gt-{name}", f"10.77.{number}"
            _do("ip", "netns", "add", space)
            peer = ("peer", "name", "eth0", "netns", space)
            _do("ip", "link", "add", f"gt-{name}", "type", "veth", *peer)
            _do("ip", "addr", "add", f"{net}.1/24", "dev", f"gt-{name}")
            _do("ip", "link", "set", f"gt-{name}", "up")
            inside = ("ip", "netns", "exec", space)
            _do("ip", "addr", "add", f"{net}.2/24", "dev", "eth0", inside=inside)
            for device in ("lo", "eth0"):
                _do("ip", "link", "set", device, "up", inside=inside)
            _do("ip", "route", "add", "default", "via", f"{net}.1", inside=inside)
        yield
    finally:
        for name in RETAILERS:
            _do("ip", "link", "del", f"gt-{name}", check=False)
            _do("ip", "netns", "del", f"gt-{name}", check=False)
        _do("ip", "addr", "del", f"{ADDRESS}/32", "dev", "lo", check=False)


def why_not() -> str:
    """Returns why namespaces cannot be made here, "" where they can."""
    if os.getuid() != 0:
        return "only root makes network namespaces"
    if missing := [tool for tool in ("ip", "tc") if shutil.which(tool) is None]:
        return f"{' and '.join(missing)} not installed"
    made = _do("ip", "netns", "add", "gt-trial", check=False)
    _do("ip", "netns", "del", "gt-trial", check=False)
    return "" if made else "the kernel makes no network namespace"


def has_netem() -> bool:
    """Returns whether the kernel can make a line late and lossy."""
    _do("ip", "link", "add", "gt-trial", "type", "dummy", check=False)
    able = _do(
        "tc", "qdisc", "add", "dev", "gt-trial", "root", "netem", "delay", "1ms", check=False
    )
    _do("ip", "link", "del", "gt-trial", check=False)
    return able


def _devices(retailer: str) -> list[tuple[str, ...]]:
    """Returns both ends of a retailer's line, the last word of each its name."""
    return [(f"gt-{retailer}",), ("ip", "netns", "exec", f"gt-{retailer}", "eth0")]


def _link(retailer: str, word: str) -> None:
    _do("ip", "link", "set", f"gt-{retailer}", word)


def _do(*words: str, inside: tuple[str, ...] = (), check: bool = True) -> bool:
    done = subprocess.run([*inside, *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join([*inside, *words])}: {done.stderr.strip()}")
    return done.returncode == 0
