"""Statistics of single columns and the private catalogue: federated is pooled, and the textbook's.

Prices, units sold and products of the same lines and retailers as in `exactness`; what an
independent program says is made of the rows in clear, without a bucket, a key or a fingerprint.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.retail import Retail
from benchmarks.rows import Row, at_most
from benchmarks.simulation import TASK, Recorded, federated
from grandtotal.algorithms.catalogue import Catalogue, PrivateCatalogue
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.quantiles import Quantiles, QuantileSketch
from grandtotal.algorithms.target_statistics import TargetEncoder, TargetStatistics
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_objectives import Objective
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.trees import Boosting
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local, Totals
from grandtotal.durable import arrays_digest
from grandtotal.privacy.fingerprint import fingerprints
from grandtotal.privacy.fixedpoint import Arrays

ALPHA = 0.01
_KEY = bytes(32)  # the numbers are compared, nothing is hidden from anybody here
_SHARES = np.linspace(0.0, 1.0, 21)
_SMOOTHING = 20.0


def column_rows(retail: Retail, retailers: tuple[int, ...], asked: set[str]) -> list[Row]:
    """Returns digests that differ, and the largest differences from the independent program."""
    rows = [row for count in retailers for row in _digests(retail, count, asked)]
    parts = retail.parts(max(retailers))
    return [*rows, *_references(retail.lines, list(parts.values()))]


def _digests(retail: Retail, retailers: int, asked: set[str]) -> list[Row]:
    holders = {name: _rows(part) for name, part in retail.parts(retailers).items()}
    pooled = _pooled(list(holders.values()))
    rows = []
    with federated(holders) as consortium:
        for name, fit in FITS.items():
            shared, local = Recorded(consortium.of(TASK)), Recorded(Local(pooled))
            same = arrays_digest(fit(shared)) == arrays_digest(fit(local))
            different = (shared.digests != local.digests) + (not same)
            asked |= {query for query, _ in shared.digests}
            name = f"{name}, {retailers} retailers: digests that differ"
            rows.append(at_most(0, name, different))
    return rows


def _rows(lines: pl.DataFrame) -> Rows:
    owners = lines.select(pl.coalesce("customer", pl.col("basket").str.strip_prefix("C")))
    columns = Columns(
        {name: lines[name].cast(pl.Float64).to_numpy() for name in ("price", "quantity")},
        {"product": fingerprints(_KEY, "product", lines["product"])},
        fingerprints(_KEY, "fold", owners.to_series()),
    )
    return {"test": columns, "now": (np.unique(columns.categories["product"]),)}


def _pooled(parts: list[Rows]) -> Rows:
    return {
        "test": Columns.pooled([part["test"] for part in parts]),
        "now": tuple(assortment for part in parts for assortment in part["now"]),
    }


def _quantiles(totals: Totals) -> Quantiles:
    return QuantileSketch(ALPHA).fit(totals, "price", "test")


def _means(totals: Totals) -> TargetStatistics:
    return TargetEncoder(smoothing=_SMOOTHING).fit(totals, "product", "quantity", "test")


def _catalogue(totals: Totals) -> Catalogue:
    return PrivateCatalogue(most=10_000).fit(totals)


def _trees(totals: Totals) -> TreesModel:
    data = Data("price", ("quantity",), ("product",), split="test")
    return Boosting(Objective("quantile", 0.8), trees=2).fit(totals, data)[0]


FITS: dict[str, Callable[[Totals], Arrays]] = {
    "quantiles of the price": lambda totals: _quantiles(totals).arrays,
    "units a line by product": lambda totals: _means(totals).arrays,
    "private catalogue": lambda totals: vars(_catalogue(totals)),
    "trees of the price": lambda totals: _trees(totals).arrays,
}


def _references(lines: pl.DataFrame, parts: list[pl.DataFrame]) -> list[Row]:
    totals = Local(_pooled([_rows(part) for part in parts]))
    return [
        at_most(
            ALPHA * (1 + 1e-9),
            f"{len(_SHARES)} quantiles of the price: relative difference from numpy's",
            _quantiles_apart(_quantiles(totals), lines["price"].to_numpy()),
        ),
        at_most(
            1e-9,
            "units a line by product: difference from an independent program",
            _means_apart(_means(totals), lines),
        ),
        at_most(
            0,
            "private catalogue: products that differ from a count in clear",
            _products_apart(_catalogue(totals), parts),
        ),
    ]


def _quantiles_apart(found: Quantiles, prices: NDArray[np.float64]) -> float:
    expected = np.quantile(prices, _SHARES, method="lower")
    ours = np.array([found.quantile(float(q)) for q in _SHARES])
    apart = np.abs(ours - expected)
    return float(np.divide(apart, np.abs(expected), out=apart, where=expected != 0).max())


def _means_apart(found: TargetStatistics, lines: pl.DataFrame) -> float:
    """Returns the largest difference over the products with enough lines to stand alone."""
    sums = lines.group_by("product").agg(pl.len(), pl.col("quantity").sum())
    common = sums.filter(pl.col("len") >= TargetEncoder().least)
    mean = float(lines["quantity"].sum()) / lines.height
    drawn = pl.col("quantity") + _SMOOTHING * mean
    expected = common.select(drawn / (pl.col("len") + _SMOOTHING)).to_series()
    ours = found.of_new_rows(fingerprints(_KEY, "product", common["product"]))
    # Two products in one bucket share a mean: those are looked for in clear and left out.
    alone = pl.Series(_alone(sums["product"], common["product"]))
    return float(np.abs(ours - expected.to_numpy())[alone.to_numpy()].max())


def _alone(every: pl.Series, wanted: pl.Series) -> NDArray[np.bool_]:
    head = dict(zip(every, fingerprints(_KEY, "product", every) >> np.uint64(48), strict=True))
    counts = Counter(head.values())
    return np.array([counts[head[product]] == 1 for product in wanted])


def _products_apart(found: Catalogue, parts: list[pl.DataFrame]) -> int:
    sellers = Counter(product for part in parts for product in set(part["product"]))
    expected = sorted(product for product, count in sellers.items() if count >= 3)
    counted = dict(zip(fingerprints(_KEY, "product", expected), expected, strict=True))
    ours = dict(zip(found.buckets, found.retailers, strict=True))
    wrong = sum(ours.get(bucket) != sellers[product] for bucket, product in counted.items())
    return int(wrong) + len(ours.keys() - counted.keys())
