"""Who gave which product how many stars: rows of queries, and a table."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from builders.asked import Asked, Holder
from grandtotal.algorithms.rating_factors import (
    FEATURES,
    FactorModel,
    Home,
    RatingClasses,
    RatingMoments,
)
from grandtotal.algorithms.ratings import STARS, Cut, RatingCounts, Ratings
from grandtotal.consortium.query import Query
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.ratings_models import RatingErrors

PRODUCTS = 12


def make_cut(rng: np.random.Generator, customers: int = 9) -> Cut:
    """Returns ratings of customers who each like one remainder by 3."""

    def some(each: int) -> Ratings:
        who = np.repeat(np.arange(customers), each)
        what = rng.integers(0, PRODUCTS, len(who))
        stars = np.clip(2 + 3 * (what % 3 == who % 3) + rng.integers(-1, 2, len(who)), 1, STARS)
        return Ratings.of(who, what, stars, rng.integers(0, 99, len(who)))

    return Cut(some(8), some(3))


def _of(query: Query, given: Arrays) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_cut(rng, customers) for customers in (5, 9, 4)]
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, given, holders, Holder({"test": Cut.pooled(parts)}, folder))

    return build_asked


_ITEMS = np.random.default_rng(3).normal(size=(PRODUCTS, 4)) / 3
_MODEL = FactorModel(
    _ITEMS,
    np.random.default_rng(4).integers(0, 9, (PRODUCTS, STARS)).astype(np.float64),
    3.4,
    Home(half_life=5.0),
    np.zeros((STARS, 1 + FEATURES)),
)

BUILDERS = {
    "rating-classes": _of(RatingClasses(PRODUCTS, "test"), _MODEL.arrays),
    "rating-counts": _of(RatingCounts(PRODUCTS, "test"), {}),
    "rating-errors": _of(RatingErrors("test"), _MODEL.arrays),
    "rating-moments": _of(
        RatingMoments(PRODUCTS, "test", 3.0, 0.1, 5.0), {"items": _ITEMS, "mean": np.array(3.4)}
    ),
}


def rating_table(lines: pl.DataFrame) -> pl.DataFrame:
    """Returns a rating of each product that a customer bought, when it was first bought.

    Customers whose numbers leave the same remainder by 3 like the same third of the products. No
    product is liked better than another by all together.
    """
    bought = lines.drop_nulls("customer").group_by("customer", "product").agg(pl.col("time").min())
    who, what = (pl.col(name).str.slice(1).cast(pl.Int64) for name in ("customer", "product"))
    likes = pl.when(who % 3 == what % 3).then(4.5).otherwise(2.0)
    mood = pl.col("draw") % 3 - 1.0
    rated = bought.with_columns(draw=(who * 7919 + what * 104_729) // 7 % 1009)
    rated = rated.with_columns(rating=(likes + mood).clip(1, 5))
    return rated.select("product", "rating", "time", "customer").sort("customer", "time", "product")
