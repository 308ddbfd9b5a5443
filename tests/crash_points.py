"""Kills every party at every named point of a run, over pipes; prints what came of it as JSON.

A chain is a run in which one party dies at one point after another, in the order in which a run
comes by them, and goes on each time. It is a program and not a test because it forks.
"""

import json
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

from benchmarks.chaos import Chaos
from benchmarks.forked import work_on

from dying import Dying
from grandtotal import durable, retailer_process

TORN, WHOLE = ("fsync", 0, 0.5), ("fsync", 0, 1.0)  # of what is added to a file
UNNAMED, NAMED = ("replace", 0, 1.0), ("named", 0, 1.0)  # of a file that is new

COORDINATOR = {
    "begun": ("coordinator/versions.json", TORN, UNNAMED),
    "slots reserved": ("coordinator/batches.json", TORN, NAMED),
    "keys exchanged": ("coordinator/batches/*.json", UNNAMED, NAMED),
    "masked sum kept": ("coordinator/pending/*.sum", TORN, NAMED),
    "attempt kept": ("coordinator/pending/*.json", UNNAMED, NAMED),
    "masks off, record kept": ("coordinator/transcripts/*", TORN, NAMED),
    "total kept": ("coordinator/totals/*", TORN, UNNAMED, NAMED),
    "total committed": ("coordinator/rounds.jsonl", TORN, ("fsync", 1, 0.0), ("fsync", 2, 0.999)),
    "model kept": ("coordinator/models/*", TORN, NAMED),
    "scores kept": ("coordinator/scores/*", TORN, NAMED),
    "finished": ("coordinator/finished.json", TORN, UNNAMED),
}
RETAILER = {
    "plan opened": ("retailers/{0}/plan.json", TORN, NAMED),
    "keys made": ("retailers/{0}/secure_sum/batch-*", UNNAMED, NAMED),
    "step of a slot": ("retailers/{0}/secure_sum/secure_sum.jsonl", TORN, ("fsync", 2, 1.0)),
    "prepared": ("door/ledger.jsonl", TORN, ("fsync", 1, 0.999)),
    "logged": ("retailers/{0}/egress.jsonl", TORN, WHOLE, ("fsync", 2, 0.0)),
    "masked": ("retailers/{0}/secure_sum/secure_sum.jsonl", ("fsync", 1, 0.5), WHOLE),
    "about to answer": ("reply", 0, 3, 8),
    "model kept": ("retailers/{0}/models/*", TORN, NAMED),
    "scores kept": ("retailers/{0}/scores/*.safetensors", TORN, UNNAMED),
    "scores told": ("retailers/{0}/scores/*.json", TORN),
}


def die_at(whom, pattern, how, run, example, party):
    """Has one party die at one point; is called in every process before it begins."""
    if party != whom:
        return
    if pattern == "reply":
        _die_before_reply(how)
        return
    root = example / whom if pattern.startswith("door") else run.path
    durable.os = Dying(how[0], pattern.format(whom), *how[1:], root=root, die=_killed)


def _killed():
    os.kill(os.getpid(), signal.SIGKILL)


def _die_before_reply(turn):
    write, written = retailer_process.write_frame, []

    def write_until_killed(pipe, reply):
        written.append(reply)
        if len(written) > turn:
            _killed()
        write(pipe, reply)

    retailer_process.write_frame = write_until_killed


def main(folder):
    chaos = Chaos(folder)
    found = {}
    for whom in chaos.parties:
        run = chaos.begin("chain")
        points = COORDINATOR if whom == "coordinator" else RETAILER
        for name, (pattern, *ways) in points.items():
            # All ways for the first of the retailers, one for each other.
            most = len(ways) if whom in chaos.parties[:2] else 1
            for number, how in enumerate(ways[:most]):
                prepare = partial(die_at, whom, pattern, how, run, chaos.example)
                died = work_on(run, prepare).wait() != 0 and run.finished() is None
                found[f"{whom}: {name}, {number}"] = "" if died else "the point was not reached"
        status = work_on(run).wait()
        try:
            assert status == 0, (run.path / "process.txt").read_text()[-2000:]
            chaos.check(run, run.retailer)
            found[f"{whom}: ends as if nobody had died"] = ""
        except AssertionError as error:
            found[f"{whom}: ends as if nobody had died"] = repr(error)
        shutil.rmtree(run.path)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
