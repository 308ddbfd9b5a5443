"""What differs between two runs: plan, data, software, models, scores, cost.

The interval of a difference is that of two independent estimates, from the interval of each (Zou
and Donner, "Construction of confidence limits about effect measures", 2008,
https://doi.org/10.1002/sim.3095). Where two runs score the same customers it is too wide: what is
said to differ does differ.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from grandtotal.durable import Json, read_json
from grandtotal.errors import RunError
from grandtotal.report.source import read_own
from grandtotal.runfolder import RunFolder

_ROW = "federated"


def compare_runs(first: RunFolder, second: RunFolder) -> Json:
    """Returns what differs from the first run to the second; every pair is [first, second].

    plan: {key: pair} of the keys that differ. members: {"left", "joined"}. data: {retailer:
    {table: {"read": pair, "used": pair}}}, only where the run's folder has it. versions: {name:
    pair} of those that differ. totals: whether all totals are the same. tasks, of those in both:
    {"models": pair, "same_model": bool, "headline", "scores": {retailer or "all": {"values": pair,
    "difference"}}}. costs: {"rounds", "bytes_out", "seconds"} as pairs, bytes of one retailer.
    RunError where a run is not finished.
    """
    runs = (first, second)
    scores = [_scores(run) for run in runs]
    ends = [run.finished() or {} for run in runs]
    members = [run.plan().members for run in runs]
    return {
        "runs": [run.path.name for run in runs],
        "plan": _changed(*(dict(_settings(run.plan().source)) for run in runs)),
        "members": {
            "left": [name for name in members[0] if name not in members[1]],
            "joined": [name for name in members[1] if name not in members[0]],
        },
        "data": {name: _data(name, runs) for name in members[0] if name in members[1]},
        "versions": _changed(*(read_json(run.coordinator / "versions.json") for run in runs)),
        "totals": ends[0]["totals"] == ends[1]["totals"],
        "tasks": {
            name: _task(name, runs, [each[name] for each in scores], ends)
            for name in scores[0]
            if name in scores[1]
        },
        "costs": _costs(runs, ends),
    }


def _scores(run: RunFolder) -> Json:
    if not (run.finished() and run.is_complete()):
        raise RunError(
            f"{run.path}: the run is not finished; `grandtotal runs resume {run.path.name}` goes on"
        )
    if "engine" in run.launch():
        return {
            name: {"retailers": dict(task.retailers), "overall": task.overall}
            for name, task in read_own(run).tasks.items()
        }
    scores: Json = read_json(run.path / "simulation.json")["tasks"]
    return scores


def _settings(source: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields each key of a plan with its dotted name."""
    for key, value in source.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> Json:
    names = [*first, *(name for name in second if name not in first)]
    pairs = {name: [first.get(name), second.get(name)] for name in names}
    return {name: _short(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}


def _short(first: Any, second: Any) -> list[Any]:
    """Returns the pair; of long lists only how many entries there are, and how many are new."""
    if not all(isinstance(value, list) for value in (first, second)):
        return [first, second]
    if max(len(first), len(second)) <= 20:
        return [first, second]
    new = len(set(second) - set(first))
    return [f"{len(first):,} entries", f"{len(second):,} entries, {new:,} of them new"]


def _data(retailer: str, runs: tuple[RunFolder, RunFolder]) -> Json:
    """Returns rows read and used of each table that both runs accounted for."""
    paths = [run.retailer(retailer) / "tables.json" for run in runs]
    if not all(path.exists() for path in paths):
        return {}
    first, second = (read_json(path) for path in paths)
    return {
        table: {what: [first[table][what], second[table][what]] for what in ("read", "used")}
        for table in first
        if table in second
    }


def _task(
    name: str, runs: tuple[RunFolder, RunFolder], scores: list[Json], ends: list[Json]
) -> Json:
    chosen = [
        read_json(run.coordinator / "scores" / f"{name}.json")["choice"]["chosen"] for run in runs
    ]
    headlines = [found["overall"]["headline"] for found in scores]
    first, second = ({**found["retailers"], "all": found["overall"]} for found in scores)
    same = headlines[0] == headlines[1]
    return {
        "models": chosen,
        "same_model": ends[0]["models"][name] == ends[1]["models"][name],
        "headline": headlines[0] if same else None,
        "scores": {
            party: _score(*(found["rows"][_ROW][headlines[0]] for found in (first[party], other)))
            for party, other in second.items()
            if same and party in first
        },
    }


def _score(first: Json, second: Json) -> Json:
    return {"values": [first, second], "difference": difference(first, second)}


def difference(first: Json, second: Json) -> Json | None:
    """Returns second - first as {value, low, high, beyond}; None where either is not known.

    first, second: {value, low, high}. beyond: the interval does not hold 0.
    """
    if any(found.get(key) is None for found in (first, second) for key in ("value", "low", "high")):
        return None
    value = second["value"] - first["value"]
    low = value - math.hypot(second["value"] - second["low"], first["high"] - first["value"])
    high = value + math.hypot(second["high"] - second["value"], first["value"] - first["low"])
    return {"value": value, "low": low, "high": high, "beyond": low > 0 or high < 0}


def _costs(runs: tuple[RunFolder, RunFolder], ends: list[Json]) -> Json:
    asked = [[record for record in run.rounds() if "query" in record] for run in runs]
    return {
        "rounds": [len(records) for records in asked],
        "bytes_out": [sum(max(r["bytes_out"].values()) for r in records) for records in asked],
        "seconds": [end["seconds"] for end in ends],
    }
