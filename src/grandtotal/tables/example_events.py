"""Visits to the web shop of the example: whoever fills a cart and comes back often buys."""

from datetime import date, timedelta

import numpy as np
import polars as pl

_VISITS = 330
_KNOWN = 0.7  # share of the visits whose customer is known
_DAYS = 182
_WORDS = np.array(["view", "search", "cart"])


def example_events(
    rng: np.random.Generator, today: date, customers: int, products: list[str]
) -> pl.DataFrame:
    """Returns the events of the 26 weeks before today, in the order of visits.

    Every visitor has a mood. It decides how often something is put into the cart, and, with the
    cart, whether the visit ends in a purchase.
    """
    mood = rng.normal(size=_VISITS)
    length = 1 + rng.poisson(4, _VISITS)
    visit = np.repeat(np.arange(_VISITS), length)
    cart = 1 / (1 + np.exp(2.0 - 1.2 * mood[visit]))
    kind = np.where(rng.random(len(visit)) < cart, 2, (rng.random(len(visit)) < 0.2) * 1)
    carts = np.bincount(visit, kind == 2)
    buys = np.flatnonzero(rng.random(_VISITS) < 1 / (1 + np.exp(3.0 - mood - 0.9 * carts)))
    known = rng.random(_VISITS) < _KNOWN
    customer = rng.integers(customers, size=_VISITS)
    begun = np.sort(rng.integers(0, _DAYS * 1440, _VISITS)) - _DAYS * 1440
    nth = np.arange(len(visit)) - np.repeat(np.cumsum(length) - length, length)
    rows = pl.DataFrame({"visit": visit, "nth": nth, "type": _WORDS[kind]})
    bought = pl.DataFrame({"visit": buys, "nth": length[buys], "type": ["purchase"] * len(buys)})
    rows = pl.concat([rows, bought]).sort("visit", "nth")
    at = rows["visit"].to_numpy()
    product = np.array(products)[rng.integers(len(products), size=len(at))]
    minutes = pl.Series(begun[at] + 2 * rows["nth"].to_numpy()) * timedelta(minutes=1)
    return rows.select(
        session=pl.format("V{}", pl.col("visit").cast(pl.String).str.zfill(4)),
        time=(pl.lit(today).cast(pl.Datetime("us")) + minutes).dt.strftime("%Y-%m-%d %H:%M"),
        type="type",
        customer=pl.when(known[at]).then(
            pl.format("C{}", pl.Series(customer[at]).cast(pl.String).str.zfill(4))
        ),
        product=pl.when(pl.col("type") != "search").then(pl.lit(pl.Series(product))),
    )
