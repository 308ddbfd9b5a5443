"""Trees over more and more generated rows: seconds, processor time and memory, and what is sent.

1.25, 2.5, 5 and 10 million rows of 50 numbers, held by five retailers in one process; 5 trees of 64
leaves by level, 64 bins. Each size in a new process, since one does not give all its memory back;
memory is the process's peak, with the columns themselves, 8 bytes a number. Binning is the sketch
of the quantiles and the bins of every row. Linear is said of processor time: it depends least on
what else the machine does. With --quick: a tenth of the rows.
"""

import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, at_most
from benchmarks.trees import Counted, Together
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.tree_bins import Binning
from grandtotal.algorithms.tree_growth import Growth
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.trees import Boosting
from grandtotal.consortium.totals import Local

MILLIONS = (1.25, 2.5, 5.0, 10.0)
FEATURES, RETAILERS, TREES = 50, 5, 5
TARGET = "target"
_ALL = tuple(f"number {i}" for i in range(FEATURES))
_MOST_GB = 6.0
_LINEAR = 1.3


@dataclass(frozen=True)
class Cost:
    """Of one size: seconds and processor time of binning and of a tree; what a tree sends."""

    binning: float
    binning_processor: float
    tree: float
    tree_processor: float
    gigabytes: float
    megabytes_out: float
    questions: float
    fell: float


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns seconds, processor time and memory of every size."""
    sizes = [million / (10 if quick else 1) for million in MILLIONS]
    costs = {}
    for million in sizes:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            process.submit(_cost, 2_000).result()  # compiles, and starts the threads
            costs[million] = process.submit(_cost, int(million * 1e6)).result()
    rows: list[Row] = []
    for million, cost in costs.items():
        named = f"{million:g} M rows"
        rows += [
            Row(f"{named}: binning, for a million rows", cost.binning / million, "s"),
            Row(f"{named}: a tree, for a million rows", cost.tree / million, "s"),
            Row(
                f"{named}: a tree, for a million rows, processor",
                cost.tree_processor / million,
                "s",
            ),
            at_most(_MOST_GB, f"{named}: memory", cost.gigabytes, "GB"),
            Row(f"{named}: memory, for a million rows", cost.gigabytes / million, "GB"),
            Row(f"{named}: out of a retailer for a tree", cost.megabytes_out, "MB"),
            at_most(8, f"{named}: questions for a tree", cost.questions),
            Row(f"{named}: what {TREES} trees took off the loss", cost.fell),
        ]
    first, last = costs[sizes[0]], costs[sizes[-1]]
    for what, small, large in (
        ("binning", first.binning_processor, last.binning_processor),
        ("a tree", first.tree_processor, last.tree_processor),
    ):
        name = f"{what}, processor time of a row, {sizes[-1]:g} M over {sizes[0]:g} M"
        rows.append(at_most(_LINEAR, name, large / sizes[-1] / (small / sizes[0])))
    return rows


def _cost(rows: int) -> Cost:
    parts = [_generated(rows // RETAILERS, seed) for seed in range(RETAILERS)]
    totals = Counted(Together([Local({"train": part}) for part in parts]))
    binning, growth = Binning(bins=64), Growth(by="level", leaves=64)
    data = Data(TARGET, _ALL)
    started = _now()
    bins = binning.fit(totals, _ALL, (), TARGET, "train")
    Boosting(trees=0, growth=growth).fit(totals, data, bins)  # bins every row
    binned = _now()
    _, report = Boosting(trees=TREES, growth=growth).fit(totals, data, bins)
    took = [(b - a, d - c) for (a, c), (b, d) in ((started, binned), (binned, _now()))]
    losses = report["losses"]
    return Cost(
        *took[0],
        took[1][0] / TREES,
        took[1][1] / TREES,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        totals.bytes / TREES / 1e6,
        totals.asked / TREES,
        1 - losses[str(TREES)] / losses["0"],
    )


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _generated(rows: int, seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    numbers = {name: rng.standard_normal(rows) for name in _ALL}
    a, b, c, d, e = (numbers[name] for name in _ALL[:5])
    target = a + np.abs(b) * (c > 0) + d * e
    keys = rng.integers(0, 2**63, rows, np.int64).astype(np.uint64)
    return Columns({**numbers, TARGET: target + rng.standard_normal(rows)}, {}, keys)
