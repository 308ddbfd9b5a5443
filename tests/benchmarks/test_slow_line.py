"""The line that tests and benchmarks lay between parties: long, narrow, or cut."""

import socket
import threading
import time

import pytest
from benchmarks.slow_line import SlowLine

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def far():
    """Returns the port of somebody who sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def echo():
            end, _ = listener.accept()
            with end:
                while piece := end.recv(65536):
                    end.sendall(piece)

        threading.Thread(target=echo, daemon=True).start()
        yield listener.getsockname()[1]


@pytest.fixture
def line(far):
    made = SlowLine(far)
    yield made
    made.close()


def echoed(end, content):
    end.sendall(content)
    found = b""
    while len(found) < len(content):
        found += end.recv(65536)
    return found


def test_all_bytes_arrive_late_by_the_delay_and_as_slowly_as_the_line_is_narrow(line):
    with socket.create_connection(("127.0.0.1", line.port), 20) as end:
        assert echoed(end, CONTENT) == CONTENT
        line.delay_s = 0.1
        begun = time.monotonic()
        assert echoed(end, b"?") == b"?"
        assert time.monotonic() - begun >= 0.2
        line.delay_s, line.bytes_per_s = 0.0, 200_000
        begun = time.monotonic()
        assert echoed(end, CONTENT) == CONTENT
        assert time.monotonic() - begun >= 0.2


def test_a_cut_line_says_nothing_until_it_is_healed(line):
    with socket.create_connection(("127.0.0.1", line.port), 20) as end:
        assert echoed(end, b"before") == b"before"
        line.cut()
        end.settimeout(0.2)
        end.sendall(b"during")
        with pytest.raises(TimeoutError):
            end.recv(1)
        end.settimeout(20)
        line.heal()
        assert end.recv(6) == b"during"


def test_where_nobody_listens_the_line_is_closed_and_stays_there_for_the_next():
    line = SlowLine(1)
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", line.port), 20) as end:
            assert end.recv(1) == b""
    line.close()
