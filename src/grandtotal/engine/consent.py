"""A plan is signed by the coordinator, read by a person at each retailer, and allowed or not.

requests/<n>/           at a retailer, beside its kit
    proposal.json       what was asked, with the coordinator's signature
    decision.json       what a person here decided; without it nothing is answered
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from grandtotal.consortium.query import installed
from grandtotal.durable import Json, canonical, digest, read_json, write_json
from grandtotal.errors import AnswerError, Code, RunError
from grandtotal.plan import Plan
from grandtotal.privacy.identity import Identity, signed_by
from grandtotal.tasks.needs import needs_of

_DOMAIN = b"grandtotal proposal\0"
# Keys of a plan that `facts` has words for; all others are shown as they are.
_SAID = frozenset(
    {"name", "members", "secure_sum", "epsilon", "delta", "dropouts", "patience_s", "today"}
    | {"catalogue", "catalogue_min"}
)
_RUN = re.compile(r"[0-9a-f]{32}")


class Decision(StrEnum):
    """What people at a retailer have said of a plan."""

    WAITING = "waiting"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(frozen=True)
class Proposal:
    """A plan for one run, to be run with this code. The signature is the coordinator's."""

    plan: str
    run: str
    code: str
    consortium: str
    signature: str = ""

    @property
    def content(self) -> bytes:
        """Returns the bytes that are signed."""
        return _DOMAIN + canonical([self.consortium, self.run, self.code, self.plan])

    @property
    def digest(self) -> str:
        """Returns what a plan is known by in every question and every ledger."""
        return digest(self.plan.encode())

    def signed(self, identity: Identity) -> "Proposal":
        """Returns the proposal with the coordinator's signature."""
        signature = identity.sign(self.content).hex()
        return Proposal(self.plan, self.run, self.code, self.consortium, signature)

    @property
    def body(self) -> Json:
        """Returns the body of the message that carries it."""
        return dict(vars(self))

    @staticmethod
    def of(body: Json, coordinator: bytes, consortium: str) -> "Proposal":
        """Returns the proposal in a message; AnswerError unless this coordinator signed it."""
        names = Proposal.__dataclass_fields__
        found = {name: body[name] for name in names if isinstance(body.get(name), str)}
        if len(found) < len(names):
            raise AnswerError(Code.MALFORMED, "the proposal lacks a part")
        proposal = Proposal(**found)
        try:
            signature = bytes.fromhex(proposal.signature)
        except ValueError:
            signature = b""
        if not signed_by(coordinator, proposal.content, signature):
            raise AnswerError(Code.NOT_SIGNED, "the proposal is not signed by the coordinator")
        if proposal.consortium != consortium or not _RUN.fullmatch(proposal.run):
            raise AnswerError(Code.MALFORMED, "the proposal is of another consortium, or of no run")
        return proposal


