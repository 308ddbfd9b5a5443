"""Trees from totals beside LightGBM on the same bins: time, and what they predict.

Rossmann, 45 features, the logarithm of the sales; 64 leaves, rate 0.05, l2 1, at least 20 rows.
`pooled` is one holder of all rows, `five retailers` are five holders in this process by German
states, as many at once as there are threads where a question is about many rows. Runs alternate
and a row holds the median of ratios within one round, of 5 for 500 trees by leaf and of 3 for fewer
trees; binning, LightGBM's data set and compilation are not in them, and are stated apart. By leaf
is LightGBM's way of growing, by level needs fewer questions. Through messages are envelopes, egress
and a log with fsync; under masks also signatures and key exchanges. With --quick: 20 trees, 3 runs.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from benchmarks.rossmann import TARGET, Rossmann, rossmann
from benchmarks.rows import Row, at_most
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.tree_bins import Binning, Bins
from grandtotal.algorithms.tree_growth import Growth
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.trees import Boosting
from grandtotal.consortium.query import Query
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.threads import limited_to, side_by_side

RETAILERS = 5
_AT_ONCE = 1.5e-4  # s
_SETTINGS = {
    "objective": "l2",
    "num_leaves": 64,
    "learning_rate": 0.05,
    "lambda_l2": 1.0,
    "min_data_in_leaf": 20,
    "min_data_in_bin": 1,
    "max_bin": 256,
    "bin_construct_sample_cnt": 10**9,
    "feature_pre_filter": False,
    "verbose": -1,
}
_COMPILE = (
    "import time, numpy as np; from grandtotal.algorithms.columns import Columns;"
    "from grandtotal.algorithms.tree_questions import Data;"
    "from grandtotal.algorithms.tree_growth import Growth;"
    "from grandtotal.algorithms.trees import Boosting;"
    "from grandtotal.consortium.totals import Local;"
    "n = np.arange(99.0); rows = Columns({'x': n, 'y': n * n}, {}, n.astype('u8'));"
    "fit = lambda: Boosting(trees=3, growth=Growth(rows=5)).fit(Local({'train': rows}),"
    "Data('y', ('x',)))[0].predict(rows);"
    "start = time.time(); fit(); first = time.time(); fit();"
    "print(2 * first - start - time.time())"
)


@dataclass
class Together:
    """Several holders of rows in this process as one `Totals`: the sum of what each answers.

    The first, best the one with the fewest rows, is asked alone: where it answers at once, waking
    another thread for the others would take longer than they do.
    """

    holders: list[Local]

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the sums, field by field."""
        start = time.perf_counter()
        found = self.holders[0].total(query, broadcast)
        quick = time.perf_counter() - start < _AT_ONCE
        calls = [partial(holder.total, query, broadcast) for holder in self.holders[1:]]
        for answer in [call() for call in calls] if quick else side_by_side(calls):
            for name in found:
                found[name] = found[name] + answer[name]
        return found


@dataclass
class Race:
    """The same rows and bins for everybody."""

    rossmann: Rossmann
    bins: Bins
    pooled: Local
    five: Together
    data: Data
    codes: Any

    @staticmethod
    def prepared(data: Path) -> "Race":
        """Returns the race, with shared edges made of all rows."""
        rows = rossmann(data)
        pooled = Local({"train": rows.train})
        about = Data(TARGET, rows.features)
        bins = Binning().fit(pooled, rows.features, (), TARGET, "train")
        parts = sorted(rows.parts(RETAILERS), key=lambda part: part.rows)
        five = Together([Local({"train": part}) for part in parts])
        return Race(rows, bins, pooled, five, about, _codes(rows.train, bins))

    def boosting(self, trees: int, by: str, **other: Any) -> Boosting:
        """Returns our settings."""
        return Boosting(trees=trees, rate=0.05, growth=Growth(by=by), **other)  # type: ignore[arg-type]

    def ours(self, totals: Any, algorithm: Boosting) -> tuple[float, Any]:
        """Returns seconds and the model."""
        start = time.perf_counter()
        model, _ = algorithm.fit(totals, self.data, self.bins)
        return time.perf_counter() - start, model

    def theirs(self, trees: int, threads: int, **other: Any) -> tuple[float, Any]:
        """Returns seconds and LightGBM's model."""
        settings = {**_SETTINGS, "num_threads": threads, **other}
        y = self.rossmann.train.numbers[TARGET]
        dataset = lightgbm.Dataset(self.codes, y, params=settings).construct()
        start = time.perf_counter()
        model = lightgbm.train(settings, dataset, trees)
        return time.perf_counter() - start, model


