"""How long one customer waits for ten recommendations with reasons, and a million for theirs.

One customer: a history of twenty products in memory, as in a session, through `Recommender.predict`
on one thread; medians and the 99th percentile of repeated calls. Transitions keep 200 weights a
product, ALS 64 factors; EASE is a square of weights, so it is measured at 20,000 products alone.

A million: `frames` of `tasks/recommend_lists.py`, as `grandtotal predict` makes them, of 5,000
products and twenty purchases each, over as many customers as named; the time is scaled to a
million, and the growth of memory is what is held beyond the rows.
"""

import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from benchmarks.rows import Row, at_most
from grandtotal.algorithms.als import FactorModel
from grandtotal.algorithms.als_totals import FoldIn
from grandtotal.algorithms.item_model import ItemModel, Recommender, Request
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.transitions import TransitionModel
from grandtotal.tasks.recommend_lists import Shelf, Wished, frames

BARS = {20_000: 1.0, 100_000: 5.0}  # milliseconds, the median
_HISTORY = 20
_WEIGHTS = 200


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns milliseconds of one customer for each model and size, and a million's minutes."""
    calls = 100 if quick else 1000
    rows = []
    with threadpool_limits(1):
        for products, bar in BARS.items():
            rows += _one(f"transitions, {products:,} products", transitions(products), calls, bar)
            rows += _one(f"als, {products:,} products", als(products), calls, bar)
        if not quick:
            rows += _one("ease, 20,000 products", ease(20_000), calls, BARS[20_000])
        rows += _many(20_000 if quick else 200_000)
    return rows


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


def _prior(products: int) -> np.ndarray:
    return (np.arange(products, 0, -1) * 1e-9).astype(np.float32)


def _one(name: str, model: Recommender, calls: int, bar: float) -> list[Row]:
    draw = np.random.default_rng(2)
    products = len(model.prior)
    asked = [
        Request(tuple(draw.integers(0, products, _HISTORY).tolist()), 10) for _ in range(calls)
    ]
    model.predict(asked[0])  # what is made once
    times = np.array([_timed(lambda each=each: model.predict(each)) for each in asked]) * 1e3
    return [
        at_most(bar, f"{name}: median", float(np.median(times)), "ms"),
        Row(f"{name}: 99th percentile", float(np.percentile(times, 99)), "ms"),
    ]


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _many(customers: int, products: int = 5_000) -> list[Row]:
    draw = np.random.default_rng(3)
    bought = np.sort(draw.integers(0, products, (customers, _HISTORY), dtype=np.int32), axis=1)
    ago = draw.integers(1, 300, bought.size, dtype=np.int32)
    starts = np.arange(0, bought.size + 1, _HISTORY)
    history = csr_array((ago, bought.ravel(), starts), shape=(customers, products))
    held = Purchases(history, csr_array(history.shape, dtype=np.int32))
    names = pl.Series([f"c{i}" for i in range(customers)])
    keys = np.array([f"p{i}" for i in range(products)], object)
    everything, nothing = np.ones(products, bool), np.zeros(products, np.float32)
    wished = Wished(transitions(products), everything, nothing, again=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    shown = sum(part.height for part in frames(wished, held, 10, names, Shelf(keys, keys)))
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return [
        at_most(30, "a million customers, 5,000 products", seconds * 1e6 / customers / 60, "min"),
        Row(f"lists of {customers:,} customers: rows", shown),
        at_most(1024, "beyond the rows, in memory", grown / 1024, "MiB"),
    ]
