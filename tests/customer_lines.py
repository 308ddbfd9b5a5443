"""Transactions of a few customers, as a task reads them."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)
COMMON = Common(TODAY, ("P1", "P2"))


def table(*lines):
    """Returns transactions of (customer, days before today, quantity, price)."""
    names = ("customer", "ago", "quantity", "price")
    frame = pl.DataFrame(lines, names, orient="row")
    start = datetime(2024, 7, 1, 12)
    return {
        "transactions": frame.with_columns(
            time=pl.Series([start - timedelta(days=int(d)) for d in frame["ago"]]),
            product=pl.lit("P1"),
            quantity=pl.col("quantity").cast(pl.Float64),
            price=pl.col("price").cast(pl.Float64),
        ).drop("ago")
    }


def some_customers(seed=3, customers=150):
    """Returns lines of customers who come back at rates of their own and stop some day."""
    draw = np.random.default_rng(seed)
    lines = []
    for number in range(customers):
        day, gap = float(draw.integers(60, 400)), draw.gamma(1.0, 20.0) + 3
        price = round(float(draw.lognormal(3, 0.7)), 2)
        while day >= 1 and len(lines) < 10**5:
            lines.append((f"c{number:03}", int(day), 1, round(price * draw.uniform(0.7, 1.3), 2)))
            day -= max(1.0, draw.exponential(gap))
            if draw.random() < 0.1:
                break
    return lines


SOME = [
    ("once", 100, 1, 10.0),
    ("often", 120, 2, 5.0),
    ("often", 90, 1, 5.0),
    ("often", 90, 3, 1.0),  # the same day again: one purchase
    ("often", 20, 1, 50.0),
    ("sent back", 100, 1, 10.0),
    ("sent back", 70, -1, 25.0),
    ("new", 10, 1, 7.0),
]