def _codes(columns: Any, bins: Bins) -> Any:
    codes = bins.matrix(columns).astype(np.float32)
    codes[codes == 0] = np.nan
    return codes


def run(data: Path, quick: bool) -> list[Row]:
    """Returns times over LightGBM's, what is sent, and errors beside LightGBM's."""
    race = Race.prepared(data)
    trees, fewer = (20, 20) if quick else (500, 100)
    _warm(race)
    rows = [Row("compilation of the kernels, once on a machine, then kept", _compilation(), "s")]
    rows += _two_threads(race, trees, 3 if quick else 5, "leaf")
    rows += _two_threads(race, fewer, 3, "level")
    rows += _one_thread(race, fewer, 3)
    rows += _sampled(race, fewer, 3)
    for masked in (False, True):
        rows += _through_messages(race, 20, 3, masked)
    rows += _messages(race)
    return [*rows, *_prediction(race)]


def _warm(race: Race) -> None:
    """Bins the rows of everybody, compiles, and starts the threads."""
    for by in ("level", "leaf"):
        for totals in (race.pooled, race.five):
            race.ours(totals, race.boosting(2, by, sampling=0.7, columns=0.5))
            race.ours(totals, race.boosting(2, by))


def _compilation() -> float:
    # Where no cache can be written, every function is compiled anew.
    nowhere = {
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
        "NUMBA_CACHE_DIR": "/dev/null/nowhere",
    }
    command = [sys.executable, "-c", _COMPILE]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **nowhere}
    )
    return float(done.stdout)


def _alternating(rounds: int, runs: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].append(runs[name]())
    return found


