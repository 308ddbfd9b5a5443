import json
import shutil
import tracemalloc
from dataclasses import replace

import pytest

from grandtotal.durable import canonical, read_log
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.accounting import epsilon_of, rho_within
from grandtotal.privacy.ledger import FILE, Cap, Charge, Ledger

MEMBERS = ("north", "south", "west")
RHO = rho_within(1.0, 1e-6)


def charge(question="q1", **changed):
    values = {
        "run": "/runs/1/north",
        "plan": "p",
        "task": "rec",
        "purpose": "recommend",
        "query": "co-purchases",
        "question": question,
        "subject": f"subject of {question}",
        "summand": f"summand of {question}",
        "members": MEMBERS,
        "bytes": 100,
        "rho": RHO,
        "unit": "customer",
        "norm": 5.0,
        "sigma": 7.0,
        **changed,
    }
    return Charge(**values)


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(tmp_path / "door")
    yield opened
    opened.close()


def again(ledger, cap=None):
    """Returns the same ledger as the next run opens it."""
    ledger.close()
    return Ledger(ledger.folder, cap or ledger.cap)


def refusal(code, function, *args, **named):
    with pytest.raises(AnswerError) as refused:
        function(*args, **named)
    assert refused.value.code == code
    return str(refused.value)


def lines(ledger):
    return [record["kind"] for record in read_log(ledger.folder / FILE)]


def test_what_is_reserved_is_on_the_disk_and_adds_up_over_runs(ledger):
    ledger.reserve(charge("q1"))
    ledger = again(ledger)
    ledger.reserve(charge("q1", run="/runs/2/north"))
    ledger.reserve(charge("q2", run="/runs/2/north", purpose="demand"))
    assert lines(ledger) == ["release"] * 3
    spent = {"customer": {"recommend": pytest.approx(2 * RHO), "demand": pytest.approx(RHO)}}
    assert ledger.account.spent == spent
    ledger = again(ledger)
    assert ledger.account.spent == spent
    assert ledger.asked("/runs/2/north", "rec", "co-purchases") == 2
    assert ledger.asked("/runs/3/north", "rec", "co-purchases") == 0
    ledger.close()


def test_the_same_question_of_a_run_is_reserved_once(ledger):
    ledger.reserve(charge())
    ledger.reserve(charge())
    again(ledger).reserve(charge())
    assert lines(ledger) == ["release"]


def test_units_are_never_mixed(ledger):
    ledger.reserve(charge("q1"))
    ledger.reserve(charge("q2", unit="product"))
    assert ledger.account.spent == {"customer": {"recommend": RHO}, "product": {"recommend": RHO}}
    # Each unit has the whole cap, and neither more than that.
    ledger = again(ledger, Cap(epsilon=1.0))
    for unit in ("customer", "product"):
        refusal(Code.BUDGET, ledger.reserve, charge("q3", unit=unit, rho=RHO / 100))
    ledger.reserve(charge("q4", unit="store-week"))
    ledger.close()


def test_releases_stop_at_the_cap_and_are_never_refunded(ledger):
    ledger = again(ledger, Cap(epsilon=2.0))
    cap = rho_within(2.0, 1e-6)
    count = 0
    while (count + 1) * RHO / 4 <= cap:
        ledger.reserve(charge(f"q{count}", rho=RHO / 4))
        count += 1
    said = refusal(Code.BUDGET, ledger.reserve, charge("more", rho=RHO / 4))
    assert "the cap is 2" in said
    assert "never refunded" in said
    assert lines(ledger) == ["release"] * count
    ledger = again(ledger)
    refusal(Code.BUDGET, ledger.reserve, charge("more", rho=RHO / 4))
    assert epsilon_of(ledger.account.spent["customer"]["recommend"], 1e-6) <= 2.0
    ledger.close()


def test_one_purpose_may_have_a_smaller_cap(ledger):
    ledger = again(ledger, Cap(epsilon=10.0, purposes={"demand": 0.5}))
    said = refusal(Code.BUDGET, ledger.reserve, charge("q1", purpose="demand"))
    assert "for demand, would bring epsilon to 1 " in said
    assert "cap is 0.5" in said
    ledger.reserve(charge("q1"))
    ledger.close()


