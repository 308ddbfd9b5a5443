"""The tutorial's two jobs and ours on the same rows, a round each in turn.

Five retailers, 1,000 customers and 500 products each, 50 rounds of three epochs at home. The rows
are made by the script's own functions; a fifth of all pairs of customer and product is held out,
and of demand the last 28 days. The script runs as it is in a process of its own, with torch's own
threads, and once more with one. Ours are `ncf` and `mlp` through a consortium in this process:
envelopes, egress, files and masked sums are in the time, and so is what retailers make of the
finished model at home. The script's look at the rows that it knows, each round, is left out of its
time; forecasts of held-out rows are in nobody's. "its own network" is the script's demand network,
brought as docs/networks.md says, with its batches and its rows: what the loop alone is worth.

`mlp` reads what a product sold in the 28 days before the forecast; the script's network reads the
calendar alone. An epoch of both reads each day of each product once. MAPE is the script's:
|forecast - units| / (units + 1).

The script draws the products' tastes anew for each retailer, so that there is nothing to learn from
others. "shared": the same job with one set of products; intervals are over customers (bootstrap).
"factors" are no network: biases and factors of docs/recommend.md from exact totals, 15 rounds.
The settings were chosen on rows of other seeds.

The script is no part of the project: its path is FOLDER/../baseline/tutorial_174.py, or --data
itself. With --quick ten rounds.
"""

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from benchmarks.rows import MissingDataError, Row, at_least, at_most
from benchmarks.simulation import TASK, federated
from benchmarks.tutorial_script import Lap, Script, load
from grandtotal.algorithms import networks
from grandtotal.algorithms.neural_queries import UPDATE, WEIGHTS, NetworkUpdates
from grandtotal.consortium.query import Query
from grandtotal.consortium.totals import Local, Totals
from grandtotal.privacy.fixedpoint import Arrays, under
from grandtotal.tasks.scores import UnitScores
from grandtotal.threads import side_by_side

if TYPE_CHECKING:
    from benchmarks.tutorial_jobs import Job

RETAILERS, ROUNDS, EPOCHS, EVERY = 5, 50, 3, 10
FASTER, OVERHEAD, TARGET_MAPE = 5.0, 1.05, 0.15
_TIMED = 5  # rounds of what is only timed


def run(data: Path, quick: bool) -> list[Row]:
    """Returns times, held-out scores and bytes of both jobs, and what shared tastes are worth."""
    try:
        from benchmarks import tutorial_jobs as jobs
    except ModuleNotFoundError:
        raise MissingDataError("torch is not installed: pip install 'grandtotal[neural]'") from None
    path = data if data.suffix == ".py" else data.parent / "baseline" / "tutorial_174.py"
    script = load(path)
    rounds = EVERY if quick else ROUNDS
    np.random.seed(174)  # the script draws from the generator of the process
    counts = np.random.randint(5000, 15000, RETAILERS).tolist()
    rated = [
        script.generate_retail_data(num_interactions=count, retailer_id=retailer)
        for retailer, count in enumerate(counts)
    ]
    sold = [script.generate_demand_data(retailer_id=retailer) for retailer in range(RETAILERS)]
    units = jobs.demand(sold)
    return [
        *_both(path, jobs.ratings(rated), rounds),
        *_both(path, units, rounds),
        *_loop(path, jobs.calendar(units)),
        *_shared(jobs.ratings(jobs.shared_tastes(RETAILERS, 174)), rounds),
    ]


@dataclass
class _Race:
    """Our totals, which wait for a round of the script's before each round of ours.

    seconds: ours so far, without waiting and judging. judged: both sides' scores by round.
    """

    totals: Totals
    job: "Job"
    script: Script | None
    laps: list[Lap] = field(default_factory=list)
    judged: dict[int, UnitScores] = field(default_factory=dict)
    seconds: float = 0.0
    _since: float = field(default_factory=time.perf_counter)

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the total."""
        if isinstance(query, NetworkUpdates):
            self._wait(query.round, under(WEIGHTS, broadcast or {}))
        return self.totals.total(query, broadcast)

    def _wait(self, done: int, weights: Arrays) -> None:
        self.stop()
        if done and done % EVERY == 0:
            self.judged[done] = self.job.scores(self.job.forecasts(weights))
        if self.script is not None:
            self.laps.append(self.script.round(judged=(done + 1) % EVERY == 0))
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Ends our time for now."""
        self.seconds += time.perf_counter() - self._since


def _run(job: "Job", rounds: int, script: Script | None) -> tuple[_Race, list[Any]]:
    """Returns a whole training with what is made of it at home, and the records of its rounds."""
    sent: list[Any] = []
    with federated(job.holders, listener=sent.append, masked=True) as consortium:
        race = _Race(consortium.of(TASK), job, script)
        weights = _fitted(job, race, rounds)
        forecasts = job.forecasts(weights)
        race.stop()
    race.judged[rounds] = job.scores(forecasts)
    return race, [record for record in sent if record.get("query") == NetworkUpdates.name]


