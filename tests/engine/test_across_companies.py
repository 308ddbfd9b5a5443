"""A run across companies: the same totals and models, whoever is killed on the way."""

import json
import time

import pytest

from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.durable import read_json, read_log
from grandtotal.engine.kits import Kit
from grandtotal.engine.site import Site
from grandtotal.plan import Plan
from grandtotal.simulate import find_configs, simulate, start
from grandtotal.verify import verify

RETAILERS = ("north", "south", "west")
KILLS = ((3, ("west", "coordinator", "north")), (8, ("south", "coordinator", "west")))


@pytest.fixture(scope="module")
def embedded(example, tmp_path_factory):
    """Returns a run of the same plan in one process."""
    plan = Plan.read(example / "plan.toml")
    folder = start(plan, find_configs(plan, example), tmp_path_factory.mktemp("runs"), False)
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


def totals(folder):
    return [record["total"] for record in folder.rounds() if "total" in record]


def test_totals_and_models_are_those_of_one_process(clear, embedded):
    assert results(clear) == results(embedded)
    assert totals(clear) == totals(embedded)


def test_each_party_has_its_own_part_of_the_run_and_nothing_else(companies, clear, embedded):
    assert not (clear.path / "retailers").exists()
    for name in RETAILERS:
        (own,) = companies.kit(name).glob("runs/*/retailers/*")
        assert own.name == name
        for task in ("recommend", "demand"):
            scores = read_json(own / "scores" / f"{task}.json")
            assert scores == read_json(embedded.retailer(name) / "scores" / f"{task}.json")


def test_commands_show_a_run_at_the_coordinator_and_at_a_retailer(companies, clear):
    where = {"coordinator": clear.path.name, "north": "latest"}
    for party, run in where.items():
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
        while len(totals(run.folder)) < rounds:
            assert run.open, run.state
            time.sleep(0.01)
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


def test_a_retailer_answers_nothing_that_its_people_did_not_approve(companies, clear):
    site = Site(Kit.read(companies.kit("west")), companies.home("west") / "retailer.toml")
    plan = clear.plan().content.decode()
    body = {"plan": plan, "run": "0" * 32, "code": "", "version": "", "members": []}
    for message in (Message("open", body), Message("ask", {"plan": plan}), Message("close")):
        assert unseal(site.handle(seal(message))).body == {"code": "not-approved"}
    forged = Message("propose", {**body, "consortium": "loopback", "signature": "00" * 64})
    assert unseal(site.handle(seal(forged))).body == {"code": "not-signed"}
