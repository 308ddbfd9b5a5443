"""A retailer's own end of a run across companies: its consent first, then the real `Retailer`."""

import re
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.retailer import Retailer
from grandtotal.durable import Json, Log, read_json, write_json
from grandtotal.engine.consent import Decision, Proposal, Request, Requests
from grandtotal.engine.kits import Kit
from grandtotal.engine.workspace import CONFIG
from grandtotal.errors import AnswerError, Code
from grandtotal.participate import agreeing, opener
from grandtotal.plan import Plan
from grandtotal.retailer_file import door_of, name_of

LAUNCH = "flare"
REFUSED = "refused.jsonl"  # which messages were refused here, and why
CLOCK = "clock.json"
_SAME_CLOCK_S = 2.0


class Site:
    """Answers every message of the coordinator; nothing but codes, where people have not agreed.

    Where its tables, caps and keys are is in its own retailer.toml, never in what arrives.
    """

    def __init__(self, kit: Kit, config: Path) -> None:
        self._kit = kit
        self._config = config
        self._requests = Requests(kit.path / "requests")
        self._retailer: Retailer | None = None
        self._request: Request | None = None

    @staticmethod
    def started(kit: Path) -> "Site":
        """Returns the site of a kit whose process was started with its retailer.toml."""
        return Site(Kit.read(kit), Path(read_json(kit / "local" / CONFIG)["config"]))

    def handle(self, content: bytes) -> bytes:
        """Returns the reply to one message; never raises, like `Retailer.handle`."""
        try:
            message = unseal(content)
            if message.kind == "propose":
                self._compare_clocks(message.body.get("now"))
                return seal(Message("proposed", {"decision": self._proposed(message.body)}))
            if message.kind == "open":
                self._open(message.body)
            self._refuse_without_consent()
        except Exception as error:
            code = error.code if isinstance(error, AnswerError) else Code.INTERNAL
            self._write_down(code, error)
            return seal(Message("error", {"code": str(code)}))
        assert self._retailer is not None
        return self._retailer.handle(content)

    def close(self) -> None:
        """Answers nothing more, and lets go of the ledger."""
        if self._retailer is not None:
            self._retailer.close()

    def _compare_clocks(self, theirs: object) -> None:
        """Keeps by how many seconds the coordinator's clock is ahead of this one, for `doctor`."""
        if not isinstance(theirs, int | float):
            return
        path, ahead = self._kit.path / CLOCK, theirs - time.time()
        if not path.exists() or abs(read_json(path)["ahead_s"] - ahead) > _SAME_CLOCK_S:
            write_json(path, {"ahead_s": round(ahead)})

    def _proposed(self, body: Json) -> str:
        proposal = Proposal.of(body, self._kit.coordinator, self._kit.alliance.name)
        return str(self._requests.of(proposal).decision)

    def _open(self, body: Json) -> None:
        self._request = self._asked(body)
        self._refuse_without_consent()
        name = self._kit.me
        run = run_folder(self._kit, self._request.proposal)
        if not (run / "launch.json").exists():
            # What every command of a retailer's own needs to find its part of the run.
            launch = {"engine": LAUNCH, "retailers": {name: str(self._config.resolve())}}
            write_json(run / "launch.json", launch)
        folder = run / "retailers" / name
        self.close()
        self._retailer = Retailer(
            name_of(self._config),
            folder,
            opener(name, self._config, folder),
            door_of(self._config),
            agreeing(self._config, folder),
        )

    def _asked(self, body: Json) -> Request:
        """Returns the request that names this very plan, run and code."""
        asked = (body.get("plan"), body.get("run"), body.get("code"))
        for request in reversed(self._requests.all()):
            known = request.proposal
            if (known.plan, known.run, known.code) == asked:
                return request
        raise AnswerError(Code.NOT_APPROVED, "a plan was opened that was never proposed here")

    def _refuse_without_consent(self) -> None:
        # At every message: who changes their mind need not wait for the end of the run.
        if self._request is None or self._request.decision != Decision.APPROVED:
            number = "" if self._request is None else f" {self._request.number}"
            raise AnswerError(
                Code.NOT_APPROVED,
                f"request{number} is not approved here; `grandtotal retailer approve` does it",
            )

    def _write_down(self, code: Code, error: Exception) -> None:
        why = str(error) if isinstance(error, AnswerError) else repr(error)
        at = datetime.now().astimezone().isoformat(timespec="seconds")
        # Where the disk takes no word of it, the code still has to leave.
        with suppress(OSError):
            record = {"at": at, "code": str(code), "why": why}
            Log(self._kit.path / REFUSED).append(record)


def run_folder(kit: Kit, proposal: Proposal) -> Path:
    """Returns where a retailer keeps its part of a run."""
    spelled = re.sub(r"[^A-Za-z0-9_-]+", "-", Plan.parse(proposal.plan.encode()).name)
    return kit.runs / f"{spelled}-{proposal.run[:12]}"
