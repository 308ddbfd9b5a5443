"""Shops of daily sales that a test of demand forecasts knows everything of."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from grandtotal.tasks.demand import Demand
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)  # a Monday


def shops(days=300, shops=3, seed=1):
    """Returns daily sales of shops that are closed on Sundays, and know it."""
    rng = np.random.default_rng(seed)
    rows, closed = [], []
    for back in range(days, 0, -1):
        day = TODAY - timedelta(days=back)
        for shop in range(shops):
            if day.weekday() == 6:
                closed.append((day, f"S{shop}", "closed"))
                continue
            mean = (20 + 10 * shop) * (1.5 if day.weekday() == 5 else 1.0)
            rows.append((datetime.combine(day, datetime.min.time()), f"S{shop}", rng.poisson(mean)))
    closed += [(TODAY + timedelta(days=6), f"S{shop}", "closed") for shop in range(shops)]
    sold = pl.DataFrame(rows, schema=["time", "store", "quantity"], orient="row")
    return {
        "transactions": sold.with_columns(
            pl.col("quantity").cast(pl.Float64),
            pl.col("time").cast(pl.Datetime("us")),
            product=pl.lit("all"),
            price=pl.lit(1.0),
        ),
        "calendar": pl.DataFrame(closed, schema=["date", "region", "holiday"], orient="row"),
    }


def by_day(**more):
    given = {"every": "day", "horizon": 7, "test": 14, "history": 300, "trees": 20, "leaves": 8}
    return Demand(
        Common(TODAY, ("all",)), by="store", **{"models": ("trees-log",), **given, **more}
    )


def promoted(depth):
    """Returns shops that sell twice as much in promotions: every third week, not in the coming."""
    tables = shops(shops=2)
    starts = [TODAY - timedelta(days=back) for back in range(294, 0, -21)]
    plan = pl.DataFrame({"start": starts}).with_columns(
        product=pl.lit("all"), end=pl.col("start") + timedelta(days=6), depth=pl.lit(depth)
    )
    days = [start + timedelta(days=i) for start in starts for i in range(7)]
    twice = pl.when(pl.col("time").dt.date().is_in(days)).then(2.0).otherwise(1.0)
    lines = tables["transactions"].with_columns(quantity=pl.col("quantity") * twice)
    return {**tables, "transactions": lines, "promotions": plan}