def test_a_release_without_noise_costs_nothing_and_is_written_down(ledger):
    ledger.reserve(charge(rho=None, unit=""))
    assert ledger.account.spent == {}
    assert lines(ledger) == ["release"]


@pytest.mark.parametrize(
    ("cap", "planned", "words"),
    [
        (Cap(epsilon=0.9), {"recommend": RHO}, "would bring epsilon to 1 at delta = 1e-06"),
        (Cap(purposes={"recommend": 0.9}), {"recommend": RHO}, "for recommend, would bring"),
        (Cap(epsilon=1.3), {"recommend": RHO, "demand": RHO}, "0 was spent before"),
        (Cap(exact_totals=False), {}, "asks for exact totals"),
    ],
)
def test_a_plan_over_the_cap_is_not_admitted(ledger, cap, planned, words):
    ledger = again(ledger, cap)
    said = refusal(Code.BUDGET, ledger.admit, "/run", "p", "winter", MEMBERS, planned)
    assert words in said
    assert "plan 'winter'" in said
    assert lines(ledger) == []
    ledger.close()


def test_a_plan_is_admitted_once_in_a_run_also_when_it_has_spent_its_budget(ledger):
    ledger = again(ledger, Cap(epsilon=1.0))
    ledger.admit("/runs/1/north", "p", "winter", MEMBERS, {"recommend": RHO})
    ledger.reserve(charge())
    ledger = again(ledger)
    ledger.admit("/runs/1/north", "p", "winter", MEMBERS, {"recommend": RHO})
    ledger.reserve(charge())
    assert lines(ledger) == ["plan", "release"]
    refusal(Code.BUDGET, ledger.admit, "/runs/2/north", "p", "winter", MEMBERS, {"recommend": RHO})
    ledger.close()


def test_exact_totals_are_admitted_where_the_file_allows_them(ledger):
    ledger.admit("/run", "p", "winter", MEMBERS, {})
    assert lines(ledger) == ["plan"]


# --- the same question for another set of retailers ---


@pytest.mark.parametrize("members", [MEMBERS[:2], (*MEMBERS, "east"), ("north", "south", "east")])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"run": "/runs/2/north"},
        {"run": "/runs/2/north", "question": "q9", "plan": "p2"},
        {"run": "/runs/2/north", "question": "q9", "summand": "the data have changed"},
        {"run": "/runs/2/north", "question": "q9", "subject": "another parameter"},
    ],
)
def test_the_same_question_for_another_set_is_refused_in_any_run(ledger, members, changed):
    ledger.reserve(charge("q1"))
    other = replace(charge("q1"), members=members, **changed)
    refusal(Code.OTHER_MEMBERS, ledger.reserve, other)
    ledger = again(ledger)
    refusal(Code.OTHER_MEMBERS, ledger.reserve, other)
    assert lines(ledger) == ["release"]
    ledger.close()


def test_another_set_needs_this_retailers_consent_and_is_charged(ledger):
    ledger.reserve(charge("q1"))
    other = charge("q1", run="/runs/2/north", members=MEMBERS[::-1][:2])
    said = refusal(Code.OTHER_MEMBERS, ledger.reserve, other)
    assert "grandtotal ledger --consent south,west" in said
    ledger.consent(("west", "south"))
    ledger.reserve(other)
    assert ledger.account.spent["customer"]["recommend"] == pytest.approx(2 * RHO)
    refusal(Code.OTHER_MEMBERS, again(ledger).reserve, replace(other, run="/3", members=("north",)))


def test_the_same_members_in_another_order_are_the_same_set(ledger):
    ledger.reserve(charge("q1"))
    ledger.reserve(charge("q1", run="/runs/2/north", members=MEMBERS[::-1]))


def test_a_changed_answer_in_one_run_is_refused(ledger):
    ledger.reserve(charge("q1"))
    said = refusal(Code.ANSWER_CHANGED, ledger.reserve, charge("q1", summand="other"))
    assert "the tables have changed" in said


# --- what the peers know ---

HOME = "consortium"


