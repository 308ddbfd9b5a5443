"""Recommendations on MovieLens 1M, given split, against the numbers of the literature.

Full ranking of 3,043 items for 6,022 users, training items left out. recall@20: hits within 20
over the user's number of test items, as in Mao et al., "UltraGCN", 2021,
https://arxiv.org/abs/2110.15114, and He et al., "LightGCN", 2020, https://arxiv.org/abs/2002.02126;
"of the possible" divides by min(20, test items) instead. NDCG@20: 1/log2(rank + 1) for each hit,
over the same sum of a list of hits only. Hyper-parameters are chosen by NDCG@20 on 20 % of each
user's training items, drawn by hash; then the model is fitted on all of them.

Five retailers by a hash of the user. "alone" is the mean over the five, weighted by users, of each
one's own model with its own choice of the same grid. Times are medians over alternating pairs.
"""

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.rows import Row, at_least, at_most, need
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.item_model import Recommender
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local, Totals
from grandtotal.durable import Json, arrays_digest
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.recommend_models import GRIDS
from grandtotal.tasks.task import Common, Fitted

SHARES = {"north": 0.46, "south": 0.23, "west": 0.16, "east": 0.08, "abroad": 0.07}
BARS = {
    "ease": {"recall@20": 0.275, "ndcg@20": 0.265},
    "edlae": {"recall@20": 0.277, "ndcg@20": 0.267},
}
MODELS = ("popularity", "item-knn", "ease", "edlae")  # ALS and a blend: recommend-blend
HELD_OUT = 0.2
SOURCE = "github.com/xue-pai/UltraGCN, data/ml-1m/{train,test}.txt, renamed to ml-1m_*.txt"
_K = 20
_DISCOUNT = 1.0 / np.log2(np.arange(2, _K + 2))


def run(data: Path, quick: bool) -> list[Row]:
    """Returns scores of every model in three settings, and what federation costs."""
    folder = data / "movielens"
    for part in ("train", "test"):
        need(folder / f"ml-1m_{part}.txt", SOURCE)
    world = load(folder)
    if quick:
        return _scores(world, "ease") + _times(world, "ease, one fit", pairs=3)
    return [
        *(row for model in MODELS for row in _scores(world, model)),
        *_times(world, "ease, one fit", pairs=7),
        *_times(world, "ease, choice and fit", pairs=7),
        *_memory(folder),
    ]


# --- the data ---


@dataclass(frozen=True)
class World:
    """Five retailers' rows, each with "validation" and "test", and the task over them."""

    holders: dict[str, Rows]
    products: int

    def task(self, model: str) -> Recommend:
        """Returns the task that chooses among the grid of one model."""
        catalogue = tuple(str(i) for i in range(self.products))
        return Recommend(Common(date(2003, 3, 1), catalogue), (model,), top=_K)

    @property
    def pooled(self) -> Rows:
        """The rows as if one retailer held them."""
        return self.task("ease").pooled(list(self.holders.values()))


@cache
def load(folder: Path) -> World:
    """Returns the given split; a fifth of each user's training items is the validation."""
    train, test = (_pairs(folder / f"ml-1m_{part}.txt") for part in ("train", "test"))
    users, products = (np.concatenate([train, test]).max(axis=0) + 1).tolist()
    shape = (users, products)
    held = _held_out(train)
    cuts = {
        "validation": (_matrix(train[~held], shape), _matrix(train[held], shape)),
        "test": (_matrix(train, shape), _matrix(test, shape)),
    }
    owner = _owners(users)
    holders: dict[str, Rows] = {
        name: {
            cut: Purchases(past[owner == i], new[owner == i]) for cut, (past, new) in cuts.items()
        }
        for i, name in enumerate(SHARES)
    }
    return World(holders, products)


def _pairs(path: Path) -> NDArray[np.int64]:
    """Returns (interactions, 2) user and item, of lines with a user and the user's items."""
    lines = [np.array(line.split(), np.int64) for line in path.read_text().splitlines()]
    users = np.repeat([line[0] for line in lines], [len(line) - 1 for line in lines])
    return np.stack([users, np.concatenate([line[1:] for line in lines])], axis=1)


def _matrix(pairs: NDArray[np.int64], shape: tuple[int, int]) -> csr_array:
    matrix = csr_array((np.ones(len(pairs), np.int32), tuple(pairs.T)), shape=shape)
    matrix.sort_indices()
    return matrix


