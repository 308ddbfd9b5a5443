"""How messages travel: in this process, or through pipes to one process per retailer."""

import os
import selectors
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from grandtotal.errors import RetailerError
from grandtotal.threads import one_thread, side_by_side

RetailerId = str
Reply = bytes | RetailerError


class Handler(Protocol):
    """Whoever answers messages: a `Retailer`."""

    def handle(self, message: bytes) -> bytes: ...

    def close(self) -> None: ...


class Transport(Protocol):
    """Carries one message to each of these retailers and brings their replies."""

    def exchange(
        self, messages: Mapping[RetailerId, bytes], may_miss: int = 0
    ) -> dict[RetailerId, Reply]:
        """Returns a reply for every message, or the RetailerError that says why there is none.

        Raises that error as soon as more than `may_miss` replies are known not to come.
        """
        ...

    def close(self) -> None:
        """Lets go of everything that was started."""
        ...


class EmbeddedTransport:
    """All retailers in this process, as many at once as there are cores."""

    def __init__(self, retailers: Mapping[RetailerId, Handler]) -> None:
        self._retailers = retailers

    def exchange(
        self,
        messages: Mapping[RetailerId, bytes],
        may_miss: int = 0,  # noqa: ARG002 - nobody is lost in one process
    ) -> dict[RetailerId, Reply]:
        # One thread of linear algebra each: threads of threads wait for each other.
        with one_thread():
            calls = [partial(self._retailers[name].handle, m) for name, m in messages.items()]
            return dict(zip(messages, side_by_side(calls), strict=True))

    def close(self) -> None:
        for retailer in self._retailers.values():
            retailer.close()


class PipeTransport:
    """A process per retailer, started with the given command in the given folder.

    A frame is 8 bytes of length, little-endian, and the message. What a retailer's process has
    to say in words goes to log.txt in its folder, never through the pipe.
    """

    def __init__(
        self, commands: Mapping[RetailerId, tuple[list[str], Path]], timeout_s: float = 3600.0
    ) -> None:
        self._timeout_s = timeout_s
        self._processes = {name: _start(*command) for name, command in commands.items()}
        self._threads = ThreadPoolExecutor(max(1, len(self._processes)))
        self._working: set[RetailerId] = set()

    def exchange(
        self, messages: Mapping[RetailerId, bytes], may_miss: int = 0
    ) -> dict[RetailerId, Reply]:
        replies = {
            name: self._threads.submit(self._one, name, message)
            for name, message in messages.items()
        }
        missing = 0
        for done in as_completed(replies.values()):
            reply = done.result()
            if isinstance(reply, RetailerError):
                missing += 1
                if missing > may_miss:
                    raise reply
        return {name: reply.result() for name, reply in replies.items()}

    def _one(self, name: RetailerId, message: bytes) -> Reply:
        process = self._processes[name]
        assert process.stdin is not None
        assert process.stdout is not None
        self._working.add(name)
        try:
            write_frame(process.stdin, message)
            return _read_frame_within(process.stdout, self._timeout_s)
        except TimeoutError:
            return RetailerError(f"no answer from '{name}' within {self._timeout_s:g} s")
        except (EOFError, BrokenPipeError):
            return RetailerError(
                f"the process of '{name}' ended (exit status {process.wait()}); "
                f"its own log.txt says why"
            )
        finally:
            self._working.discard(name)

    def close(self) -> None:
        # A thread that waits for an answer holds the pipe until the process at its end is gone.
        for name in tuple(self._working):
            self._processes[name].kill()
        for process in self._processes.values():
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes.values():
            _end(process)
        self._threads.shutdown()
        for process in self._processes.values():
            assert process.stdout is not None
            process.stdout.close()


def write_frame(pipe: IO[bytes], message: bytes) -> None:
    """Writes one message with its length before it."""
    pipe.write(len(message).to_bytes(8, "little"))
    pipe.write(message)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes:
    """Returns the next message; raises EOFError where the other side is gone."""
    length = int.from_bytes(_exactly(pipe, 8), "little")
    return _exactly(pipe, length)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _read_frame_within(pipe: IO[bytes], timeout_s: float) -> bytes:
    # Only the wait for the first byte is limited: a reply on its way is not late.
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        if not selector.select(timeout_s):
            raise TimeoutError
    return read_frame(pipe)


def _start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )


def _end(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    deadline = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if process.poll() is None:
        process.kill()
    process.wait()
