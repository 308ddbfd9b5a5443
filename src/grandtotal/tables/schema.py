"""The registry: one declaration for every table that a retailer may have.

A column that is not required may be absent from the file, and is then absent from the frame.
Ids are texts: stripped, and 13085.0, as a spreadsheet writes a number, is "13085". An empty cell,
`NULL`, `null`, `\\N`, `None`, `NaN`, `nan` and `NaT` are missing values, except that NaN in a
required number is named as what it is: not finite.
"""

from dataclasses import dataclass
from typing import Literal

import polars as pl

Kind = Literal["id", "text", "integer", "number", "money", "time", "date", "flag"]

DTYPES: dict[Kind, pl.DataType] = {
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
    gains by having the column.
    """

    name: str
    kind: Kind
    required: bool
    doc: str
    unit: str = ""
    none_words: tuple[str, ...] = ()
    often: tuple[str, ...] = ()
    enables: str = ""

    @property
    def dtype(self) -> pl.DataType:
        """The type that the column has in a frame."""
        return DTYPES[self.kind]


@dataclass(frozen=True)
class Table:
    """One table. `key` names the column that must not repeat; "" where any row may."""

    name: str
    columns: tuple[Column, ...]
    doc: str
    key: str = ""
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


def _must(name: str, kind: Kind, doc: str, unit: str = "") -> Column:
    return Column(name, kind, required=True, doc=doc, unit=unit, often=_OFTEN.get(name, ()))


def _may(
    name: str, kind: Kind, doc: str, unit: str = "", none: tuple[str, ...] = (), enables: str = ""
) -> Column:
    return Column(name, kind, False, doc, unit, none, _OFTEN.get(name, ()), enables)


_OFTEN = {
    "product": ("stock code", "sku", "item", "article", "product id", "item id", "material"),
    "time": ("invoice date", "date", "datetime", "timestamp", "order date", "sold at", "day"),
    "quantity": ("qty", "units", "sales", "pieces", "count"),
    "price": ("unit price", "sell price", "sales price", "price per unit"),
    "customer": ("customer id", "user id", "member", "card", "household", "shopper"),
    "store": ("store id", "shop", "branch", "outlet", "site"),
    "basket": ("invoice", "receipt", "order", "order id", "basket id", "ticket"),
    "date": ("day", "datum", "calendar date"),
}

TRANSACTIONS = Table(
    "transactions",
    (
        _must("product", "id", "what was sold"),
        _must("time", "time", "when it was sold", "the retailer's local time"),
        _must("quantity", "number", "how many were sold; negative for a return", "units"),
        _must(
            "price",
            "money",
            "what one unit was sold for, reductions taken off",
            "the retailer's currency",
        ),
        _may(
            "customer",
            "id",
            "who bought it; empty for an anonymous line",
            enables="recommendations, churn and customer value",
        ),
        _may("store", "id", "where it was sold", enables="forecasts and orders by store"),
        _may(
            "basket",
            "id",
            "the invoice or receipt that the line stands on",
            enables="what is bought together, and what next",
        ),
        _may(
            "discount",
            "money",
            "what was taken off to come to that price",
            "the retailer's currency",
            enables="prices apart from reductions",
        ),
        _may(
            "promotion",
            "text",
            "the promotion's name, or 1; empty for none",
            none=NONE_WORDS,
            enables="the effect of promotions, and demand without it",
        ),
        _may(
            "currency",
            "text",
            "of the price; empty for the retailer's own",
            "ISO 4217",
            enables="lines in other currencies are found",
        ),
    ),
    "one line of a receipt, an invoice or an order",
)

PRODUCTS = Table(
    "products",
    (
        _must("product", "id", "as in transactions"),
        _may(
            "gtin",
            "id",
            "the bar code: EAN or UPC",
            enables="one catalogue over retailers, by bar code",
        ),
        _may(
            "title",
            "text",
            "what the customer reads on the shelf",
            enables="readable reports, and products known by their text",
        ),
        _may("description", "text", "the longer text", enables="products known by their text"),
        _may(
            "category",
            "text",
            'a path, widest first: "food > dairy > cheese"',
            enables="new products, forecast like their category",
        ),
        _may("brand", "text", "the brand", enables="new products, recommended like their brand"),
        _may(
            "list_price",
            "money",
            "the price before any reduction",
            "the retailer's currency",
            enables="how deep a reduction is",
        ),
        _may(
            "cost",
            "money",
            "what one unit costs the retailer",
            "the retailer's currency",
            enables="prices and orders by margin",
        ),
        _may(
            "pack",
            "number",
            "how many are ordered at once from the supplier",
            "units",
            enables="orders in whole packs",
        ),
    ),
    "one product that the retailer sells",
    key="product",
    enables="titles in reports, categories, margins, bar codes",
)

CUSTOMERS = Table(
    "customers",
    (
        _must("customer", "id", "as in transactions"),
        _may(
            "age_band", "text", 'such as "25-34"', enables="segments, and offers to new customers"
        ),
        _may("region", "text", "where the customer lives, coarsely", enables="segments by region"),
        _may("tier", "text", "of the loyalty programme", enables="segments and churn by tier"),
        _may(
            "joined",
            "date",
            "when the customer became one",
            enables="churn and customer value from the first day",
        ),
    ),
    "one customer; consent columns are named in retailer.toml",
    key="customer",
    enables="segments, and consent",
)

STORES = Table(
    "stores",
    (
        _must("store", "id", "as in transactions"),
        _may("region", "text", "where the store is", enables="forecasts by region"),
        _may("opened", "date", "its first day", enables="new stores told from slow ones"),
        _may(
            "format",
            "text",
            'such as "city" or "outlet"',
            enables="stores compared with their like",
        ),
    ),
    "one store or web shop",
    key="store",
    enables="stores compared with their like",
)

CALENDAR = Table(
    "calendar",
    (
        _must("date", "date", "the day"),
        _may(
            "region",
            "text",
            "where the row holds; empty for everywhere",
            enables="holidays that are not everywhere",
        ),
        _may(
            "holiday",
            "text",
            "its name, or 1; empty for none",
            none=NONE_WORDS,
            enables="demand on and around holidays",
        ),
        _may(
            "weather",
            "number",
            "one number a day, such as the mean temperature",
            enables="demand by the weather",
        ),
        _may(
            "trend",
            "number",
            "one number a day, such as interest in a search term",
            enables="demand by what people search for",
        ),
        _may(
            "known_at",
            "time",
            "when the fact was known; empty for always",
            enables="forecasts that use only what was known",
        ),
    ),
    "one fact about a day; a forecast that was revised has a row for every known_at",
    enables="holidays and weather in forecasts",
)

REGISTRY: dict[str, Table] = {
    table.name: table for table in (TRANSACTIONS, PRODUCTS, CUSTOMERS, STORES, CALENDAR)
}
