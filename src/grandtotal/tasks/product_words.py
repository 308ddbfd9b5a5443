"""The words that a retailer's products table has for a product. Only in a retailer's process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from grandtotal.algorithms.content import Content
from grandtotal.tasks.lines import positions

if TYPE_CHECKING:
    from grandtotal.tables.read import Tables
    from grandtotal.tasks.task import Common

COLUMNS = ("title", "brand", "category", "list_price")
_WORD = re.compile(r"[^\W\d_]{2,}")


def content_of(tables: Tables, common: Common) -> Content:
    """Returns the listings of the products table that are in the catalogue; none without words."""
    if not has_words(tables):
        return Content.of([], [])
    listed = tables["products"].join(positions(tables, common), on="product")
    rows = list(listed.sort("i").iter_rows(named=True))
    return Content.of([list(words(row)) for row in rows], [row["i"] for row in rows])


def has_words(tables: Tables) -> bool:
    """Returns whether there is a products table with any of COLUMNS."""
    return "products" in tables and bool({*COLUMNS} & {*tables["products"].columns})


def words(row: dict[str, Any]) -> Iterator[str]:
    """Yields the words of one product: of its title, its brand, each level of its category, price.

    A price class holds prices up to twice as high.
    """
    yield from (f"title {word}" for word in _WORD.findall((row.get("title") or "").lower()))
    if row.get("brand"):
        yield f"brand {row['brand'].strip().lower()}"
    levels = [level.strip().lower() for level in (row.get("category") or "").split(">")]
    yield from (f"category {' > '.join(levels[: n + 1])}" for n in range(len(levels)) if levels[n])
    price = row.get("list_price")
    if price is not None and price > 0:
        yield f"price {int(np.frexp(price)[1])}"


def new_products(tables: Tables, common: Common) -> tuple[str, ...]:
    """Returns what the products table has beyond a catalogue that lists the retailers' own ids."""
    if common.key != "product" or common.own or not has_words(tables):
        return ()
    return tuple(sorted({*tables["products"]["product"]} - {*common.catalogue}))
