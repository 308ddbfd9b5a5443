"""How long one customer waits for ten recommendations with reasons, and a million for theirs.

One customer: keys of twenty products in, as of a session, ten products with titles, scores and
reasons out: `Serving.session` of `tasks/recommend_lists.py`, on one thread; medians and the 99th
percentile of repeated calls with the model in memory. Models are random numbers of their size:
transitions keep 200 weights a product, ALS 64 factors, popularity one count. EASE is a square of
weights, and so are EDLAE and ItemKNN, which are served alike: 20,000 products alone.

A million: `frames`, as `grandtotal predict` makes them, of 5,000 products and twenty purchases
each, over as many customers as named; the time is scaled to a million, and the growth of memory is
what is held beyond the rows.

A large catalogue: one fit for 100,000 products and 50,000 customers of twenty purchases each, in a
process of its own, rows, totals and model included: ALS with 64 factors, one epoch by conjugate
gradients, and transitions of at most 200 weights a product. Half of a customer's purchases are of
one of 2,000 groups of products.
"""

import re
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from benchmarks.rows import Row, at_most
from grandtotal.algorithms.als import ALS, FactorModel
from grandtotal.algorithms.als_totals import FoldIn
from grandtotal.algorithms.blend import Candidate
from grandtotal.algorithms.item_model import ItemModel, Recommender
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.transitions import TransitionModel, Transitions
from grandtotal.consortium.totals import Local
from grandtotal.tasks.recommend_lists import Serving, Shelf, Wished, frames

BARS = {20_000: 1.0, 100_000: 5.0}  # milliseconds, the median
LARGE = 100_000
_HISTORY = 20
_WEIGHTS = 200
_GROUPS = 2_000


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns milliseconds for one customer, minutes for a million, MiB for a large catalogue."""
    calls = 100 if quick else 1000
    rows = []
    with threadpool_limits(1):
        for products, bar in BARS.items():
            for name, made in {
                "popularity": popularity,
                "transitions": transitions,
                "als": als,
            }.items():
                rows += _one(f"{name}, {products:,} products", made(products), calls, bar)
        if not quick:
            rows += _one("ease, 20,000 products", ease(20_000), calls, BARS[20_000])
        rows += _many(20_000 if quick else 200_000)
    customers = 5_000 if quick else 50_000
    for name, candidate in {
        "als": ALS(64, epochs=1, steps=3),
        "transitions": Transitions(neighbours=_WEIGHTS),
    }.items():
        rows += _large(name, candidate, customers)
    return rows


# --- models ---


def transitions(products: int) -> TransitionModel:
    """Returns a model of random weights, _WEIGHTS of each product."""
    draw = np.random.default_rng(1)
    columns = np.sort(draw.integers(0, products, (products, _WEIGHTS), dtype=np.int32), axis=1)
    starts = np.arange(0, products * _WEIGHTS + 1, _WEIGHTS)
    values = draw.random(products * _WEIGHTS, np.float32)
    weights = csr_array((values, columns.ravel(), starts), shape=(products, products))
    return TransitionModel(weights, _prior(products), 2.0)


def als(products: int) -> FactorModel:
    """Returns a model of 64 random factors."""
    factors = np.random.default_rng(1).normal(0, 0.1, (products, 64)).astype(np.float32)
    return FactorModel(factors, _prior(products), FoldIn(0.01, 0.3, 1.0))


def ease(products: int) -> ItemModel:
    """Returns a model of random weights."""
    weights = np.random.default_rng(1).random((products, products), np.float32)
    return ItemModel(weights, _prior(products))


def popularity(products: int) -> ItemModel:
    """Returns a model of counts."""
    return ItemModel(np.empty((0, 0), np.float32), _prior(products))


def _prior(products: int) -> np.ndarray:
    return (np.arange(products, 0, -1) * 1e-9).astype(np.float32)


# --- one customer ---


def _one(name: str, model: Recommender, calls: int, bar: float) -> list[Row]:
    draw = np.random.default_rng(2)
    products = len(model.prior)
    served = Serving(_unfiltered(model), _shelf(products), _nobody(products))
    visits = [[f"p{i}" for i in draw.integers(0, products, _HISTORY)] for _ in range(calls)]
    served.session(visits[0], 10)  # what is made once
    times = np.array([_timed(lambda each=each: served.session(each, 10)) for each in visits]) * 1e3
    return [
        at_most(bar, f"{name}: median", float(np.median(times)), "ms"),
        Row(f"{name}: 99th percentile", float(np.percentile(times, 99)), "ms"),
    ]


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _unfiltered(model: Recommender) -> Wished:
    products = len(model.prior)
    return Wished(model, np.ones(products, bool), np.zeros(products, np.float32), again=False)


def _shelf(products: int) -> Shelf:
    keys = np.array([f"p{i}" for i in range(products)], object)
    return Shelf(keys, np.array([f"product {i}" for i in range(products)], object))


def _nobody(products: int) -> Purchases:
    nothing = csr_array((0, products), dtype=np.int32)
    return Purchases(nothing, nothing)


# --- a million ---


def _many(customers: int, products: int = 5_000) -> list[Row]:
    held = _bought(np.random.default_rng(3).integers(0, products, (customers, _HISTORY)), products)
    names = pl.Series([f"c{i}" for i in range(customers)])
    wished, shelf = _unfiltered(transitions(products)), _shelf(products)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    shown = sum(part.height for part in frames(wished, held, 10, names, shelf))
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return [
        at_most(30, "a million customers, 5,000 products", seconds * 1e6 / customers / 60, "min"),
        Row(f"lists of {customers:,} customers: rows", shown),
        at_most(1024, "beyond the rows, in memory", grown / 1024, "MiB"),
    ]


def _bought(products: np.ndarray, many: int) -> Purchases:
    """Returns customers who bought these products (customers, purchases), each on some day."""
    ago = np.random.default_rng(4).integers(1, 300, products.size, dtype=np.int32)
    columns = np.sort(products.astype(np.int32), axis=1)
    starts = np.arange(0, products.size + 1, products.shape[1])
    history = csr_array((ago, columns.ravel(), starts), shape=(len(products), many))
    history.sum_duplicates()
    return Purchases(history, csr_array(history.shape, dtype=np.int32))


# --- a large catalogue ---


def _large(name: str, candidate: Candidate, customers: int) -> list[Row]:
    # In a process of its own, whose memory nothing else has used.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seconds, mib = pool.submit(_fitted, candidate, customers).result()
    label = f"{name}, {LARGE:,} products, {customers:,} customers, one fit"
    return [Row(label, seconds, "s"), at_most(8192, f"{label}: peak memory", mib, "MiB")]


def _fitted(candidate: Candidate, customers: int) -> tuple[float, float]:
    """Returns seconds of a fit, and the largest size of this process so far in MiB."""
    draw = np.random.default_rng(5)
    size = LARGE // _GROUPS
    liked = draw.integers(0, _GROUPS, (customers, 1)) * size
    liked = liked + draw.integers(0, size, (customers, _HISTORY // 2))
    anything = draw.random((customers, _HISTORY // 2)) ** 2 * LARGE
    held = _bought(np.concatenate([liked, anything.astype(np.int64)], axis=1), LARGE)
    seconds = _timed(lambda: candidate.fit(Local({"test": held}), LARGE, "test"))
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s*(\d+) kB", status)
    return seconds, int(peak.group(1)) / 1024 if peak else 0.0
