"""Queries about columns of rows: statistics, trees, and a catalogue."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from builders.asked import Asked, Holder
from grandtotal.algorithms.catalogue import CataloguePresence
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.quantiles import QuantileCounts
from grandtotal.algorithms.target_statistics import CategoryCounts, TargetSums
from grandtotal.algorithms.tree_bins import Binning
from grandtotal.algorithms.tree_histograms import (
    TreeHistograms,
    TreeProgress,
    TreeResiduals,
    TreeTarget,
)
from grandtotal.algorithms.tree_rows import chained
from grandtotal.consortium.query import Query
from grandtotal.consortium.totals import Local


def make_columns(rng: np.random.Generator, rows: int) -> Columns:
    price = rng.lognormal(2, 1, rows) - 3
    price[rng.random(rows) < 0.2] = np.nan
    categories = rng.integers(1, 2**63, 9).astype(np.uint64)[rng.integers(0, 9, rows)]
    keys = rng.integers(2**63, size=rows).astype("u8")
    units = np.random.default_rng(rows).poisson(3.0, rows).astype(np.float64)
    return Columns({"price": price, "units": units}, {"brand": categories}, keys)


def _of_columns(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_columns(rng, rows) for rows in (17, 30, 0)]
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder({"test": Columns.pooled(parts)}, folder))

    return build_asked


def _of_trees(query: Callable[[int], Query], **broadcast: Any) -> Callable[..., Asked]:
    """Returns rows on which two splits of one tree were made, of `units` by price and brand.

    query: from the number of bins.
    """

    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        asked = _of_columns(QuantileCounts("price", "test"))(rng, folder)
        bins = Binning().fit(Local(asked.pooled.rows), ("price",), ("brand",), "units", "test")
        _, chain = chained(None, {**bins.arrays, "base": np.asarray(1.0)})
        given = {**chain, **broadcast} if broadcast else chain
        return Asked(query(int(bins.counts.sum())), given, asked.parts, asked.pooled)

    return build_asked


def _of_assortments(query: CataloguePresence) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        products = rng.integers(0, 2**63, 40).astype(np.uint64)
        parts = [rng.choice(products, count, replace=False) for count in (25, 30, 0)]
        holders = [Holder({"now": (part,)}, folder) for part in parts]
        prefixes = np.unique(products[:30] >> np.uint64(64 - query.known))
        pooled = Holder({"now": tuple(parts)}, folder)
        return Asked(query, {"prefixes": prefixes}, holders, pooled)

    return build_asked


_LOW_HALF = np.repeat([-1, 0], 4)  # all bits of the words of the lower bins


_TREE = {
    "splits": np.array([[0, 0, 0, *_LOW_HALF], [0, 2, 0, *np.roll(_LOW_HALF, 2)]], np.int32),
    "asked": np.array([[0, 1], [0, 3]], np.int32),
    "columns": np.array([[0, 1]], np.int32),
}


_ABOUT_TREES = ("units", "test", "poisson", 0.0, "", 10)


_ABOUT_NODES = (*_ABOUT_TREES, 0.8, False, 7, 0)


BUILDERS = {
    "catalogue-presence": _of_assortments(CataloguePresence(known=6, step=3)),
    "category-counts": _of_columns(CategoryCounts("brand", "test")),
    "quantile-counts": _of_columns(QuantileCounts("price", "test", alpha=0.1)),
    "target-sums": _of_columns(
        TargetSums("brand", "price", "test", 3), dictionary=np.arange(0, 2**16, 3)
    ),
    "tree-histograms": _of_trees(
        # Two nodes, two words a bin: gradient and count share one, the hessian has its own.
        lambda bins: TreeHistograms(*_ABOUT_NODES, 47, 2 * bins * 2, 4, 4, True),
        **_TREE,
    ),
    "tree-progress": _of_trees(lambda _: TreeProgress(*_ABOUT_TREES)),
    "tree-residuals": _of_trees(
        lambda _: TreeResiduals(*_ABOUT_NODES, 2, 0.1, 0.1, 100.0), **_TREE
    ),
    "tree-target": _of_columns(TreeTarget("price", "test", "poisson", 0.0, 20)),
}
