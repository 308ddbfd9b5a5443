"""The coordinator's end of a run across companies, segment after segment until it is finished.

coordinator/proposal.json    the signed plan      state.json     what is going on, for people
segments.jsonl               every attempt: when it began, and how it ended
stop                         there while somebody wants the run to pause
segment.lock                 held by the one process that works on the run
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from grandtotal.consortium.consortium import Listener, unheard
from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.transport import Reply, Transport
from grandtotal.coordinate import coordinate
from grandtotal.durable import Json, Log, read_json, read_log, write, write_json
from grandtotal.engine.consent import Decision, Proposal, cohorts
from grandtotal.engine.desk import RetailerLostError
from grandtotal.engine.kits import COORDINATOR, Kit
from grandtotal.engine.site import LAUNCH
from grandtotal.errors import Code, GrandtotalError, PlanError, RetailerError, RunError
from grandtotal.plan import Plan
from grandtotal.privacy.identity import read_identity, read_roster
from grandtotal.privacy.protocol import least
from grandtotal.report.report import write_report
from grandtotal.runfolder import RunFolder
from grandtotal.versions import code_digest

_ASK_AGAIN_S = 1.0


@dataclass(frozen=True)
class Held:
    """One run at the coordinator."""

    folder: RunFolder

    @property
    def state(self) -> str:
        """Returns finished, refused, stopped, or what its newest segment was last doing."""
        if self.folder.finished():
            return "finished"
        if self.stop.exists():
            return "stopped"
        path = self.folder.coordinator / "state.json"
        return str(read_json(path)["state"]) if path.exists() else "submitted"

    @property
    def open(self) -> bool:
        """Whether there is work to do that needs no person here first."""
        return self.state not in ("finished", "stopped", "refused", "failed")

    @property
    def stop(self) -> Path:
        """The file whose presence stops the run."""
        return self.folder.coordinator / "stop"

    @property
    def present(self) -> tuple[str, ...]:
        """The members that have not dropped out."""
        left = self.folder.left()
        return tuple(name for name in self.folder.plan().members if name not in left)

    @property
    def fewest(self) -> int:
        """How many must be there: all until there is a total, then as many as the plan says."""
        plan = self.folder.plan()
        privacy = plan.common.privacy
        if not self.folder.rounds() or not privacy.secure_sum:
            return len(self.present)
        return least(len(plan.members), privacy.dropouts)

    @property
    def segments(self) -> list[Json]:
        """Returns the record of every beginning and end of an attempt."""
        return read_log(self.folder.coordinator / "segments.jsonl")

    @property
    def busy(self) -> bool:
        """Whether a process works on the run right now."""
        try:
            with self.lock():
                return False
        except BlockingIOError:
            return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process alone; BlockingIOError where another one holds it."""
        path = self.folder.coordinator / "segment.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)  # and a process that is killed lets go as well

    def say(self, state: str, why: str = "") -> None:
        """Writes down what is going on, unless that is known."""
        path, said = self.folder.coordinator / "state.json", {"state": state, "why": why}
        if not path.exists() or read_json(path) != said:
            write_json(path, said)

    def note(self, event: str, why: str = "") -> None:
        """Adds to the record of attempts."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        Log(self.folder.coordinator / "segments.jsonl").append(
            {"at": now, "event": event, "why": why}
        )


def submit(kit: Kit, plan: Plan, roster: Path | None) -> RunFolder:
    """Puts a signed plan among the runs of the coordinator; returns its folder.

    PlanError where the members are not those of the kit, or secure sums lack a valid roster.
    """
    from datetime import date
    from secrets import token_hex

    _refuse_others(kit, plan)
    signed = None
    if plan.common.privacy.secure_sum:
        path = roster or kit.path / "roster.json"
        read_roster(path, date.today(), plan.members)
        signed = path.read_bytes()
    identity = read_identity(kit.path / "keys" / "identity.key")
    code, run = code_digest(), token_hex(16)
    folder = RunFolder.create(kit.runs, plan, {"engine": LAUNCH, "retailers": {}})
    if signed is not None:
        write(folder.coordinator / "roster.json", signed)
    write_json(folder.coordinator / "run.json", {"run": run, "code": code})
    made = Proposal(plan.content.decode(), run, code, kit.alliance.name).signed(identity)
    # Last: a run with a proposal is one that may begin.
    write_json(folder.coordinator / "proposal.json", made.body)
    return folder


def held(kit: Kit) -> list[Held]:
    """Returns the runs of a coordinator, oldest first."""
    marks = kit.runs.glob(f"*/{COORDINATOR}/proposal.json")
    found = sorted(marks, key=lambda path: (path.stat().st_mtime, str(path)))
    return [Held(RunFolder(path.parents[1])) for path in found]


def cohorts_before(kit: Kit, run: RunFolder) -> list[str]:
    """Returns what the totals of a run tell beside those of the run before of the same name."""
    plan = run.plan()
    earlier = [each.folder.plan() for each in held(kit) if each.folder.path != run.path]
    same = [each for each in earlier if each.name == plan.name]
    return cohorts(same[-1].members, plan.members) if same else []


def conduct(kit: Kit, name: str, transport: Transport, listener: Listener = unheard) -> None:
    """Works on a run until it is finished, stopped, refused, or a retailer is lost.

    How it ended is in state.json and segments.jsonl. BlockingIOError where another process is at
    work on it: then this one has nothing to do.
    """
    run = Held(RunFolder(kit.runs / name))
    with run.lock():
        if not run.open:
            return  # a job that was queued behind another one finds its work done
        run.note("began")
        try:
            _agree(run, transport)
            coordinate(run.folder.plan(), transport, run.folder, _telling(run, listener))
            write_report(run.folder)
        except _StoppedError:
            run.note("stopped")
        except RetailerLostError as error:
            run.note("lost", str(error))
            run.say("waiting", str(error))
        except GrandtotalError as error:
            state = "refused" if isinstance(error, _RefusedError) else _after(run, error)
            run.note(state, str(error))
            run.say(state, str(error))
        except OSError as error:
            # A disk that is full may not even take this; the run is begun again by itself.
            with suppress(OSError):
                run.note("waiting", repr(error))
                run.say("waiting", repr(error))
        except Exception as error:
            run.note("failed", repr(error))
            run.say("failed", repr(error))
            raise
        else:
            run.note("finished")
            run.say("finished")


class _StoppedError(Exception):
    """Somebody wants the run to pause."""


class _RefusedError(RetailerError):
    """People at a retailer have said no."""


_PATIENCE = 5  # refusals in a row that may come from the segment before, whose process is ending


def _after(run: Held, error: GrandtotalError) -> str:
    """Returns "waiting" where the segment before may not be over yet at a retailer."""
    if Code.LEDGER.meaning not in str(error) or len(run.segments) < 3:
        return "failed"
    ends = [record["event"] for record in run.segments if record["event"] != "began"]
    again = ends[-_PATIENCE:] == ["waiting"] * _PATIENCE
    return "failed" if again else "waiting"


def _agree(run: Held, transport: Transport) -> None:
    """Shows the plan to all and waits until each has approved it."""
    body: Json = read_json(run.folder.coordinator / "proposal.json")
    waiting, may_miss = run.present, len(run.present) - run.fewest
    while waiting:
        _refuse_stopped(run)
        asked = seal(Message("propose", {**body, "now": _now()}))
        replies = transport.exchange(dict.fromkeys(waiting, asked), may_miss)
        said = {
            name: _decision(name, reply)
            for name, reply in replies.items()
            if not (may_miss and isinstance(reply, RetailerLostError))
        }
        if no := [name for name, decision in said.items() if decision == Decision.REFUSED]:
            raise _RefusedError(f"the plan was refused by {', '.join(no)}")
        waiting = tuple(name for name in waiting if said.get(name) == Decision.WAITING)
        if waiting:
            run.say("waiting", f"for the approval of {', '.join(waiting)}")
            time.sleep(_ASK_AGAIN_S)
    run.say("running")


def _now() -> float:
    return time.time()


def _decision(name: str, reply: Reply) -> str:
    if isinstance(reply, RetailerError):
        raise reply
    message = unseal(reply)
    if message.kind == "proposed":
        return str(message.body.get("decision"))
    code = message.body.get("code")
    meaning = Code(code).meaning if code in list(Code) else f"an unexpected '{message.kind}'"
    raise RetailerError(f"'{name}': {meaning}")


def _telling(run: Held, listener: Listener) -> Listener:
    def tell(record: Json) -> None:
        listener(record)
        _refuse_stopped(run)

    return tell


def _refuse_stopped(run: Held) -> None:
    if run.stop.exists():
        raise _StoppedError


def _refuse_others(kit: Kit, plan: Plan) -> None:
    if stranger := sorted(set(plan.members) - set(kit.alliance.members)):
        raise PlanError(
            f"the plan's members {stranger} are not in the alliance '{kit.alliance.name}'; correct "
            f"the plan, or make kits for them with `grandtotal consortium create`"
        )


def pause(runs: Path, name: str) -> RunFolder:
    """Stops a run after its current round; returns its folder."""
    run = _submitted(runs, name)
    write(run.stop, b"")
    return run.folder


def go_on(runs: Path, name: str) -> RunFolder:
    """Lets a run that was stopped, refused, or failed go on; returns its folder."""
    run = _submitted(runs, name)
    run.stop.unlink(missing_ok=True)
    run.say("submitted")
    return run.folder


def _submitted(runs: Path, name: str) -> Held:
    found = Held(RunFolder.find(runs, name))
    if not (found.folder.coordinator / "proposal.json").exists():
        raise RunError(f"{found.folder.path}: not a run that was submitted to a consortium")
    return found