@dataclass(frozen=True)
class Request:
    """A proposal that came in, and what was decided."""

    number: int
    folder: Path
    proposal: Proposal
    came: str

    @property
    def decision(self) -> Decision:
        """Returns what was decided last of this very plan."""
        path = self.folder / "decision.json"
        said = read_json(path) if path.exists() else {}
        same = said.get("plan") == self.proposal.digest
        return Decision(said["decision"]) if same else Decision.WAITING

    def decide(self, decision: Decision) -> None:
        """Writes down what a person decided; it is in force at the next message."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        write_json(
            self.folder / "decision.json",
            {"decision": decision, "plan": self.proposal.digest, "at": now},
        )


@dataclass(frozen=True)
class Requests:
    """All proposals that a retailer was ever shown, in the order in which they came."""

    folder: Path

    def all(self) -> list[Request]:
        """Returns them, oldest first."""
        found = [path for path in self.folder.glob("*/proposal.json") if path.parent.name.isdigit()]
        return [self._read(path) for path in sorted(found, key=lambda p: int(p.parent.name))]

    def get(self, number: int) -> Request:
        """Returns one of them; RunError where there is none of that number."""
        path = self.folder / str(number) / "proposal.json"
        if not path.exists():
            known = ", ".join(str(request.number) for request in self.all()) or "none yet"
            raise RunError(f"no request {number}; there are: {known}")
        return self._read(path)

    def of(self, proposal: Proposal) -> Request:
        """Returns the request of a proposal, new or the one that came before."""
        known = self.all()
        for request in known:
            if request.proposal.content == proposal.content:
                return request
        number = 1 + max((request.number for request in known), default=0)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        path = self.folder / str(number) / "proposal.json"
        write_json(path, {"came": now, "proposal": proposal.body})
        return self._read(path)

    def last_approved(self, before: Request) -> Request | None:
        """Returns the newest request that was approved before this one came, if there is one."""
        earlier = [request for request in self.all() if request.number < before.number]
        return next((r for r in reversed(earlier) if r.decision == Decision.APPROVED), None)

    def _read(self, path: Path) -> Request:
        found = read_json(path)
        proposal = Proposal(**found["proposal"])
        return Request(int(path.parent.name), path.parent, proposal, found["came"])


def shown(request: Request, before: Request | None) -> str:
    """Returns what a person reads before deciding: what is asked, and what differs from before."""
    lines = [
        f"request {request.number} of {request.came}: {request.decision}",
        f"plan {request.proposal.digest}",
        "",
        *_lines(facts(request.proposal)),
        "",
    ]
    if before is None:
        return "\n".join([*lines, "No plan of this consortium was approved here before.", ""])
    changes = list(differences(facts(before.proposal), facts(request.proposal)))
    what = "Nothing differs from" if not changes else "What differs from"
    lines.append(f"{what} request {before.number}, approved before:")
    told = cohorts(_plan(before.proposal).members, _plan(request.proposal).members)
    return "\n".join([*lines, *(f"  {change}" for change in changes), *told, ""])


def cohorts(before: tuple[str, ...], now: tuple[str, ...]) -> list[str]:
    """Returns what somebody who has the totals of both sets of members can tell from them."""
    other = sorted(set(before) ^ set(now))
    if not other:
        return []
    whose = f"of {other[0]} alone" if len(other) == 1 else f"of {', '.join(other)} together"
    told = (
        f"The members differ. A total that is asked of both is another one each time, and the "
        f"difference is the summand {whose}: masks do not hide it."
    )
    return [told]


def facts(proposal: Proposal) -> dict[str, str]:
    """Returns what a plan asks, by name: members, tasks and settings, columns, epsilon, code."""
    plan = _plan(proposal)
    privacy = plan.common.privacy
    found = {
        "consortium": plan.name,
        "members": ", ".join(plan.members),
        "code": proposal.code,
        "secure sums": "yes" if privacy.secure_sum else "NO: the coordinator sees each summand",
        "epsilon": f"{privacy.epsilon:g}" if privacy.epsilon else "none: totals are exact",
        "delta": f"{privacy.delta:g}" if privacy.delta else "none",
        "dropouts": str(privacy.dropouts),
        "waits for a member": _patience(plan),
        "today": str(plan.common.today),
        "products": _products(plan),
        "queries installed": ", ".join(installed("queries")),
    }
    for name, task in plan.tasks.items():
        settings = plan.source["tasks"][name]
        found[f"task {name}"] = ", ".join(f"{key} = {_short(settings[key])}" for key in settings)
        columns = sorted({f"{need.table}.{need.column}" for need in needs_of(task)})
        found[f"task {name} reads"] = ", ".join(columns) or "what its documentation says"
    for part in ("consortium", "privacy"):
        others = {k: v for k, v in plan.source.get(part, {}).items() if k not in _SAID}
        found |= {f"{part} {key}": _short(value) for key, value in others.items()}
    if (budget := plan.budget()) is not None:
        found["releases under epsilon"] = str(sum(each.times for each in budget.scheduled.values()))
    return {_visible(name): _visible(value) for name, value in found.items()}


def _visible(text: str) -> str:
    """Returns a text in which nothing breaks a line, moves the cursor or turns letters around.

    The coordinator wrote it, and a person decides by what they see.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def differences(before: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    """Yields a line for every fact that is new, gone, or another."""
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            yield f"{name}: {before.get(name, '(not asked)')} -> {now.get(name, '(not asked)')}"


def _plan(proposal: Proposal) -> Plan:
    return Plan.parse(proposal.plan.encode())


def _lines(found: dict[str, str]) -> Iterator[str]:
    width = max(len(name) for name in found)
    return (f"{name:<{width}}  {value}" for name, value in found.items())


def _patience(plan: Plan) -> str:
    return "as the alliance says" if plan.patience_s is None else f"{plan.patience_s:g} s"


def _products(plan: Plan) -> str:
    if plan.matching is not None:
        return f"private; those that at least {plan.matching.minimum} members sell"
    listed = plan.common.catalogue
    return f"{len(listed):,} listed ({digest(canonical(list(listed)))[:12]})"


def _short(value: Any) -> str:
    text = canonical(value).decode()
    return text if len(text) <= 80 else f"{text[:60]}... ({digest(text.encode())[:12]})"
