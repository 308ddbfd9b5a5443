"""A retailer's process that dies in a run whose plan can do without one."""

import shutil
import signal
import sys

import pytest

from grandtotal import simulate as simulation
from grandtotal.durable import read_json
from grandtotal.errors import RetailerError
from grandtotal.plan import Plan
from grandtotal.report.report import write_report
from grandtotal.simulate import find_configs, process_command, simulate, start
from grandtotal.tables.example import make_example
from grandtotal.verify import verify

MEMBERS = ("north", "south", "west", "east")

DYING = """
import os, signal, sys
from pathlib import Path
from grandtotal import retailer_process

write, answers = retailer_process.write_frame, []

def write_until_killed(pipe, reply):
    answers.append(reply)
    if len(answers) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    write(pipe, reply)

retailer_process.write_frame = write_until_killed
retailer_process.main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.fixture
def begun(example, tmp_path, monkeypatch):
    """Returns a maker of runs of four retailers, of whom 'west' dies at its tenth answer."""

    def command(name, config, folder):
        whole = process_command(name, config, folder)
        return [sys.executable, "-c", DYING, *whole[-3:]] if name == "west" else whole

    def make(dropouts):
        folder = make_example(tmp_path / "four", MEMBERS)
        text = (example / "plan.toml").read_text()
        assert 'members = ["north", "south", "west"]' in text
        text = text.replace('"west"]', '"west", "east"]')
        (folder / "plan.toml").write_text(f"{text}\n[privacy]\ndropouts = {dropouts}\n")
        shutil.copy(example / "few.csv", folder)
        plan = Plan.read(folder / "plan.toml")
        monkeypatch.setattr(simulation, "process_command", command)
        return start(plan, find_configs(plan, folder), tmp_path / "runs", processes=True)

    return make


def test_the_run_goes_on_without_it_and_says_so(begun):
    run = begun(dropouts=1)
    simulate(run)
    assert run.left() == ("west",)
    members = [record["members"] for record in run.rounds() if "members" in record]
    assert members[0] == list(MEMBERS)
    assert members[-1] == ["north", "south", "east"]
    assert read_json(run.path / "simulation.json")["members"] == ["north", "south", "east"]
    assert "west dropped out during the run" in write_report(run).read_text()
    assert all(finding.ok for finding in verify(run))


def test_a_plan_that_names_no_dropouts_waits_for_it(begun, monkeypatch):
    run = begun(dropouts=0)
    with pytest.raises(RetailerError, match=rf"'west' ended \(exit status -{int(signal.SIGKILL)}"):
        simulate(run)
    assert run.left() == ()
    monkeypatch.undo()
    simulate(run)
    assert run.is_complete()
    assert all(finding.ok for finding in verify(run))
