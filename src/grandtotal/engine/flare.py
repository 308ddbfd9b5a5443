"""NVIDIA FLARE 2.9.0 as the line between coordinator and retailers: all that is known of it here.

A run is a FLARE job of two classes. `Coordinating` is the loop of the coordinator, in the job's
process at the server; `Answering` holds the real retailer, in the job's process at each site.
Messages are requests between FLARE's cells: pushed over the line that the site opened, no polling.
FLARE neither resumes a job nor lets a restarted site into one, so a run is a sequence of jobs, each
of which goes on from the coordinator's and the retailers' own disks.

This file alone imports nvflare, and is itself imported only where it is needed. What works on a run
is imported in the nursery of a party's jobs: starting is mostly importing, and the line needs none.
NVIDIA FLARE: https://github.com/NVIDIA/NVFlare (Apache-2.0)
"""

import logging
import math
import shlex
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from grpc import StatusCode
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.job_launcher_spec import JobHandleSpec
from nvflare.apis.shareable import Shareable
from nvflare.apis.shareable import make_reply as no_task
from nvflare.apis.signal import Signal
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle
from nvflare.app_common.job_launcher.server_process_launcher import ServerProcessJobLauncher
from nvflare.fuel.f3 import communicator
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.cellnet.defs import ReturnCode as Said
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.cellnet.utils import make_reply
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver
from nvflare.fuel.f3.drivers.tcp_driver import TcpDriver
from nvflare.fuel.f3.message import Message
from nvflare.utils.job_launcher_utils import get_credential_env

from grandtotal.consortium.transport import Reply, RetailerId
from grandtotal.durable import write_json
from grandtotal.engine.desk import ASKED_AGAIN, Answer, Desk, Part, Rounds
from grandtotal.engine.kits import OFFICER, Kit, patience_of
from grandtotal.engine.nursery import Nursery
from grandtotal.engine.revocation import revoked
from grandtotal.engine.workspace import ADAPTER

if TYPE_CHECKING:
    from grandtotal.engine.site import Site

_LOG = logging.getLogger(__name__)
CHANNEL = "grandtotal"
_WHOLE_BYTES = 2 * 2**20  # what travels in one frame; more goes as a stream of chunks
# Of the heads of a message and of its reply.
_PART, _WHOLE, _DONE, _TOO_LARGE = (f"{CHANNEL}.{w}" for w in ("part", "whole", "done", "large"))
_MOMENT_S = 0.5  # for which a retailer is listened to that was not heard of yet
_LOOK_S = 1.0  # between two looks at what was revoked


