"""Prices: one row changes (its price, promotion and units), or one customer's lines do."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import strategies as st

from grandtotal.algorithms.elasticity_in_noise import PricePairs
from grandtotal.algorithms.price_moments import PricePresence
from grandtotal.algorithms.price_rows import PricePanel, PriceRows
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks.price import Price
from grandtotal.tasks.task import Common

PRODUCTS, WEEKS, FEW = 3, 60, 2
TODAY = date(2024, 7, 15)
CATALOGUE = tuple(f"P{i}" for i in range(PRODUCTS))
PRIVATE = Agreement(epsilon=4.0, delta=1e-6)
TASK = Price(
    Common(TODAY, CATALOGUE, privacy=PRIVATE), history=WEEKS, test=4, rows_per_customer=FEW
)
LARGEST = st.sampled_from([0.02, 0.4, 30.0])
WINDOW = st.sampled_from([1, 5, 100])


def asked(draw, few):
    """Returns the query, and coefficients such as a fit in much noise may have."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    query = PricePairs(
        PRODUCTS, 3, "test", draw(WINDOW), WEEKS, draw(LARGEST), draw(st.booleans()), few
    )
    size = draw(st.sampled_from([0.0, 2.0, 1e6]))
    return query, {"coefficients": rng.normal(0, 1, (PRODUCTS, 2)) * size}


def row(draw, folder):  # noqa: ARG001
    """Returns panels that differ in one row of one series; on one side it may be missing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = 2 * WEEKS
    series, week = np.repeat([0, 1], WEEKS), np.tile(np.arange(WEEKS), 2)
    steady = draw(st.booleans())
    price = np.zeros(count) if steady else rng.normal(0, 0.3, count)
    x = np.stack([price, np.zeros(count), rng.random(count)], axis=1)
    units = np.ones(count) if steady else np.exp(rng.normal(1, 1, count))
    place = draw(st.integers(0, count - 1))

    def side():
        own_x, own_units = x.copy(), units.copy()
        size = draw(st.sampled_from([0.0, 0.3, 2.0, 1e3, -1e3]))
        own_x[place] = [size * draw(st.sampled_from([0.5, -1.0])), 0.0, draw(st.floats(0, 1))]
        own_units[place] = draw(st.sampled_from([0.0, 1e-9, 1.0, 30.0, 1e100]))
        known = np.full(PRODUCTS, 0, np.int16)
        rows = PriceRows(own_x, own_units, series, week, np.array([1, 1]), 26, known)
        return {"shared test": PricePanel((rows,))}

    return *asked(draw, 0), side(), side()


SCHEMA = {
    "product": pl.String,
    "store": pl.String,
    "time": pl.Datetime,
    "quantity": pl.Float64,
    "price": pl.Float64,
    "customer": pl.String,
    "place": pl.Float64,
}


def lines(draw, rng, customer, count):
    size = draw(st.sampled_from([1.0, 30.0, 1e9, 1e100]))
    days = rng.integers(0, 7 * WEEKS, count)
    return {
        "product": [CATALOGUE[i] for i in rng.integers(0, PRODUCTS, count)],
        "store": [("A", "B")[i] for i in rng.integers(0, 2, count)],
        "time": [datetime(2024, 7, 14, 12) - timedelta(days=int(d)) for d in days],
        "quantity": size * rng.choice([1.0, 2.0, -1.0], count, p=[0.7, 0.2, 0.1]),
        "price": rng.choice([-1.0, 0.0, 0.01, 3.0, 1e6], count),
        "customer": [customer] * count,
        "place": rng.random(count),
    }


def of_a_customer(draw, folder):  # noqa: ARG001
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    others = [
        {**lines(draw, rng, None, 150), "quantity": np.full(150, 2.0), "price": np.full(150, 3.0)},
        *(lines(draw, rng, f"C{number}", 6) for number in range(3)),
    ]
    counts = st.sampled_from([0, 3, 40, 400])
    sides = (frames([*others, lines(draw, rng, "the one", draw(counts))]) for _ in range(2))
    return *asked(draw, FEW), *sides


def frames(parts):
    whole = pl.concat(pl.DataFrame(part, schema=SCHEMA) for part in parts)
    return TASK.rows({"transactions": whole.sort("place").drop("place")})


def presence(draw, folder):  # noqa: ARG001
    """Lines of one customer come and go; the products table stays."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    others = {**lines(draw, rng, None, 60), "price": np.full(60, 2.0), "quantity": np.ones(60)}
    products = pl.DataFrame({"product": CATALOGUE[:2], "category": ["tea", None]})

    def side():
        parts = [others, lines(draw, rng, "the one", draw(st.sampled_from([0, 5])))]
        whole = pl.concat(pl.DataFrame(part, schema=SCHEMA) for part in parts).drop("place")
        return TASK.rows({"transactions": whole, "products": products})

    return PricePresence(PRODUCTS, "shared test", listed=True), {}, side(), side()


CASES = {
    "price-pairs: row": row,
    "price-pairs: customer": of_a_customer,
    "price-presence: listed": presence,
}
