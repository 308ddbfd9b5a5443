"""Forecasts that add up: product and store, product, store, category and everything, to the digit.

Bottom-up: what is forecast of every product in every store is rounded to the digits that are shown,
and every other row is a sum of those numbers, added as whole steps. So the order of the store and
that of the warehouse are made from the same figures. Quantiles do not add up: those of a sum come
from how the sums of past forecasts were missed, and are left out where there are too few of them.

Hyndman et al., "Optimal combination forecasts for hierarchical time series", 2011; Wickramasuriya
et al., "Optimal forecast reconciliation through trace minimization", 2019, are what is gained
beyond it where sums are forecast as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
STEPS = 1000  # of a unit that is shown: three digits
# What each level keeps apart; a level is there if its keys are.
LEVELS: Mapping[str, tuple[str, ...]] = {
    "product-store": ("product", "store"),
    "product": ("product",),
    "store": ("store",),
    "category": ("category",),
    "category-store": ("category", "store"),
    "total": (),
}
LEAST = 30  # past sums from which a level has quantiles
_SUMMED = ("units", "units_what_if", "recent_mean", "last_season")
_WHEN = ("start", "ahead")


def with_sums(rows: pl.DataFrame, ratios: Mapping[str, Floats] | None = None) -> pl.DataFrame:
    """Returns the rows of all levels, those of the input first, with the column "level".

    rows: product, store, start, ahead, units and more, maybe category: one for each product, store
        and period. Keys that a sum is taken over are null in it, and so are its quantiles and title
        unless ratios tell (3,) of a level: what its sums sold over what was forecast at p10, p50
        and p90.
    """
    import polars as pl

    summed = [name for name in _SUMMED if name in rows.columns]
    steps = [(pl.col(name) * STEPS).round().cast(pl.Int64) for name in summed]
    whole = rows.with_columns(steps)
    found = [rows.with_columns(level=pl.lit("product-store"))]
    for level, keys in LEVELS.items():
        if level == "product-store" or not set(keys) <= set(rows.columns):
            continue
        named = whole.drop_nulls(list(keys)) if keys else whole
        sums = named.group_by(*keys, *_WHEN).agg(pl.col(summed).sum())
        sums = sums.with_columns((pl.col(name) / STEPS) for name in summed)
        sums = _with_quantiles(sums, None if ratios is None else ratios.get(level))
        found.append(sums.sort(*keys, "start").with_columns(level=pl.lit(level)))
    joined = pl.concat(found, how="diagonal_relaxed")
    return joined.select("level", *(name for name in rows.columns))


def _with_quantiles(sums: pl.DataFrame, ratios: Floats | None) -> pl.DataFrame:
    import polars as pl

    if ratios is None:
        return sums
    names = ("p10", "p50", "p90")
    return sums.with_columns(
        (pl.col("units") * float(ratio)).round(3).alias(name)
        for name, ratio in zip(names, ratios, strict=True)
    )


def past_ratios(
    keys: Mapping[str, NDArray[Any]],
    when: tuple[NDArray[np.int64], NDArray[np.int64]],
    forecast: Floats,
    sold: Floats,
) -> dict[str, Floats]:
    """Returns for each level the quantiles (3,) of sold / forecast of its past sums.

    keys: "product", "store" and maybe "category" of each past case; when: its origin and how far
    ahead it was. As in split conformal prediction, of one sum more than there are.
    """
    found = {}
    for level, names in LEVELS.items():
        if level == "product-store" or not set(names) <= set(keys):
            continue
        columns = [np.unique(keys[name], return_inverse=True)[1] for name in names]
        group = np.unique(np.stack([*columns, *when], axis=1), axis=0, return_inverse=True)[1]
        group = group.ravel()
        above, below = np.bincount(group, sold), np.bincount(group, forecast)
        ratio = np.sort(above[below > 0] / below[below > 0])
        if len(ratio) >= LEAST:
            ranks = np.array([0.1, 0.5, 0.9]) * (len(ratio) + 1) - 1
            found[level] = np.interp(ranks, np.arange(len(ratio)), ratio)
    return found


def disagreement(rows: pl.DataFrame) -> int:
    """Returns by how many steps of the last shown digit sums differ from their parts: 0 if right.

    rows: as of `with_sums`; every level of every period is compared with the total.
    """
    import polars as pl

    steps = rows.with_columns((pl.col("units") * STEPS).round().cast(pl.Int64))
    by_level = steps.group_by("level", "start").agg(pl.col("units").sum())
    totals = by_level.filter(pl.col("level") == "total").select("start", total="units")
    joined = by_level.join(totals, on="start")
    complete = [level for level in LEVELS if "category" not in level]
    off = joined.filter(pl.col("level").is_in(complete)).select(
        (pl.col("units") - pl.col("total")).abs().max()
    )
    return int(off.item() or 0)
