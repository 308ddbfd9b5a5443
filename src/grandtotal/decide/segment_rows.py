"""A retailer's customers by segment: their lines, the prices they met, and what they spend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from grandtotal.algorithms.segment_response import SegmentLines
from grandtotal.decide.response import Floats, Responses
from grandtotal.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.price import Price
    from grandtotal.tasks.price_model import PriceModel

GROUPS = ("age_band", "region", "tier")  # of the customers table: gaps are measured between them
_RECENT = 8  # weeks of which units and spending are the mean
_LEAST_WEEKS = 4  # with a sale, for a product's prices to have a usual one


@dataclass(frozen=True)
class SegmentRows:
    """What one retailer's tables say of its segments.

    names: of the segments. customers: (segments,). units: (segments, products of the decision) a
    week. groups: "column: value" -> how many customers, and (segments,) what they spend a week.
    """

    names: tuple[str, ...]
    lines: SegmentLines
    customers: Floats
    units: Floats
    groups: dict[str, tuple[float, Floats]]


def read_segments(
    task: Price, model: PriceModel, of: Responses, tables: Tables, by: str
) -> SegmentRows:
    """Returns the segments of a column of the customers table; DataError where it cannot be.

    Customers without consent are in no table. A customer without a value is in no segment.
    """
    people = _people(tables, by)
    lines = _lines(task, of, tables)
    names = people["segment"].unique().sort().to_list()
    codes = {name: i for i, name in enumerate(names)}
    known = lines.join(people, on="customer", how="inner", maintain_order="left")
    if known.is_empty():
        raise DataError(f"no line of the last weeks is of a customer with a '{by}'")
    known = known.with_columns(s=_code(known["segment"], codes))
    moved, weight = _prices(task, model, of, lines)
    recent = known.filter(known["t"] >= task.history - _RECENT)
    counted = known.select("s", "customer").unique()
    return SegmentRows(
        names=tuple(names),
        lines=SegmentLines(
            segment=known["s"].to_numpy().astype(np.intp),
            customer=known["customer"].to_numpy().astype(str),
            series=known["p"].to_numpy().astype(np.intp),
            week=known["t"].to_numpy().astype(np.intp),
            moved=moved,
            weight=weight,
        ),
        customers=np.bincount(counted["s"].to_numpy(), minlength=len(names)).astype(float),
        units=_summed(recent, ("s", "p"), "quantity", (len(names), len(of))) / _RECENT,
        groups=_groups(known, recent, people, len(names)),
    )


def _people(tables: Tables, by: str) -> pl.DataFrame:
    import polars as pl

    have = tables.columns("customers") if "customers" in tables else []
    if by not in have:
        raise DataError(
            f"no column '{by}' in the customers table ({', '.join(have) or 'there is none'}); map "
            f"one in retailer.toml, or name another"
        )
    kept = ["customer", *(name for name in GROUPS if name in have and name != by)]
    people = tables["customers"].select(*kept, segment=pl.col(by).cast(pl.String))
    return people.filter(pl.col("segment").is_not_null()).with_columns(
        **({by: pl.col("segment")} if by in GROUPS else {})
    )


def _lines(task: Price, of: Responses, tables: Tables) -> pl.DataFrame:
    """Returns p, t, customer, quantity, paid, promoted of priced lines of products decided on."""
    import polars as pl

    from grandtotal.tasks.lines import catalogue_lines
    from grandtotal.tasks.sales_sums import in_promotion

    place = {product: i for i, product in enumerate(of.product)}
    places = [place.get(product, -1) for product in task.common.catalogue]
    back = (pl.lit(task.common.today) - pl.col("time").dt.date()).dt.total_days() - 1
    columns = ("customer", "time", "quantity", "price", "promotion", "discount")
    found = []
    for lines in catalogue_lines(tables, task.common, columns):
        if "customer" not in lines.columns:
            raise DataError("segments need the column 'customer' of transactions; map it")
        found.append(
            lines.filter(pl.col("price") > 1e-6, pl.col("quantity") > 0, back >= 0).select(
                "customer",
                "quantity",
                p=pl.col("i").cast(pl.Int64),
                t=task.history - 1 - back // 7,
                paid=pl.col("price") * pl.col("quantity"),
                promoted=in_promotion(lines).cast(pl.Float64),
            )
        )
    whole = pl.concat(found)
    return whole.with_columns(p=_code(whole["p"], dict(enumerate(places)))).filter(
        pl.col("p") >= 0, pl.col("t") >= 0
    )


def _prices(
    task: Price, model: PriceModel, of: Responses, lines: pl.DataFrame
) -> tuple[Floats, Floats]:
    """Returns log price against its median, and what all customers are expected to buy."""
    shape = (len(of), task.history)
    units, paid, promoted, count = (
        _summed(lines, ("p", "t"), name, shape) for name in ("quantity", "paid", "promoted", "")
    )
    sold = (units > 0) & ((units > 0).sum(axis=1, keepdims=True) >= _LEAST_WEEKS)
    price = np.log(np.where(sold, paid, 1.0) / np.where(sold, units, 1.0))
    masked = np.where(sold, price, np.nan)
    usual = np.array(
        [np.median(row[s]) if s.any() else 0.0 for row, s in zip(price, sold, strict=True)]
    )
    moved = np.where(sold, masked - usual[:, None], np.nan)
    place = {product: i for i, product in enumerate(task.common.catalogue)}
    effect = model.promotion[[place[product] for product in of.product]]
    offered = np.divide(promoted, count, out=np.zeros(shape), where=count > 0)
    week = units.sum(axis=0) / max(units.sum() / task.history, 1e-9)
    weight = np.exp(
        np.clip(of.own[:, None] * np.nan_to_num(moved) + effect[:, None] * offered, -20, 20)
    )
    return moved, weight * week


def _groups(
    known: pl.DataFrame, recent: pl.DataFrame, people: pl.DataFrame, segments: int
) -> dict[str, tuple[float, Floats]]:
    import polars as pl

    found = {}
    for column in (name for name in GROUPS if name in people.columns):
        for value in people[column].drop_nulls().unique().sort():
            here = recent.filter(pl.col(column) == value)
            spent = np.bincount(here["s"].to_numpy(), here["paid"].to_numpy(), segments) / _RECENT
            many = known.filter(pl.col(column) == value)["customer"].n_unique()
            found[f"{column}: {value}"] = (float(many), spent)
    return found


def _code(values: pl.Series, codes: dict[Any, int]) -> pl.Series:
    import polars as pl

    return values.replace_strict(codes, default=-1, return_dtype=pl.Int64)


def _summed(lines: pl.DataFrame, at: tuple[str, str], name: str, shape: tuple[int, int]) -> Floats:
    """Returns sums of a column, or counts where it is "", by two numbers: an array of `shape`."""
    one, other = (lines[key].to_numpy().astype(np.intp) for key in at)
    weights = lines[name].to_numpy().astype(float) if name else None
    cells = np.bincount(one * shape[1] + other, weights, shape[0] * shape[1])
    return cells.reshape(shape).astype(float)
