"""A finished run of three retailers, written by hand: every number in it is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grandtotal.durable import Json, Log, read_log, write, write_json
from grandtotal.plan import Plan
from grandtotal.runfolder import RunFolder

NORTH, SOUTH, WEST = "north", 'so<b>"uth', "west & sons"
MEMBERS = (NORTH, SOUTH, WEST)
MODEL = "ab" * 32
METRICS = {
    "recommend": ("ndcg", "recall", "hit_rate"),
    "demand": (
        "wape",
        "bias",
        "rmsse",
        "mase",
        "mape",
        "mae",
        "rmse",
        "coverage_80",
        "coverage_95",
    ),
}
UNITS = {"recommend": "customers", "demand": "products"}
HIGHER = {"recommend": True, "demand": False}
# What federation gained over alone, as (value, low, high), relative to alone.
GAINS = {
    NORTH: {"recommend": (0.053, 0.021, 0.084), "demand": (0.014, 0.009, 0.018)},
    SOUTH: {"recommend": (0.01, -0.02, 0.04), "demand": (0.2, 0.1, 0.3)},
    WEST: {"recommend": (-0.06, -0.09, -0.03), "demand": (-0.004, -0.01, 0.002)},
}
EVERYBODY = {"recommend": (0.03, 0.01, 0.05), "demand": (0.05, 0.04, 0.06)}
# A score that only one retailer has, so that it can be looked for.
SCORES = {NORTH: 0.1234, SOUTH: 0.2345, WEST: 0.3456}


def plan_of(name: str) -> Plan:
    return Plan.of(
        {
            "consortium": {
                "name": name,
                "members": list(MEMBERS),
                "today": "2024-06-01",
                "catalogue": ["tea", "jam", "rye"],
            },
            "tasks": {"recommend": {"kind": "recommend"}, "demand": {"kind": "demand"}},
        },
        "the test's plan",
    )


def gain(value: float, low: float, high: float) -> Json:
    shares = {"relative": value, "relative_low": low, "relative_high": high}
    return {"value": value / 10, "low": low / 10, "high": high / 10, **shares}


def row(task: str, value: float) -> Json:
    entry = {"value": value, "low": value - 0.01, "high": value + 0.01}
    none = {"value": None, "low": None, "high": None}
    return {metric: entry if i < 2 else none for i, metric in enumerate(METRICS[task])}


def described(task: str, rows: tuple[str, ...], value: float, over: tuple[float, ...]) -> Json:
    others = [name for name in rows if name != "federated"]
    return {
        "kind": task,
        "headline": METRICS[task][0],
        "higher_is_better": HIGHER[task],
        "metrics": {metric: f"what {metric} means" for metric in METRICS[task]},
        "units": UNITS[task],
        "sample": 1976,
        "rows": {name: row(task, value + 0.001 * i) for i, name in enumerate(rows)},
        "gain": {name: gain(*over) for name in others},
    }


def choices(task: str) -> Json:
    chosen = {"model": "ease", "l2": 1000.0}
    tried = [{**chosen, METRICS[task][0]: 0.5}, {"model": "popularity", "days": 28}]
    found = {"chosen": chosen, "tried": tried}
    return {"baseline": {"label": "own bestsellers"}, "alone": found, "federated": found}


def detail(task: str) -> Json:
    if task == "recommend":
        return {"hits_by_rank": [0.3, 0.2, 0.1]}
    curve = {
        "product": "tea",
        "starts": ["2024-01-01", "2024-01-08", "2024-01-15", "2024-01-22"],
        "sold": [5.0, 7.0, 6.0, 90.0],
        "from": 2,
        "forecast": [6.0, 6.5],
        "low": [0.0, 0.0],
        "high": [11.0, 12.0],
    }
    return {
        "wape_by_period_ahead": [0.4, 0.5],
        "by_volume": [
            {"least": 0.0, "most": 1.0, "series": 7, "wape": 1.4, "inside": 0.81},
            {"least": 64.0, "most": None, "series": 2, "wape": 0.4, "inside": None},
        ],
        "short": 0.034,
        "own_level": True,
        "curve": curve,
        "examples": [
            {"which": which, "wape": wape} | curve
            for which, wape in (("best", 0.21), ("median", 0.62), ("worst", 2.5))
        ],
    }


class Run:
    """A run folder whose parts a test may take away or write anew."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.folder = RunFolder(path)
        self.plan = plan

    def write(self) -> None:
        self._coordinator()
        for name in MEMBERS:
            self._retailer(name)
        self.simulation()

    def remove(self, path: str) -> None:
        (self.folder.path / path).unlink()

    def simulation(self, **pooled: Any) -> None:
        model = {"same_as_federated": True, "digest": MODEL, "choice": {}, **pooled}
        tasks = {task: self._compared(task, model) for task in METRICS}
        content = {"members": list(MEMBERS), "tasks": tasks}
        write_json(self.folder.path / "simulation.json", content)

    def ask(self, query: str, fields: dict[str, list[int]], size: int, task: str) -> None:
        log = Log(self.folder.coordinator / "rounds.jsonl")
        number = log.count + 1
        said = {"round": number, "query": query, "question": f"q{number}"}
        sent = {"bytes_out": dict.fromkeys(MEMBERS, size), "bytes_in": 10, "seconds": 0.5}
        log.append({**said, **sent, "task": task, "fields": fields, "total": "t"})
        shapes = {name: {"shape": shape} for name, shape in fields.items()}
        for name in MEMBERS:
            out = {"at": "2024-06-02T10:00:00+00:00", "bytes": size, "fields": shapes}
            Log(self.folder.retailer(name) / "egress.jsonl").append({**said, **out})
        self._finish(sum("total" in record for record in read_log(log.path)))

    def _coordinator(self) -> None:
        here = self.folder.coordinator
        write(here / "plan.json", self.plan.content)
        write_json(here / "versions.json", {"grandtotal": "9.8.7", "python": "3.11.0"})
        self.ask("co-purchases", {"gram": [3, 3]}, 24, "recommend")
        self.ask("demand-series", {"units": [3, 104]}, 2_289_664, "demand")
        delivered = {"task": "demand", "deliver": MODEL, "bytes_in": 99, "seconds": 1.0}
        Log(here / "rounds.jsonl").append(delivered)
        for task in METRICS:
            write_json(here / "scores" / f"{task}.json", self._summed(task))

    def _finish(self, rounds: int) -> None:
        closing = {"models": dict.fromkeys(METRICS, MODEL), "totals": "cd" * 32, "rounds": rounds}
        write_json(self.folder.coordinator / "finished.json", {**closing, "seconds": 30.9})

    def _retailer(self, name: str) -> None:
        here = self.folder.retailer(name)
        write(here / "plan.json", self.plan.content)
        cause = {"reason": "no <price>", "rows": 7, "examples": ["line 7: 'abc'"], "remedy": ""}
        account = {"read": 1000, "used": 980, "causes": [cause], "no_consent": 13}
        write_json(here / "tables.json", {"transactions": account})
        for task in METRICS:
            own = self._own(task, name, ("baseline", "alone", "federated"))
            write_json(here / "scores" / f"{task}.json", {**own, "model": MODEL})

    def _own(self, task: str, name: str, rows: tuple[str, ...]) -> Json:
        shown = described(task, rows, SCORES[name], GAINS[name][task])
        return {**shown, "choices": choices(task), "detail": detail(task)}

    def _compared(self, task: str, pooled_model: Json) -> Json:
        rows = ("baseline", "alone", "federated", "pooled")
        return {
            "pooled_model": pooled_model,
            "retailers": {name: self._own(task, name, rows) for name in MEMBERS},
            "overall": described(task, rows, 0.4567, EVERYBODY[task]),
        }

    def _summed(self, task: str) -> Json:
        scores = {"baseline": 0.5, "alone": 0.4, "federated": 0.42}
        rows = {
            name: {**dict.fromkeys(METRICS[task], value), UNITS[task]: 5928}
            for name, value in scores.items()
        }
        rows["baseline"][METRICS[task][-1]] = None
        return {"kind": task, "choice": choices(task)["federated"], "rows": rows}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The run as a simulation leaves it behind."""
    made = Run(tmp_path / "weekly-1", plan_of("weekly"))
    made.write()
    return made


@pytest.fixture
def run_named(tmp_path: Path) -> Callable[[Plan], Run]:
    """Returns a run of another plan."""

    def made(plan: Plan) -> Run:
        found = Run(tmp_path / "other", plan)
        found.write()
        return found

    return made
