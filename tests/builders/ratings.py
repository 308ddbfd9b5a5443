"""Queries about who gave which product how many stars."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from builders.asked import Asked, Holder
from grandtotal.algorithms.ratings import (
    FEATURES,
    STARS,
    Cut,
    Home,
    RatingClasses,
    RatingCounts,
    RatingModel,
    RatingMoments,
    Ratings,
)
from grandtotal.consortium.query import Query
from grandtotal.privacy.fixedpoint import Arrays

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
_MODEL = RatingModel(
    _ITEMS,
    np.random.default_rng(4).integers(0, 9, (PRODUCTS, STARS)).astype(np.float64),
    3.4,
    Home(half_life=5.0),
    np.zeros((STARS, 1 + FEATURES)),
)

BUILDERS = {
    "rating-classes": _of(RatingClasses(PRODUCTS, "test"), _MODEL.arrays),
    "rating-counts": _of(RatingCounts(PRODUCTS, "test"), {}),
    "rating-moments": _of(
        RatingMoments(PRODUCTS, "test", 3.0, 0.1, 5.0), {"items": _ITEMS, "mean": np.array(3.4)}
    ),
}
