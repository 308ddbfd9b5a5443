"""Totals under masks, through the messages of a consortium: who may be missing, and when."""

from typing import ClassVar

import numpy as np
import pytest
from tests.conftest import MEMBERS, Recording, masked_plan

from grandtotal.consortium import sums
from grandtotal.consortium.consortium import Consortium
from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.durable import read_json, read_log, write_json
from grandtotal.errors import Code, PlanError, RetailerError, RunError
from grandtotal.privacy import egress

ANSWERS = [{"sum": np.array([k, 10 * k, -k])} for k in (1, 2, 4, 8, 16)]


def rows(count):
    return [{"answer": answer} for answer in ANSWERS[:count]]


def total_of(*names):
    return sum(ANSWERS[MEMBERS.index(name)]["sum"] for name in names).tolist()


class Losing(Recording):
    """Loses a retailer when it is sent the n-th message of a kind; from then on it is gone."""

    lose: ClassVar[dict[tuple[str, int], str]] = {}

    def __init__(self, retailers):
        super().__init__(retailers)
        self.gone = set()
        self.counted = {}

    def exchange(self, messages, may_miss=0):
        kind = unseal(next(iter(messages.values()))).kind
        self.counted[kind] = self.counted.get(kind, 0) + 1
        if (kind, self.counted[kind]) in self.lose:
            self.gone.add(self.lose[kind, self.counted[kind]])
        here = {name: m for name, m in messages.items() if name not in self.gone}
        gone = [name for name in messages if name in self.gone]
        missing = {name: RetailerError(f"no answer from '{name}'") for name in gone}
        if len(missing) > may_miss:
            raise next(iter(missing.values()))
        return {**super().exchange(here, may_miss), **missing}


def losing(**lose):
    """Returns the transport that loses, e.g. ask_1="west", a retailer at that message."""
    split = {tuple(when.rpartition("_")): who for when, who in lose.items()}
    table = {(kind, int(count)): who for (kind, _, count), who in split.items()}
    return type("LosingThese", (Losing,), {"lose": table})


@pytest.fixture
def masked(federate, given_query):  # noqa: ARG001 - the query is installed
    """Returns a maker of consortiums of `count` retailers with secure sums."""

    def make(count=5, transport=Recording, **privacy):
        return federate(rows(count), "run", transport, masked_plan(count, **privacy))

    return make


@pytest.mark.parametrize("count", [3, 4, 5])
def test_a_masked_total_is_the_plain_one(masked, given_query, count):
    made = masked(count)
    for _ in range(2):
        for value in (1.0, 2.0):
            found = made.totals.total(given_query(), {"model": np.array([value])})
            assert found["sum"].tolist() == total_of(*MEMBERS[:count])
    assert made.transport.kinds.count("ask") == 2


def test_a_run_of_more_questions_than_slots_sets_up_again(masked, given_query, monkeypatch):
    monkeypatch.setattr(sums, "SLOTS", 2)
    made = masked(3)
    for value in range(5):
        made.totals.total(given_query(), {"model": np.array([float(value)])})
    assert made.transport.kinds.count("advertise") == 3


def test_no_summand_is_in_a_message(masked, given_query):
    query = given_query((("sum", (64,), 64, 1),))
    made = masked(3)
    for k, held in enumerate(made.held.values()):
        held.rows = {"answer": {"sum": np.full(64, 0x0123456789AB + k)}}
    assert made.totals.total(query)["sum"][0] == 3 * 0x0123456789AB + 3
    summand = np.full(64, 0x0123456789AB, "<i8").tobytes()
    for replies in made.transport.replies:
        for reply in replies.values():
            assert summand[:8] not in reply


@pytest.mark.parametrize("size", [8, 64])
def test_a_masked_summand_of_many_blocks_adds_up(masked, given_query, monkeypatch, size):
    monkeypatch.setattr(egress, "BLOCK_BYTES", size)
    monkeypatch.setattr(sums, "BLOCK_BYTES", size)
    query = given_query((("a", (17,), 32, 1), ("b", (), 64, 1), ("c", (0,), 64, 1)))
    made = masked(4)
    for k, held in enumerate(made.held.values()):
        held.rows = {
            "answer": {"a": np.arange(17) * k, "b": np.asarray(-k), "c": np.empty(0, np.int64)}
        }
    found = made.totals.total(query)
    assert found["a"].tolist() == [6 * i for i in range(17)]
    assert found["b"] == -6


