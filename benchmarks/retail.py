"""Transaction lines of many customers, and their split into retailers by a hash."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from grandtotal.consortium.query import Rows
from grandtotal.tables.demo import make_demo
from grandtotal.tasks.task import Common, Task

_COLUMNS = {
    "StockCode": "product",
    "InvoiceDate": "time",
    "Quantity": "quantity",
    "Price": "price",
    "Customer ID": "customer",
    "Invoice": "basket",
}


@dataclass(frozen=True)
class Retail:
    """Lines with product, time, quantity, price, customer (may be null), basket; and the plan."""

    lines: pl.DataFrame
    common: Common

    def holders(self, task: Task, retailers: int) -> dict[str, Rows]:
        """Returns the task's rows of so many retailers."""
        return {name: _rows(task, part) for name, part in self.parts(retailers).items()}

    def parts(self, retailers: int) -> dict[str, pl.DataFrame]:
        """Returns the lines of so many retailers, by a hash of the customer.

        Lines without a customer go by their basket, so that a retailer has whole ones.
        """
        unit = pl.coalesce("customer", pl.col("basket").str.strip_prefix("C"))
        units = self.lines.select(unit=unit)["unit"]
        known = units.unique()
        owner = pl.DataFrame({"unit": known, "owner": [_owner(u, retailers) for u in known]})
        owners = units.to_frame().join(owner, on="unit", how="left", maintain_order="left")["owner"]
        return {f"retailer {i}": self.lines.filter(owners == i) for i in range(retailers)}


def _owner(unit: str, retailers: int) -> int:
    return int.from_bytes(hashlib.sha256(unit.encode()).digest()[:8], "big") % retailers


def _rows(task: Task, lines: pl.DataFrame) -> Rows:
    # A mapping of frames is all that a task asks of a retailer's tables.
    tables: Mapping[str, pl.DataFrame] = {"transactions": lines}
    return task.rows(cast(Any, tables))


def online_retail() -> Retail:
    """Returns Online Retail II as the package ships it, with the demo's catalogue."""
    with tempfile.TemporaryDirectory() as name:
        folder = make_demo(Path(name))
        parts = [pl.read_parquet(path) for path in sorted(folder.glob("*/transactions.parquet"))]
        catalogue = pl.read_csv(folder / "catalogue.csv", schema={"product": pl.String})
    lines = pl.concat(parts).rename(_COLUMNS).with_columns(pl.col("customer").cast(pl.String))
    return _retail(lines, catalogue["product"].to_list())


def generated(customers: int = 240, products: int = 40, weeks: int = 80) -> Retail:
    """Returns lines of customers who each prefer one of five groups of products; always the same.

    One basket in ten has no customer, and one line in thirty is a return.
    """
    draw = np.random.default_rng(20)
    baskets = customers * weeks // 3
    customer = draw.integers(0, customers, baskets)
    day = draw.integers(0, 7 * weeks, baskets)
    anonymous = draw.random(baskets) < 0.1
    basket = np.repeat(np.arange(baskets), draw.integers(1, 6, baskets))
    group = np.where(draw.random(len(basket)) < 0.8, customer[basket] % 5, draw.integers(0, 5))
    within = (draw.random(len(basket)) ** 2 * (products // 5)).astype(int)
    quantity = draw.integers(1, 5, len(basket)) * np.where(draw.random(len(basket)) < 1 / 30, -1, 1)
    first = datetime(2024, 1, 1, 12)
    lines = pl.DataFrame(
        {
            "product": [f"p{i:03}" for i in group * (products // 5) + within],
            "time": [first + timedelta(days=int(day[b])) for b in basket],
            "quantity": quantity,
            "price": 1.0 + within + draw.random(len(basket)).round(2),
            "customer": [None if anonymous[b] else f"c{customer[b]}" for b in basket],
            "basket": [f"b{b}" for b in basket],
        }
    )
    return _retail(lines, sorted(lines["product"].unique().to_list()))


def _retail(lines: pl.DataFrame, catalogue: list[str]) -> Retail:
    last = lines["time"].dt.date().max()
    assert isinstance(last, date)
    return Retail(lines, Common(last + timedelta(days=1), tuple(catalogue)))
