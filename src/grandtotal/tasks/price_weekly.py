"""A retailer's lines added up by product, store and week, and what it says of its products.

Lines are whole steps before they are added: any order of them and any pieces give the same sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.algorithms.price_moments import BUCKETS
from grandtotal.algorithms.price_rows import whole
from grandtotal.errors import DataError
from grandtotal.tasks.lines import catalogue_lines, lines_of_few
from grandtotal.tasks.sales_sums import PRICE_STEPS, in_promotion, in_steps

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.task import Common

_COLUMNS = ("time", "quantity", "price", "store", "promotion", "discount")


@dataclass(frozen=True, eq=False)
class Weekly:
    """One retailer's series, each (series, weeks) unless something else is said.

    units: sold less returned, not below 0. price: log of the mean price of the lines of the week,
        in whole steps, nan where nothing was sold. promoted: share of the lines in a promotion.
    product, store: (series,) place in the catalogue, and number of the store.
    category: (products,) number of the category at this retailer, -1 where it says none.
    buckets: (products,) of the category's name, -1 for products that are not sold here. listed: the
        same, -1 for products that are not in the products table.
    cost: (products,) of one unit, nan where it is not known.
    free: lines at a price of zero or less, which are not used.
    """

    units: NDArray[np.float64]
    price: NDArray[np.float64]
    promoted: NDArray[np.float64]
    product: NDArray[np.intp]
    store: NDArray[np.intp]
    category: NDArray[np.int32]
    buckets: NDArray[np.int16]
    listed: NDArray[np.int16]
    cost: NDArray[np.float64]
    free: int


def read_weekly(tables: Tables, common: Common, weeks: int, per_customer: int = 0) -> Weekly:
    """Returns the series of the weeks before today; DataError where there is none.

    per_customer: how many (product, store, week) a customer's lines count for; 0 is all.
    """
    import polars as pl

    if per_customer:
        parts = lines_of_few(tables, common, _COLUMNS, per_customer, _of_row(common.today))
    else:
        parts = catalogue_lines(tables, common, _COLUMNS)
    cells = pl.concat([_cells(lines, common.today, weeks) for lines in parts])
    cells = cells.group_by("i", "store", "t").sum().sort("i", "store", "t")
    if not (cells["priced"] > 0).any():
        raise DataError(
            f"transactions: no line of a catalogue product at a price above 0 in the {weeks} weeks "
            f"before {common.today}; check `today` and `history` in the plan against the table's "
            f"dates"
        )
    free = int(cells["free"].sum())
    cells = cells.filter(pl.col("priced") > 0)
    keys = cells.select("i", "store").unique(maintain_order=True).with_row_index("s")
    row = cells.join(keys, on=["i", "store"], maintain_order="left")["s"].to_numpy()
    at = (row.astype(np.intp), cells["t"].to_numpy())

    def dense(values: NDArray[np.float64], empty: float) -> NDArray[np.float64]:
        found = np.full((len(keys), weeks), empty)
        found[at] = values
        return found

    columns = {name: cells[name].to_numpy().astype(np.float64) for name in cells.columns[3:]}
    mean = columns["price"] / columns["priced"] / PRICE_STEPS
    product = keys["i"].to_numpy().astype(np.intp)
    category, buckets, listed = _categories(tables, common, product)
    return Weekly(
        units=dense(np.maximum(columns["units"], 0.0) / UNIT_STEPS, 0.0),
        price=dense(whole(log(mean)), np.nan),
        promoted=dense(columns["promoted"] / columns["lines"], 0.0),
        product=product,
        store=keys["store"].rank("dense").to_numpy().astype(np.intp) - 1,
        category=category,
        buckets=buckets,
        listed=listed,
        cost=_costs(tables, common),
        free=free,
    )


def _of_row(today: date) -> dict[str, pl.Expr]:
    """Returns what tells rows of a product apart: the store, if it is said, and the week."""
    import polars as pl

    week = ((pl.lit(today) - pl.col("time").dt.date()).dt.total_days() - 1) // 7
    return {"of_store": pl.coalesce(pl.col("^store$"), pl.lit("")), "of_week": week}


def _cells(lines: pl.DataFrame, today: date, weeks: int) -> pl.DataFrame:
    """Returns i, store, t and integer sums of the lines within the weeks."""
    import polars as pl

    back = (pl.lit(today) - pl.col("time").dt.date()).dt.total_days() - 1
    store = pl.col("store").fill_null("") if "store" in lines.columns else pl.lit("")
    # A gift or a coupon line says nothing of how units follow prices.
    at_price = pl.col("price").is_finite() & (pl.col("price") > 1e-6)
    priced = at_price & (pl.col("quantity") > 0)
    return (
        lines.with_columns(t=weeks - 1 - back // 7)
        .filter((back >= 0) & (pl.col("t") >= 0))
        .select(
            "i",
            "t",
            store=store,
            units=pl.when(at_price).then(in_steps(pl.col("quantity"), UNIT_STEPS)).otherwise(0),
            price=pl.when(priced).then(in_steps(pl.col("price"), PRICE_STEPS)).otherwise(0),
            priced=priced.cast(pl.Int64),
            promoted=(priced & in_promotion(lines)).cast(pl.Int64),
            lines=priced.cast(pl.Int64),
            free=(~at_price).cast(pl.Int64),
        )
        .group_by("i", "store", "t")
        .sum()
    )


def _categories(
    tables: Tables, common: Common, product: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int16]]:
    """Returns (products,) numbers at this retailer, and buckets that all retailers share: of
    products that are sold or listed, and of those that are listed.
    """
    names = _by_product(tables, common, "category", None)
    listed = np.array([own is not None for own in _by_product(tables, common, "product", None)])
    known = sorted({name for name in names if name})
    number = {name: i for i, name in enumerate(known)}
    category = np.array([number.get(name, -1) for name in names], np.int32)
    bucket = {name: _bucket(name) for name in known}
    buckets = np.array([bucket.get(name, 0) for name in names], np.int16)
    sold = np.zeros(len(names), np.bool_)
    sold[product] = True
    known_here = [
        np.where(which, buckets, -1).astype(np.int16) for which in (sold | listed, listed)
    ]
    return category, known_here[0], known_here[1]


def _bucket(name: str) -> int:
    """Returns the bucket of a category's name; the first one is of products without a category."""
    text = " ".join(name.lower().split()).encode()
    return 1 + int.from_bytes(blake2b(text, digest_size=8).digest(), "big") % (BUCKETS - 1)


def _costs(tables: Tables, common: Common) -> NDArray[np.float64]:
    found = _by_product(tables, common, "cost", np.nan)
    return np.array([np.nan if cost is None else cost for cost in found], np.float64)


def _by_product(tables: Tables, common: Common, column: str, empty: Any) -> list[Any]:
    """Returns a column of the products table for each place of the catalogue."""
    import polars as pl

    if "products" not in tables or column not in tables["products"].columns:
        return [empty] * len(common.catalogue)
    keys = pl.DataFrame({common.key: common.catalogue}, schema={common.key: pl.String})
    found = tables["products"].unique(common.key, keep="first", maintain_order=True)
    found = found.select(common.key, found=column)
    return list(keys.join(found, on=common.key, how="left", maintain_order="left")["found"])
