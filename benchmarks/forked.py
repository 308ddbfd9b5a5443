"""Runs over pipes whose processes are forked, not started: everything is imported already.

Starting Python and importing takes a second, forking a hundredth. It is for killing processes by
the thousand; a coordinator that is forked knows modules which a real one never imports. Whoever
forks must not have used polars itself: its threads do not survive a fork.
"""

import os
import signal
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from grandtotal import participate, retailer_process  # noqa: F401 - imported before the fork
from grandtotal.consortium import transport
from grandtotal.coordinate import coordinate
from grandtotal.runfolder import RunFolder

_FIRST, _LAST = 3, 256  # file descriptors that a fork inherits and must not hold

Prepare = Callable[[str], None]
"""Is called in every process, with the name of its party, before it begins."""


class Forked:
    """A process that was forked; as much of `subprocess.Popen` as a `PipeTransport` uses."""

    def __init__(
        self,
        work: Callable[[], None],
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        inherits: tuple[int, ...] = (),
    ) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _be(work, inherits)

    def poll(self) -> int | None:
        """Returns the exit status, None while it runs."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int:
        """Returns the exit status once it has ended."""
        status = self._ended(0)
        assert status is not None
        return status

    def kill(self) -> None:
        """Ends it at once."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _be(work: Callable[[], None], inherits: tuple[int, ...]) -> None:
    """Does the work of a process and ends it: nothing of whoever forked it goes on here."""
    for place, descriptor in enumerate(inherits):
        os.dup2(descriptor, place)
    # A retailer that holds the end of another's pipe would keep it open after a kill.
    os.closerange(_FIRST, _LAST)
    try:
        work()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(1)
    os._exit(0)


def work_on(run: RunFolder, prepare: Prepare = lambda _: None) -> Forked:
    """Forks a coordinator that works on a run, with a process for each of its retailers."""
    with (run.path / "process.txt").open("ab") as log, Path(os.devnull).open("rb") as nothing:
        inherits = (nothing.fileno(), log.fileno(), log.fileno())
        return Forked(lambda: _coordinate(run, prepare), inherits=inherits)


def _coordinate(run: RunFolder, prepare: Prepare) -> None:
    configs: Mapping[str, str] = run.launch()["retailers"]

    def started(command: list[str], folder: Path) -> Forked:
        return _retailer(command[0], Path(configs[command[0]]), folder, prepare)

    transport._start = started  # type: ignore[assignment]
    line = transport.PipeTransport({name: ([name], run.retailer(name)) for name in configs})
    prepare("coordinator")
    try:
        coordinate(run.plan(), line, run)
    finally:
        line.close()


def _retailer(name: str, config: Path, folder: Path, prepare: Prepare) -> Forked:
    folder.mkdir(parents=True, exist_ok=True)
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()

    def work() -> None:
        prepare(name)
        retailer_process.main(name, config, folder)

    with (folder / "log.txt").open("ab") as log:
        made = Forked(
            work,
            os.fdopen(ours_out, "wb"),
            os.fdopen(ours_in, "rb"),
            (theirs_in, theirs_out, log.fileno()),
        )
    os.close(theirs_in)
    os.close(theirs_out)
    return made


def retailer_of(coordinator: int, place: int) -> int | None:
    """Returns the process of the retailer that was forked at this place; None if not yet."""
    children = Path(f"/proc/{coordinator}/task/{coordinator}/children")
    found = children.read_text().split() if children.exists() else []
    return int(found[place]) if place < len(found) else None
