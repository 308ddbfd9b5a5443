"""Demand: one product's whole history changes, or one customer's lines do."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import strategies as st

from grandtotal.algorithms.glm import GLMMoments
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_queries import DemandSeries, ForecastScores
from grandtotal.tasks.intervals import ForecastErrors
from grandtotal.tasks.sales import Periods, Sales
from grandtotal.tasks.task import Common

PRODUCTS, WEEKS, HORIZON, FEW = 5, 30, 2, 2
TODAY = date(2024, 7, 15)
PRIVATE = Agreement(epsilon=4.0, delta=1e-6)
CATALOGUE = tuple(f"P{i}" for i in range(PRODUCTS))
TASK = Demand(
    Common(TODAY, CATALOGUE, privacy=PRIVATE),
    horizon=HORIZON,
    test=4,
    history=WEEKS,
    products_per_customer=FEW,
)

FAMILY = st.sampled_from(["ridge", "poisson"])
LARGEST = st.sampled_from([0.02, 1.0, 30.0, 4e3])
QUERIES = {
    "demand-series": lambda draw, few: DemandSeries(PRODUCTS, WEEKS, draw(LARGEST), few),
    "glm-moments": lambda draw, few: GLMMoments(
        draw(FAMILY), TASK.width, "test", draw(LARGEST), few
    ),
    "forecast-scores": lambda draw, few: ForecastScores(draw(FAMILY), "test", draw(LARGEST), few),
    "forecast-errors": lambda draw, few: ForecastErrors(draw(FAMILY), "test", draw(LARGEST), few),
}


def broadcast_of(draw, rng):
    """Returns a season, and coefficients such as a fit in much noise may have."""
    size = draw(st.sampled_from([0.0, 0.1, 3.0, 1e6]))
    season = np.maximum(rng.normal(20, draw(st.sampled_from([1, 30])), (1, WEEKS)), 0)
    return {"series": season, "coefficients": rng.normal(0, 1, TASK.width) * size}


# --- a product ---


def series(draw, rng):
    """Returns units, price, promoted of one product."""
    size = draw(st.sampled_from([0.0, 1.0, 30.0, 1e6, 1e100]))
    units = {
        "steady": np.full(WEEKS, 1.0),
        "rare": rng.random(WEEKS) < 0.1,
        "grown": np.linspace(0, 1, WEEKS) ** 4,
        "any": rng.poisson(3, WEEKS),
    }[draw(st.sampled_from(["steady", "rare", "grown", "any"]))] * size
    price = np.where(units > 0, rng.choice([1e-300, 0.01, 7.5, 1e300], WEEKS), np.nan)
    return units, price, rng.random(WEEKS)


def of_a_product(name):
    def case(draw, folder):  # noqa: ARG001
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        others = [(rng.poisson(4, WEEKS) + 0.0, np.full(WEEKS, 2.0), np.zeros(WEEKS))] * (
            PRODUCTS - 1
        )
        place = draw(st.integers(0, PRODUCTS - 1))
        given = QUERIES[name](draw, 0), broadcast_of(draw, rng)
        return *given, *(panel(others, place, series(draw, rng)) for _ in range(2))

    return case


def panel(others, place, own):
    units, price, promoted = (
        np.stack(column) for column in zip(*others[:place], own, *others[place:], strict=True)
    )
    sales = Sales(
        Periods(TODAY, 7, WEEKS), HORIZON, units, price, promoted, ((),) * (WEEKS + HORIZON), 4.0
    )
    return {"shared test": TASK._panel(sales, WEEKS - TASK.test, WEEKS)}


# --- a customer ---


def lines(draw, rng, customer, count):
    """Returns transactions of one customer, or of nobody, as columns."""
    same = draw(st.booleans())
    size = draw(st.sampled_from([1.0, 30.0, 1e9, 1e100]))
    product = rng.integers(0, PRODUCTS, count) * (not same)
    quantity = size * rng.choice([1.0, 2.0, -1.0, -3.0], count, p=[0.6, 0.2, 0.1, 0.1])
    days = rng.integers(0, 7 * WEEKS, count)
    return {
        "product": [CATALOGUE[i] for i in product],
        "time": [datetime(2024, 7, 14, 12) - timedelta(days=int(d)) for d in days],
        "quantity": quantity,
        "price": rng.uniform(0.01, 1e6, count),
        "customer": [customer] * count,
        "place": rng.random(count),
    }


SCHEMA = {
    "product": pl.String,
    "time": pl.Datetime,
    "quantity": pl.Float64,
    "price": pl.Float64,
    "customer": pl.String,
    "place": pl.Float64,
}


def of_a_customer(name):
    def case(draw, folder):  # noqa: ARG001
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        given = QUERIES[name](draw, FEW), broadcast_of(draw, rng)
        others = [
            # Somebody buys to the end, so that there is something to forecast.
            {**lines(draw, rng, None, 30), "quantity": np.full(30, 2.0)},
            *(lines(draw, rng, f"C{number}", 6) for number in range(3)),
        ]
        counts = st.sampled_from([0, 3, 40, 3000])
        return *given, *(
            frames([*others, lines(draw, rng, "the one", draw(counts))]) for _ in range(2)
        )

    return case


def frames(parts):
    whole = pl.concat(pl.DataFrame(part, schema=SCHEMA) for part in parts)
    return TASK.rows({"transactions": whole.sort("place").drop("place")})


CASES = {
    **{f"{name}: product": of_a_product(name) for name in QUERIES},
    **{f"{name}: customer": of_a_customer(name) for name in QUERIES},
}