def _held_out(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns a mask of the fifth of each user's pairs with the smallest hashes."""
    order = np.lexsort((_hash(pairs[:, 0] * 2**32 + pairs[:, 1]), pairs[:, 0]))
    first = np.searchsorted(pairs[order, 0], pairs[order, 0])
    count = np.bincount(pairs[:, 0])[pairs[order, 0]]
    held = np.zeros(len(pairs), bool)
    held[order] = np.arange(len(pairs)) - first < np.rint(HELD_OUT * count)
    return held


def _owners(users: int) -> NDArray[np.intp]:
    """Returns the position in SHARES of each user's retailer."""
    place = _hash(np.arange(users)) / 2.0**64
    bounds = np.cumsum(list(SHARES.values()))[:-1]
    return np.searchsorted(bounds, place, side="right")


def _hash(keys: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns 64 well mixed bits of each key: the step of splitmix64."""
    z = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


# --- the scores ---


def _scores(world: World, model: str) -> list[Row]:
    task = world.task(model)
    rounds: list[Json] = []
    with federated(world.holders, listener=rounds.append) as consortium:
        shared = task.fit(consortium.of(TASK))
    pooled = task.fit(Local(world.pooled))
    alone = {name: task.fit(Local(rows)) for name, rows in world.holders.items()}
    _explain(model, {"federated": shared, "pooled": pooled, **alone})
    everybody: Purchases = world.pooled["test"]
    own = [score(alone[n].model, rows["test"]) for n, rows in world.holders.items()]  # type: ignore[arg-type]
    found = {
        "alone": np.concatenate(own).mean(axis=0),
        "federated": score(shared.model, everybody).mean(axis=0),  # type: ignore[arg-type]
        "pooled": score(pooled.model, everybody).mean(axis=0),  # type: ignore[arg-type]
    }
    differs = arrays_digest(shared.model.arrays) != arrays_digest(pooled.model.arrays)
    return [
        *(row for setting, values in found.items() for row in _measured(model, setting, values)),
        at_most(0, f"{model}: federated models that are not the pooled one", int(differs)),
        *_traffic(model, rounds),
    ]


def _measured(model: str, setting: str, values: NDArray[np.float64]) -> list[Row]:
    names = ("recall@20", "recall@20 of the possible", "ndcg@20")
    rows = []
    for name, value in zip(names, values, strict=True):
        label = f"{model}, {setting}: {name}"
        bar = BARS.get(model, {}).get(name) if setting == "federated" else None
        rows.append(Row(label, float(value)) if bar is None else at_least(bar, label, value))
    return rows


def _explain(model: str, fits: dict[str, Fitted]) -> None:
    for setting, fitted in fits.items():
        chosen = {k: v for k, v in fitted.choice["chosen"].items() if k != "model"}
        print(f"  {model}, {setting}: chose {chosen} of {len(GRIDS[model])}")


def score(model: Recommender, purchases: Purchases) -> NDArray[np.float64]:
    """Returns (users, 3) recall, recall of the possible and NDCG, user by user by the textbook."""
    ideal = np.cumsum(_DISCOUNT)
    found = []
    for user in range(purchases.history.shape[0]):
        wanted = set(_items(purchases.future, user).tolist())
        scores = model.scores(purchases.history[[user]])[0]
        ranked = np.argsort(-scores, kind="stable")[:_K]
        hits = np.array([item in wanted for item in ranked.tolist()])
        possible = min(_K, len(wanted))
        dcg = hits @ _DISCOUNT
        found.append((hits.sum() / len(wanted), hits.sum() / possible, dcg / ideal[possible - 1]))
    return np.array(found)


def _items(matrix: csr_array, user: int) -> NDArray[Any]:
    return matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]


# --- what federation costs ---


def _traffic(model: str, rounds: list[Json]) -> list[Row]:
    out = sum(record["bytes_out"]["north"] for record in rounds)
    into = sum(record["bytes_in"] for record in rounds)
    return [
        Row(f"{model}, choice and fit: rounds", len(rounds)),
        Row(f"{model}, choice and fit: out of each retailer", out / 2**20, "MiB"),
        Row(f"{model}, choice and fit: to each retailer", into / 2**20, "MiB"),
    ]


def _times(world: World, name: str, pairs: int) -> list[Row]:
    fit = _fits(world)[name]
    pooled = Local(world.pooled)
    seconds = []
    for _ in range(pairs):
        with federated(world.holders) as consortium:
            seconds.append((*_timed(fit, consortium.of(TASK)), *_timed(fit, pooled)))
    wall, cpu, wall_pooled, cpu_pooled = np.array(seconds).T
    return [
        Row(f"{name}: federated", float(np.median(wall)), "s"),
        Row(f"{name}: pooled", float(np.median(wall_pooled)), "s"),
        at_most(1.15, f"{name}: federated over pooled", float(np.median(wall / wall_pooled))),
        Row(f"{name}: processor time over pooled", float(np.median(cpu / cpu_pooled))),
    ]


def _fits(world: World) -> Mapping[str, Callable[[Totals], object]]:
    ease = GRIDS["ease"][2]
    return {
        "ease, one fit": lambda totals: ease.fit(totals, world.products, "test"),
        "ease, choice and fit": world.task("ease").fit,
    }


def _timed(fit: Callable[[Totals], object], totals: Totals) -> tuple[float, float]:
    """Returns seconds on the clock and seconds of all cores."""
    wall, cpu = time.perf_counter(), time.process_time()
    fit(totals)
    return time.perf_counter() - wall, time.process_time() - cpu


def _memory(folder: Path) -> list[Row]:
    return [
        Row(f"ease, choice and fit: peak memory, {name}", _apart(fit, folder), "MiB")
        for name, fit in {"five retailers in one process": _federated, "pooled": _pooled}.items()
    ]


def _apart(fit: Callable[[Path], int], folder: Path) -> int:
    """Returns what a fit returns in a process of its own, whose memory nothing else has used."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(fit, folder).result()


def _federated(folder: Path) -> int:
    world = load(folder)
    with federated(world.holders) as consortium:
        world.task("ease").fit(consortium.of(TASK))
    return _peak_memory()


def _pooled(folder: Path) -> int:
    world = load(folder)
    world.task("ease").fit(Local(world.pooled))
    return _peak_memory()


def _peak_memory() -> int:
    """Returns the largest resident size of this program so far, in MiB (Linux)."""
    # ru_maxrss would be that of the parent, if it was larger: it outlives exec.
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found.group(1)) // 2**10 if found else 0
