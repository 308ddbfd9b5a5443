"""Queries about what customers are worth, and of which kind they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from builders.asked import Asked, Holder
from grandtotal.algorithms.bgnbd import Repeats
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.kmeans import CellCounts, LloydSums
from grandtotal.algorithms.likelihood import LikelihoodSums
from grandtotal.algorithms.mixture import MixtureSums
from grandtotal.algorithms.points import STEPS, FeatureSums
from grandtotal.consortium.query import Query
from grandtotal.tasks.season import SeasonSums
from grandtotal.tasks.segments_queries import SegmentProfiles, SegmentScores
from grandtotal.tasks.traits import LATER, NEXT_PURCHASES, NEXT_SPEND
from grandtotal.tasks.value import SpendCorrelation, ValueScores
from grandtotal.tasks.value_rows import DAYS, Known


def make_known(rng: np.random.Generator, customers: int) -> Known:
    """Returns customers of all kinds: new and old, bought once or often, spent nothing or much."""
    repeats = rng.integers(0, 30, customers) * (rng.random(customers) < 0.6)
    age = rng.integers(1, 600, customers).astype(np.float64)
    last = np.where(repeats > 0, np.ceil(age * rng.random(customers)), 0.0)
    spent = (repeats + 1) * rng.lognormal(3, 1, customers).round(2)
    spent[rng.random(customers) < 0.1] = 0.0
    recent, bought = (rng.poisson(1.0, customers).astype(np.float64) for _ in range(2))
    return Known(
        cut=-20,
        place=np.arange(customers),
        repeats=Repeats(repeats, last, age),
        spent=spent,
        recent=recent,
        recent_spent=recent * 9.5,
        bought=bought,
        bought_spent=bought * 12.25,
        by_week=np.array([bought.sum(), 0.0]),
        between=np.bincount(rng.integers(3000, 3600, customers), minlength=DAYS),
    )


def _of_known(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_known(rng, customers) for customers in (17, 30, 0)]
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder({"test": Known.pooled(parts)}, folder))

    return build_asked


TRAITS = ("recency", "spend")


def make_traits(rng: np.random.Generator, customers: int) -> Columns:
    """Returns customers of three kinds: two features, now and later, and what followed."""
    kind = rng.integers(0, 3, customers)
    numbers = {
        prefix + name: np.array([0.5, 3.0, 5.0])[(kind + i) % 3] + rng.normal(0, 0.3, customers)
        for prefix in ("", LATER)
        for i, name in enumerate(TRAITS)
    }
    bought = rng.poisson(1.0 + kind).astype(np.float64)
    next_ = {NEXT_PURCHASES: bought, NEXT_SPEND: np.log1p(10 * bought)}
    return Columns({**numbers, **next_}, {}, np.arange(customers, dtype=np.uint64))


def _of_traits(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_traits(rng, customers) for customers in (17, 30, 0)]
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder({"test": Columns.pooled(parts)}, folder))

    return build_asked


_BOX = {"low": np.zeros(2), "high": np.full(2, 6.0)}


_CENTRES = {"centres": np.array([[0.1, 0.5], [0.5, 0.8], [0.8, 0.1], [0.4, 0.4]]) * STEPS // 1}


_SETS = {"ends": np.array([3, 4])}


_NO_MIXTURE = {"shares": np.empty(0), "variances": np.empty(0)}


_COMPONENTS = {
    "shares": np.array([0.5, 0.25, 0.25, 1.0]),
    "centres": _CENTRES["centres"] / STEPS,
    "variances": np.full((4, 2), 0.01),
}


BUILDERS = {
    "cell-counts": _of_traits(CellCounts(",".join(TRAITS), "test", 5), **_BOX),
    "feature-sums": _of_traits(FeatureSums(",".join(TRAITS), "test"), widths=np.array([6.0, 5.0])),
    "likelihood-sums": _of_known(
        LikelihoodSums("bg-nbd", "test"), parameters=np.array([-0.2, 4.1, -0.3, 0.9])
    ),
    "lloyd-sums": _of_traits(LloydSums(",".join(TRAITS), "test"), **_BOX, **_CENTRES, **_SETS),
    "mixture-sums": _of_traits(
        MixtureSums(",".join(TRAITS), "test"), **_BOX, **_COMPONENTS, **_SETS
    ),
    "segment-profiles": _of_traits(
        SegmentProfiles("kmeans", ",".join(TRAITS), "test"), **_BOX, **_CENTRES, **_NO_MIXTURE
    ),
    "segment-scores": _of_traits(
        SegmentScores("kmeans", ",".join(TRAITS), "test"), **_BOX, **_CENTRES, **_NO_MIXTURE
    ),
    "season-sums": _of_known(
        SeasonSums("test"), months=np.arange(DAYS) // 30 % 12, season=np.linspace(0.5, 1.5, 12)
    ),
    "spend-correlation": _of_known(SpendCorrelation("test")),
    "value-scores": _of_known(
        ValueScores("bg-nbd", "test", 60),
        purchases=np.array([0.8, 60.0, 0.7, 2.5]),
        clock=np.empty(0),
    ),
}