@pytest.mark.parametrize(
    ("lose", "counted"),
    [
        ({"ask_1": "west"}, ("north", "south", "east", "abroad")),
        ({"unmask_1": "west"}, MEMBERS[:5]),
        ({"survivors_1": "north", "ask_1": "north"}, ("south", "west", "east", "abroad")),
    ],
)
def test_who_drops_out_is_left_out_from_then_on(masked, given_query, lose, counted):
    made = masked(5, losing(**lose), dropouts=1)
    first = made.totals.total(given_query(), {"model": np.array([1.0])})
    assert first["sum"].tolist() == total_of(*counted)
    stayed = tuple(name for name in MEMBERS[:5] if name not in lose.values())
    with pytest.raises(RetailerError, match=Code.OTHER_MEMBERS.meaning):
        # The same numbers for one retailer fewer: the difference would be that one's.
        made.totals.total(given_query(), {"model": np.array([3.0])})
    for name, held in made.held.items():
        held.rows = {"answer": {"sum": 2 * ANSWERS[MEMBERS.index(name)]["sum"]}}
    second = made.totals.total(given_query(), {"model": np.array([2.0])})
    assert (second["sum"] // 2).tolist() == total_of(*stayed)
    assert made.consortium.members == stayed
    members = [record["members"] for record in read_log(made.folder / "coordinator/rounds.jsonl")]
    assert members[1] == list(stayed)


def test_who_dropped_out_between_two_blocks_leaves_nothing_in_the_sum(
    masked, given_query, monkeypatch
):
    monkeypatch.setattr(egress, "BLOCK_BYTES", 8)
    monkeypatch.setattr(sums, "BLOCK_BYTES", 8)
    made = masked(5, losing(ask_2="south"), dropouts=1)
    found = made.totals.total(given_query())
    assert found["sum"].tolist() == total_of("north", "west", "east", "abroad")


def test_more_dropouts_than_agreed_end_the_round_and_nothing_is_released(masked, given_query):
    made = masked(5, losing(ask_1="south"), dropouts=0)
    with pytest.raises(RetailerError, match="no answer from 'south'"):
        made.totals.total(given_query())
    assert "unmask" not in made.transport.kinds


def test_of_three_retailers_none_may_be_missing(masked, given_query):
    made = masked(3, losing(ask_1="south"), dropouts=1)
    with pytest.raises(RetailerError, match="no answer from 'south'"):
        made.totals.total(given_query())


def again(made, **privacy):
    """Returns the consortium as its coordinator finds it after a restart."""
    consortium = Consortium(
        MEMBERS[: len(made.held)],
        made.transport,
        made.folder / "coordinator",
        roster=made.consortium._roster,
    )
    consortium.open(masked_plan(len(made.held), **privacy))
    return consortium


def test_who_is_away_when_a_run_goes_on_is_left_out(masked, given_query):
    made = masked(5, losing(open_2="west"), dropouts=1)
    made.totals.total(given_query(), {"model": np.array([1.0])})
    consortium = again(made, dropouts=1)
    stayed = ("north", "south", "east", "abroad")
    assert consortium.members == stayed
    assert read_json(made.folder / "coordinator/left.json") == ["west"]
    for name, held in made.held.items():
        held.rows = {"answer": {"sum": 2 * ANSWERS[MEMBERS.index(name)]["sum"]}}
    found = consortium.of("task").total(given_query(), {"model": np.array([2.0])})
    assert (found["sum"] // 2).tolist() == total_of(*stayed)


def test_a_run_without_a_total_waits_for_all(masked):
    with pytest.raises(RetailerError, match="no answer from 'west'"):
        masked(5, losing(open_1="west"), dropouts=1)


def test_a_plan_without_dropouts_waits_for_all(masked, given_query):
    made = masked(5, losing(open_2="west"))
    made.totals.total(given_query())
    with pytest.raises(RetailerError, match="no answer from 'west'"):
        again(made)


class KilledError(Exception):
    """The coordinator is gone."""


@pytest.mark.parametrize("step", ["advertise", "share", "receive", "ask", "unmask"])
@pytest.mark.parametrize("answered", [False, True])
def test_a_coordinator_that_is_killed_finishes_the_same_attempt(
    masked, given_query, step, answered
):
    """Killed before the retailers got a message, or after they acted on it."""

    class Dying(Recording):
        alive = False

        def exchange(self, messages, may_miss=0):
            kind = unseal(next(iter(messages.values()))).kind
            if kind == step and not self.alive:
                if answered:
                    super().exchange(messages, may_miss)
                raise KilledError
            return super().exchange(messages, may_miss)

    made = masked(3, Dying)
    with pytest.raises(KilledError):
        made.totals.total(given_query())
    made.transport.alive = True
    found = again(made).of("task").total(given_query())
    assert found["sum"].tolist() == total_of(*MEMBERS[:3])


def test_a_total_whose_record_was_lost_is_added_up_again(masked, given_query):
    made = masked(3)
    first = made.totals.total(given_query())
    (made.folder / "coordinator" / "rounds.jsonl").unlink()
    made.transport.sent.clear()
    found = again(made).of("task").total(given_query())
    assert (found["sum"] == first["sum"]).all()
    assert made.transport.kinds == ["open"]


def test_with_nothing_kept_a_released_total_is_not_asked_for_in_another_slot(masked, given_query):
    made = masked(3, keep_masked=False)
    made.totals.total(given_query())
    assert not list((made.folder / "coordinator" / "masked").iterdir())
    (made.folder / "coordinator" / "rounds.jsonl").unlink()
    restarted = Consortium(
        MEMBERS[:3],
        made.transport,
        made.folder / "coordinator",
        roster=made.consortium._roster,
    )
    restarted.open(masked_plan(3, keep_masked=False))
    with pytest.raises(RetailerError, match=Code.RELEASED.meaning):
        restarted.of("task").total(given_query())


def test_a_damaged_sum_of_an_unfinished_round_is_refused(masked, given_query):
    made = masked(3, losing(unmask_1="south"))
    with pytest.raises(RetailerError):
        made.totals.total(given_query())
    (path,) = (made.folder / "coordinator" / "pending").glob("*/*.sum")
    path.write_bytes(b"\0" * path.stat().st_size)
    made.transport.gone.clear()
    with pytest.raises(RunError, match="not the sum of this slot"):
        again(made).of("task").total(given_query())


def test_a_slots_secrets_are_gone_once_its_total_is_on_the_disk(masked, given_query):
    made = masked(3)
    made.totals.total(given_query())
    secrets = made.folder / "north" / "secure_sum" / "batch-0.secrets"
    before = secrets.read_bytes()
    made.totals.total(given_query(), {"model": np.array([1.0])})
    after = secrets.read_bytes()
    assert sum(a != b for a, b in zip(before, after, strict=True)) > 64
    assert not any(b for a, b in zip(before, after, strict=True) if a != b)
    made.consortium.close()
    assert not secrets.exists()


def test_a_plan_with_secure_sums_is_not_answered_in_the_clear(masked, given_query):
    made = masked(3)
    made.totals.total(given_query(), {"model": np.array([1.0])})
    asked = next(m for m in made.transport.sent if m.kind == "ask")
    body = {key: value for key, value in asked.body.items() if key not in ("slot", "active")}
    reply = made.retailers["north"].handle(seal(Message("ask", body, asked.arrays)))
    assert unseal(reply).kind == "error"
    assert not unseal(reply).arrays


def test_without_a_roster_a_plan_with_secure_sums_is_not_opened(tmp_path):
    consortium = Consortium(MEMBERS[:3], Recording({"north": None}), tmp_path)
    with pytest.raises(PlanError, match="no roster"):
        consortium.open(masked_plan(3))


def test_a_roster_of_another_epoch_is_refused_before_anything_is_asked(masked):
    made = masked(3)
    path = made.retailers["north"]._door.roster_path("test")
    write_json(path, {**read_json(path), "epoch": 2})
    with pytest.raises(RetailerError, match="'north'"):
        again(made)


def test_one_retailer_fewer_is_noticed_where_only_the_survivors_say_so(masked, given_query):
    """All five are asked both times; the second time one is said to have dropped out."""
    made = masked(5, losing(survivors_1="west", ask_2="west"), dropouts=1)
    made.totals.total(given_query(), {"model": np.array([1.0])})
    with pytest.raises(RetailerError, match=Code.OTHER_MEMBERS.meaning):
        made.totals.total(given_query(), {"model": np.array([2.0])})
    last = made.transport.replies[-1].values()
    assert all(unseal(reply).kind == "error" for reply in last if isinstance(reply, bytes))
