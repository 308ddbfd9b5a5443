import json
import shutil
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


def refusal(code, function, *args):
    with pytest.raises(AnswerError) as refused:
        function(*args)
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


def test_a_note_says_head_and_spending_and_peers_keep_the_last(ledger, tmp_path):
    peer = Ledger(tmp_path / "peer")
    for number in range(3):
        ledger.reserve(charge(f"q{number}"))
        peer.see({"north": ledger.note(), "south": ledger.note()})
    note = json.loads(ledger.note())
    assert note["records"] == 3
    assert note["epoch"] == 1
    assert note["spent"] == {"customer": {"recommend": pytest.approx(3 * RHO)}}
    assert peer.known() == {"north": ledger.note(), "south": ledger.note()}
    assert lines(peer) == ["heads"] * 3
    assert again(peer).known()["north"] == ledger.note()


def test_a_ledger_that_the_peers_know_goes_on(ledger):
    notes = [ledger.note()]
    for number in range(3):
        ledger.reserve(charge(f"q{number}"))
        notes.append(ledger.note())
    for note in notes:
        ledger.refuse_older({"south": note})
    ledger.refuse_older({"south": notes[0], "west": notes[-1]})
    ledger.refuse_older({})
    assert lines(ledger) == ["release"] * 3


@pytest.fixture
def restored(ledger, tmp_path):
    """Returns a ledger from a backup, and what the peers know of it."""
    ledger.reserve(charge("q1"))
    shutil.copytree(ledger.folder, tmp_path / "backup")
    for number in range(2, 6):
        ledger.reserve(charge(f"q{number}"))
    ledger.reserve(charge("q6", purpose="demand"))
    known = {"south": ledger.note(), "west": ledger.note()}
    ledger.close()
    shutil.rmtree(ledger.folder)
    shutil.copytree(tmp_path / "backup", ledger.folder)
    opened = Ledger(ledger.folder)
    yield opened, known
    opened.close()


def test_a_restored_backup_releases_nothing(restored):
    ledger, known = restored
    assert "an old copy" in refusal(Code.LEDGER, ledger.refuse_older, known)
    assert FILE in refusal(Code.LEDGER, ledger.reserve, charge("q7"))
    # Not by the next run either, whether or not it asks the peers.
    ledger = again(ledger)
    refusal(Code.LEDGER, ledger.reserve, charge("q7"))
    refusal(Code.LEDGER, ledger.refuse_older, {})
    assert lines(ledger) == ["release", "older"]
    ledger.close()


def test_one_peer_that_knows_more_is_enough(restored):
    ledger, known = restored
    mine = {"south": ledger.note(), "west": known["west"]}
    refusal(Code.LEDGER, ledger.refuse_older, mine)


def test_a_new_epoch_readmits_with_what_the_peers_know_to_be_spent(restored):
    ledger, known = restored
    refusal(Code.LEDGER, ledger.refuse_older, known)
    assert "a later one" in refusal(Code.LEDGER, ledger.readmit, 1, known)
    ledger.readmit(2, known)
    assert ledger.epoch == 2
    assert ledger.account.spent == {
        "customer": {"recommend": pytest.approx(5 * RHO), "demand": pytest.approx(RHO)}
    }
    # The peers still know the note of the epoch before.
    ledger.refuse_older(known)
    ledger.reserve(charge("q7"))
    ledger = again(ledger)
    assert ledger.epoch == 2
    assert json.loads(ledger.note())["epoch"] == 2
    refusal(Code.LEDGER, ledger.readmit, 2, known)
    ledger.close()


def test_a_cap_holds_over_a_readmission(restored):
    ledger, known = restored
    refusal(Code.LEDGER, ledger.refuse_older, known)
    ledger.readmit(2, known)
    ledger = again(ledger, Cap(epsilon=epsilon_of(6.5 * RHO, 1e-6)))
    refusal(Code.BUDGET, ledger.reserve, charge("q7"))
    ledger.close()


def test_a_ledger_that_was_thrown_away_is_older_than_its_peers_know(ledger):
    ledger.reserve(charge("q1"))
    known = {"south": ledger.note()}
    ledger.close()
    shutil.rmtree(ledger.folder)
    new = Ledger(ledger.folder)
    refusal(Code.LEDGER, new.refuse_older, known)
    refusal(Code.LEDGER, new.reserve, charge("q1"))
    new.readmit(2, known)
    assert new.account.spent == {"customer": {"recommend": pytest.approx(RHO)}}
    new.close()


def test_a_forked_ledger_is_another_ledger(ledger, tmp_path):
    ledger.reserve(charge("q1"))
    other = Ledger(tmp_path / "fork")
    other.reserve(charge("q1"))
    other.reserve(charge("q2"))
    refusal(Code.LEDGER, other.refuse_older, {"south": ledger.note()})
    other.close()


def test_a_later_epoch_than_its_own_is_later(ledger):
    note = {**json.loads(ledger.note()), "epoch": 2}
    refusal(Code.LEDGER, ledger.refuse_older, {"south": canonical(note)})


def test_a_peer_whose_ledger_went_back_is_noticed(ledger, tmp_path):
    peer = Ledger(tmp_path / "peer")
    ledger.reserve(charge("q1"))
    early = ledger.note()
    ledger.reserve(charge("q2"))
    peer.see({"north": ledger.note()})
    assert "'north' shows a ledger of 1 records" in refusal(Code.LEDGER, peer.see, {"north": early})
    assert json.loads(peer.known()["north"])["records"] == 2
    peer.see({"north": canonical({**json.loads(early), "epoch": 2})})
    peer.close()


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        canonical({"records": -1, "head": "", "epoch": 1, "spent": {}}),
        canonical({"records": 1.5, "head": "", "epoch": 1, "spent": {}}),
        canonical({"records": True, "head": "", "epoch": 1, "spent": {}}),
        canonical({"records": 1, "head": 5, "epoch": 1, "spent": {}}),
        canonical({"records": 1, "head": "", "epoch": 1, "spent": []}),
        canonical({"records": 1, "head": "", "epoch": 1, "spent": {"customer": {"a": -1.0}}}),
        canonical({"records": 1, "head": "", "epoch": 1, "spent": {"customer": {"a": "1"}}}),
        canonical({"records": 1, "head": "", "epoch": 1, "spent": {}, "more": 1}),
        b'{"records":1,"head":"","epoch":1,"spent":{"customer":{"a":NaN}}}',
        b'{"records":1,"head":"","epoch":1,"spent":{"customer":{"a":Infinity}}}',
    ],
)
def test_a_note_that_is_none_is_refused(ledger, note):
    for function in (ledger.see, ledger.refuse_older):
        assert "'south' sent a note" in refusal(Code.MALFORMED, function, {"south": note})
    refusal(Code.MALFORMED, ledger.readmit, 2, {"south": note})
    assert lines(ledger) == []