def _ratio(found: dict[str, list[float]], name: str, over: str) -> float:
    pairs = zip(found[name], found[over], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def _two_threads(race: Race, trees: int, rounds: int, by: str) -> list[Row]:
    models: dict[str, Any] = {}

    def timed(name: str, fit: Callable[[], tuple[float, Any]]) -> Callable[[], float]:
        def once() -> float:
            seconds, models[name] = fit()
            return seconds

        return once

    ours, theirs = race.boosting(trees, by), f"LightGBM, {trees} trees, 2 threads"
    runs = {
        theirs: lambda: race.theirs(trees, 2),
        "pooled": lambda: race.ours(race.pooled, ours),
        "five retailers": lambda: race.ours(race.five, ours),
    }
    with limited_to(2):
        found = _alternating(rounds, {name: timed(name, fit) for name, fit in runs.items()})
    rows = [Row(theirs, statistics.median(found[theirs]), "s")]
    for name, bar in (("pooled", 1.0), ("five retailers", 1.3)):
        what = f"{name}, by {by}, {trees} trees, over LightGBM"
        rows.append(at_most(bar, what, _ratio(found, name, theirs)))
    same = len({arrays_digest(models[name].arrays) for name in ("pooled", "five retailers")}) - 1
    rows.append(at_most(0, f"by {by}: digests of five retailers that differ from pooled", same))
    test = race.rossmann.test
    for name, logs in (
        (f"by {by}", models["pooled"].predict(test)),
        ("LightGBM", models[theirs].predict(_codes(test, race.bins))),
    ):
        rows.append(Row(f"{name}, {trees} trees: RMSPE of the last 42 days", _rmspe(test, logs)))
    return rows


def _through_messages(race: Race, trees: int, rounds: int, masked: bool) -> list[Row]:
    """Returns the time of a consortium: messages, egress, a log on the disk, and masks or not."""
    holders = {f"r{i}": {"train": part} for i, part in enumerate(race.rossmann.parts(RETAILERS))}
    seeds = count(1)  # a question that was answered before would not be asked again

    def ours() -> float:
        return race.ours(totals, race.boosting(trees, "level", seed=next(seeds)))[0]

    with limited_to(2), federated(holders, masked=masked) as consortium:
        totals = consortium.of(TASK)
        ours()
        found = _alternating(rounds, {"theirs": lambda: race.theirs(trees, 2)[0], "ours": ours})
    name = f"five retailers through messages{' and under masks' if masked else ''}"
    return [Row(f"{name}, by level, {trees} trees, over LightGBM", _ratio(found, "ours", "theirs"))]


def _rmspe(test: Any, logs: Any) -> float:
    return float(np.sqrt(np.mean((1 - np.exp(logs - test.numbers[TARGET])) ** 2)))


def _one_thread(race: Race, trees: int, rounds: int) -> list[Row]:
    name = f"pooled, by leaf, {trees} trees, 1 thread, over LightGBM"
    with limited_to(1):
        found = _alternating(
            rounds,
            {
                "theirs": lambda: race.theirs(trees, 1)[0],
                "ours": lambda: race.ours(race.pooled, race.boosting(trees, "leaf"))[0],
            },
        )
    return [at_most(0.8, name, _ratio(found, "ours", "theirs"))]


def _sampled(race: Race, trees: int, rounds: int) -> list[Row]:
    name = f"pooled, by leaf, {trees} trees, 0.7 of rows, 0.5 of columns, over LightGBM"
    theirs = {"bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.5}
    ours = race.boosting(trees, "leaf", sampling=0.7, columns=0.5)
    with limited_to(2):
        found = _alternating(
            rounds,
            {
                "theirs": lambda: race.theirs(trees, 2, **theirs)[0],
                "ours": lambda: race.ours(race.pooled, ours)[0],
            },
        )
    return [Row(name, _ratio(found, "ours", "theirs"))]


@dataclass
class Counted:
    """Totals that count the bytes out of each retailer, and the questions by tree."""

    totals: Any
    bytes: int = 0
    asked: int = 0

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        if query.name == "tree-histograms":
            self.bytes += sum(field.bytes for field in query.fields(broadcast or {}).values())
            self.asked += 1
        return self.totals.total(query, broadcast)  # type: ignore[no-any-return]


def _messages(race: Race) -> list[Row]:
    """Returns bytes and questions of a tree by level."""
    rows, trees = [], 20
    narrow = Binning(bins=64).fit(race.pooled, race.rossmann.features, (), TARGET, "train")
    whole = race.boosting(trees, "level")
    sampled = replace(whole, sampling=0.7, columns=0.4)
    for name, algorithm, bins, bars in (
        ("all bins and columns", whole, race.bins, None),
        ("64 bins, 0.7 of rows, 0.4 of columns", sampled, narrow, (1.2, 8.0)),
    ):
        counted = Counted(race.pooled)
        algorithm.fit(counted, race.data, bins)
        found = {
            f"{name}: out of a retailer for a tree": (counted.bytes / trees / 1e6, "MB"),
            f"{name}: questions for a tree by level": (counted.asked / trees, ""),
        }
        for (what, (value, unit)), bar in zip(found.items(), bars or (None, None), strict=True):
            rows.append(Row(what, value, unit) if bar is None else at_most(bar, what, value, unit))
    return rows


def _prediction(race: Race) -> list[Row]:
    """Returns seconds for a million rows and 300 trees."""
    _, model = race.ours(race.pooled, race.boosting(300, "level"))
    train = race.rossmann.train
    matrix = np.resize(race.bins.matrix(train), (1_000_000, len(race.bins.features)))
    scores = np.zeros(len(matrix))
    with limited_to(2):
        start = time.perf_counter()
        model.trees.add_scores(matrix, scores)
    seconds = time.perf_counter() - start
    return [at_most(10.0, "a million rows by 300 trees, 2 threads, from bins", seconds, "s")]
