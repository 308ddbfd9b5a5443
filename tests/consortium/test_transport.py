import io
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.consortium.transport import (
    EmbeddedTransport,
    PipeTransport,
    read_frame,
    write_frame,
)
from grandtotal.errors import RetailerError
from grandtotal.threads import limited_to, workers

ECHO = """
import sys
from grandtotal.consortium.transport import read_frame, write_frame
try:
    while True:
        write_frame(sys.stdout.buffer, read_frame(sys.stdin.buffer)[::-1])
except EOFError:
    print("closed", file=sys.stderr)
"""
DEAD = "import sys; print('out of memory', file=sys.stderr); sys.exit(9)"
SILENT = "import sys; sys.stdin.buffer.read()"
HALF = """
import sys
sys.stdin.buffer.read(9)
sys.stdout.buffer.write((100).to_bytes(8, "little") + b"half")
"""


@pytest.fixture
def pipes(tmp_path):
    """Returns a maker of transports to processes that run these programs."""
    made = []

    def make(timeout_s=60.0, **programs):
        commands = {
            name: ([sys.executable, "-c", program], tmp_path / name)
            for name, program in programs.items()
        }
        made.append(PipeTransport(commands, timeout_s))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_frames_come_back_one_after_another(messages):
    pipe = io.BytesIO()
    for message in messages:
        write_frame(pipe, message)
    pipe.seek(0)
    assert [read_frame(pipe) for _ in messages] == messages
    with pytest.raises(EOFError):
        read_frame(pipe)


@given(st.binary(min_size=1, max_size=20), st.data())
def test_a_frame_that_is_cut_off_is_no_frame(message, data):
    pipe = io.BytesIO()
    write_frame(pipe, message)
    cut = data.draw(st.integers(0, len(pipe.getvalue()) - 1))
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(pipe.getvalue()[:cut]))


class Reversing:
    def handle(self, message):
        return message[::-1]

    def close(self):
        pass


def test_pipes_carry_what_the_embedded_transport_carries(pipes):
    messages = {"a": b"abc", "b": b"", "c": bytes(range(256)) * 5000}
    embedded = EmbeddedTransport(dict.fromkeys(messages, Reversing()))
    piped = pipes(**dict.fromkeys(messages, ECHO))
    for _ in range(3):
        assert piped.exchange(messages) == embedded.exchange(messages)
    assert piped.exchange({"b": b"one"}) == embedded.exchange({"b": b"one"}) == {"b": b"eno"}
    embedded.close()


def test_what_a_retailer_prints_stays_in_its_own_log(pipes, tmp_path):
    transport = pipes(a=ECHO)
    transport.exchange({"a": b"abc"})
    transport.close()
    assert (tmp_path / "a" / "log.txt").read_text() == "closed\n"


def test_a_process_that_ended_is_named_with_its_status_and_without_its_words(pipes, tmp_path):
    transport = pipes(a=ECHO, b=DEAD)
    with pytest.raises(RetailerError, match=r"process of 'b' ended \(exit status 9\)") as failed:
        transport.exchange({"a": b"x", "b": b"x"})
    assert "memory" not in str(failed.value)
    assert "memory" in (tmp_path / "b" / "log.txt").read_text()


def test_a_reply_that_breaks_off_is_an_end(pipes):
    with pytest.raises(RetailerError, match="process of 'a' ended"):
        pipes(a=HALF).exchange({"a": b"x"})


def test_a_retailer_that_does_not_answer_in_time_is_named(pipes):
    with pytest.raises(RetailerError, match=r"no answer from 'b' within 0\.2 s"):
        pipes(timeout_s=0.2, a=ECHO, b=SILENT).exchange({"b": b"x"})


def test_a_reply_that_may_be_missing_is_returned_as_its_reason(pipes):
    found = pipes(a=ECHO, b=DEAD, c=ECHO).exchange({"a": b"ab", "b": b"x", "c": b"cd"}, may_miss=1)
    assert (found["a"], found["c"]) == (b"ba", b"dc")
    assert isinstance(found["b"], RetailerError)
    assert "process of 'b' ended" in str(found["b"])


def test_closing_does_not_wait_for_an_answer_that_nobody_wants(pipes):
    transport = pipes(timeout_s=600.0, a=DEAD, b=SILENT)
    with pytest.raises(RetailerError, match="'a'"):
        transport.exchange({"a": b"x", "b": b"x"})
    started = time.monotonic()
    transport.close()
    # Far below the patience of an exchange, far above what ending two processes takes.
    assert time.monotonic() - started < 60


def test_closing_ends_every_process(pipes):
    transport = pipes(a=ECHO, b=SILENT)
    transport.exchange({"a": b"x"})
    transport.close()
    assert all(process.poll() is not None for process in transport._processes.values())


def test_retailers_of_one_process_share_its_threads():
    class Meeting:
        """Answers when another one is asked as well, with how many threads it may use."""

        def handle(self, message):
            barrier.wait(timeout=60)
            return message + bytes([workers()])

        def close(self):
            pass

    barrier = threading.Barrier(2)
    transport = EmbeddedTransport({"north": Meeting(), "south": Meeting()})
    with limited_to(3):
        replies = transport.exchange({"south": b"s", "north": b"n"})
        assert workers() == 3
    transport.close()
    assert replies == {"south": b"s\x01", "north": b"n\x01"}
    assert list(replies) == ["south", "north"]