class Peer:
    """A retailer's ledger that hears of another one's, and tells it what it knows."""

    def __init__(self, folder, name="south"):
        self.name = name
        self.ledger = Ledger(folder)

    def hears(self, other, epoch=1, consortium=HOME):
        self.ledger.witness(self.name, consortium, epoch, {"north": other.note(consortium, epoch)})

    def tells(self, epoch=1, consortium=HOME):
        return {self.name: self.ledger.note(consortium, epoch, known=True)}


@pytest.fixture
def south(tmp_path):
    peer = Peer(tmp_path / "south")
    yield peer
    peer.ledger.close()


@pytest.fixture
def west(tmp_path):
    peer = Peer(tmp_path / "west", "west")
    yield peer
    peer.ledger.close()


def starts(ledger, *peers, epoch=1, consortium=HOME):
    """North hears at the beginning of a run what its peers know."""
    notes = {"north": ledger.note(consortium, epoch, known=True)}
    for peer in peers:
        notes |= peer.tells(epoch, consortium)
    ledger.witness("north", consortium, epoch, notes)


def test_a_note_says_head_and_spending_and_peers_keep_the_last(ledger, south):
    for number in range(3):
        ledger.reserve(charge(f"q{number}"))
        south.hears(ledger)
    note = json.loads(ledger.note(HOME, 1))["mine"]
    assert note["records"] == 3
    assert note["spent"] == {"customer": {"recommend": pytest.approx(3 * RHO)}}
    assert json.loads(ledger.note(HOME, 1))["known"] == {}
    assert json.loads(south.ledger.note(HOME, 1, known=True))["known"] == {"north": note}
    assert json.loads(south.ledger.note("another", 1, known=True))["known"] == {}
    assert lines(south.ledger) == ["heads"] * 3


def test_a_ledger_that_the_peers_know_goes_on(ledger, south, west):
    starts(ledger, south, west)
    for number in range(3):
        ledger.reserve(charge(f"q{number}"))
        south.hears(ledger)
    west.hears(ledger)
    ledger = again(ledger)
    starts(ledger, south, west)
    ledger.reserve(charge("q7"))
    # A peer that missed the last rounds knows an earlier head of the same chain.
    starts(ledger, south, west)
    assert "older" not in lines(ledger)
    ledger.close()


@pytest.fixture
def restored(ledger, south, tmp_path):
    """Returns a ledger from a backup, whose later releases its peer has seen."""
    ledger.reserve(charge("q1"))
    shutil.copytree(ledger.folder, tmp_path / "backup")
    for number in range(2, 6):
        ledger.reserve(charge(f"q{number}"))
    ledger.reserve(charge("q6", purpose="demand"))
    south.hears(ledger)
    ledger.close()
    shutil.rmtree(ledger.folder)
    shutil.copytree(tmp_path / "backup", ledger.folder)
    opened = Ledger(ledger.folder)
    yield opened
    opened.close()


def test_a_restored_backup_releases_nothing(restored, south):
    ledger = restored
    assert "an old copy" in refusal(Code.LEDGER, starts, ledger, south)
    assert FILE in refusal(Code.LEDGER, ledger.reserve, charge("q7"))
    # Not by the next run either, whether or not the peers are asked.
    ledger = again(ledger)
    refusal(Code.LEDGER, ledger.reserve, charge("q7"))
    refusal(Code.LEDGER, starts, ledger)
    refusal(Code.LEDGER, starts, ledger, south)
    assert lines(ledger) == ["release", "older"]
    ledger.close()


def test_one_peer_that_knows_more_is_enough(restored, south, west):
    west.hears(restored)
    refusal(Code.LEDGER, starts, restored, west, south)


def test_a_new_roster_readmits_with_what_the_peers_know_to_be_spent(restored, south, west):
    ledger = restored
    west.hears(ledger)
    refusal(Code.LEDGER, starts, ledger, south, west)
    starts(ledger, south, west, epoch=2)
    assert ledger.account.spent == {
        "customer": {"recommend": pytest.approx(5 * RHO), "demand": pytest.approx(RHO)}
    }
    # From now on the peers know it by the new roster.
    for peer in (south, west):
        peer.hears(ledger, epoch=2)
    starts(ledger, south, west, epoch=2)
    ledger.reserve(charge("q7"))
    assert lines(ledger).count("readmitted") == 1


