"""The coordinator's side of a run: totals in, models out."""

import time
from datetime import date
from pathlib import Path

import numpy as np

from grandtotal.algorithms.model import save_arrays
from grandtotal.consortium.consortium import Consortium, Listener, Record, TaskTotals, unheard
from grandtotal.consortium.totals import Totals
from grandtotal.consortium.transport import Transport
from grandtotal.durable import Json, arrays_digest, digest, write_json
from grandtotal.plan import CATALOGUE, Plan, catalogue_path
from grandtotal.privacy.identity import read_roster
from grandtotal.runfolder import RunFolder
from grandtotal.tasks.scores import ROWS, known_values
from grandtotal.tasks.task import Task, scores_asked
from grandtotal.versions import peak_memory_mb, versions


def coordinate(
    plan: Plan, transport: Transport, folder: RunFolder, listener: Listener = unheard
) -> None:
    """Runs the plan as the coordinator: totals in, models out. Goes on where a killed run stopped.

    The process that calls this needs none of the retailers' files and never imports their tables.
    """
    started = time.monotonic()
    here = folder.coordinator
    write_json(here / "versions.json", versions())
    roster = here / "roster.json"
    consortium = Consortium(
        plan.members,
        transport,
        here,
        listener,
        read_roster(roster, date.today(), plan.members) if roster.exists() else None,
    )
    consortium.open(plan.content)
    models = train(plan, consortium, here)
    consortium.close()
    write_json(
        here / "finished.json",
        {
            "models": models,
            "totals": digest(*(r["total"].encode() for r in folder.rounds() if "total" in r)),
            "rounds": sum("total" in record for record in folder.rounds()),
            "seconds": round(time.monotonic() - started, 2),
            "peak_memory_mb": peak_memory_mb(),
        },
    )


def train(plan: Plan, consortium: Record, folder: Path) -> dict[str, str]:
    """Returns the digest of every task's model: all that the coordinator asks, and in which order.

    A function of the plan and the totals alone, so that whoever has both can replay it.
    """
    plan = _with_catalogue(plan, consortium, folder)
    return {name: _train(name, task, consortium, folder) for name, task in plan.tasks.items()}


def _with_catalogue(plan: Plan, consortium: Record, folder: Path) -> Plan:
    """Returns the plan with the products that enough retailers sell; each gets their numbers."""
    if plan.matching is None:
        return plan
    found = plan.matching.fit(TaskTotals(consortium, CATALOGUE))
    meta = {"minimum": plan.matching.minimum}
    counted = {"buckets": found.buckets, "retailers": found.retailers}
    save_arrays(catalogue_path(folder), counted, meta)
    consortium.deliver(CATALOGUE, meta, {"buckets": found.buckets})
    return plan.with_catalogue(found.keys, plan.common.key)


def _train(name: str, task: Task, consortium: Record, folder: Path) -> str:
    totals = TaskTotals(consortium, name)
    fitted = task.fit(totals)
    meta = {"task": name, "kind": task.kind, "model": fitted.model.meta, "choice": fitted.choice}
    save_arrays(folder / "models" / f"{name}.safetensors", fitted.model.arrays, meta)
    consortium.deliver(name, meta, fitted.delivered)
    scores = {"kind": task.kind, "choice": fitted.choice, "rows": _test_scores(name, task, totals)}
    write_json(folder / "scores" / f"{name}.json", scores)
    return arrays_digest(fitted.model.arrays)


def _test_scores(name: str, task: Task, totals: Totals) -> Json:
    """Returns the consortium's rows: no retailer's share of them is known here.

    Under epsilon the headline of the delivered model is all that there is, and no one is counted.
    """
    query = scores_asked(name, task)
    sums = totals.total(query)
    if query.largest:
        # Neither part of a headline is below 0: what noise makes so counts as nothing.
        sums = {name: np.maximum(part, 0) for name, part in sums.items()}
    rows = [row for row in ROWS if f"{row} numerators" in sums]
    return {
        row: {
            **known_values(
                task.metrics[: query.metrics],
                sums[f"{row} numerators"],
                sums[f"{row} denominators"],
                sums.get(f"{row} shown", np.empty(0)),
            ),
            task.units: int(sums[f"{row} units"][0]) if f"{row} units" in sums else None,
        }
        for row in rows
    }
