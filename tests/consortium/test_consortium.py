import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.conftest import PLAN

from grandtotal.consortium import sums
from grandtotal.consortium.consortium import Consortium
from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.transport import EmbeddedTransport
from grandtotal.durable import canonical, read_log
from grandtotal.errors import Code, DataError, RefusedError, RetailerError, RunError
from grandtotal.privacy import egress
from grandtotal.privacy.fixedpoint import Field

MEMBERS = ("north", "south", "west")
ANSWERS = [{"sum": np.array([k, 10 * k, -k])} for k in (1, 2, 4)]
TOTAL = [7, 70, -7]


def rows(answers):
    return [{"answer": answer} for answer in answers]


@pytest.fixture
def federation(federate, given_query):  # noqa: ARG001 - the query is installed
    return federate(rows(ANSWERS))


class Scripted:
    """A transport whose retailers say what a test wrote down."""

    def __init__(self, replies):
        self.replies = replies

    def exchange(self, messages, may_miss=0):  # noqa: ARG002
        kind = unseal(next(iter(messages.values()))).kind
        if kind == "open":
            return dict.fromkeys(messages, seal(Message("opened")))
        return {name: reply for name, reply in self.replies.items() if reply is not None}

    def close(self):
        pass


def asked_of(tmp_path, query, replies, *, members=MEMBERS):
    """Returns the error that these replies to one question end in."""
    summand = seal(Message("summand", {}, {"summand": np.zeros(24, np.uint8)}))
    scripted = Scripted({**dict.fromkeys(members, summand), **replies})
    consortium = Consortium(members, scripted, tmp_path / "coordinator")
    consortium.open(PLAN)
    with pytest.raises(RetailerError) as failed:
        consortium.of("task").total(query)
    assert read_log(tmp_path / "coordinator" / "rounds.jsonl") == []
    return str(failed.value)


# --- the sum ---


@pytest.mark.parametrize("members", [(), ("north",), ("north", "south")])
def test_fewer_than_three_retailers_are_refused(tmp_path, members):
    with pytest.raises(RefusedError, match=f"{len(members)} retailers .*at least 3"):
        Consortium(members, EmbeddedTransport({"north": None}), tmp_path)


def test_a_total_is_the_plain_sum(federation, given_query):
    assert federation.totals.total(given_query())["sum"].tolist() == TOTAL


class Permuted(EmbeddedTransport):
    """Replies arrive in another order every time."""

    order = np.random.default_rng(3)

    def exchange(self, messages, may_miss=0):
        replies = super().exchange(messages, may_miss)
        return {name: replies[name] for name in self.order.permutation(list(replies)).tolist()}


def test_a_total_does_not_depend_on_the_order_of_arrival(federate, given_query):
    answers = [{"sum": np.array([0.1, 1e6, -1 / 3]) * k} for k in range(1, 6)]
    query = given_query((("sum", (3,), 64, 2**20),))
    digests = set()
    for attempt in range(5):
        made = federate(rows(answers), f"run{attempt}", Permuted)
        made.totals.total(query)
        digests.add(read_log(made.folder / "coordinator" / "rounds.jsonl")[0]["total"])
    assert len(digests) == 1


