"""Checks a coordinator afterwards: the totals, and everything that it asked because of them.

What a coordinator sends is a function of the plan and the totals. So whoever has the plan and the
totals can compute every question, every broadcast and every model again, on a machine of their
own, and see that the coordinator sent these and nothing else.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grandtotal.consortium.consortium import delivery_digest, stored_total
from grandtotal.consortium.query import Query, question_digest
from grandtotal.consortium.sums import recomputed, setting_of, transcript_path
from grandtotal.coordinate import train
from grandtotal.durable import Json, arrays_digest, digest, read_json, read_log
from grandtotal.errors import GrandtotalError, RunError
from grandtotal.plan import Plan
from grandtotal.privacy.fixedpoint import Arrays, decode
from grandtotal.privacy.identity import (
    read_unverified,
    refuse_foreign_signatures,
    refuse_unsigned,
)
from grandtotal.runfolder import RunFolder


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, whether it holds, and in words what was found."""

    check: str
    ok: bool
    text: str


def verify(folder: RunFolder, roster: Path | None = None) -> list[Finding]:
    """Returns the findings about a finished run; RunError where it is not finished.

    Needs the coordinator's folder alone; the account of a retailer is compared where it is there.
    roster: whose signatures count, as the retailer that asks has pinned it; the coordinator's own
        copy if left out.
    """
    finished = folder.finished()
    if finished is None:
        raise RunError(f"{folder.path}: is not finished; `grandtotal runs resume` goes on with it")
    kept = {name: folder.retailer(name) / "egress.jsonl" for name in folder.plan().members}
    return [
        _finding("totals", lambda: _totals(folder, finished)),
        *_secure(folder, roster or folder.coordinator / "roster.json"),
        _finding("replay", lambda: _replay(folder, finished)),
        *(
            _finding(f"asked of {name}", lambda name=name, path=path: _asked(folder, name, path))  # type: ignore[misc]
            for name, path in kept.items()
            if path.exists()
        ),
    ]


def _finding(check: str, work: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, work())
    except GrandtotalError as error:
        return Finding(check, False, str(error))


def _totals(folder: RunFolder, finished: Json) -> str:
    rounds = [record for record in folder.rounds() if "total" in record]
    for record in rounds:
        stored_total(folder.coordinator, record["question"], record["total"])
    if digest(*(record["total"].encode() for record in rounds)) != finished["totals"]:
        raise RunError("rounds.jsonl names other totals than the run was finished with")
    return f"{len(rounds)} totals are those that the record names"


def _secure(folder: RunFolder, roster: Path) -> list[Finding]:
    if not folder.plan().common.privacy.secure_sum:
        return []
    return [_finding("masked", lambda: _masked(folder, roster))]


def _masked(folder: RunFolder, path: Path) -> str:
    run = read_json(folder.coordinator / "run.json")
    # Whether it is still valid today does not matter: it was when the run was made.
    roster = read_unverified(path)
    refuse_unsigned(roster)
    refuse_foreign_signatures(roster)
    content = (folder.coordinator / "plan.json").read_bytes()
    setting = setting_of(content, run["run"], run["code"], roster)
    rounds = [record for record in folder.rounds() if "total" in record]
    kept = [r for r in rounds if transcript_path(folder.coordinator, r["question"]).exists()]
    for record in kept:
        words = recomputed(folder.coordinator, setting, record["question"])
        _refuse_other_sum(record, arrays_digest(words))
    if not kept and rounds:
        return "the plan says keep_masked = false: no total can be added up again"
    if len(kept) < len(rounds):
        raise RunError(
            f"what the retailers signed is there for {len(kept)} of {len(rounds)} totals only"
        )
    return f"{len(kept)} totals added up again from what the retailers masked and signed"


def _refuse_other_sum(record: Json, found: str) -> None:
    if found != record["total"]:
        raise RunError(
            f"round {record['round']}: the total is not the sum of what the retailers signed"
        )


def _replay(folder: RunFolder, finished: Json) -> str:
    content = (folder.coordinator / "plan.json").read_bytes()
    replay = Replay(folder.coordinator, digest(content))
    with tempfile.TemporaryDirectory() as scratch:
        models = train(Plan.parse(content), replay, Path(scratch))
    replay.refuse_more()
    _refuse_other_models(models, finished["models"])
    return (
        f"{len(replay.records)} questions and deliveries computed again from the totals: the "
        f"coordinator sent these, in this order, and the models are the ones that they give"
    )


def _refuse_other_models(models: Json, finished: Json) -> None:
    if models != finished:
        raise RunError("the totals give other models than the run was finished with")


def _asked(folder: RunFolder, name: str, egress: Path) -> str:
    answered = [record["question"] for record in read_log(egress)]
    asked = [record["question"] for record in folder.rounds() if "query" in record]
    if name in folder.left():
        asked = asked[: len(answered)]  # until it dropped out
    if answered != asked:
        more = [question for question in answered if question not in asked]
        raise RunError(
            f"{egress}: {len(answered)} questions were answered, {len(asked)} are in the "
            f"coordinator's record"
            + (f"; the first one that is not: {more[0][:12]}" if more else "; the order differs")
        )
    return f"the {len(answered)} questions that it answered are those of the record"


class Replay:
    """Totals from the record of a run instead of from retailers.

    Raises RunError as soon as the algorithm asks something else than the record says was asked.
    """

    def __init__(self, folder: Path, plan: str) -> None:
        self.records = read_log(folder / "rounds.jsonl")
        self._folder = folder
        self._plan = plan
        self._known: dict[str, Json] = {}

    def total(self, task: str, query: Query, broadcast: Arrays) -> Arrays:
        """Returns the recorded total of this very question."""
        question = question_digest(self._plan, task, query, broadcast)
        record = self._expect(question, f"'{query.name}' for {task}")
        words = stored_total(self._folder, question, record["total"])
        fields = query.fields(broadcast)
        return {name: decode(words[name], field) for name, field in fields.items()}

    def deliver(self, task: str, meta: Json, arrays: Arrays) -> None:  # noqa: ARG002
        """Expects the delivery of this very model."""
        self._expect(
            delivery_digest(self._plan, task, arrays_digest(arrays)), f"the model of {task}"
        )

    def refuse_more(self) -> None:
        """Raises RunError if the record holds what the algorithm does not ask."""
        for record in self.records[len(self._known) :]:
            raise RunError(
                f"round {record['round']}: the coordinator asked "
                f"'{record.get('query', 'to keep a model')}', which the algorithm does not ask"
            )

    def _expect(self, question: str, what: str) -> Json:
        if question in self._known:
            return self._known[question]
        if len(self._known) == len(self.records):
            raise RunError(f"the algorithm asks {what}, but the record ends before")
        record = self.records[len(self._known)]
        _refuse_other_question(record, question, what)
        self._known[question] = record
        return record


def _refuse_other_question(record: Json, question: str, what: str) -> None:
    if record["question"] != question:
        raise RunError(
            f"round {record['round']}: the coordinator sent "
            f"'{record.get('query', 'a model')}' for {record['task']} with other parameters or "
            f"another broadcast than the totals give; computed again, it is {what}"
        )