class FlareTransport:
    """The `Transport` of a job: every message goes to the site's process of the same job."""

    def __init__(self, engine: Any, context: FLContext, abort: Signal, patience_s: float) -> None:
        self._engine = engine
        self._job = context.get_job_id()
        self._slow: set[RetailerId] = set()
        self._moment_s: dict[RetailerId, float] = {}
        self._rounds = Rounds(self._post, patience_s, lambda: bool(abort.triggered))

    def exchange(
        self, messages: Mapping[RetailerId, bytes], may_miss: int = 0
    ) -> dict[RetailerId, Reply]:
        """Returns a reply for every message, as `Transport` says."""
        return self._rounds.exchange(messages, may_miss)

    def close(self) -> None:
        """Leaves the line to FLARE, which ends the job."""
        self._rounds.close()

    def _post(self, name: RetailerId, part: Part, timeout_s: float) -> Answer | None:
        # FLARE tells nobody of a message that finds no process yet: until a retailer was heard of,
        # it is listened to for moments only, each twice as long as the one before.
        moment_s, begun = self._moment_s.get(name, _MOMENT_S), time.monotonic()
        answer = self._asked(name, part, min(moment_s, timeout_s), moment_s >= timeout_s)
        if answer is not None:
            self._moment_s[name] = math.inf
        elif time.monotonic() - begun >= moment_s:
            self._moment_s[name] = 2 * moment_s
        return answer

    def _asked(
        self, name: RetailerId, part: Part, timeout_s: float, patient: bool
    ) -> Answer | None:
        whole = name not in self._slow and len(part.content) <= _WHOLE_BYTES
        reply = self._sent(name, part, timeout_s, whole)
        if reply is not None and whole:
            if patient and reply.get_header(MessageHeaderKey.RETURN_CODE) == Said.TIMEOUT:
                # One frame is late when its last byte is; a stream may last as long as it moves.
                self._slow.add(name)
            if reply.get_header(_TOO_LARGE):
                again = replace(part, place=ASKED_AGAIN, content=b"")
                reply = self._sent(name, again, timeout_s, whole=False)
        if reply is None or reply.get_header(_DONE) is None:
            return None
        return Answer(bool(reply.get_header(_DONE)), _taken(reply))

    def _sent(self, name: RetailerId, part: Part, timeout_s: float, whole: bool) -> Message | None:
        """Returns what came back, in one frame or as a stream; None where nobody is known."""
        clients, _ = self._engine.validate_targets([name])
        if not clients:
            return None
        about = {key: value for key, value in vars(part).items() if key != "content"}
        cell = self._engine.get_cell()
        reply: Message = (cell.core_cell if whole else cell).send_request(
            channel=CHANNEL,
            topic=CHANNEL,
            target=FQCN.join([clients[0].get_fqcn(), self._job]),
            request=Message({_PART: about, _WHOLE: whole}, part.content),
            timeout=timeout_s,
            optional=True,
        )
        return reply


def _taken(message: Message) -> bytes:
    """Returns the content, and lets go of it: FLARE keeps what was streamed until a job ends."""
    content = bytes(message.payload or b"")
    if isinstance(message.payload, memoryview):
        message.payload.release()
    return content


class Coordinating(Controller):
    """The coordinator's loop in FLARE's server. run: the name of a folder among its own runs."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Works on the run until it is finished, stopped, or a retailer is lost."""
        from grandtotal.engine.conduct import conduct
        from grandtotal.runfolder import RunFolder

        kit = Kit.read(_folder(fl_ctx))
        patience_s = patience_of(kit, RunFolder(kit.runs / self._run).plan())
        transport = FlareTransport(self._engine, fl_ctx, abort_signal, patience_s)
        try:
            conduct(kit, self._run, transport)
        except BlockingIOError:
            _LOG.info("%s: another process is at work on it", self._run)
        finally:
            transport.close()

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Has nothing to prepare."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Has nothing to undo: whatever happened is on the disk."""

    def process_result_of_unknown_task(self, *_: Any) -> None:
        """Hears no results of tasks: nobody is given any."""


class Answering(Executor):
    """The real retailer in FLARE's site. It takes nothing from the job, not even a name."""

    def __init__(self) -> None:
        super().__init__()
        self._site: Site | None = None
        self._desk: Desk | None = None
        self._coordinator = ""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Begins to listen with the job, and lets go of the retailer's ledger at its end."""
        if event_type == EventType.START_RUN:
            from grandtotal.engine.site import Site

            self._coordinator = FQCN.join([FQCN.ROOT_SERVER, fl_ctx.get_job_id()])
            self._site = Site.started(_folder(fl_ctx))
            self._desk = Desk(self._site.handle)
            cell = fl_ctx.get_engine().get_cell()
            cell.register_request_cb(channel=CHANNEL, topic=CHANNEL, cb=self._take)
        elif event_type == EventType.END_RUN and self._desk is not None and self._site is not None:
            self._desk.close()
            self._site.close()

    def _take(self, request: Message) -> Message:
        assert self._desk is not None
        try:
            _refuse_others(request, self._coordinator)
            part = Part(content=_taken(request), **request.get_header(_PART))
            answer = self._desk.take(part)
        except Exception:
            # The text stays in this site's own log: what it names is the retailer's.
            _LOG.exception("a message could not be taken")
            return make_reply(Said.PROCESS_EXCEPTION)
        if request.get_header(_WHOLE) and len(answer.content) > _WHOLE_BYTES:
            return Message({_TOO_LARGE: True, MessageHeaderKey.RETURN_CODE: Said.OK})
        return Message({_DONE: answer.done, MessageHeaderKey.RETURN_CODE: Said.OK}, answer.content)

    def execute(
        self,
        task_name: str,  # noqa: ARG002
        shareable: Shareable,  # noqa: ARG002
        fl_ctx: FLContext,  # noqa: ARG002
        abort_signal: Signal,  # noqa: ARG002
    ) -> Shareable:
        """Does no task."""
        return no_task(ReturnCode.TASK_UNKNOWN)


