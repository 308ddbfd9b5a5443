"""What a column and a table are; `schema` holds those that there are.

A column that is not required may be absent from the file, and is then absent from the frame.
Ids are texts: stripped, and 13085.0, as a spreadsheet writes a number, is "13085". An empty cell,
`NULL`, `null`, `\\N`, `None`, `NaN`, `nan` and `NaT` are missing values, except that NaN in a
required number is named as what it is: not finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["id", "text", "integer", "number", "money", "time", "date", "flag"]


@cache
def dtypes() -> dict[Kind, pl.DataType]:
    """Returns the type that a column of each kind has in a frame."""
    import polars as pl  # who reads a retailer.toml alone needs no frames

    return {
        "id": pl.String(),
        "text": pl.String(),
        "integer": pl.Int64(),
        "number": pl.Float64(),
        "money": pl.Float64(),
        "time": pl.Datetime("us"),
        "date": pl.Date(),
        "flag": pl.Boolean(),
    }


# A table often holds a promotion or a holiday as 0 and 1; these words mean "none" there.
NONE_WORDS = ("0", "false", "f", "no", "n", "none")


@dataclass(frozen=True)
class Column:
    """One column of a table, with the unit of its values where it has one.

    `none_words` are texts, in lower case, that mean that the cell is empty; `often` are other
    names that the column goes by, for a message that suggests one. `enables` says what a retailer
    gains by having the column. A value below `least` or above `most`, in the unit of the column,
    is set aside; None is no bound.
    """

    name: str
    kind: Kind
    required: bool
    doc: str
    unit: str = ""
    none_words: tuple[str, ...] = ()
    often: tuple[str, ...] = ()
    enables: str = ""
    least: float | date | None = None
    most: float | date | None = None

    @property
    def dtype(self) -> pl.DataType:
        """The type that the column has in a frame."""
        return dtypes()[self.kind]


@dataclass(frozen=True)
class Table:
    """One table. `key` names the columns that together must not repeat; () where any row may.

    Of a key, columns that are not required may be absent or empty: "everywhere" is a value too.
    """

    name: str
    columns: tuple[Column, ...]
    doc: str
    key: tuple[str, ...] = ()
    enables: str = ""

    def __getitem__(self, name: str) -> Column:
        """Returns the column of this name; KeyError if the table has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> list[str]:
        """All column names, in the order of the declaration."""
        return [column.name for column in self.columns]

    @property
    def required(self) -> list[str]:
        """The names of the columns without which the table cannot be read."""
        return [column.name for column in self.columns if column.required]


_OFTEN = {
    "product": ("stock code", "sku", "item", "article", "product id", "item id", "material"),
    "time": ("invoice date", "date", "datetime", "timestamp", "order date", "sold at", "day"),
    "quantity": ("qty", "units", "sales", "pieces", "count"),
    "price": ("unit price", "sell price", "sales price", "price per unit"),
    "customer": ("customer id", "user id", "member", "card", "household", "shopper"),
    "store": ("store id", "shop", "branch", "outlet", "site"),
    "basket": ("invoice", "receipt", "order", "order id", "basket id", "ticket"),
    "date": ("day", "datum", "calendar date"),
    "session": ("session id", "visit id", "visitor"),
    "type": ("event", "event type", "event name", "action"),
    "query": ("search term", "search", "keyword"),
    "start": ("from", "valid from", "date from", "start date"),
    "end": ("to", "until", "valid to", "date to", "end date"),
    "depth": ("reduction", "discount", "percent off"),
    "rating": ("stars", "score", "review score"),
    "on_hand": ("stock", "inventory", "quantity", "stock level"),
    "lead_time": ("delivery time", "lead time days"),
    "visits": ("count", "visitors", "footfall", "traffic"),
}

# What a till or a shop recorded lies between these days. A missing date often becomes 1900-01-01 or
# 1970-01-01, and a typing error 2099.
FIRST_DAY, LAST_DAY = date(1980, 1, 1), date(2049, 12, 31)


def must(name: str, kind: Kind, doc: str, unit: str = "", **more: Any) -> Column:
    """Returns a required column; `more` are fields of Column."""
    return Column(name, kind, True, doc, unit, often=_OFTEN.get(name, ()), **more)


def may(name: str, kind: Kind, doc: str, unit: str = "", **more: Any) -> Column:
    """Returns a column that a file may lack; `more` are fields of Column."""
    return Column(name, kind, False, doc, unit, often=_OFTEN.get(name, ()), **more)


def recorded(name: str, kind: Kind, doc: str, unit: str = "") -> Column:
    """Returns a required time or day at which something was recorded, between the two bounds."""
    return must(name, kind, doc, unit, least=FIRST_DAY, most=LAST_DAY)
