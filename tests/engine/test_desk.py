"""A message is worked on once, however often the line breaks on the way."""

import threading
import time

import pytest

from grandtotal.engine import desk
from grandtotal.engine.desk import Answer, Desk, Part, RetailerLostError, Rounds


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(desk, "PART_BYTES", 4)


def rounds(post, patience_s=0.3):
    return Rounds(post, patience_s)


def test_a_message_in_parts_arrives_whole_and_the_reply_comes_back():
    heard = []
    end = Desk(lambda message: heard.append(message) or message[::-1])
    found = rounds(lambda _, part, __: end.take(part)).exchange({"north": b"0123456789"})
    assert found == {"north": b"9876543210"}
    assert heard == [b"0123456789"]


@pytest.mark.parametrize("lost", range(6))
def test_whatever_is_lost_on_the_way_the_message_is_worked_on_once(lost):
    heard, tries = [], []
    end = Desk(lambda message: heard.append(message) or b"done")

    def post(_, part, __):
        tries.append(part.place)
        # Half of the time the retailer never saw it, half of the time its answer is lost.
        answer = end.take(part) if len(tries) != lost + 1 or lost % 2 else None
        return None if len(tries) == lost + 1 else answer

    assert rounds(post, 5.0).exchange({"north": b"0123456789"}) == {"north": b"done"}
    assert heard == [b"0123456789"]


def test_replies_are_in_the_order_of_the_questions_whoever_answers_first():
    names, arrived = ("north", "south", "west"), []

    def post(name, part, _):
        time.sleep(0.05 * (len(names) - names.index(name)))
        arrived.append(name)
        return Answer(True, part.content)

    found = rounds(post, 5.0).exchange({name: name.encode()[:4] for name in names})
    assert arrived == list(names[::-1])
    assert list(found) == list(names)


def test_who_works_for_longer_than_the_patience_is_not_lost():
    end = Desk(lambda _: time.sleep(0.5) or b"late")
    found = rounds(lambda _, part, __: end.take(part)).exchange({"north": b""})
    assert found == {"north": b"late"}


def test_who_is_silent_is_lost_after_the_patience_and_the_others_are_not_waited_for():
    end, begun = Desk(lambda _: b"here"), time.monotonic()

    def post(name, part, _):
        return None if name == "west" else end.take(part)

    messages = dict.fromkeys(("north", "west"), b"")
    with pytest.raises(RetailerLostError, match="nothing heard of 'west'"):
        rounds(post).exchange(messages)
    found = rounds(post).exchange(messages, may_miss=1)
    assert found["north"] == b"here"
    assert isinstance(found["west"], RetailerLostError)
    assert time.monotonic() - begun < 5


def test_a_run_that_is_stopped_waits_for_nobody():
    stop = threading.Event()
    line = Rounds(lambda *_: stop.set(), 60.0, stop.is_set)
    with pytest.raises(RetailerLostError, match="ended"):
        line.exchange({"north": b""})


def test_a_process_that_took_no_message_is_not_asked_for_its_reply_twice():
    with pytest.raises(LookupError, match="not taken here"):
        Desk(bytes).take(Part("1" * 32, desk.ASKED_AGAIN, 1, b"", 0.1))
