"""Seconds of a round over each line: in one process, over pipes, and through FLARE with mutual TLS.

Retailers answer with so many bytes, made of nothing, so that what is timed is the round itself:
question, summand, masks where there are any, total on the disk. All processes are on this machine,
on loopback; 50 ms are a relay that holds every byte for 25 ms each way. Medians over the rounds of
a size but its first. Start: from starting all processes to the first total, the approvals typed by
a script. Memory: the coordinator's process of the job at its peak, in the clear.

What is left out: 100 MB under masks from ten retailers; delays on the other lines, which have no
network, and with sizes above 1 MB, where bandwidth decides. Trees: 100 of six levels on 30 features
of 20,000 rows of each retailer. FedAvg: FLARE's own recipe with its simulator, weights of 1 MB; its
first round is left out as well.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.engine_parties import (
    SIZES,
    Parties,
    across,
    far,
    first_round_s,
    parties_of,
    seconds,
)
from benchmarks.rows import Row, at_least, at_most
from grandtotal.loopback import Loopback

BARS = {("1 MB", False): 0.10, ("1 MB", True): 0.25}  # 5 retailers through FLARE
ROUNDS = {"1 KB": 20, "1 MB": 20, "20 MB": 4, "100 MB": 3}
QUICK = {"1 KB": 6, "1 MB": 6}
FAR = {"1 KB": 10, "1 MB": 10}
_ROUND_TRIP_S = 0.05
_TREES = {False: (100, 180.0), True: (100, 300.0)}  # by masked: how many, and the bar in seconds
_TREE_ROWS = 20_000
_FEDAVG_ROUNDS = 4


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns seconds of a round by line, retailers and size; start, memory, and FedAvg."""
    rows: list[Row] = []
    for members in (3,) if quick else (3, 5, 10):
        with parties_of(members) as parties:
            rows += _lines(parties, quick)
    return rows if quick else [*rows, *_fedavg(rows)]


def _rounds(members: int, masked: bool) -> dict[str, int]:
    # Ten times a gigabyte under masks, with three processes' work on it, is nobody's patience.
    most = {"100 MB"} if masked and members == 10 else set()
    return {size: count for size, count in ROUNDS.items() if size not in most}


def _lines(parties: Parties, quick: bool) -> Iterator[Row]:
    members = len(parties.members)
    sizes = {m: QUICK if quick else _rounds(members, m) for m in (False, True)}
    plans = {masked: parties.plan(masked, rounds) for masked, rounds in sizes.items()}
    for line in ("embedded", "pipes"):
        for masked, plan in plans.items():
            yield from _rows(line, members, masked, seconds(parties.in_one(plan, line)))
    with parties.companies(plans[False]) as companies:
        for masked, plan in plans.items():
            held = across(companies, plan)
            yield from _rows("FLARE", members, masked, seconds(held.folder))
            if not masked:
                finished = held.folder.finished()
                assert finished is not None
                largest = max(SIZES[size] for size in sizes[masked]) / 2**20
                name = f"FLARE, {members} retailers, peak memory of the coordinator"
                yield at_most(round(3 * largest + 400), name, finished["peak_memory_mb"], "MB")
        if members == (3 if quick else 5):
            took = first_round_s(companies, parties.plan(False, QUICK))
            name = f"FLARE, {members} retailers, start to the first total"
            yield at_most(15.0, name, took, "s")
            yield from _trees(parties, companies, 4 if quick else None)
            yield from _far(parties, companies)


def _trees(parties: Parties, companies: Loopback, few: int | None) -> Iterator[Row]:
    for masked, (count, bar) in _TREES.items():
        plan = parties.trees(masked, few or count, _TREE_ROWS)
        finished = across(companies, plan).folder.finished()
        assert finished is not None
        how = "masked" if masked else "in the clear"
        name = f"FLARE, {len(parties.members)} retailers, {few or count} trees of 6 levels, {how}"
        row = Row(name, finished["seconds"], "s")
        yield row if few else at_most(bar, row.name, finished["seconds"], "s")


def _far(parties: Parties, companies: Loopback) -> Iterator[Row]:
    with far(companies, _ROUND_TRIP_S):
        for masked in (False, True):
            held = across(companies, parties.plan(masked, FAR))
            members = len(parties.members)
            for row in _rows("FLARE", members, masked, seconds(held.folder)):
                yield Row(f"{row.name}, 50 ms", row.value, row.unit)


def _rows(line: str, members: int, masked: bool, found: dict[str, float]) -> Iterator[Row]:
    for size, spent in found.items():
        name = f"{line}, {members} retailers, {size}, {'masked' if masked else 'in the clear'}"
        bar = BARS.get((size, masked)) if line == "FLARE" and members == 5 else None
        yield at_most(bar, name, spent, "s") if bar else Row(name, spent, "s")


FEDAVG = """
import sys
import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

script = sys.argv[1] + "/site.py"
open(script, "w").write('''
import nvflare.client as flare
flare.init()
while flare.is_running():
    found = flare.receive()
    flare.send(flare.FLModel(params=found.params, params_type=found.params_type))
''')
recipe = NumpyFedAvgRecipe(
    name="fedavg", model=np.zeros(125_000).tolist(), min_clients=5, num_rounds=int(sys.argv[2]),
    train_script=script, train_args="",
)
print(recipe.execute(SimEnv(num_clients=5, workspace_root=sys.argv[1] + "/work")))
"""


def _fedavg(rows: list[Row]) -> list[Row]:
    with TemporaryDirectory(prefix="grandtotal-fedavg-") as folder:
        command = [sys.executable, "-c", FEDAVG, folder, str(_FEDAVG_ROUNDS)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        except subprocess.TimeoutExpired:
            return [Row("FLARE's FedAvg recipe, 5 sites, 1 MB: not done in 180 s", None, "s")]
    text = done.stdout + done.stderr
    # The recipe writes the time on one line, and what happened between two rules below it.
    begun = re.findall(r"(\d+-\d+-\d+ \d+:\d+:\d+,\d+)[^\n]*\n-+\n *Round \d+ started", text)
    if done.returncode or len(begun) < 3:
        return [Row("FLARE's FedAvg recipe, 5 sites, 1 MB: did not run here", None, "s")]
    times = [datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f") for at in begun]
    spent = (times[-1] - times[1]).total_seconds() / (len(times) - 2)
    own = next(r.value for r in rows if r.name == "FLARE, 5 retailers, 1 MB, in the clear")
    assert own is not None
    return [
        Row("FLARE's FedAvg recipe in its simulator, 5 sites, 1 MB", spent, "s"),
        at_least(10.0, "the recipe over our round", spent / own, "times"),
    ]
