import json
from typing import ClassVar

import numpy as np
import pytest

from grandtotal import __version__
from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.query import question_digest
from grandtotal.consortium.retailer import Retailer
from grandtotal.durable import Log, digest, read_log
from grandtotal.errors import (
    AnswerError,
    Code,
    DataError,
    PlanError,
    RefusedError,
    RetailerError,
    RunError,
)
from grandtotal.tasks.scores import scores_path
from grandtotal.versions import code_digest

SECRET = "customer-4711"
OTHER = digest(b"another plan")


@pytest.fixture
def federation(federate, given_query):  # noqa: ARG001 - the query is installed
    return federate([{"answer": {"sum": np.arange(3) * k}} for k in range(3)])


@pytest.fixture
def north(federation):
    return federation.retailers["north"]


@pytest.fixture
def ask(federation, given_query):
    """Returns a maker of questions to north, true but for what is changed."""

    def make(broadcast=None, **changed):
        query = given_query()
        plan = federation.consortium._plan
        body = {
            "plan": plan,
            "round": 1,
            "task": "task",
            "query": "given",
            "parameters": {"columns": [["sum", [3], 64, 1]]},
            "question": question_digest(plan, "task", query, broadcast or {}),
            "block": 0,
        }
        return seal(Message("ask", {**body, **changed}, broadcast or {}))

    return make


def code(reply):
    """Returns the code of an error reply, which must hold nothing else."""
    message = unseal(reply)
    assert message.kind == "error"
    assert message.body.keys() == {"code"}
    assert not message.arrays
    return Code(message.body["code"])


def logged(retailer):
    return (retailer.folder / "log.txt").read_text()


def test_a_true_question_is_answered(north, ask):
    reply = unseal(north.handle(ask()))
    assert reply.kind == "summand"
    assert reply.arrays["summand"].tobytes() == bytes(24)


def test_a_question_under_another_digest_is_refused(north, ask):
    assert code(north.handle(ask(question=OTHER))) == Code.MALFORMED
    assert read_log(north.folder / "egress.jsonl") == []


@pytest.mark.parametrize(
    "changed",
    [
        {"task": "other"},
        {"parameters": {"columns": [["sum", [2], 64, 1]]}},
        {"query": "other"},
        {"broadcast": {"model": np.ones(1)}},
    ],
)
def test_a_question_that_is_not_what_its_digest_says_is_refused(north, ask, given_query, changed):
    plan = unseal(ask()).body["plan"]
    honest = question_digest(plan, "task", given_query(), {})
    assert code(north.handle(ask(question=honest, **changed))) in (
        Code.MALFORMED,
        Code.UNKNOWN_QUERY,
    )
    assert read_log(north.folder / "egress.jsonl") == []


def test_a_question_about_another_plan_is_refused(north, ask):
    assert code(north.handle(ask(plan=OTHER))) == Code.OTHER_PLAN


@pytest.mark.parametrize("kind", ["ask", "deliver", "close"])
def test_nothing_is_answered_before_a_plan_was_opened(tmp_path, kind):
    retailer = Retailer("north", tmp_path, lambda _: {})
    assert code(retailer.handle(seal(Message(kind, {"plan": digest(b"{}")})))) == Code.OTHER_PLAN


@pytest.fixture
def opened(federation):
    """Returns the true message that opens a plan."""
    return federation.transport.sent[0]


@pytest.mark.parametrize(
    "changed",
    [{"version": "0.0.0"}, {"version": __version__ + ".post1"}, {"code": digest(b"another code")}],
)
def test_another_version_is_refused(tmp_path, opened, changed):
    retailer = Retailer("north", tmp_path, lambda _: {})
    assert unseal(retailer.handle(seal(opened))).kind == "opened"
    body = {**opened.body, **changed}
    assert code(retailer.handle(seal(Message("open", body)))) == Code.OTHER_VERSION


def test_an_unknown_query_is_refused(north, ask):
    assert code(north.handle(ask(query="no-such"))) == Code.UNKNOWN_QUERY


def test_parameters_that_the_query_does_not_have_are_refused(north, ask):
    assert code(north.handle(ask(parameters={"rows": 1}))) == Code.UNKNOWN_QUERY


@pytest.mark.parametrize("block", [1, -1, 99, "0", None, 1.5])
def test_a_block_that_does_not_exist_is_not_answered(north, ask, block):
    code(north.handle(ask(block=block)))


def test_a_later_block_is_answered_only_after_the_first_of_its_question(federation, ask):
    north = federation.retailers["north"]
    north.handle(ask())
    other = ask({"model": np.ones(1)}, block=1)
    assert code(north.handle(other)) == Code.MALFORMED


def test_a_summand_is_let_go_with_its_last_block_and_can_be_asked_for_again(
    federation, ask, monkeypatch
):
    monkeypatch.setattr("grandtotal.privacy.egress.BLOCK_BYTES", 8)
    west = federation.retailers["west"]

    def all_blocks():
        replies = [unseal(west.handle(ask(block=block))) for block in range(3)]
        return b"".join(reply.arrays["summand"].tobytes() for reply in replies)

    first = all_blocks()
    assert first == np.array([0, 2, 4]).tobytes()
    assert code(west.handle(ask(block=2))) == Code.MALFORMED
    assert all_blocks() == first


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (DataError(SECRET), Code.DATA_UNUSABLE),
        (PlanError(SECRET), Code.PLAN_REFUSED),
        (AnswerError(Code.NOT_FINITE, SECRET), Code.NOT_FINITE),
        (OSError(28, SECRET), Code.DISK),
        (RunError(SECRET), Code.INTERNAL),
        (RefusedError(SECRET), Code.INTERNAL),
        (ValueError(SECRET), Code.INTERNAL),
        (KeyError(SECRET), Code.INTERNAL),
        (RecursionError(SECRET), Code.INTERNAL),
        (MemoryError(SECRET), Code.INTERNAL),
    ],
)
def test_what_goes_wrong_crosses_as_a_code_and_stays_as_text(
    federation, given_query, ask, raised, expected
):
    federation.held["north"].rows = {"answer": raised}
    north = federation.retailers["north"]
    reply = north.handle(ask())
    assert code(reply) == expected
    assert SECRET.encode() not in reply
    assert SECRET in logged(north)
    with pytest.raises(RetailerError) as failed:
        federation.totals.total(given_query())
    assert str(failed.value) == f"'north': {expected.meaning}"


