"""One epoch of implicit ALS on MovieLens 1M, d = 64: ours over totals, implicit on pooled rows.

Both on one thread of linear algebra. implicit solves each row's equations (use_cg=False), which is
what our sums do, or takes three conjugate gradients from where each row was, its default. Ours with
steps=3 takes three from where an item was, and four from nothing for a customer: the same number of
products with each row's matrix. "pooled" is one holder of all rows; five retailers in this process
answer through envelope and egress. Medians of alternating runs; an epoch is the difference of fits
of three and one, over two; what numba compiles was compiled before. NDCG@20 is of the test set,
full ranking, after eight epochs. Without implicit only ours is measured.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from benchmarks.recommend_ml1m import SOURCE, World, load
from benchmarks.rows import Row, at_most, need
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.als import ALS
from grandtotal.consortium.totals import Local
from grandtotal.tasks.ranking import RankingScores
from grandtotal.threads import limited_to

BAR = 1.2
OURS = ALS(factors=64)


def run(data: Path, quick: bool) -> list[Row]:
    """Returns seconds of an epoch, and ours over implicit's."""
    folder = data / "movielens"
    need(folder / "ml-1m_train.txt", SOURCE)
    world = load(folder)
    bought = world.pooled["test"].history

    def ours(epochs: int, steps: int) -> None:
        # New each time: nothing is remembered of the fit before.
        totals = Local(world.pooled)
        replace(OURS, epochs=epochs, steps=steps).fit(totals, world.products, "test")

    def shared(epochs: int, steps: int) -> None:
        with federated(world.holders) as consortium:
            replace(OURS, epochs=epochs, steps=steps).fit(
                consortium.of(TASK), world.products, "test"
            )

    timed: dict[str, Callable[[int], None]] = {
        "solved, pooled": lambda n: ours(n, 0),
        "by conjugate gradients, pooled": lambda n: ours(n, 3),
        "solved, five retailers": lambda n: shared(n, 0),
        "by conjugate gradients, five retailers": lambda n: shared(n, 3),
    }
    timed |= _implicit(bought)
    ours(1, 3)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    with threadpool_limits(1), limited_to(1):
        for _ in range(1 if quick else 3):
            for name, fit in timed.items():
                seconds[name].append((_seconds(fit, 3) - _seconds(fit, 1)) / 2)
    found = {name: float(np.median(each)) for name, each in seconds.items()}
    rows = [Row(f"{name}: an epoch", value, "s") for name, value in found.items()]
    if "implicit, solved" in found:
        for way in ("solved", "by conjugate gradients"):
            over = found[f"{way}, pooled"] / found[f"implicit, {way}"]
            rows.append(at_most(BAR, f"{way}: pooled over implicit", over))
    return [*rows, *_accuracy(world)]


def _accuracy(world: World) -> list[Row]:
    totals, rows = Local(world.pooled), []
    for way, steps in {"solved": 0, "by conjugate gradients": 3}.items():
        model = replace(OURS, epochs=8, steps=steps).fit(totals, world.products, "test")
        sums = totals.total(RankingScores(world.products, 20, "test"), model.arrays)
        ndcg = float(sums["ndcg"]) / float(sums["customers"])
        rows.append(Row(f"{way}: NDCG@20 after eight epochs", ndcg))
    return rows


def _seconds(fit: Callable[[int], None], epochs: int) -> float:
    started = time.perf_counter()
    fit(epochs)
    return time.perf_counter() - started


def _implicit(bought: Any) -> dict[str, Callable[[int], None]]:
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError:
        print("  implicit is not installed: pip install 'grandtotal[reference]'")
        return {}
    users = csr_matrix(
        (np.full(bought.nnz, 11.0), bought.indices, bought.indptr), shape=bought.shape
    )

    def fit(epochs: int, steps: bool) -> None:
        model = AlternatingLeastSquares(
            factors=64, use_cg=steps, iterations=epochs, num_threads=1, dtype=np.float64
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(users, show_progress=False)

    return {
        "implicit, solved": lambda n: fit(n, False),
        "implicit, by conjugate gradients": lambda n: fit(n, True),
    }
