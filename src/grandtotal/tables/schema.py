"""The registry: one declaration for every table that a retailer may have."""

from datetime import date

from grandtotal.tables.kinds import (
    LAST_DAY,
    NONE_WORDS,
    Column,
    Kind,
    Table,
    may,
    must,
    recorded,
)
from grandtotal.tables.schema_more import MORE

__all__ = ["REGISTRY", "Column", "Kind", "Table"]

TRANSACTIONS = Table(
    "transactions",
    (
        must("product", "id", "what was sold"),
        recorded("time", "time", "when it was sold", "the retailer's local time"),
        must("quantity", "number", "how many were sold; negative for a return", "units"),
        must(
            "price",
            "money",
            "what one unit was sold for, reductions taken off",
            "the retailer's currency",
        ),
        may(
            "customer",
            "id",
            "who bought it; empty for an anonymous line",
            enables="recommendations, churn and customer value",
        ),
        may("store", "id", "where it was sold", enables="forecasts and orders by store"),
        may(
            "basket",
            "id",
            "the invoice or receipt that the line stands on",
            enables="what is bought together, and what next",
        ),
        may(
            "discount",
            "money",
            "what was taken off to come to that price",
            "the retailer's currency",
            enables="prices apart from reductions",
        ),
        may(
            "promotion",
            "text",
            "the promotion's name, or 1; empty for none",
            none_words=NONE_WORDS,
            enables="the effect of promotions, and demand without it",
        ),
        may(
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
        must("product", "id", "as in transactions"),
        may(
            "gtin",
            "id",
            "the bar code: EAN or UPC",
            enables="one catalogue over retailers, by bar code",
        ),
        may(
            "title",
            "text",
            "what the customer reads on the shelf",
            enables="readable reports, and products known by their text",
        ),
        may("description", "text", "the longer text", enables="products known by their text"),
        may(
            "category",
            "text",
            'a path, widest first: "food > dairy > cheese"',
            enables="new products, forecast like their category",
        ),
        may("brand", "text", "the brand", enables="new products, recommended like their brand"),
        may(
            "list_price",
            "money",
            "the price before any reduction",
            "the retailer's currency",
            enables="how deep a reduction is",
        ),
        may(
            "cost",
            "money",
            "what one unit costs the retailer",
            "the retailer's currency",
            enables="prices and orders by margin",
        ),
        may(
            "pack",
            "number",
            "how many are ordered at once from the supplier",
            "units",
            enables="orders in whole packs",
        ),
    ),
    "one product that the retailer sells",
    key=("product",),
    enables="titles in reports, categories, margins, bar codes",
)

CUSTOMERS = Table(
    "customers",
    (
        must("customer", "id", "as in transactions"),
        may("age_band", "text", 'such as "25-34"', enables="segments, and offers to new customers"),
        may("region", "text", "where the customer lives, coarsely", enables="segments by region"),
        may("tier", "text", "of the loyalty programme", enables="segments and churn by tier"),
        may(
            "joined",
            "date",
            "when the customer became one",
            enables="churn and customer value from the first day",
            least=date(1930, 1, 1),
            most=LAST_DAY,
        ),
    ),
    "one customer; consent columns are named in retailer.toml",
    key=("customer",),
    enables="segments, and consent",
)

STORES = Table(
    "stores",
    (
        must("store", "id", "as in transactions"),
        may("region", "text", "where the store is", enables="forecasts by region"),
        may(
            "opened",
            "date",
            "its first day",
            enables="new stores told from slow ones",
            most=LAST_DAY,
        ),
        may(
            "format",
            "text",
            'such as "city" or "outlet"',
            enables="stores compared with their like",
        ),
        may(
            "assortment",
            "text",
            'what it sells, such as "basic" or "full"',
            enables="stores compared with their like",
        ),
        may(
            "competitor_km",
            "number",
            "how far it is to the nearest competitor",
            "km",
            enables="forecasts by store",
            least=0.0,
        ),
    ),
    "one store or web shop",
    key=("store",),
    enables="stores compared with their like",
)

CALENDAR = Table(
    "calendar",
    (
        recorded("date", "date", "the day"),
        may(
            "region",
            "text",
            "where the row holds; empty for everywhere",
            enables="holidays that are not everywhere",
        ),
        may(
            "holiday",
            "text",
            "its name, or 1; empty for none",
            none_words=NONE_WORDS,
            enables="demand on and around holidays",
        ),
        may(
            "weather",
            "number",
            "one number a day, such as the mean temperature",
            enables="demand by the weather",
        ),
        may(
            "trend",
            "number",
            "one number a day, such as interest in a search term",
            enables="demand by what people search for",
        ),
        may(
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
    table.name: table for table in (TRANSACTIONS, PRODUCTS, CUSTOMERS, STORES, CALENDAR, *MORE)
}
