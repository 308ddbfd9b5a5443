"""Purchase intent on Online Shoppers: 12,330 visits, nine regions as retailers.

Sakar et al., UCI 468, CC BY 4.0, https://doi.org/10.24432/C5F88Q. Random split: a fifth of the
visits each for test and validation, by a hash of the visit; the mean of five such splits, with its
standard deviation. Time split: learned before November, tested on November and December, validated
on September and October. With and without the page value, which is nearly the outcome. The file has
months and no days. The baseline is the share that bought, by tenths of the product pages.
"""

import gzip
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from benchmarks.outcomes import four, scores_of
from benchmarks.rows import Row, at_least, need
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.tasks.intent import PurchaseIntent
from grandtotal.tasks.outcome_model import TREES
from grandtotal.tasks.task import Common

SOURCE = "archive.ics.uci.edu/dataset/468"
SPLITS = 5
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "June", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_COMMON = Common(date(2018, 1, 1), ("none",))


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the four rows of each split, with and without the page value."""
    file = data / "online-shoppers" / "online_shoppers_intention.csv.gz"
    visits = _visits(need(file, SOURCE))
    rows: list[Row] = []
    for left_out in ((),) if quick else ((), ("page_value",)):
        label = "without page value" if left_out else "with page value"
        rows += _random(visits, left_out, label, quick)
        task = _task("time", left_out, quick)
        rows += four(task, _holders(task, visits), f"time split, {label}")[0]
    return rows


def _random(visits: pl.DataFrame, left_out: tuple[str, ...], label: str, quick: bool) -> list[Row]:
    task = _task("random", left_out, quick)
    rows, scores = four(task, _holders(task, visits), f"random split, {label}")
    found = [scores["federated"]["auc"]]
    for number in range(1, 2 if quick else SPLITS):
        # Other names fall into other parts.
        other = visits.with_columns(session=pl.format("{} {}", pl.lit(number), "session"))
        holders = _holders(task, other)
        # The federated model is the pooled one, as the row above says.
        model = task.fit(Local(task.pooled(list(holders.values())))).model
        found.append(scores_of(task, dict.fromkeys(holders, model), holders)["auc"])
    name = f"random splits, {label}: AUC, mean of {len(found)}"
    mean = float(np.mean(found))
    barred = not left_out and not quick
    return [
        *rows,
        at_least(0.93, name, mean) if barred else Row(name, mean),
        Row(f"random splits, {label}: AUC, standard deviation", float(np.std(found))),
    ]


def _task(split: str, left_out: tuple[str, ...], quick: bool) -> PurchaseIntent:
    return PurchaseIntent(
        _COMMON,
        table="sessions",
        split=split,
        test_days=61,
        leave_out=left_out,
        history_days=400,
        trees=5 if quick else TREES.trees,
    )


def _holders(task: PurchaseIntent, visits: pl.DataFrame) -> Mapping[str, Rows]:
    parts = visits.partition_by("retailer", as_dict=True, include_key=False)
    return {
        f"region {key[0]}": task.rows(cast(Any, {"sessions": part}))
        for key, part in sorted(parts.items())
    }


def _visits(path: Path) -> pl.DataFrame:
    """Returns the visits as the table `sessions`, each in the middle of its month."""
    with gzip.open(path) as file:
        whole = pl.read_csv(file.read(), infer_schema_length=None)
    month = pl.col("Month").replace_strict({name: i for i, name in enumerate(_MONTHS, 1)})
    return whole.with_row_index("row").select(
        session=pl.format("v{}", "row"),
        time=pl.date(2017, month, 15).cast(pl.Datetime("us")),
        purchased="Revenue",
        product_pages="ProductRelated",
        product_seconds="ProductRelated_Duration",
        account_pages="Administrative",
        account_seconds="Administrative_Duration",
        information_pages="Informational",
        information_seconds="Informational_Duration",
        bounce_rate="BounceRates",
        exit_rate="ExitRates",
        page_value="PageValues",
        special_day="SpecialDay",
        weekend="Weekend",
        visitor_type="VisitorType",
        traffic_type=pl.col("TrafficType").cast(pl.String),
        device=pl.col("Browser").cast(pl.String),
        retailer="Region",
    )
