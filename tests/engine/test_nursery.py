"""Jobs are forked from a process that was set aside: who starts them, who ends with whom."""

import os
import signal
import subprocess
import sys
import time

import pytest

PARTY = """
import os, sys, time
from grandtotal.engine import job, nursery

def work(words, parent):
    print(os.environ.get("SECRET"), os.getpid(), parent, flush=True)
    if words[0] == "kill":
        os.kill(parent, 9)
        job.end_with(parent)
    if words[0] == "sleep":
        time.sleep(60)
    return int(words[0])

job.main = work  # in this process and those that are forked of it, not in a new interpreter
nest = nursery.Nursery(lambda: None)
"""
NEW_INTERPRETER = ["submit", "no such kit", "run", "3"]  # which fails at the first step


def party(script):
    """Starts a party whose script goes on so."""
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PARTY + script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(script):
    process = party(script)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return [line.split() for line in out.splitlines()], err


def test_a_child_knows_its_secrets_and_its_exit_status_is_told():
    lines, _ = printed(
        "for status in (0, 3):\n"
        "    assert nest.start([str(status)], {'SECRET': f's{status}'}).wait() == status\n"
        "assert 'SECRET' not in os.environ\n"
        "child = nest.start(['sleep'])\n"
        "assert child.poll() is None\n"
        "child.terminate()\n"
        "assert child.wait() == child.poll() == -9\n"
    )
    assert [line[0] for line in lines[:2]] == ["s0", "s3"]
    assert len({line[2] for line in lines}) == 1


def ended(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{number}/stat") as file:
        return ") Z " in file.read()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks at processes in /proc")
def test_with_a_party_that_is_killed_its_nursery_and_its_children_end():
    process = party("nest.start(['sleep'])\ntime.sleep(60)\n")
    _, child, nursery = process.stdout.readline().split()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 20
    while not (ended(int(child)) and ended(int(nursery))):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_where_the_nursery_was_killed_or_the_code_is_another_a_new_interpreter_does_the_work():
    _, err = printed(
        f"words = {NEW_INTERPRETER!r}\n"
        "nursery._code = lambda: {'a file': time.monotonic_ns()}\n"
        "other = nursery.Nursery(lambda: None)\n"
        "assert other.start(words).wait() == 1\n"
        "child = nest.start(['kill'])\n"
        "assert child.wait() == -9\n"
        "assert nest.start(words).wait() == 1\n"
    )
    assert err.count("No such file or directory: 'no such kit/submit.txt'") == 2
