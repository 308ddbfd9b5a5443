"""A run across companies: the same totals and models, whoever is killed on the way."""

import json
import shutil
import time
from pathlib import Path

import pytest

from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.retailer import Retailer
from grandtotal.consortium.transport import EmbeddedTransport
from grandtotal.coordinate import coordinate
from grandtotal.durable import read_json, read_log
from grandtotal.engine.kits import Kit
from grandtotal.engine.metrics import metrics_text
from grandtotal.engine.site import Site
from grandtotal.errors import RetailerError
from grandtotal.participate import agreeing, door_of, opener
from grandtotal.plan import Plan
from grandtotal.simulate import find_configs, simulate, start
from grandtotal.verify import verify

RETAILERS = ("north", "south", "west")
KILLS = ((3, ("west", "coordinator", "north")), (8, ("south", "coordinator", "west")))


@pytest.fixture(scope="module")
def embedded(alliance, tmp_path_factory):
    """Returns a run of the same plan in one process."""
    plan = Plan.read(alliance / "plan.toml")
    folder = start(plan, find_configs(plan, alliance), tmp_path_factory.mktemp("runs"), False)
    simulate(folder)
    return folder


@pytest.fixture(scope="module")
def clear(companies):
    """Returns a finished run without masks, approved by all."""
    run = companies.submit("clear.toml")
    companies.decide(run)
    assert companies.wait(run) == "finished"
    return run.folder


def results(folder):
    return {key: folder.finished()[key] for key in ("models", "rounds")}


def reach(run, rounds):
    """Returns when so many totals are known."""
    while len(totals(run.folder)) < rounds:
        assert run.open, run.segments
        time.sleep(0.01)


def totals(folder):
    return [record["total"] for record in folder.rounds() if "total" in record]


def test_totals_and_models_are_those_of_one_process(clear, embedded):
    assert results(clear) == results(embedded)
    assert totals(clear) == totals(embedded)


def test_five_without_masks_agree_whoever_answers_first_and_over_whatever_line(
    companies, alliance, tmp_path
):
    run = companies.submit("five_clear.toml")
    companies.decide(run)
    companies.line.delay_s = 0.05
    assert companies.wait(run) == "finished"
    companies.line.delay_s = 0.0
    homes = shutil.copytree(alliance, tmp_path / "homes", ignore=shutil.ignore_patterns("door"))
    plan = Plan.read(homes / "five_clear.toml")
    for processes in (False, True):
        other = start(plan, find_configs(plan, homes), tmp_path / "runs", processes)
        simulate(other)
        assert results(other) == results(run.folder)
        assert totals(other) == totals(run.folder)


def test_each_party_has_its_own_part_of_the_run_and_nothing_else(companies, clear, embedded):
    assert not (clear.path / "retailers").exists()
    for name in RETAILERS:
        (own,) = companies.kit(name).glob("runs/small-*/retailers/*")
        assert own.name == name
        for task in ("recommend", "demand"):
            scores = read_json(own / "scores" / f"{task}.json")
            assert scores == read_json(embedded.retailer(name) / "scores" / f"{task}.json")


def test_commands_show_a_run_at_the_coordinator_and_at_a_retailer(companies, clear):
    (own,) = companies.kit("north").glob("runs/small-*")
    for party, run in (("coordinator", clear.path.name), ("north", own.name)):
        assert "finished" in companies.type(party, "runs", "list", "--runs", "kit/runs")
        shown = companies.type(party, "runs", "show", run, "--runs", "kit/runs", "--json")
        tasks = json.loads(shown)["tasks"]
        assert {name: list(task["retailers"]) for name, task in tasks.items()} == dict.fromkeys(
            ("demand", "recommend"), [] if party == "coordinator" else ["north"]
        )
        assert "federated" in companies.type(party, "runs", "show", run, "--runs", "kit/runs")
        assert "finished" in companies.type(party, "runs", "log", run, "-f", "--runs", "kit/runs")
        assert companies.type(party, "report", run, "--runs", "kit/runs").strip().endswith(".html")


def test_a_run_goes_on_whoever_is_killed_and_ends_as_if_nobody_was(companies, embedded):
    run = companies.submit()
    companies.decide(run)
    for rounds, killed in KILLS:
        reach(run, rounds)
        for party in killed:
            companies.kill(party)
        companies.start(*killed)
    assert companies.wait(run) == "finished"
    assert results(run.folder) == results(embedded)
    assert totals(run.folder) == totals(embedded)
    asked = [record["question"] for record in run.folder.rounds() if "total" in record]
    released = run.folder.coordinator / "run.json"
    for name in RETAILERS:
        found = companies.kit(name) / "runs" / f"small-{read_json(released)['run'][:12]}"
        egress = read_log(found / "retailers" / name / "egress.jsonl")
        assert [record["question"] for record in egress] == asked
    assert all(finding.ok for finding in verify(run.folder))