def test_only_the_unexpected_leaves_a_traceback_and_only_in_the_log(federation, ask):
    north = federation.retailers["north"]
    federation.held["north"].rows = {"answer": DataError(SECRET)}
    north.handle(ask())
    assert "Traceback" not in logged(north)
    federation.held["north"].rows = {"answer": ZeroDivisionError(SECRET)}
    reply = north.handle(ask())
    assert "Traceback" in logged(north)
    assert b"Traceback" not in reply
    assert code(reply) == Code.INTERNAL


def test_what_the_opener_raises_is_a_code(tmp_path, opened):
    for raised, expected in ((DataError(SECRET), "data-unusable"), (TypeError(), "internal")):

        def opener(_, raised=raised):
            raise raised

        assert code(Retailer("north", tmp_path, opener).handle(seal(opened))) == expected


def test_a_disk_that_fails_lets_nothing_out(north, ask, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(Log, "append", lambda *_: (_ for _ in ()).throw(OSError(28, SECRET)))
        reply = north.handle(ask())
    assert code(reply) == Code.DISK
    assert read_log(north.folder / "egress.jsonl") == []
    assert unseal(north.handle(ask())).kind == "summand"


def test_a_disk_that_takes_no_log_either_is_still_a_code(north, ask, monkeypatch):
    (north.folder / "log.txt").mkdir()
    monkeypatch.setattr(Log, "append", lambda *_: (_ for _ in ()).throw(OSError(28, SECRET)))
    assert code(north.handle(ask())) == Code.DISK


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"GTOT",
        b"\x80\x04K\x01.",
        seal(Message("ask")),
        seal(Message("open")),
        seal(Message("deliver")),
        seal(Message("summand")),
    ],
)
def test_no_message_makes_a_retailer_raise(north, message):
    code(north.handle(message))


def test_a_text_that_no_file_can_hold_is_logged_all_the_same(north, ask):
    # Half of a surrogate pair: JSON can say it, UTF-8 cannot.
    message = ask(query="......").replace(b'"......"', b'"\\ud800"')
    assert code(north.handle(message)) == Code.UNKNOWN_QUERY
    assert r"no query '\ud800'" in logged(north)


def test_a_tampered_summand_is_noticed_by_the_retailer_itself(federation, given_query, ask):
    federation.totals.total(given_query())
    federation.held["north"].rows = {"answer": {"sum": np.array([9, 9, 9])}}
    assert code(federation.retailers["north"].handle(ask())) == Code.ANSWER_CHANGED


def test_a_closed_retailer_answers_nothing(north, federation, ask):
    federation.consortium.close()
    code(north.handle(ask()))


def test_a_delivered_model_reaches_its_task(federation):
    federation.consortium.deliver("task", {"model": "ease"}, {"w": np.ones(2)})
    ((meta, arrays),) = federation.held["north"].received
    assert (meta, arrays["w"].tolist()) == ({"model": "ease"}, [1.0, 1.0])


def test_members_that_the_plan_does_not_name_are_refused(tmp_path):
    retailer = Retailer("north", tmp_path, lambda _: {})
    agreed = {"members": ["north", "south", "west"]}
    plan = json.dumps({"consortium": agreed, "privacy": {"secure_sum": False}})
    body = {"plan": plan, "version": __version__, "code": code_digest(), "members": ["north"]}
    assert code(retailer.handle(seal(Message("open", body)))) == Code.OTHER_MEMBERS
    whole = {**body, "members": ["north", "south", "west"]}
    assert unseal(retailer.handle(seal(Message("open", whole)))).kind == "opened"


def test_the_name_of_a_task_is_no_path(tmp_path):
    with pytest.raises(AnswerError, match="no name of a task"):
        scores_path(tmp_path, "../south/demand", "alone")


class Half:
    """The retailer half of a task."""

    rows: ClassVar = {"answer": {"sum": np.arange(3)}}


def test_a_plan_that_could_not_be_opened_whole_is_not_answered(tmp_path, given_query):
    retailer = Retailer("north", tmp_path, lambda _: {"task": Half()})
    members = ["north", "south", "west"]
    plan = json.dumps({"consortium": {"name": "c", "members": members}})
    body = {"plan": plan, "version": __version__, "code": code_digest(), "members": members}
    # Secure sums are asked for, and this retailer has no key.
    assert code(retailer.handle(seal(Message("open", {**body, "run": "r"})))) == Code.PLAN_REFUSED
    for plan_digest in (digest(plan.encode()), ""):
        asked = {
            "plan": plan_digest,
            "round": 1,
            "task": "task",
            "query": "given",
            "parameters": {"columns": [["sum", [3], 64, 1]]},
            "question": question_digest(plan_digest, "task", given_query(), {}),
            "block": 0,
        }
        code(retailer.handle(seal(Message("ask", asked))))
    assert read_log(tmp_path / "egress.jsonl") == []
    retailer.close()