def test_a_cap_holds_over_a_readmission(restored, south):
    refusal(Code.LEDGER, starts, restored, south)
    starts(restored, south, epoch=2)
    ledger = again(restored, Cap(epsilon=epsilon_of(6.5 * RHO, 1e-6)))
    refusal(Code.BUDGET, ledger.reserve, charge("q7"))
    ledger.close()


def test_a_peer_of_another_consortium_is_heard_as_well(restored, south):
    refusal(Code.LEDGER, starts, restored, south)
    # A new roster of another consortium, whose members know nothing, readmits nobody.
    refusal(Code.LEDGER, starts, restored, south, epoch=2, consortium="another")
    refusal(Code.LEDGER, restored.reserve, charge("q7"))


def test_a_ledger_that_was_thrown_away_is_older_than_its_peers_know(ledger, south):
    ledger.reserve(charge("q1"))
    south.hears(ledger)
    ledger.close()
    shutil.rmtree(ledger.folder)
    new = Ledger(ledger.folder)
    refusal(Code.LEDGER, starts, new, south)
    refusal(Code.LEDGER, new.reserve, charge("q1"))
    starts(new, south, epoch=2)
    assert new.account.spent == {"customer": {"recommend": pytest.approx(RHO)}}
    new.close()


def test_a_new_roster_of_a_whole_ledger_changes_nothing(ledger, south):
    ledger.reserve(charge("q1"))
    south.hears(ledger)
    starts(ledger, south, epoch=2)
    assert "readmitted" not in lines(ledger)
    assert ledger.account.spent == {"customer": {"recommend": RHO}}


def test_a_forked_ledger_is_another_ledger(ledger, south, tmp_path):
    ledger.reserve(charge("q1"))
    south.hears(ledger)
    other = Ledger(tmp_path / "fork")
    other.reserve(charge("q1"))
    other.reserve(charge("q2"))
    refusal(Code.LEDGER, starts, other, south)
    other.close()


def test_an_old_roster_is_older_than_the_peers_know(ledger, south):
    south.hears(ledger, epoch=2)
    refusal(Code.LEDGER, starts, ledger, south, epoch=1)


def test_a_peer_whose_ledger_went_back_is_noticed(ledger, south):
    ledger.reserve(charge("q1"))
    early = ledger.note(HOME, 1)
    ledger.reserve(charge("q2"))
    south.hears(ledger)
    peer = south.ledger
    said = refusal(Code.LEDGER, peer.witness, "south", HOME, 1, {"north": early})
    assert "'north' shows a ledger of 1 records" in said
    assert json.loads(peer.note(HOME, 1, known=True))["known"]["north"]["records"] == 2
    later = json.loads(early)
    later["mine"]["epoch"] = 2
    peer.witness("south", HOME, 2, {"north": canonical(later)})


def note_of(**changed):
    mine = {"records": 1, "head": "", "epoch": 1, "spent": {}, **changed}
    return canonical({"mine": mine, "known": {}})


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        canonical({"mine": {}, "known": {}}),
        note_of(records=-1),
        note_of(records=1.5),
        note_of(records=True),
        note_of(head=5),
        note_of(spent=[]),
        note_of(spent={"customer": {"a": -1.0}}),
        note_of(spent={"customer": {"a": "1"}}),
        note_of(more=1),
        note_of(spent={"customer": {"a": 1.0}}).replace(b"1.0", b"NaN"),
        note_of(spent={"customer": {"a": 1.0}}).replace(b"1.0", b"Infinity"),
        note_of().replace(b'"known":{}', b'"known":[]'),
        note_of().replace(b'"known":{}', b'"known":{"north":{}}'),
    ],
)
def test_a_note_that_is_none_is_refused(ledger, note):
    said = refusal(Code.MALFORMED, ledger.witness, "north", HOME, 1, {"south": note})
    assert "'south' sent a note" in said
    assert lines(ledger) == []


def test_a_release_is_held_in_two_kilobytes_however_many_there_were(ledger):
    tracemalloc.start()
    for number in range(500):
        digests = {name: f"{name[0]}{number:063d}" for name in ("subject", "summand")}
        ledger.reserve(charge(f"{number:064d}", rho=None, members=tuple(MEMBERS), **digests))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / 500 < 2000