columns = st.lists(
    st.tuples(st.sampled_from([(), (0,), (1,), (3,), (2, 5), (17,)]), st.sampled_from([32, 64])),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(st.data(), columns, st.sampled_from([8, 16, 24, 64]))
def test_a_summand_of_many_blocks_adds_up(
    federate, given_query, monkeypatch, tmp_path_factory, data, columns, size
):
    monkeypatch.setattr(egress, "BLOCK_BYTES", size)
    monkeypatch.setattr(sums, "BLOCK_BYTES", size)
    query = given_query(tuple((f"f{i}", *column, 1) for i, column in enumerate(columns)))
    fields = query.fields({})
    answers = [
        {
            name: data.draw(
                hnp.arrays(np.int64, field.shape, elements=st.integers(-(2**29), 2**29))
            )
            for name, field in fields.items()
        }
        for _ in range(3)
    ]
    made = federate(rows(answers), tmp_path_factory.mktemp("blocks"))
    found = made.totals.total(query)
    for name in fields:
        assert (found[name] == sum(answer[name] for answer in answers)).all()
    length = sum(field.bytes for field in fields.values())
    assert made.transport.kinds.count("ask") == max(1, -(-length // size))


def test_only_the_first_block_carries_the_broadcast(federate, given_query, monkeypatch):
    monkeypatch.setattr(egress, "BLOCK_BYTES", 8)
    monkeypatch.setattr(sums, "BLOCK_BYTES", 8)
    made = federate(rows(ANSWERS))
    assert made.totals.total(given_query(), {"model": np.ones(2)})["sum"].tolist() == TOTAL
    assert [list(message.arrays) for message in made.transport.sent] == [[], ["model"], [], []]


def test_a_total_that_could_overflow_is_refused_before_anyone_is_asked(
    federation, given_query, monkeypatch
):
    largest = Field((3,)).capacity(3) + 1
    monkeypatch.setattr(given_query, "fields", lambda *_: {"sum": Field((3,), largest=largest)})
    with pytest.raises(RefusedError, match="3 retailers x "):
        federation.totals.total(given_query())
    assert federation.transport.kinds == ["open"]


# --- what is kept, and going on from it ---


def test_a_round_is_recorded_with_what_was_asked_of_whom(federation, given_query):
    query = given_query()
    federation.totals.total(query, {"model": np.ones(5)})
    (record,) = read_log(federation.folder / "coordinator" / "rounds.jsonl")
    question = federation.transport.sent[-1].body["question"]
    assert {name: record[name] for name in ("round", "task", "query", "question")} == {
        "round": 1,
        "task": "task",
        "query": "given",
        "question": question,
    }
    assert record["members"] == list(MEMBERS)
    assert record["bytes_out"] == dict.fromkeys(MEMBERS, 24)
    assert record["bytes_in"] == 40
    assert (federation.folder / "coordinator/totals" / f"{question}.safetensors").exists()


def again(federation):
    """Returns the same consortium in a new process of the coordinator."""
    consortium = Consortium(
        federation.consortium.members, federation.transport, federation.folder / "coordinator"
    )
    federation.transport.sent.clear()
    consortium.open(PLAN)
    return consortium


def test_a_total_is_asked_for_once_and_read_back_after_a_restart(federation, given_query):
    query = given_query()
    first = federation.totals.total(query)
    federation.totals.total(query)
    assert federation.transport.kinds == ["open", "ask"]
    restarted = again(federation)
    assert (restarted.of("task").total(query)["sum"] == first["sum"]).all()
    assert federation.transport.kinds == ["open"]


def test_another_broadcast_is_another_round(federation, given_query):
    for value in (1.0, 2.0, 1.0):
        federation.totals.total(given_query(), {"model": np.array([value])})
    assert federation.transport.kinds == ["open", "ask", "ask"]


def test_a_total_whose_record_was_lost_is_asked_for_again_with_the_same_result(
    federation, given_query
):
    first = federation.totals.total(given_query())
    (federation.folder / "coordinator" / "rounds.jsonl").unlink()
    found = again(federation).of("task").total(given_query())
    assert (found["sum"] == first["sum"]).all()
    assert federation.transport.kinds == ["open", "ask"]


DAMAGES = {
    "a flipped bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "another name": lambda content: content.replace(b"sum", b"num"),
    "another type": lambda content: content.replace(b'"U64"', b'"I64"'),
    "cut off": lambda content: content[:-3],
    "empty": lambda _: b"",
    "no header": lambda _: b"\xff" * 40,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_total_is_refused(federation, given_query, damage):
    federation.totals.total(given_query())
    (path,) = (federation.folder / "coordinator" / "totals").iterdir()
    content = path.read_bytes()
    assert DAMAGES[damage](content) != content
    path.write_bytes(DAMAGES[damage](content))
    with pytest.raises(RunError, match=path.name):
        again(federation).of("task").total(given_query())


def test_a_total_that_is_gone_is_refused(federation, given_query):
    federation.totals.total(given_query())
    (path,) = (federation.folder / "coordinator" / "totals").iterdir()
    path.unlink()
    with pytest.raises(RunError, match=path.name):
        again(federation).of("task").total(given_query())


def test_a_model_is_delivered_once(federation):
    model = {"weights": np.eye(2)}
    for _ in range(2):
        federation.consortium.deliver("task", {"chosen": "ease"}, model)
    restarted = again(federation)
    restarted.deliver("task", {"chosen": "ease"}, model)
    for held in federation.held.values():
        ((meta, arrays),) = held.received
        assert meta == {"chosen": "ease"}
        assert (arrays["weights"] == np.eye(2)).all()
    assert federation.transport.kinds == ["open"]
    restarted.deliver("task", {"chosen": "ease"}, {"weights": np.ones((2, 2))})
    assert federation.transport.kinds == ["open", "deliver"]


def test_a_listener_hears_every_record(federation, given_query):
    heard = []
    federation.consortium._listener = heard.append
    federation.totals.total(given_query())
    federation.consortium.deliver("task", {}, {})
    written = read_log(federation.folder / "coordinator" / "rounds.jsonl")
    assert [canonical(record) for record in heard] == [canonical(record) for record in written]


# --- what retailers may say instead ---


@pytest.mark.parametrize("code", list(Code))
def test_an_error_code_is_reported_with_its_retailer_and_meaning_and_nothing_else(
    tmp_path, given_query, code
):
    error = seal(Message("error", {"code": str(code), "text": "customer-4711"}))
    assert asked_of(tmp_path, given_query(), {"south": error}) == f"'south': {code.meaning}"


def test_every_retailer_that_refuses_is_named(tmp_path, given_query):
    error = seal(Message("error", {"code": "disk"}))
    said = asked_of(tmp_path, given_query(), {"north": error, "west": error})
    assert [part.split(":")[0] for part in said.split("; ") if "'" in part] == ["'north'", "'west'"]


@pytest.mark.parametrize("code", ["customer-4711", None, ["disk"], {"disk": 1}, 5])
def test_an_unknown_code_is_not_repeated(tmp_path, given_query, code):
    error = seal(Message("error", {"code": code}))
    said = asked_of(tmp_path, given_query(), {"south": error})
    assert "'south'" in said
    assert "4711" not in said


def test_no_answer_names_who_did_not_answer(tmp_path, given_query):
    assert asked_of(tmp_path, given_query(), {"south": None}) == "no answer from 'south'"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"customer-4711",
        seal(Message("summand"))[:-1],
        seal(Message("summand", {}, {"customer-4711": np.zeros(3)}))[:-1],
        seal(Message("summand")),
        seal(Message("summand", {}, {"customer-4711": np.zeros(24, np.uint8)})),
        seal(Message("opened", {"customer-4711": 1})),
        seal(Message("error")),
    ],
)
def test_a_malformed_reply_names_its_retailer_and_repeats_nothing(tmp_path, given_query, reply):
    said = asked_of(tmp_path, given_query(), {"south": reply})
    assert "'south'" in said
    assert "4711" not in said


@pytest.mark.parametrize(
    "content",
    [
        np.zeros(23, np.uint8),
        np.zeros(25, np.uint8),
        np.zeros(0, np.uint8),
        np.zeros(3, np.uint64),
        np.zeros((24, 1), np.uint8),
    ],
)
def test_a_block_of_another_size_is_refused(tmp_path, given_query, content):
    reply = seal(Message("summand", {}, {"summand": content}))
    said = asked_of(tmp_path, given_query(), {"south": reply})
    assert "'south' sent a block" in said


def test_a_retailer_that_fails_once_is_asked_again_and_the_others_repeat_themselves(
    federate, given_query
):
    answers = [dict(answer) for answer in ANSWERS]
    made = federate(rows(answers))
    made.held["west"].rows = {"answer": DataError("not yet")}
    with pytest.raises(RetailerError, match="'west'"):
        made.totals.total(given_query())
    made.held["west"].rows = {"answer": answers[2]}
    assert made.totals.total(given_query())["sum"].tolist() == TOTAL
    for name in MEMBERS:
        assert len(read_log(made.folder / name / "egress.jsonl")) == 1


def test_every_message_is_readable_json_and_arrays(federation, given_query):
    federation.totals.total(given_query(), {"model": np.ones(2)})
    federation.consortium.deliver("task", {"a": 1}, {"weights": np.ones(2)})
    federation.consortium.close()
    assert federation.transport.kinds == ["open", "ask", "deliver", "close"]
    for message in federation.transport.sent:
        assert json.loads(json.dumps(message.body)) == message.body
