"""A retailer's transaction lines on the shared catalogue. Only in a retailer's process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Readable, Tables
    from grandtotal.tasks.task import Common


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
    tables: Readable, common: Common, parts: Iterable[pl.DataFrame]
) -> Iterator[pl.DataFrame]:
    """Yields frames with the column `product` with `i` instead, without rows of other products."""
    positions, empty = _positions(tables, common), True
    for part in parts:
        lines = part.join(positions, on="product", maintain_order="left").drop("product")
        empty = empty and lines.is_empty()
        yield lines
    if empty:
        raise DataError(
            f"transactions: none of its products is in the plan's catalogue of "
            f"{len(common.catalogue):,} keys (first: '{common.catalogue[0]}'); check the mapping "
            f"of 'product' in retailer.toml and the plan's 'key' (now '{common.key}')"
        )


def titles(tables: Tables, common: Common) -> NDArray[Any]:
    """Returns the title of each product of the catalogue, or its key where there is none."""
    named = np.array(common.catalogue, dtype=object)
    if "products" in tables and "title" in tables["products"].columns:
        known = tables["products"].join(_positions(tables, common), on="product")
        known = known.filter(known["title"].is_not_null())
        named[known["i"].to_numpy()] = known["title"].to_numpy()
    return named


def _positions(tables: Readable, common: Common) -> pl.DataFrame:
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