class Leaving(EmbeddedTransport):
    """A line in one process on which a retailer is gone from one question on."""

    def __init__(self, handlers, gone, question):
        super().__init__(handlers)
        self._gone, self._question, self._left = gone, question, False

    def exchange(self, messages, may_miss=0):
        message = unseal(next(iter(messages.values())))
        self._left |= message.body.get("question") == self._question
        here = {name: m for name, m in messages.items() if not (self._left and name == self._gone)}
        replies = super().exchange(here, may_miss)
        return {name: replies.get(name, RetailerError("gone")) for name in messages}


def embedded_without(gone, question, alliance, runs):
    """Returns a run in one process that a retailer leaves at the same question."""
    homes = shutil.copytree(alliance, runs / "homes", ignore=shutil.ignore_patterns("door"))
    plan = Plan.read(homes / "five.toml")
    run = start(plan, find_configs(plan, homes), runs, False)
    handlers = {
        name: Retailer(
            name,
            run.retailer(name),
            opener(name, Path(config), run.retailer(name)),
            door_of(Path(config)),
            agreeing(Path(config), run.retailer(name)),
        )
        for name, config in run.launch()["retailers"].items()
    }
    line = Leaving(handlers, gone, question)
    coordinate(plan, line, run)
    line.close()
    return run


@pytest.mark.long
def test_a_line_that_is_slow_breaks_and_heals_is_waited_for_and_one_that_stays_cut_is_not(
    companies, alliance, tmp_path
):
    line = companies.line
    run = companies.submit("five.toml", "--roster", "five.roster.json")
    companies.decide(run)
    line.delay_s, line.bytes_per_s = 0.02, 2e6
    reach(run, 2)
    line.cut()
    time.sleep(1.0)  # less than the plan says that a member is waited for
    line.heal()
    reach(run, 4)
    assert run.folder.left() == ()
    line.cut()
    assert companies.wait(run) == "finished"
    line.delay_s, line.bytes_per_s = 0.0, 0.0
    line.heal()
    assert run.folder.left() == ("coast",)
    records = [record for record in run.folder.rounds() if "total" in record]
    assert [len(record["members"]) for record in records[:4]] == [5, 5, 5, 5]
    first = next(record for record in records if len(record["members"]) == 4)
    assert all(record["members"] == first["members"] for record in records[first["round"] :])
    while not run.folder.report.exists():  # it is written once the models are there
        time.sleep(0.05)
    assert "coast dropped out during the run" in run.folder.report.read_text()
    assert all(finding.ok for finding in verify(run.folder))
    alone = embedded_without("coast", first["question"], alliance, tmp_path)
    assert totals(run.folder) == totals(alone)
    assert results(run.folder) == results(alone)
    # It is asked again with the next run.
    again = companies.submit("five.toml", "--roster", "five.roster.json")
    companies.decide(again, "refuse", "coast")
    assert companies.wait(again) == "refused"


def test_a_retailer_answers_nothing_that_its_people_did_not_approve(companies, clear):
    site = Site(Kit.read(companies.kit("west")), companies.home("west") / "retailer.toml")
    plan = clear.plan().content.decode()
    body = {"plan": plan, "run": "0" * 32, "code": "", "version": "", "members": []}
    for message in (Message("open", body), Message("ask", {"plan": plan}), Message("close")):
        assert unseal(site.handle(seal(message))).body == {"code": "not-approved"}
    forged = Message("propose", {**body, "consortium": "loopback", "signature": "00" * 64})
    assert unseal(site.handle(seal(forged))).body == {"code": "not-signed"}


@pytest.mark.usefixtures("clear")
def test_no_log_of_anybody_holds_a_row_a_customer_or_a_price(companies):
    west = companies.kit("west")
    logs = [companies.home("west") / "process.txt", *west.rglob("*.jsonl"), *west.glob("*.txt")]
    for party in companies.parties:
        if party != "west":
            logs += [path for path in companies.home(party).rglob("*") if path.is_file()]
    assert {"log.jsonl", "errors.jsonl", "egress.jsonl", "rounds.jsonl"} <= {p.name for p in logs}
    told = metrics_text(Kit.read(west)).encode()
    for content in (told, *(path.read_bytes() for path in logs)):
        assert b"planted" not in content
        assert b"7777.31" not in content
    set_aside = b"".join(path.read_bytes() for path in west.rglob("set_aside/*"))
    assert b"planted-customer" in set_aside
    for line in (west / "log.jsonl").read_text().splitlines():
        assert {"at", "level", "logger", "message"} <= json.loads(line).keys()


@pytest.mark.usefixtures("clear")
def test_metrics_of_both_sides_say_rounds_seconds_bytes_members_and_epsilon(companies):
    here = metrics_text(Kit.read(companies.kit("coordinator")))
    for name in ("rounds", "phase_seconds", "summand_bytes", "segments"):
        assert f"# TYPE grandtotal_{name}_total counter" in here
    for name in ("members", "epsilon", "runs", "certificate_days"):
        assert f"# TYPE grandtotal_{name} gauge" in here
    assert 'phase="total"' in here
    there = metrics_text(Kit.read(companies.kit("west")))
    for name in ("releases_total", "summand_bytes_total", "epsilon", "requests"):
        assert f"grandtotal_{name}{{" in there
