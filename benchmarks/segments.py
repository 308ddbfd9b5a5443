"""Segments of customers: Online Retail II, under epsilon too, and a million generated customers.

Five retailers by a hash of the customer, through messages, envelopes and egress in the clear.
Features are recency, purchases and spend at a purchase; scores are of the same customers 90 days
after the segments were made, over all customers. "baseline" cuts each feature in halves; "alone"
chooses and fits at each retailer.

Under epsilon = 1, delta = 1e-6: one customer is hidden, all that the task asks included; noise is
that of the product, sized for one colluder. "inertia" is the customers' squared distance to the
nearest middle over that of exact k-means with as many segments in the same box, over draws.

Generated: as in value. --quick: 20,000 customers, two draws.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.retail import Retail, online_retail
from benchmarks.rows import Row, at_most
from benchmarks.shoppers import COMMON, RETAILERS, holders, peak_gib, shoppers, timed
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.kmeans import KMeans
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.points import STEPS, squared_distances
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.segments import Segments
from grandtotal.tasks.segments_model import SegmentModel

INERTIA, MINUTES, TWICE = 1.05, 5.0, 2.3
EPSILON, DELTA = 1.0, 1e-6


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns exactness, the four rows, inertia in noise, and what a million customers cost."""
    retail = online_retail()
    lines = retail.lines.with_columns(pl.col("quantity").cast(pl.Float64))
    retail = Retail(lines, retail.common)
    draws = 2 if quick else 20
    return [*_exact(retail), *_in_noise(retail, draws), *_generated(20_000 if quick else 10**6)]


def _exact(retail: Retail) -> Iterator[Row]:
    about = "Online Retail II"
    for kind in ("kmeans", "mixture"):
        task = Segments(retail.common, models=(kind,))
        held = retail.holders(task, RETAILERS)
        pooled = task.fit(Local(task.pooled(list(held.values()))))
        with federated(held) as consortium:
            found = task.fit(consortium.of(TASK))
        other = arrays_digest(found.model.arrays) != arrays_digest(pooled.model.arrays)
        yield at_most(0, f"{about}, {kind}: bits that differ from pooled", float(other))
        yield Row(f"{about}, {kind}: segments chosen", found.choice["chosen"]["segments"])
        alone = {who: task.fit(Local(rows)).model for who, rows in held.items()}
        baseline = {who: task.baseline(rows)[0] for who, rows in held.items()}
        every: dict[str, dict[str, Model]] = {
            "federated": dict.fromkeys(held, found.model),
            "alone": alone,
            **({"baseline": baseline} if kind == "kmeans" else {}),
        }
        for name, models in every.items():
            parts = [task.score(models[who], rows, "test") for who, rows in held.items()]
            for metric, value in UnitScores.joined(parts).values().items():
                yield Row(f"{about}, {kind}: {name}, {metric}", value)
        stable = [task.detail(found.model, rows)["stability"] for rows in held.values()]
        yield Row(f"{about}, {kind}: agreement when made again, least", min(stable))


def _in_noise(retail: Retail, draws: int) -> Iterator[Row]:
    agreed = Agreement(epsilon=EPSILON, delta=DELTA)
    task = Segments(replace(retail.common, privacy=agreed))
    held = retail.holders(task, RETAILERS)
    budget = Budget.of(agreed, {TASK: task.releases()}, RETAILERS)
    pooled = task.pooled(list(held.values()))
    ratios, silhouettes, kept = [], [], []
    for _ in range(draws):
        with federated(held, budget=budget) as consortium:
            model = task.fit(consortium.of(TASK)).model
        assert isinstance(model, SegmentModel)
        ratios.append(_inertia_ratio(task, model, pooled))
        parts = [task.score(model, rows, "test") for rows in held.values()]
        silhouettes.append(UnitScores.joined(parts).values()["silhouette"])
        kept.append(len(model.centres))
    about = f"Online Retail II, epsilon = {EPSILON:g}, {draws} draws"
    yield at_most(INERTIA, f"{about}: inertia, median", float(np.median(ratios)))
    yield Row(f"{about}: inertia, most", max(ratios))
    yield Row(f"{about}: silhouette, median", float(np.median(silhouettes)))
    yield Row(f"{about}: segments kept, least", min(kept))


def _inertia_ratio(task: Segments, model: SegmentModel, pooled: Rows) -> float:
    number = (len(model.centres),)
    (exact,) = KMeans().fit(Local(pooled), task.features, "test", model.box, number)
    points = model.points(pooled["test"])
    noisy = squared_distances(points, model.centres).min(axis=1).sum() / STEPS**2
    return float(noisy / exact.inertia)


def _generated(customers: int) -> Iterator[Row]:
    half, whole = _cost(customers // 2), _cost(customers)
    about = f"{customers:,} generated customers"
    for what, seconds in whole.items():
        yield Row(f"{about}: {what}", seconds, "s")
    every = sum(whole.values())
    yield at_most(MINUTES, f"{about}: all of these", every / 60, "min")
    twice, name = every / sum(half.values()), f"{about}: a doubling"
    yield at_most(TWICE, name, twice) if customers > 10**5 else Row(name, twice)
    yield Row(f"{about}: memory at most, retailers and coordinator together", peak_gib(), "GiB")


def _cost(customers: int) -> dict[str, float]:
    task = Segments(COMMON)
    lines = shoppers(customers)
    rows, held = timed(lambda: holders(task, lines))
    with federated(held) as consortium:
        fit, found = timed(lambda: task.fit(consortium.of(TASK)))
    model = found.model
    assert isinstance(model, SegmentModel)
    assigned, _ = timed(lambda: [model.described(part["now"]) for part in held.values()])
    return {"rows": rows, "fit": fit, "every customer's segment": assigned}
