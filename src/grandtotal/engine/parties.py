"""The processes of a consortium of companies: a coordinator that works through its runs, a retailer
that answers.

Each is one process that may be killed at any moment: what it knows is on its disk, and whoever
starts it again goes on. A process imports what it needs itself: starting is mostly importing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from grandtotal.durable import write
from grandtotal.engine.dialling import line_of, until_answered
from grandtotal.engine.kits import COORDINATOR, Kit, patience_of, transport_key
from grandtotal.engine.memory import give_back
from grandtotal.engine.nursery import Nursery
from grandtotal.engine.revocation import without_certificate
from grandtotal.engine.workspace import of_coordinator, of_retailer
from grandtotal.errors import PlanError, RunError
from grandtotal.privacy.identity import fingerprint
from grandtotal.retailer_file import door_of, name_of

if TYPE_CHECKING:
    from grandtotal.engine.conduct import Held

PID = "process.pid"
_LOOK_S = 0.5  # between two looks at the runs
_BEGIN_S = 60.0  # in which a job that was accepted must have begun
_SUBMIT_S = 60.0
_START_S = 10.0  # in which processes are started and all members that are there have dialled in


def start_coordinator(kit: Kit, metrics: int | None = None) -> int:
    """Serves the consortium and works through the submitted runs, until it is told to stop.

    metrics: a port on 127.0.0.1 for Prometheus.
    """
    kit.own(COORDINATOR)
    _refuse_missing_flare()
    nursery = _nursery(kit, "conduct")
    with _at_work(kit):
        of_coordinator(kit)
        threading.Thread(target=_work, args=(kit, nursery), daemon=True).start()
        _show_metrics(kit, metrics)
        from grandtotal.engine import flare

        return flare.serve(kit, nursery)


def start_retailer(kit: Kit, config: Path, metrics: int | None = None, trust: bool = False) -> int:
    """Dials the coordinator and answers for the retailer of this config, until told to stop.

    trust: take a coordinator's key that is not the one this retailer knows. PlanError where the
    kit is another retailer's, or its certificate is of another key.
    """
    kit.own("retailer")
    if name_of(config) != kit.me:
        raise PlanError(
            f"{config}: of retailer '{name_of(config)}', the kit {kit.path} is of '{kit.me}'"
        )
    _refuse_missing_flare()
    know_coordinator(kit, config, trust)
    key = transport_key(config)
    nursery = _nursery(kit, "site")
    with _at_work(kit):
        of_retailer(kit, config, key)
        _show_metrics(kit, metrics)
        from grandtotal.engine import flare

        until_answered(line_of(kit, key))
        return flare.answer(kit, nursery)


def _nursery(kit: Kit, work: str) -> Nursery:
    """Sets a process aside for the jobs of this party, before there is a second thread.

    work: the module that works on a run.
    """
    from grandtotal.engine import flare  # both sides of the fork need it

    give_back()

    def prepare() -> None:
        os.chdir(kit.path)
        flare.prepare()
        import_module(f"{__package__}.{work}")

    return Nursery(prepare)


def know_coordinator(kit: Kit, config: Path, trust: bool = False) -> None:
    """Keeps the coordinator's public key at the first kit; PlanError for a kit with another."""
    path = door_of(config).folder / "coordinators" / f"{kit.alliance.name}.pub"
    if path.exists() and not trust and bytes.fromhex(path.read_text()) != kit.coordinator:
        raise PlanError(
            f"{kit.path}: the coordinator of '{kit.alliance.name}' has the key "
            f"{fingerprint(kit.coordinator)}, {path} knows another; have the fingerprint read to "
            f"you, and start once with --trust"
        )
    write(path, kit.coordinator.hex().encode() + b"\n")


def _work(kit: Kit, nursery: Nursery) -> None:
    """Starts a segment for the oldest run that is open, whenever none is at work."""
    from grandtotal.engine.conduct import held

    submitted: dict[str, _Submitted] = {}
    while True:
        time.sleep(_LOOK_S)
        for run in held(kit):
            name = run.folder.path.name
            if not run.open or run.busy:
                continue
            if gone := sorted(set(run.present) & without_certificate(kit.path)):
                run.say("failed", f"the certificate of {', '.join(gone)} was revoked")
                continue
            begun = sum(record["event"] == "began" for record in run.segments)
            last = submitted.get(name)
            asked = last if last is not None and last.begun == begun else None
            if asked is not None and time.monotonic() - asked.at < _wait_s(kit, run):
                break  # accepted: FLARE starts its processes, or waits for a member
            # Who is away is waited for, as long as the plan says, before it is left out.
            sites = len(run.present) if asked is None else run.fewest
            if _submitted(kit, nursery, run, sites):
                submitted[name] = _Submitted(begun, time.monotonic())
            break


@dataclass(frozen=True)
class _Submitted:
    """A job that was accepted: how many segments had begun before it, and when it was."""

    begun: int
    at: float


def _wait_s(kit: Kit, run: Held) -> float:
    patience_s = patience_of(kit, run.folder.plan())
    return _START_S + patience_s if run.fewest < len(run.present) else max(_BEGIN_S, patience_s)


def _submitted(kit: Kit, nursery: Nursery, run: Held, sites: int) -> bool:
    name = run.folder.path.name
    child = nursery.start(["submit", str(kit.path), name, str(sites), *run.present])
    try:
        return child.wait(_SUBMIT_S) == 0
    except TimeoutError:
        child.terminate()
        return False


def stop(kit: Kit, patience_s: float = 20.0) -> bool:
    """Ends the process of a kit; returns whether there was one."""
    process = running(kit)
    if process is None:
        return False
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(process, sign)
        deadline = time.monotonic() + patience_s
        while running(kit) is not None and time.monotonic() < deadline:
            time.sleep(0.1)
        if running(kit) is None:
            break
    return True


def running(kit: Kit) -> int | None:
    """Returns the number of the process that works with a kit, None where there is none."""
    path = kit.path / PID
    if not path.exists():
        return None
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or b"0") or None
    return None


@contextmanager
def _at_work(kit: Kit) -> Iterator[None]:
    """Holds the kit for this process; RunError where another one works with it."""
    kit.runs.mkdir(exist_ok=True)
    with (kit.path / PID).open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{kit.path}: process {running(kit)} works with this kit") from None
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield  # a process that is killed lets go as well


def _show_metrics(kit: Kit, port: int | None) -> None:
    if port is not None:
        from grandtotal.engine.metrics import serve_metrics

        serve_metrics(kit, port)


def _refuse_missing_flare() -> None:
    if find_spec("nvflare") is None:
        raise PlanError(
            "NVIDIA FLARE is not installed here; `pip install 'grandtotal[flare]'` does it"
        )
