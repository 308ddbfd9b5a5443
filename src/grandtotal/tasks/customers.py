"""Who bought what, when: a retailer's transaction lines as matrices of customers and products.

Only in a retailer's process. Customers are grouped block by block, so that the groups of millions
of lines need not lie in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.purchases import Purchases
from grandtotal.errors import DataError
from grandtotal.tasks.lines import catalogue_lines

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.task import Common

_GROUPED = 2**18  # customers whose lines are grouped at once: bounds the memory of the groups


def customer_lines(tables: Tables, common: Common) -> tuple[pl.DataFrame, pl.Series]:
    """Returns the lines u, i, day, quantity of known customers, and the customers in order of u."""
    import polars as pl

    lines = pl.concat(_coded_lines(tables, common))
    if lines.is_empty():
        raise DataError(
            "transactions: every line of a catalogue product is anonymous; recommend needs lines "
            "with a customer: check the mapping of 'customer' in retailer.toml"
        )
    customers = lines["customer"].unique().cast(pl.String).sort()
    known = pl.DataFrame({"customer": customers.cast(lines["customer"].dtype)}).with_row_index("u")
    lines = lines.join(known, on="customer", maintain_order="left")
    return lines.select("u", "i", "quantity", "day"), customers


def _coded_lines(tables: Tables, common: Common) -> Iterator[pl.DataFrame]:
    """Yields customer, i, quantity, day of known customers, a customer as a number of 4 bytes."""
    import polars as pl

    code = pl.Categorical(pl.Categories.random())
    for lines in catalogue_lines(tables, common, ("customer", "time", "quantity")):
        if "customer" not in lines.columns:
            raise DataError(
                "transactions: recommend needs the column 'customer'; map it in retailer.toml: "
                'columns = { customer = "..." }'
            )
        known = lines.filter(pl.col("customer").is_not_null())
        yield known.select(
            pl.col("customer").cast(code), "i", "quantity", day=pl.col("time").dt.date()
        )


def purchases_at(
    lines: pl.DataFrame, cut: date, until: date, customers: int, products: int
) -> Purchases:
    """Returns what each customer bought before the cut, and what was new from it until the end."""
    import polars as pl

    blocks = []
    for first in range(0, customers, _GROUPED):
        rows = min(_GROUPED, customers - first)
        here = lines.filter((pl.col("u") >= first) & (pl.col("u") < first + rows))
        here = here.with_columns(pl.col("u") - first)
        blocks.append(_purchases_of(here, cut, until, (rows, products)))
    return Purchases.pooled(blocks)


def _purchases_of(lines: pl.DataFrame, cut: date, until: date, shape: tuple[int, int]) -> Purchases:
    import polars as pl

    # A product that was sent back altogether was not bought.
    kept = pl.col("quantity").sum() > 0
    before = lines.filter(pl.col("day") < cut).group_by("u", "i")
    after = lines.filter((pl.col("day") >= cut) & (pl.col("day") < until)).group_by("u", "i")
    bought = before.agg(kept=kept, age=(pl.lit(cut) - pl.col("day").max()).dt.total_days())
    bought = bought.filter("kept")
    new = after.agg(kept=kept).filter("kept").join(bought, on=["u", "i"], how="anti")
    return Purchases(
        _matrix(bought, bought["age"].to_numpy(), shape), _matrix(new, np.ones(len(new)), shape)
    )


def with_baskets(purchases: Purchases, lines: pl.DataFrame, cut: date, until: date) -> Purchases:
    """Returns the purchases with each customer's baskets, and all that was bought after the cut.

    A basket is what a customer bought on one day and did not send back altogether.
    """
    import polars as pl

    bought = lines.filter(pl.col("day") < cut, pl.col("quantity") > 0)
    bought = bought.join(_pairs(purchases.history), on=["u", "i"], how="semi")
    ago = pl.col("day").rank("dense", descending=True).over("u").cast(pl.Int32)
    occasions = bought.select("u", "i", "day").unique().with_columns(ago=ago)
    after = lines.filter(pl.col("day") >= cut, pl.col("day") < until).group_by("u", "i")
    wanted = after.agg(kept=pl.col("quantity").sum() > 0).filter("kept")
    return replace(
        purchases,
        future=_matrix(wanted, np.ones(len(wanted)), purchases.history.shape),
        baskets=_occasions(occasions.sort("u", "i", "ago"), purchases.history.shape),
    )


def _pairs(matrix: csr_array) -> pl.DataFrame:
    import polars as pl

    customers = np.repeat(np.arange(matrix.shape[0], dtype=np.uint32), np.diff(matrix.indptr))
    return pl.DataFrame({"u": customers, "i": matrix.indices.astype(np.uint32)})


def _occasions(sorted_: pl.DataFrame, shape: tuple[int, int]) -> csr_array:
    """Returns one entry for each row: a matrix built from pairs would add those of one product."""
    counts = np.bincount(sorted_["u"].to_numpy(), minlength=shape[0])
    starts = np.concatenate([[0], np.cumsum(counts)])
    return csr_array(
        (sorted_["ago"].to_numpy(), sorted_["i"].to_numpy().astype(np.int32), starts), shape=shape
    )


def _matrix(pairs: pl.DataFrame, values: NDArray[Any], shape: tuple[int, int]) -> csr_array:
    matrix = csr_array(
        (values.astype(np.int32), (pairs["u"].to_numpy(), pairs["i"].to_numpy())), shape=shape
    )
    matrix.sort_indices()
    return matrix
