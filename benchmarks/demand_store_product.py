"""Cartons of every brand in every store, four weeks ahead: Dominick's, ten groups of stores.

Weekly series of 83 stores and 11 brands; the test is the last 12 weeks. Deals, features and price
cuts of coming weeks are known, as a chain knows its own plans. Four rows: the better baseline, each
group alone, all together, and one holder of all rows; kinds of models are chosen on validation
scores alone, with the same candidates everywhere. The interval is of series drawn with replacement.
Sums are those of the forecasts as of today: stores, brands and everything, in the digits that are
written to the file. With --quick: three groups of two stores, and regressions alone.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import polars as pl

from benchmarks.demand_coverage import coverage_rows, covered
from benchmarks.rows import Row, need
from benchmarks.trees import Together
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_model import DemandModel
from grandtotal.tasks.reconcile import disagreement
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.task import Common, metric_of

RETAILERS, STORES, BRANDS = 10, 83, 11
KINDS = ("poisson", "trees", "trees-log")
SHOWN = ("wape", "bias", "rmsse", "mape", "pinball", "wspl")
_OUNCES = 64  # of a carton
_CUT = 0.05  # of the usual price, from which on a price is a reduction
_WEEK_ONE = date(1989, 9, 14)
_SOURCE = "cran.r-project.org/package=bayesm, data orangeJuice"

Frames = dict[str, pl.DataFrame]


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the four rows, the coverage of the intervals, and whether the sums agree."""
    groups, stores = (3, 6) if quick else (RETAILERS, STORES)
    task, tables = _tables(data, groups, stores, KINDS[:1] if quick else KINDS)
    parts = [task.rows(cast(Any, one)) for one in tables]
    federated = task.fit(Together([Local(part) for part in parts]))
    pooled = task.fit(Local(task.pooled(parts)))
    mine = [cast(DemandModel, task.adapt(federated.model, part)) for part in parts]
    same = arrays_digest(federated.model.arrays) == arrays_digest(pooled.model.arrays)
    whole = mine if same else [cast(DemandModel, task.adapt(pooled.model, part)) for part in parts]
    scores = {
        "baseline": _scored(task, [task.baseline(part)[0] for part in parts], parts),
        "alone": _scored(task, [_alone(task, part) for part in parts], parts),
        "federated": _scored(task, mine, parts),
        "pooled": _scored(task, whole, parts),
    }
    sums = [
        disagreement(task.predict(model, part, cast(Any, one), 10))
        for model, part, one in zip(mine, parts, tables, strict=True)
    ]
    tried = [Row(f"validation WAPE: {t['model']}", t["wape"]) for t in federated.choice["tried"]]
    panels = [part["test"] for part in parts]
    return [
        *tried,
        *_four(task, scores),
        Row("federated model is the pooled one, bit for bit", float(same), "", "1", same),
        Row("sums that disagree, in thousandths", float(max(sums)), "", "0", max(sums) == 0),
        *coverage_rows(covered(zip(mine, panels, strict=True))),
    ]


def _four(task: Demand, scores: dict[str, UnitScores]) -> list[Row]:
    rows = [
        Row(f"{metric.upper()}: {name}", found.values()[metric])
        for metric in SHOWN
        for name, found in scores.items()
        if found.values()[metric] == found.values()[metric]
    ]
    gain = scores["federated"].gain_over(scores["alone"], metric_of(task), task.common.seed)
    low = gain["relative_low"]
    rows.append(Row("federated better than alone, relatively", gain["relative"]))
    rows.append(Row("... its 95 % interval from", low, "", "> 0", low > 0))
    rows.append(Row("... to", gain["relative_high"]))
    return rows


def _alone(task: Demand, part: Rows) -> Any:
    return task.adapt(task.fit(Local(part)).model, part)


def _scored(task: Demand, models: list[Any], parts: list[Rows]) -> UnitScores:
    found = [task.score(model, part, "test") for model, part in zip(models, parts, strict=True)]
    return UnitScores.joined(found)


def _tables(
    data: Path, groups: int, stores: int, kinds: tuple[str, ...]
) -> tuple[Demand, list[Frames]]:
    """Returns the task, and the tables of each group of stores."""
    path = need(data / "dominicks-orange-juice" / "yx.csv.gz", _SOURCE)
    frame = pl.read_csv(path).filter(pl.col("store").rank("dense") <= stores)
    weeks = int(cast(int, frame["week"].max())) - int(cast(int, frame["week"].min())) + 1
    today = _WEEK_ONE + timedelta(days=7 * int(cast(int, frame["week"].max())))
    catalogue = tuple(f"brand {b:02}" for b in range(1, BRANDS + 1))
    task = Demand(
        Common(today, catalogue),
        models=kinds,
        by="product-store",
        horizon=4,
        test=12,
        history=weeks,
        trees=150,
        leaves=32,
    )
    rows = _weeks(frame).with_columns(owner=(pl.col("store").rank("dense") - 1) % groups)
    parts = rows.partition_by("owner", as_dict=True)
    return task, [_of_retailer(parts[key]) for key in sorted(parts)]


def _weeks(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns store, brand, start, units, price, promoted and how far the price was cut."""
    price = pl.concat_list([f"price{b}" for b in range(1, BRANDS + 1)]).list.get(
        pl.col("brand") - 1
    )
    rows = frame.sort("store", "brand", "week").select(
        "store",
        "brand",
        start=pl.lit(_WEEK_ONE) + pl.duration(days=7) * (pl.col("week") - 1),
        units=(pl.col("logmove").exp() / _OUNCES).round(),
        price=_OUNCES * price,
        promoted=(pl.col("deal") > 0) | (pl.col("feat") > 0),
        feat=pl.col("feat"),
    )
    usual = pl.col("price").rolling_median(26, min_samples=1).over("store", "brand")
    return rows.with_columns(depth=(1 - pl.col("price") / usual).clip(0.0, 1.0))


def _of_retailer(rows: pl.DataFrame) -> Frames:
    named = rows.with_columns(
        product=pl.format("brand {}", pl.col("brand").cast(pl.String).str.zfill(2)),
        store=pl.format("store {}", "store"),
    )
    lines = named.filter(pl.col("units") > 0).select(
        "product",
        "store",
        "price",
        time=pl.col("start").cast(pl.Datetime("us")) + pl.duration(days=3, hours=12),
        quantity="units",
        promotion=pl.when("promoted").then(pl.lit("deal")),
    )
    plans = named.filter(pl.col("promoted") | (pl.col("depth") > _CUT)).select(
        "product", "store", "depth", start="start", end=pl.col("start") + pl.duration(days=6)
    )
    return {"transactions": lines, "promotions": plans}
