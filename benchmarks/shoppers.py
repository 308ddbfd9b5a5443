"""Generated lines of customers who buy, spend and stop as BG/NBD and Gamma-Gamma say."""

import resource
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, TypeVar, cast

import numpy as np
import polars as pl

from grandtotal.consortium.query import Rows
from grandtotal.tasks.task import Common, Task

COMMON = Common(date(2024, 1, 1), ("p",))
PURCHASES = {"r": 0.8, "alpha": 60.0, "a": 0.8, "b": 2.5}
SPEND = {"p": 4.0, "q": 4.0, "v": 60.0}
DAYS = 730  # of history
RETAILERS = 5
T = TypeVar("T")


def shoppers(customers: int, seed: int = 11) -> pl.DataFrame:
    """Returns a line for each purchase; customers came on days of the first two thirds."""
    draw = np.random.default_rng(seed)
    rate = draw.gamma(PURCHASES["r"], 1 / PURCHASES["alpha"], customers)
    leaves = draw.beta(PURCHASES["a"], PURCHASES["b"], customers)
    scale = draw.gamma(SPEND["q"], 1 / SPEND["v"], customers)
    who, day = np.arange(customers), draw.integers(0, 2 * DAYS // 3, customers).astype(np.float64)
    bought = [(who, day)]
    while len(who):
        day = day + np.ceil(draw.exponential(1, len(who)) / np.maximum(rate[who], 1e-9))
        seen = day < DAYS
        who, day = who[seen], day[seen]
        bought.append((who, day))
        stays = draw.random(len(who)) > leaves[who]
        who, day = who[stays], day[stays]
    customer, days = (np.concatenate(part) for part in zip(*bought, strict=True))
    start = datetime.combine(COMMON.today, datetime.min.time()) - timedelta(days=DAYS)
    return pl.DataFrame(
        {
            "customer": customer,
            "time": days.astype(np.int64),
            "price": draw.gamma(SPEND["p"], 1 / scale[customer]).round(2),
        }
    ).with_columns(
        customer=pl.format("c{}", "customer"),
        product=pl.lit("p"),
        quantity=pl.lit(1.0),
        time=pl.lit(start) + pl.duration(days="time", hours=12),
    )


def holders(task: Task, lines: pl.DataFrame) -> dict[str, Rows]:
    """Returns the rows of RETAILERS retailers, by the customer's number."""
    owner = lines["customer"].str.slice(1).cast(pl.Int64) % RETAILERS
    return {f"retailer {i}": rows_of(task, lines.filter(owner == i)) for i in range(RETAILERS)}


def rows_of(task: Task, lines: pl.DataFrame) -> Rows:
    """Returns the task's rows of one retailer's lines."""
    tables: Mapping[str, pl.DataFrame] = {"transactions": lines}
    return task.rows(cast(Any, tables))


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Returns the seconds that it took, and what it returned."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def peak_gib() -> float:
    """Returns the most memory that this process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
