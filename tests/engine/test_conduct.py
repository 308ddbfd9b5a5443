"""Consent and the order of a run, with real retailers in one process: no FLARE is needed for it."""

import os
import shutil
import time

import pytest

from grandtotal import durable
from grandtotal.consortium.transport import EmbeddedTransport
from grandtotal.engine.conduct import Held, conduct, go_on, pause, submit
from grandtotal.engine.consent import Decision, Requests
from grandtotal.engine.desk import RetailerLostError
from grandtotal.engine.doctor import clock
from grandtotal.engine.kits import Alliance, Kit
from grandtotal.engine.site import Site
from grandtotal.errors import RefusedError
from grandtotal.plan import Plan
from grandtotal.privacy.identity import make_identity

RETAILERS = ("north", "south", "west")


class Line(EmbeddedTransport):
    """A line that calls `before` with every message, which may change what happens."""

    def __init__(self, sites, before=lambda _: None):
        super().__init__(sites)
        self._before = before
        self.sent = 0

    def exchange(self, messages, may_miss=0):
        self.sent += 1
        self._before(self.sent)
        return super().exchange(messages, may_miss)


@pytest.fixture
def parties(example, tmp_path):
    """Returns the coordinator's kit, the sites by name, and the plan's file."""
    alliance = Alliance("grocers", RETAILERS, "localhost")
    (tmp_path / "coordinator/keys").mkdir(parents=True)
    public = make_identity(tmp_path / "coordinator/keys/identity.key").public
    shutil.copy(example / "few.csv", tmp_path)
    text = (example / "plan.toml").read_text()
    (tmp_path / "plan.toml").write_text(f"{text}\n[privacy]\nsecure_sum = false\n")
    sites = {}
    for name in RETAILERS:
        (tmp_path / name).mkdir()
        home = shutil.copytree(
            example / name, tmp_path / "homes" / name, ignore=shutil.ignore_patterns("door")
        )
        sites[name] = Site(Kit(tmp_path / name, alliance, name, public), home / "retailer.toml")
    return Kit(tmp_path / "coordinator", alliance, "coordinator", public), sites


@pytest.fixture
def run(parties, tmp_path):
    kit, _ = parties
    return Held(submit(kit, Plan.read(tmp_path / "plan.toml"), None))


def decide(kit, decision, *names):
    for name in names or RETAILERS:
        for request in Requests(kit.path.parent / name / "requests").all():
            request.decide(decision)


def conducted(parties, run, before=lambda _: None):
    kit, sites = parties
    conduct(kit, run.folder.path.name, Line(sites, before))


def approved_at(kit, when):
    return lambda sent: decide(kit, Decision.APPROVED) if sent == when else None


def test_a_plan_runs_when_all_have_approved_and_not_before(parties, run, monkeypatch):
    monkeypatch.setattr("grandtotal.engine.conduct._ASK_AGAIN_S", 0)
    conducted(parties, run, approved_at(parties[0], 4))
    assert run.state == "finished"
    assert [record["event"] for record in run.segments] == ["began", "finished"]
    assert run.folder.report.exists()


def test_a_plan_that_one_refuses_is_not_run_until_it_changes_its_mind(parties, run):
    kit, _ = parties
    conducted(parties, run, lambda _: decide(kit, Decision.REFUSED, "south"))
    while run.state != "refused":
        conducted(parties, run, lambda _: decide(kit, Decision.REFUSED, "south"))
    assert run.folder.rounds() == []
    assert not run.open
    decide(kit, Decision.APPROVED)
    go_on(kit.runs, "latest")
    conducted(parties, run)
    assert run.state == "finished"


