"""What does not change of a series: kind, region and surroundings of its store, its product's kind.

Trees see a text as the hash of it: a category is the same at every retailer that spells it the same
way, and one that few rows have counts as "other". Only in a retailer's process.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.privacy.fingerprint import fingerprints
from grandtotal.tasks.covariates import with_columns_of

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.task import Common

Floats = NDArray[np.float64]
# By what a reader calls them, the column of the table.
OF_STORES = {"format": "format", "assortment": "assortment", "region": "region"}
OF_PRODUCTS = {"category": "category", "brand": "brand"}


def text_names(by: str) -> tuple[str, ...]:
    """Returns the names of what is told in words, where a series is what `by` says."""
    of = {"product": OF_PRODUCTS, "store": OF_STORES}
    return tuple(of.get(by, {**OF_PRODUCTS, **OF_STORES}))


@dataclass(frozen=True, eq=False)
class Facts:
    """texts: by name, (series,) of words, "" where unknown. competitor: (series,) km to the nearest
    one, nan where unknown. opened: (series,) the day on which the store opened, as an ordinal."""

    texts: dict[str, tuple[str, ...]]
    competitor: Floats
    opened: Floats

    def hashed(self, name: str) -> NDArray[np.uint64]:
        """Returns a hash of a text of each series."""
        return fingerprints(bytes(32), name, self.texts[name])

    def open_for(self, day: date) -> Floats:
        """Returns for how many days the store of each series was open on a day; nan if not yet."""
        days = day.toordinal() - self.opened
        return np.where(days >= 0, days, np.nan)

    @staticmethod
    def unknown(series: int) -> Facts:
        """Returns facts of series of which nothing is known."""
        texts = dict.fromkeys((*OF_PRODUCTS, *OF_STORES), ("",) * series)
        return Facts(texts, np.full(series, np.nan), np.full(series, np.nan))


def read_facts(tables: Tables, common: Common, series: pl.DataFrame) -> Facts:
    """Returns what the tables of stores and products tell of each series.

    series: i, the place in the catalogue, null for all products; store, null for all.
    """
    import polars as pl

    from grandtotal.tasks.lines import positions

    stores = _known(tables, "stores", [*OF_STORES.values(), "competitor_km", "opened"])
    products = _known(tables, "products", list(OF_PRODUCTS.values()))
    products = products.join(positions(tables, common), on="product").drop("product")
    keys = series.select(pl.col("i").cast(pl.Int64), pl.col("store").cast(pl.String))
    products = products.with_columns(pl.col("i").cast(pl.Int64))
    rows = keys.join(stores.unique("store", keep="first"), on="store", how="left")
    rows = rows.join(products.unique("i", keep="first"), on="i", how="left")
    texts = {
        name: tuple(rows[column].cast(pl.String).fill_null("").to_list())
        for name, column in {**OF_PRODUCTS, **OF_STORES}.items()
    }
    opened = [day.toordinal() if day is not None else np.nan for day in rows["opened"]]
    return Facts(texts, _numbers(rows["competitor_km"]), np.array(opened, np.float64))


def _known(tables: Tables, name: str, columns: list[str]) -> pl.DataFrame:
    """Returns the key and these columns of a table, empty where it has none."""
    import polars as pl

    key = name.removesuffix("s")
    types: dict[str, Any] = {"opened": pl.Date, "competitor_km": pl.Float64}
    found = tables[name] if name in tables else pl.DataFrame(schema={key: pl.String})
    asked = {column: types.get(column, pl.String) for column in columns}
    return with_columns_of(found, asked).select(key, *columns)


def _numbers(column: pl.Series) -> Floats:
    """Returns a column as numbers, nan where empty."""
    import polars as pl

    found: Floats = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return found