def _refuse_others(request: Message, coordinator: str) -> None:
    origin = request.get_header(MessageHeaderKey.ORIGIN)
    if origin != coordinator:
        raise PermissionError(f"a message of {origin}, expected one of {coordinator}")


class ServerProcesses(ServerProcessJobLauncher):
    """Has the nursery start the coordinator's process of a job."""

    def launch_job(self, job_meta: Any, fl_ctx: FLContext) -> JobHandleSpec:
        """Returns the handle of the process, which ends with the server."""
        return _launched("server", self.get_command(job_meta, fl_ctx), fl_ctx)


class SiteProcesses(ClientProcessJobLauncher):
    """Has the nursery start a retailer's process of a job."""

    def launch_job(self, job_meta: Any, fl_ctx: FLContext) -> JobHandleSpec:
        """Returns the handle of the process, which ends with the site."""
        return _launched("site", self.get_command(job_meta, fl_ctx), fl_ctx)


_JOBS = {
    "server": "nvflare.private.fed.app.server.runner_process",
    "site": "nvflare.private.fed.app.client.worker_process",
}


def _launched(side: str, command: str, context: FLContext) -> JobHandleSpec:
    interpreter, option, module, *words = shlex.split(command)
    assert (interpreter, option, module) == (sys.executable, "-m", _JOBS[side]), command
    secrets = get_credential_env(context.get_prop(FLContextKey.JOB_PROCESS_ARGS) or {})
    return ProcessHandle(process_adapter=_nurseries[0].start([side, *words], secrets))


_nurseries: list[Nursery] = []  # of this process: FLARE makes the launchers itself


def prepare() -> None:
    """Imports what FLARE's processes of a job, and who submits one, need besides this file."""
    _know_two_lines()
    for name in (*_JOBS.values(), "nvflare.fuel.flare_api.flare_api"):
        import_module(name)


def work(side: str, words: list[str]) -> int:
    """Does the work of FLARE's process of a job, at the server or a site; its exit status."""
    program = import_module(_JOBS[side])
    sys.argv = [program.__name__, *words]
    arguments = program.parse_arguments()
    return _run(program, arguments, Path(arguments.workspace) / arguments.job_id)


def _folder(context: FLContext) -> Path:
    workspace = context.get_prop(FLContextKey.WORKSPACE_OBJECT)
    return Path(workspace.get_root_dir())


def job_of(run: str, folder: Path, sites: tuple[str, ...], least: int) -> Path:
    """Writes the job that works on a run, three files without code, and returns its folder.

    It begins when `least` of these sites have dialled in, and goes to those alone.
    """
    made = folder / "grandtotal"
    write_json(
        made / "meta.json",
        {
            "name": "grandtotal",
            "resource_spec": {},
            "min_clients": least,
            "deploy_map": {"app": ["server", *sites]},
        },
    )
    controller = {"id": "coordinating", "path": f"{ADAPTER}.Coordinating", "args": {"run": run}}
    answering = {"tasks": ["*"], "executor": {"path": f"{ADAPTER}.Answering", "args": {}}}
    config = made / "app" / "config"
    write_json(
        config / "config_fed_server.json",
        {"format_version": 2, "workflows": [controller], "components": []},
    )
    write_json(
        config / "config_fed_client.json",
        {"format_version": 2, "executors": [answering], "components": []},
    )
    return made


