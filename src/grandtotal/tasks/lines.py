"""A retailer's transaction lines on the shared catalogue. Only in a retailer's process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Readable, Tables
    from grandtotal.tasks.task import Common

_DRAW = 17  # seed of the hash by which a customer's products are drawn


def catalogue_lines(
    tables: Tables, common: Common, columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """Yields the transaction lines of catalogue products: these columns, and `i`, the position.

    In the order of the table, in pieces that fit into memory; the columns that the table lacks are
    left out. Lines of other products are left out: a shared model says nothing about them. Raises
    DataError at the end if there was no line.
    """
    from grandtotal.tables.read import pieces

    yield from on_catalogue(tables, common, pieces(tables, "transactions", ("product", *columns)))


def on_catalogue(
    tables: Readable, common: Common, parts: Iterable[pl.DataFrame], table: str = "transactions"
) -> Iterator[pl.DataFrame]:
    """Yields frames with the column `product` with `i` instead, without rows of other products.

    Raises DataError at the end if no row is left, in the name of the table that they are of.
    """
    places, empty = positions(tables, common), True
    for part in parts:
        lines = part.join(places, on="product", maintain_order="left").drop("product")
        empty = empty and lines.is_empty()
        yield lines
    if empty:
        raise DataError(
            f"{table}: none of its products is in the plan's catalogue of "
            f"{len(common.catalogue):,} keys (first: '{common.catalogue[0]}'); check the mapping "
            f"of 'product' in retailer.toml and the plan's 'key' (now '{common.key}')"
        )


def lines_of_few(
    tables: Tables,
    common: Common,
    columns: Sequence[str],
    per_customer: int,
    apart: Mapping[str, pl.Expr] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yields what `catalogue_lines` does, of at most `per_customer` products of each customer.

    Which of its products count is drawn by a hash of customer and product, so it depends on no
    other customer. A line without a customer is a customer of its own.

    apart: what else tells apart what is counted, by name, such as the week of the line: so many
        (product, week) of each customer then.
    """
    import polars as pl

    more = dict(apart or {})
    pair = ["customer", "i", *more]
    parts = _lines_with(tables, common, ("customer", *columns), more)
    kept = _drawn(parts, pair, per_customer).with_columns(counts=pl.lit(True))
    for lines in _lines_with(tables, common, ("customer", *columns), more):
        counted = lines.join(kept, on=pair, how="left", maintain_order="left", nulls_equal=True)
        yield counted.filter(pl.col("customer").is_null() | pl.col("counts")).drop(
            "customer", "counts", *more
        )


def _lines_with(
    tables: Tables, common: Common, columns: Sequence[str], more: Mapping[str, pl.Expr]
) -> Iterator[pl.DataFrame]:
    for lines in catalogue_lines(tables, common, columns):
        yield lines.with_columns(**more)


def _drawn(parts: Iterator[pl.DataFrame], pair: Sequence[str], per_customer: int) -> pl.DataFrame:
    """Returns customer, i and what else tells apart: what counts of each customer."""
    import polars as pl

    pairs = []
    for lines in parts:
        if "customer" not in lines.columns:
            raise DataError(
                "transactions: the plan hides each customer, and no column says whose a line is; "
                "map 'customer' in retailer.toml, or agree on products_per_customer = 0, which "
                "hides each product's sales instead"
            )
        pairs.append(lines.select(pair).drop_nulls("customer").unique())
    drawn = pl.concat(pairs).unique().with_columns(draw=pl.struct(pair).hash(_DRAW))
    drawn = drawn.sort("customer", "draw", *pair[1:])
    place = pl.int_range(pl.len()).over("customer")
    return drawn.filter(place < per_customer).select(pair)


def titles(tables: Tables, common: Common) -> NDArray[Any]:
    """Returns the title of each product of the catalogue, or its key where there is none."""
    named = np.array(common.catalogue, dtype=object)
    if "products" in tables and "title" in tables["products"].columns:
        known = tables["products"].join(positions(tables, common), on="product")
        known = known.filter(known["title"].is_not_null())
        named[known["i"].to_numpy()] = known["title"].to_numpy()
    return named


def positions(tables: Readable, common: Common) -> pl.DataFrame:
    """Returns product, i: where each of the retailer's product ids stands in the catalogue."""
    import polars as pl

    keys = pl.DataFrame({common.key: common.catalogue}, schema={common.key: pl.String})
    keys = keys.with_row_index("i")
    if common.key == "product":
        return keys
    if "products" not in tables or "gtin" not in tables["products"].columns:
        raise DataError(
            'the plan\'s catalogue holds GTINs (key = "gtin"), but this retailer has no products '
            "table with the column 'gtin'; add [tables.products] to retailer.toml"
        )
    return keys.join(tables["products"].select("product", "gtin"), on="gtin").select("product", "i")


def numbers(tables: Tables, common: Common, column: str) -> NDArray[np.int64] | None:
    """Returns (products,) a number for what a column of the products table says, -1 for nothing.

    Texts are numbered in their order, from 0, of the products in the catalogue. None where there
    is no such table or column.
    """
    import polars as pl

    if "products" not in tables or column not in tables["products"].columns:
        return None
    known = tables["products"].select("product", column).drop_nulls()
    known = known.join(positions(tables, common), on="product").unique("i", keep="first")
    found = np.full(len(common.catalogue), -1, np.int64)
    found[known["i"].to_numpy()] = known[column].rank("dense").cast(pl.Int64).to_numpy() - 1
    return found