def test_who_withdraws_answers_nothing_more(parties, run):
    kit, _ = parties
    asked = 12

    def withdraw(sent):
        decide(kit, Decision.REFUSED if sent == asked else Decision.APPROVED, "west")
        decide(kit, Decision.APPROVED, "north", "south")

    conducted(parties, run, withdraw)
    assert run.state == "failed"
    assert "'west': people there have not approved this plan" in run.segments[-1]["why"]
    before = len(run.folder.rounds())
    go_on(kit.runs, "latest")
    conducted(parties, run, lambda _: decide(kit, Decision.APPROVED))
    assert run.state == "finished"
    assert 0 < before < len(run.folder.rounds())


def test_a_run_that_is_stopped_pauses_after_its_round_and_goes_on(parties, run):
    kit, _ = parties

    def stop(sent):
        decide(kit, Decision.APPROVED)
        if sent == 10:
            pause(kit.runs, "latest")

    conducted(parties, run, stop)
    assert run.state == "stopped"
    assert run.folder.finished() is None
    go_on(kit.runs, "latest")
    conducted(parties, run)
    assert run.state == "finished"
    assert [record["event"] for record in run.segments] == ["began", "stopped", "began", "finished"]


def test_a_run_whose_retailer_is_lost_waits_for_it(parties, run):
    kit, _ = parties

    def lose(sent):
        decide(kit, Decision.APPROVED)
        if sent == 9:
            raise RetailerLostError("nothing heard of 'west' for 6 s")

    conducted(parties, run, lose)
    assert (run.state, run.open) == ("waiting", True)
    conducted(parties, run)
    assert run.state == "finished"


def test_a_program_that_fails_says_so_and_is_not_begun_again_by_itself(parties, run):
    def fail(_):
        raise ZeroDivisionError("made up")

    with pytest.raises(ZeroDivisionError):
        conducted(parties, run, fail)
    assert (run.state, run.open) == ("failed", False)


def test_a_refusal_of_the_products_own_is_told_and_ends_the_run(parties, run):
    def refuse(_):
        raise RefusedError("a promise could not be kept")

    conducted(parties, run, refuse)
    assert run.state == "failed"
    assert "a promise could not be kept" in run.segments[-1]["why"]


def full(monkeypatch, folder):
    """Lets no file below a folder be written, as when its disk is full."""
    real = durable.os

    class Full:
        def __getattr__(self, name):
            return getattr(real, name)

        def fsync(self, file):
            if os.readlink(f"/proc/self/fd/{file}").startswith(str(folder)):
                raise OSError(28, "No space left on device")
            real.fsync(file)

    monkeypatch.setattr(durable, "os", Full())


def test_a_run_whose_member_has_a_full_disk_ends_and_goes_on_when_there_is_room(
    parties, run, monkeypatch
):
    kit, _ = parties

    def fill(sent):
        decide(kit, Decision.APPROVED)
        if sent == 9:
            full(monkeypatch, kit.path.parent / "west")

    conducted(parties, run, fill)
    assert run.state == "failed"
    assert "'west': it could not write its record of what leaves" in run.segments[-1]["why"]
    monkeypatch.undo()
    go_on(kit.runs, "latest")
    conducted(parties, run)
    assert run.state == "finished"


def test_a_coordinator_whose_own_disk_is_full_goes_on_by_itself_when_there_is_room(
    parties, run, monkeypatch
):
    kit, _ = parties

    def fill(sent):
        decide(kit, Decision.APPROVED)
        if sent == 9:
            full(monkeypatch, kit.path)

    conducted(parties, run, fill)
    assert run.open
    monkeypatch.undo()
    conducted(parties, run)
    assert run.state == "finished"


def test_how_far_apart_the_clocks_are_is_told_by_the_doctor(parties, run, monkeypatch):
    kit, _ = parties
    west = Kit(kit.path.parent / "west", kit.alliance, "west", kit.coordinator)
    assert clock(west).verdict == "yes"
    now = time.time
    with monkeypatch.context() as late:
        late.setattr("grandtotal.engine.conduct._now", lambda: now() + 86_000)
        conducted(parties, run, lambda _: decide(kit, Decision.APPROVED))
    assert clock(west).verdict == "look"
    assert "ahead when it asked last" in clock(west).found