def submit_job(kit: Kit, path: Path) -> str:
    """Signs a job and gives it to the server of this kit; returns its FLARE id."""
    from nvflare.fuel.flare_api.flare_api import new_secure_session

    session = new_secure_session(OFFICER, str(kit.path / OFFICER), timeout=15.0)
    try:
        return str(session.submit_job(str(path.resolve())))
    finally:
        session.close()


def serve(kit: Kit, nursery: Nursery) -> int:
    """Runs FLARE's server in this process until it is told to stop; returns its exit status."""
    from nvflare.private.fed.app.server import server_train

    _nurseries.append(nursery)
    _turn_away(kit.path)
    settings = ["org=coordinator", "config_folder=config", "secure_train=true"]
    return _main(server_train, kit, "fed_server.json", settings)


def answer(kit: Kit, nursery: Nursery) -> int:
    """Runs FLARE's site in this process until it is told to stop; returns its exit status."""
    from nvflare.private.fed.app.client import client_train

    _nurseries.append(nursery)
    _note_refusals()
    settings = [f"uid={kit.me}", f"org={kit.me}", "config_folder=config", "secure_train=true"]
    return _main(client_train, kit, "fed_client.json", settings)


def _turn_away(coordinator: Path) -> None:
    """Has the server's port close every line whose certificate was revoked, old or new.

    FLARE knows names that may not come back, but no certificates: who was re-keyed would be one.
    """
    from nvflare.fuel.f3.drivers.grpc_driver import Servicer

    stream, lines = Servicer.Stream, dict[Any, int]()

    def checked(self: Any, frames: Any, context: Any) -> Any:
        (pem,) = context.auth_context()["x509_pem_cert"]
        lines[context] = x509.load_pem_x509_certificate(pem).serial_number
        try:
            if lines[context] in revoked(coordinator):
                context.abort(StatusCode.UNAUTHENTICATED, "the certificate was revoked")
            yield from stream(self, frames, context)
        finally:
            lines.pop(context, None)

    def watch() -> None:
        while True:
            time.sleep(_LOOK_S)
            gone = revoked(coordinator)
            for context, serial in tuple(lines.items()):
                if serial in gone:
                    context.cancel()

    Servicer.Stream = checked
    threading.Thread(target=watch, daemon=True).start()


def _note_refusals() -> None:
    """Has the site write down which jobs it refuses: FLARE tells the server alone."""
    from nvflare.private.admin_defs import MsgHeader
    from nvflare.private.admin_defs import ReturnCode as Decided
    from nvflare.private.fed.client.training_cmds import DeployProcessor

    process = DeployProcessor.process

    def noting(self: Any, req: Any, app_ctx: Any) -> Any:
        reply = process(self, req, app_ctx)
        if reply.get_header(MsgHeader.RETURN_CODE) == Decided.ERROR:
            _LOG.error("a job was refused: %s", reply.body)
        return reply

    DeployProcessor.process = noting


def _know_two_lines() -> None:
    """Has FLARE speak gRPC between companies and TCP within one, and import no line besides."""
    if not communicator.driver_loaded:
        communicator.driver_mgr.register(GrpcDriver)
        communicator.driver_mgr.register(TcpDriver)
        communicator.driver_loaded = True


def _main(program: Any, kit: Kit, file: str, settings: list[str]) -> int:
    _know_two_lines()
    # Its own parser, so that its own defaults hold.
    sys.argv = [program.__name__, "-m", str(kit.path), "-s", file, "--set", *settings]
    return _run(program, program.parse_arguments(), kit.path)


def _run(program: Any, arguments: Any, folder: Path) -> int:
    from nvflare.fuel.f3.mpm import MainProcessMonitor

    found = MainProcessMonitor.run(main_func=program.main, run_dir=str(folder), args=arguments)
    return int(found or 0)