def _fitted(job: "Job", totals: Totals, rounds: int) -> Arrays:
    from grandtotal.algorithms.neural import FederatedTraining

    training = FederatedTraining(rounds, 0, local={"epochs": EPOCHS, **job.local})
    return training.fit(totals, job.network, "test", watch=False).arrays


def _both(path: Path, job: "Job", rounds: int) -> list[Row]:
    """Returns times, scores and bytes of one job, the script's and ours."""
    script = Script(path, job.task, job.parts)
    try:
        race, sent = _run(job, rounds, script)
    finally:
        script.close()
    theirs, looking = (sum(getattr(lap, of) for lap in race.laps) for of in ("seconds", "looking"))
    alone = rounds * _one_thread(path, job)
    rows = [
        Row(f"{job.task}: {rounds} rounds of the script", theirs, "s"),
        Row(f"{job.task}: its look at the rows it knows", looking, "s"),
        Row(f"{job.task}: were it held to one thread", alone, "s"),
        Row(f"{job.task}: {rounds} rounds of ours", race.seconds, "s"),
        at_least(FASTER, f"{job.task}: times as fast", theirs / race.seconds, "x"),
        at_least(FASTER, f"{job.task}: were it held to one thread", alone / race.seconds, "x"),
    ]
    return [*rows, *_scored(job, race), *_exact(job, race), *_bytes(job, sent)]


def _one_thread(path: Path, job: "Job") -> float:
    """Returns the seconds of one round of the script where torch may use one thread."""
    script = Script(path, job.task, job.parts, threads=1)
    try:
        return float(np.median([script.round().seconds for _ in range(_TIMED)]))
    finally:
        script.close()


def _scored(job: "Job", race: _Race) -> list[Row]:
    held, rows = at_least if job.metric.higher_is_better else at_most, []
    for done, scores in race.judged.items():
        about = f"{job.task}: held-out {job.metric.name} after {done} rounds"
        theirs = _value(job.scores(race.laps[done - 1].forecast))
        rows += [Row(f"{about}, the script", theirs), held(theirs, about, _value(scores))]
    return rows


def _exact(job: "Job", race: _Race) -> list[Row]:
    """Returns the accuracy of factors from exact totals; the bar is the script at its best."""
    from benchmarks.tutorial_jobs import factors

    if job.task != "recommendation":
        return []
    best = max(_value(job.scores(lap.forecast)) for lap in race.laps if lap.forecast)
    about = f"{job.task}: held-out {job.metric.name} of factors from exact totals"
    return [at_least(best, about, _value(factors(job)))]


def _value(scores: UnitScores) -> float:
    (value,) = scores.values().values()
    return value


def _bytes(job: "Job", sent: list[Any]) -> list[Row]:
    """Returns what each retailer sends in a round."""
    entries = sum(
        int(np.prod(shape)) for name, shape in sent[0]["fields"].items() if name.startswith(UPDATE)
    )
    size = max(max(record["bytes_out"].values()) for record in sent)
    return [
        Row(f"{job.task}: out of each retailer, a round", size / 2**20, "MiB"),
        at_most(
            OVERHEAD, f"{job.task}: the same over 4 bytes a parameter", size / 4 / entries, "x"
        ),
    ]


def _loop(path: Path, job: "Job") -> list[Row]:
    """Returns how fast the script's own demand network is at home and through the door."""
    script = Script(path, job.task, job.parts)
    try:
        with patch.object(networks, "installed", lambda _: {job.network.name: type(job.network)}):
            race, _ = _run(job, _TIMED, script)
    finally:
        script.close()
    theirs = sum(lap.seconds for lap in race.laps)
    about = f"demand, its own network, {_TIMED} rounds"
    return [
        Row(f"{about}: the script", theirs, "s"),
        Row(f"{about}: ours", race.seconds, "s"),
        Row(f"{about}: times as fast", theirs / race.seconds, "x"),
    ]


def _shared(job: "Job", rounds: int) -> list[Row]:
    """Returns the accuracy of counts, networks and factors, and what federation gains."""
    from benchmarks.tutorial_jobs import by_counts, factors

    race, _ = _run(job, rounds, None)
    network = [partial(_alone, each, rounds) for each in job.apart()]
    known = {
        "counts, alone": job.scores(by_counts(job, alone=True)),
        "counts": job.scores(by_counts(job)),
        "ncf, alone": UnitScores.joined(side_by_side(network)),
        "ncf": race.judged[rounds],
        "factors, alone": UnitScores.joined([factors(each) for each in job.apart()]),
        "factors": factors(job),
    }
    rows = [Row(f"shared, {name}: accuracy", _value(scores)) for name, scores in known.items()]
    for name in ("ncf", "factors"):
        for other in ("counts", f"{name}, alone"):
            gain = known[name].gain_over(known[other], job.metric, seed=1)
            about = f"shared, {name} over {other}"
            low = at_least(0, f"{about}: low end of the interval", gain["low"])
            rows += [Row(about, gain["value"]), low]
    return rows


def _alone(job: "Job", rounds: int) -> UnitScores:
    """Returns the scores of a training over the rows of one holder."""
    (rows,) = job.holders.values()
    return job.scores([job.forecast(_fitted(job, Local(rows), rounds), rows)])
