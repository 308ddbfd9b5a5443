"""Processes that begin with everything imported, forked from one that has done nothing but import.

A new interpreter imports for two seconds of a processor before it does anything, at every segment
of a run. Who has threads cannot be forked safely, and FLARE has dozens: so a process is set aside
before there is a second thread, imports what the work of a job needs, and forks when it is told to.

Whoever dies takes along what it started: with a party goes its nursery, with a nursery all that it
forked. Where the nursery alone was killed, or the code on the disk is not the one that it imported,
a new interpreter does the work.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import grandtotal
from grandtotal.durable import canonical
from grandtotal.engine import job

_FORK = get_context("fork")
_LOG = logging.getLogger(__name__)
_KILLED = -signal.SIGKILL
_NAME = Path("/proc/self/comm")  # what ps and top show of a process, where there is such a file

Code = dict[Path, tuple[int, int, int]]
"""What tells whether a file of this package was changed, added or removed."""


@dataclass(frozen=True)
class Child:
    """A process that works on a job, with the words that FLARE knows of one.

    number: the system's. status: its exit status, negative where a signal ended it.
    """

    number: Future[int] = field(default_factory=Future)
    status: Future[int] = field(default_factory=Future)

    def terminate(self) -> None:
        """Ends it, with all that it started."""
        for kill in (os.killpg, os.kill):  # it may not lead a group of its own yet
            if not self.status.done():
                with suppress(ProcessLookupError):
                    kill(self.number.result(), signal.SIGKILL)

    def poll(self) -> int | None:
        """Returns its exit status, None while it runs."""
        return self.status.result() if self.status.done() else None

    def wait(self, timeout_s: float | None = None) -> int:
        """Returns its exit status when it has ended; TimeoutError where it does not in time."""
        return self.status.result(timeout_s)


class Nursery:
    """The process that is set aside. prepare: imports what the work needs, in that process.

    Make it before anything is started in a thread.
    """

    def __init__(self, prepare: Callable[[], object]) -> None:
        self._line, theirs = _FORK.Pipe()
        if os.fork() == 0:
            self._line.close()
            _serve(theirs, prepare)
        theirs.close()
        self._numbers = count()
        self._children: dict[int, Child] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, words: list[str], secrets: Mapping[str, str] | None = None) -> Child:
        """Starts `job.main` with these words, and returns at once.

        secrets: what is added to its environment, and is on no command line.
        """
        child, number = Child(), next(self._numbers)
        self._children[number] = child
        try:
            self._line.send_bytes(canonical([number, words, dict(secrets or {})]))
        except OSError:  # it was killed
            _spawn(self._children.pop(number), words, secrets or {})
        return child

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                number, process, status = json.loads(self._line.recv_bytes())
                if status is None:
                    self._children[number].number.set_result(process)
                else:
                    self._children.pop(number).status.set_result(status)
        self._line.close()
        for child in self._children.values():
            if not child.number.done():
                child.number.set_exception(ProcessLookupError())
            child.status.set_result(_KILLED)


def _spawn(child: Child, words: list[str], secrets: Mapping[str, str]) -> None:
    """Has a new interpreter do the work."""
    process = subprocess.Popen(
        _command(words),
        env={**os.environ, **secrets},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    child.number.set_result(process.pid)
    over = threading.Thread(target=lambda: child.status.set_result(process.wait()), daemon=True)
    over.start()


def _command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", job.__name__, *words]


def _serve(line: Connection, prepare: Callable[[], object]) -> None:
    """Imports, then forks what the party asks for until the party is gone; never returns."""
    try:
        os.setsid()  # what is typed at the party's terminal is for the party
        _call("grandtotal-nest")
        code = _code()
        prepare()
        _fork(line, code)
    except Exception:
        _LOG.exception("jobs begin in a new interpreter from now on")
    finally:
        os._exit(0)


def _fork(line: Connection, code: Code) -> None:
    forked: dict[int, tuple[int, BaseProcess]] = {}
    with suppress(EOFError, OSError):
        while True:
            ready = set(wait([line, *forked]))
            for sentinel in forked.keys() & ready:
                number, process = forked.pop(sentinel)
                process.join()
                line.send_bytes(canonical([number, process.pid, process.exitcode]))
            if line in ready:
                number, words, secrets = json.loads(line.recv_bytes())
                given = (line, code, os.getpid(), words, secrets)
                process = _FORK.Process(target=_work, args=given)
                process.start()
                forked[process.sentinel] = number, process
                line.send_bytes(canonical([number, process.pid, None]))
    for _, process in forked.values():
        process.kill()


def _work(
    line: Connection, code: Code, nursery: int, words: list[str], secrets: dict[str, str]
) -> None:
    line.close()
    os.setsid()
    _call("grandtotal-job")
    os.environ.update(secrets)
    if _code() != code:
        # Installed anew since: what runs must be what the digest of the code says.
        os.execv(sys.executable, _command(words))
    sys.exit(job.main(words, nursery))


def _code() -> Code:
    root = Path(grandtotal.__file__).parent
    found = ((path, path.stat()) for path in root.rglob("*.py"))
    return {path: (is_.st_ctime_ns, is_.st_size, is_.st_ino) for path, is_ in found}


def _call(name: str) -> None:
    with suppress(OSError):
        _NAME.write_text(name)
