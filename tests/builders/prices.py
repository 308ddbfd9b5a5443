"""Queries about prices and what sold at them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from builders.asked import Asked, Holder
from grandtotal.algorithms.bandit import PriceTrials, Trials
from grandtotal.algorithms.double_ml import PriceNuisance, PriceResiduals
from grandtotal.algorithms.elasticity_in_noise import PricePairs
from grandtotal.algorithms.price_moments import PriceMoments, PricePresence
from grandtotal.algorithms.price_rows import PriceRows, whole
from grandtotal.algorithms.segment_response import SegmentLines, SegmentMoments
from grandtotal.consortium.query import Query, Rows
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.price_queries import PriceScores
from grandtotal.tasks.price_sales import Cases as PriceCases
from grandtotal.tasks.price_sales import PriceHistory


def make_prices(rng: np.random.Generator, series: int, products: int = 6) -> PriceHistory:
    """Returns 40 weeks of series with an elasticity of -2, promotions and other prices, and cases.

    Some weeks are missing, and nothing sold in some.
    """
    product = rng.integers(0, products, series)
    there = rng.random((series, 40)) < 0.9
    of, week = np.nonzero(there)
    promoted = (rng.random(len(of)) < 0.2).astype(np.float64)
    price = rng.normal(1.0, 0.2, len(of)) - 0.1 * promoted + product[of]
    other = rng.normal(0, 0.1, len(of))
    x = np.stack([whole(price), whole(other), promoted], axis=1)
    units = rng.poisson(np.exp(2 - 2 * (price - product[of] - 1) + 0.4 * promoted)).astype(float)
    buckets = (1 + np.arange(products) % 3).astype(np.int16)
    rows = PriceRows(x, units, of, week, product, 26, buckets)
    known = np.unique(of, return_index=True)[1]
    past = x - x[known][np.searchsorted(of[known], of)]
    cases = PriceCases(past[::3], units[::3], of[::3], product, past, units, of)
    return PriceHistory((rows,), 0, (cases,), ())


def _of_prices(
    query: Query, asked: bool = True, columns: int = 3, nuisance: bool = False
) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_prices(rng, series) for series in (20, 31, 5)]
        slopes = np.array([-1.5, 0.25, 0.5])[:columns] + np.zeros((6, columns))
        given: Arrays = {"asked": np.array([0, 1, 2, 5]), "coefficients": slopes[[0, 1, 2, 5]]}
        broadcast = given if asked else {"coefficients": slopes}
        if nuisance:
            broadcast = {"asked": given["asked"], "nuisance": np.full((4, 5, 2), 0.1)}
        if isinstance(query, PricePresence):
            broadcast = {}
        holders = [Holder(_splits(part), folder) for part in parts]
        pooled = Holder(_splits(PriceHistory.joined(parts)), folder)
        return Asked(query, broadcast, holders, pooled)

    return build_asked


def _splits(panel: Any) -> Rows:
    return {"test": panel, "shared test": panel}


def _of_trials(rng: np.random.Generator, folder: Path) -> Asked:
    def made(rows: int, store: int) -> Trials:
        product, moved, sold = (
            rng.integers(0, 8, rows),
            rng.normal(0, 1, rows),
            rng.normal(0, 3, rows),
        )
        return Trials(product, moved, sold, np.arange(rows) // 4 + 1000 * store)

    parts = [made(rows, store) for store, rows in enumerate((17, 30, 0))]
    holders = [Holder({"2024-w1": part}, folder) for part in parts]
    pooled = Holder({"2024-w1": Trials.pooled(parts)}, folder)
    return Asked(PriceTrials(8, "2024-w1"), {}, holders, pooled)


def _of_segments(rng: np.random.Generator, folder: Path) -> Asked:
    def made(rows: int, first: int) -> SegmentLines:
        customer = np.arange(rows) // 5
        moved, weight = rng.normal(0, 0.3, (4, 9)), rng.random((4, 9))
        series, week = rng.integers(0, 4, rows), rng.integers(0, 9, rows)
        return SegmentLines(customer % 3, customer + first, series, week, moved, weight)

    parts = [made(rows, 1000 * i) for i, rows in enumerate((17, 30, 0))]
    holders = [Holder({"now": part}, folder) for part in parts]
    pooled = Holder({"now": SegmentLines.pooled(parts)}, folder)
    return Asked(SegmentMoments(3, "now"), {"shift": np.array([0.5, 0.0, -2.0])}, holders, pooled)


BUILDERS = {
    "price-trials": _of_trials,
    "segment-moments": _of_segments,
    "price-moments": _of_prices(PriceMoments("ppml", 3, "test")),
    "price-nuisance": _of_prices(PriceNuisance(3, "test", 4)),
    "price-residuals": _of_prices(PriceResiduals(3, "test", 4), nuisance=True),
    "price-pairs": _of_prices(PricePairs(6, 3, "test", 26, 52, 0.4), False, 2),
    "price-presence": _of_prices(PricePresence(6, "test")),
    "price-scores": _of_prices(PriceScores("ppml", "test"), False),
}
