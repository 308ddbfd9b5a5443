"""One size of generated files, from `check` to EASE: what it costs, and whether the truth is found.

Each size is measured in a new process, since a process does not give all its memory back.
"""

import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from benchmarks.planted import TODAY, Planted, Size
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.item_model import ItemModel
from grandtotal.algorithms.item_similarity import EASE
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Query, Rows
from grandtotal.consortium.totals import Totals
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tables.check import check_tables
from grandtotal.tables.config import load_config
from grandtotal.tables.read import Tables
from grandtotal.tasks.customers import customer_lines, purchases_at
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.task import Common

HORIZON = timedelta(days=91)
L2 = 100.0
SCORED = 2_000  # customers of each retailer
PAIRS = 3  # of readings


@dataclass(frozen=True)
class Seconds:
    """What each part took."""

    check: float
    purchases: float
    totals: float
    ease: float

    @property
    def rows(self) -> float:
        """What reads lines."""
        return self.check + self.purchases

    @property
    def whole(self) -> float:
        """All parts."""
        return self.rows + self.totals + self.ease


@dataclass(frozen=True)
class Reading:
    """How many times as long as a plain scan a reading takes, on the wall and of all cores."""

    waited: float
    worked: float


@dataclass(frozen=True)
class Cost:
    """GiB at the peak of all parts, the load of the machine at their end, and what came out.

    waited: seconds on the wall. worked: of all cores together, whoever else uses them.
    reading: `Tables` over a plain scan of the same files, by both.
    """

    waited: Seconds
    worked: Seconds
    memory: float
    load: float
    ndcg_ease: float
    ndcg_popularity: float
    reading: Reading


def measured(sizes: list[Size], apart: bool) -> Iterator[Cost]:
    """Yields what each size costs, each in a new process, or all in this one unless `apart`."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        for size in sizes:
            with tempfile.TemporaryDirectory() as name:
                planted = Planted(size)
                planted.write(Path(name))
                if apart:
                    yield processes.submit(cost, Path(name), planted).result()
                else:
                    yield cost(Path(name), planted)


@dataclass
class _Watch:
    """Seconds by a clock, by name; the totals are asked for within the fit."""

    clock: Callable[[], float]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside."""
        started = self.clock()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - started

    def parts(self) -> Seconds:
        """Returns what each part took."""
        check, purchases, fit, totals = map(
            self.seconds.__getitem__, ("check", "purchases", "fit", "totals")
        )
        return Seconds(check, purchases, totals, fit - totals)


@dataclass(frozen=True)
class _Watches:
    """A watch on the wall, and one that runs while this process works."""

    waited: _Watch = field(default_factory=lambda: _Watch(time.monotonic))
    worked: _Watch = field(default_factory=lambda: _Watch(time.process_time))

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside, by both."""
        with self.waited.of(name), self.worked.of(name):
            yield


@dataclass(frozen=True)
class _Watched:
    """Totals whose seconds are known."""

    totals: Totals
    watch: _Watches

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        """Returns the total."""
        with self.watch.of("totals"):
            return self.totals.total(query, broadcast)


def cost(folder: Path, planted: Planted) -> Cost:
    """Returns what the files in this folder cost."""
    size, watch = planted.size, _Watches()
    common = Common(TODAY, size.catalogue)
    for name in size.names:
        with watch.of("check"):
            findings = check_tables(_tables(folder / name))
        assert findings.ok, findings.text()
    held: dict[str, Rows] = {}
    for name in size.names:
        with watch.of("purchases"):
            held[name] = {"test": _purchases(_tables(folder / name), common)}
    with federated(held) as consortium:
        totals = _Watched(consortium.of(TASK), watch)
        with watch.of("fit"):
            ease = EASE(L2).fit(totals, size.products, "test")
        memory, load = _peak(), os.getloadavg()[0]
        popularity = Popularity().fit(consortium.of(TASK), size.products, "test")
    some = [_some(rows["test"]) for rows in held.values()]
    return Cost(
        watch.waited.parts(),
        watch.worked.parts(),
        memory,
        load,
        _ndcg(common, ease, some),
        _ndcg(common, popularity, some),
        _reading(folder / size.names[0]),
    )


def _tables(folder: Path) -> Tables:
    return Tables(load_config(folder / "retailer.toml"))


def _purchases(tables: Tables, common: Common) -> Purchases:
    lines, customers = customer_lines(tables, common)
    shape = (len(customers), len(common.catalogue))
    return purchases_at(lines, common.today - HORIZON, common.today, *shape)


def _some(purchases: Purchases) -> Purchases:
    known = np.diff(purchases.history.indptr) > 0
    wanting = np.diff(purchases.future.indptr) > 0
    return purchases.of(np.flatnonzero(known & wanting)[:SCORED])


def _ndcg(common: Common, model: ItemModel, parts: list[Purchases]) -> float:
    task = Recommend(common, horizon_days=HORIZON.days)
    sums = np.zeros(2)
    for part in parts:
        found = task.score(model, {"test": part}, "test")
        sums += found.numerators[:, 0].sum(), found.denominators[:, 0].sum()
    return float(sums[0] / sums[1])


def _reading(folder: Path) -> Reading:
    def ours() -> object:
        return _tables(folder)["transactions"]

    def plain() -> object:
        return pl.scan_parquet(folder / "transactions" / "*.parquet").collect()

    watches = _Watches(), _Watches()
    for number in range(PAIRS):
        for watch, work in zip(watches, (ours, plain), strict=True):
            with watch.of(str(number)):
                work()
    waited, worked = (
        [statistics.median(watch.seconds.values()) for watch in kind]
        for kind in zip(*((each.waited, each.worked) for each in watches), strict=True)
    )
    return Reading(waited[0] / waited[1], worked[0] / worked[1])


def _peak() -> float:
    # Of this process alone: what getrusage says begins with the peak of the one that started it.
    found = cast(
        re.Match[str], re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    )
    return int(found[1]) / 2**20
