"""Churn on Online Retail II: five retailers by a hash of the customer, rolling cut-offs.

What is asked at a cut: will this customer buy nothing in the next 84 days (or the retailer's own
horizon)? Features from before the cut, learned at thirteen earlier days. "cut -n": the test ends n
days before the last day of the data, so that less history lies before it. The baseline is the share
that left by tenths of recency; recency alone has an AUC of .768 at a cut of 183 days. ECE is
sum |left - expected| / customers over tenths of the probability. With two years of data only the
last cuts see the same time of the year before, and calibration is worse at the earlier ones.

Under epsilon the regression alone, by customer, delta 1e-5; AUC is the mean of three draws.

Generated customers: each buys as a Poisson process of its own rate until it leaves. Rows and fit
over five retailers in one process, the regression, at four earlier days a customer.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from benchmarks.outcomes import four, pooled_only, scores_of
from benchmarks.retail import Retail, online_retail
from benchmarks.rows import Row, at_least, at_most
from benchmarks.simulation import TASK, federated
from grandtotal.consortium.query import Rows
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks.churn import Churn
from grandtotal.tasks.outcome_model import TREES
from grandtotal.tasks.task import Common
from grandtotal.versions import peak_memory_mb

RETAILERS, HORIZON = 5, 84
CUTS = (28, 56, 84, 112)  # days between the last day of the data and the end of a test
EPSILONS, DRAWS = (8.0, 1.0), 3
TODAY = datetime(2024, 7, 15)


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns the four rows at every cut, epsilon, and the time of generated customers."""
    retail = generated_customers() if quick else online_retail()
    rows = _at_last_cut(retail, quick)
    if not quick:
        for back in CUTS:
            rows += _at_cut(retail, back, HORIZON)
        rows += _at_cut(retail, 0, 0)
        rows += [_in_noise(retail, epsilon) for epsilon in EPSILONS]
    sizes = (10_000, 20_000) if quick else (250_000, 1_000_000)
    return [*rows, *_times(sizes)]


def generated_customers() -> Retail:
    """Returns lines of customers who come at their own rate until they leave."""
    lines = _customers(1500, 0).with_columns(basket=pl.lit(""))
    return Retail(lines, Common(TODAY.date(), ("p0",)))


def _at_last_cut(retail: Retail, quick: bool) -> list[Row]:
    trees = 5 if quick else TREES.trees
    task = Churn(retail.common, horizon_days=HORIZON, trees=trees)
    rows, scores = four(task, retail.holders(task, RETAILERS), "cut -0")
    if quick:
        return rows
    found = scores["federated"]
    barred = [
        at_least(0.80, "cut -0: AUC", found["auc"]),
        at_most(0.02, "cut -0: ECE", found["ECE"]),
    ]
    return [*rows, *barred]


def _at_cut(retail: Retail, back: int, horizon: int) -> list[Row]:
    common = replace(retail.common, today=retail.common.today - timedelta(days=back))
    task = Churn(common, horizon_days=horizon)
    label = f"cut -{back}" + ("" if horizon else ", own horizon")
    rows = pooled_only(task, retail.holders(task, RETAILERS), label)
    auc = next(row.value for row in rows if row.name.endswith("federated: auc"))
    return [*rows, at_least(0.80, f"{label}: AUC", auc or 0.0)]


def _in_noise(retail: Retail, epsilon: float) -> Row:
    agreement = Agreement(epsilon=epsilon, delta=1e-5)
    task = Churn(replace(retail.common, privacy=agreement), horizon_days=HORIZON)
    holders = retail.holders(task, RETAILERS)
    budget = Budget.of(agreement, {TASK: task.releases()}, RETAILERS)
    found = []
    for _ in range(DRAWS):
        with federated(holders, budget=budget) as consortium:
            model = task.fit(consortium.of(TASK)).model
        found.append(scores_of(task, dict.fromkeys(holders, model), holders)["auc"])
    return Row(f"epsilon {epsilon:g}: AUC of the delivered model", float(np.mean(found)))


def _times(sizes: tuple[int, ...]) -> list[Row]:
    rows, seconds = [], []
    for customers in sizes:
        common = Common(TODAY.date(), ("p0",))
        task = Churn(common, models=("logistic",), horizon_days=HORIZON, per_customer=4)
        parts = {f"r{i}": _customers(customers // RETAILERS, i) for i in range(RETAILERS)}
        lines = sum(part.height for part in parts.values())
        started = time.monotonic()
        holders: Mapping[str, Rows] = {
            name: task.rows(cast(Any, {"transactions": part})) for name, part in parts.items()
        }
        made = time.monotonic() - started
        with federated(holders) as consortium:
            task.fit(consortium.of(TASK))
        seconds.append(time.monotonic() - started)
        label = f"{customers:,} customers, {lines:,} lines"
        rows += [Row(f"{label}: rows", made, "s"), Row(f"{label}: rows and fit", seconds[-1], "s")]
    per = seconds[-1] / seconds[0] / (sizes[-1] / sizes[0])
    return [
        *rows,
        at_most(1.3, f"time a customer, {sizes[-1]:,} over {sizes[0]:,}", per),
        Row("memory at most", peak_memory_mb(), "MiB"),
    ]


def _customers(count: int, seed: int) -> pl.DataFrame:
    """Returns two years of lines of customers who come at their own rate until they leave."""
    rng = np.random.default_rng([11, seed])
    rate = rng.gamma(1.2, 0.012, count)  # purchases a day
    begun = rng.integers(1, 730, count)
    stays = np.minimum(rng.exponential(300, count), begun)
    visits = 1 + rng.poisson(rate * stays)
    who = np.repeat(np.arange(count), visits)
    back = np.maximum(begun[who] - (rng.random(len(who)) * stays[who]).astype(np.int64), 1)
    return pl.DataFrame(
        {
            "customer": pl.Series(who).cast(pl.String),
            "product": pl.Series(rng.integers(0, 500, len(who))).cast(pl.String),
            "time": pl.Series(
                TODAY - timedelta(hours=12) - pl.Series(back - 1) * timedelta(days=1)
            ),
            "quantity": rng.integers(1, 4, len(who)).astype(np.float64),
            "price": rng.uniform(1, 20, len(who)).round(2),
        }
    )
