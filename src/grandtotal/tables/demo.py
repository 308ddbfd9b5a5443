"""Five retailers made from one real one, each with a retailer.toml, so that reading them is normal.

The lines are those of Online Retail II (data/ATTRIBUTION.md). Its UK customers are split by a hash
of their number into north (50 %), south (25 %), west (17 %) and east (8 %); all customers of other
countries are `abroad`. A customer with lines in several countries belongs to that of the first.
UK lines without a customer are split by the same hash of the invoice, its leading C taken off.

The source holds no stock, no supply and no cost. They are made up, so that orders and prices can be
shown: on the last evening there is what sold in a week or two, by the product's place in the list,
and a unit costs 3/5 of its usual price.

Left out: stock codes that do not begin with five digits (POST, M, BANK CHARGES ... are no
products), and lines with a price of 0, which are movements of stock and not sales.
"""

import hashlib
from datetime import date, timedelta
from pathlib import Path

import polars as pl

SHARES = {"north": 0.50, "south": 0.25, "west": 0.17, "east": 0.08}  # of the UK
RETAILERS = (*SHARES, "abroad")

_SOURCE = Path(__file__).parent / "data" / "online_retail_ii.parquet"
_KEY = b"grandtotal demo"  # public: the split is to be the same for everyone
_HOME = "United Kingdom"
_MIN_CUSTOMERS = 20
_TEST_WEEKS = 26
_STOCK_WEEKS = 8

_TRANSACTIONS = {
    "invoice": "Invoice",
    "stock_code": "StockCode",
    "quantity": "Quantity",
    "invoice_date": "InvoiceDate",
    "unit_price": "Price",
    "customer_id": "Customer ID",
}

_HOLIDAYS = {
    "New Year's Day": ("2010-01-01", "2011-01-01", "2012-01-01"),
    "New Year's Day (observed)": ("2011-01-03", "2012-01-02"),
    "Good Friday": ("2010-04-02", "2011-04-22"),
    "Easter Monday": ("2010-04-05", "2011-04-25"),
    "Wedding of William and Catherine": ("2011-04-29",),
    "May Day": ("2010-05-03", "2011-05-02"),
    "Spring Bank Holiday": ("2010-05-31", "2011-05-30"),
    "Late Summer Bank Holiday": ("2010-08-30", "2011-08-29"),
    "Christmas Day": ("2009-12-25", "2010-12-25", "2011-12-25"),
    "Christmas Day (observed)": ("2010-12-27", "2011-12-27"),
    "Boxing Day": ("2009-12-26", "2010-12-26", "2011-12-26"),
    "Boxing Day (observed)": ("2009-12-28", "2010-12-28"),
}

_CONFIG = """\
# The retailer "{name}" of the demo: {what}.
# From Online Retail II, D. Chen, UCI, CC BY 4.0, https://doi.org/10.24432/C5CG6D
retailer = "{name}"
currency = "GBP"
time_zone = "Europe/London"

[tables.transactions]
path = "transactions.parquet"
# Our name on the left, the name in the file on the right.
columns = {{ product = "StockCode", time = "InvoiceDate", quantity = "Quantity", price = "Price", \
customer = "Customer ID", basket = "Invoice" }}
# The source holds no line number: the same article scanned twice is two equal lines, both real.
duplicates = "keep"

[tables.products]
path = "products.parquet" # the cost is made up: the source holds none

[tables.customers]
path = "customers.parquet"

[tables.calendar]
path = "calendar.csv"    # the holidays of England and Wales

[tables.stock]
path = "stock.parquet"   # made up: the source holds none

[tables.supply]
path = "supply.parquet"  # made up: the source holds none
"""


def make_demo(folder: Path) -> Path:
    """Writes <folder>/<retailer>/ for five retailers, and <folder>/catalogue.csv; returns folder.

    Files of the same names are replaced. No number is drawn: the result is always the same.
    """
    lines = _with_retailer(_sales(pl.read_parquet(_SOURCE)))
    for name in RETAILERS:
        _write_retailer(folder / name, name, lines.filter(pl.col("retailer") == name))
    catalogue(lines).write_csv(folder / "catalogue.csv")
    return folder


def _sales(lines: pl.DataFrame) -> pl.DataFrame:
    is_product = pl.col("stock_code").str.contains(r"^\d{5}")
    lines = lines.filter(is_product, pl.col("unit_price") != 0)
    return lines.with_columns(pl.col("stock_code").str.strip_chars())  # there is one "47503J "


def _with_retailer(lines: pl.DataFrame) -> pl.DataFrame:
    """Adds the columns `country_of_customer` and `retailer`."""
    home = (
        pl.when(pl.col("customer_id").is_null())
        .then("country")
        .otherwise(pl.col("country").first().over("customer_id"))
    )
    invoice = pl.col("invoice").str.strip_prefix("C")
    unit = pl.coalesce(pl.col("customer_id").cast(pl.String), invoice)
    lines = lines.with_columns(country_of_customer=home, unit=unit)
    units = lines.filter(pl.col("country_of_customer") == _HOME)["unit"].unique()
    owner = pl.DataFrame({"unit": units, "owner": [_owner(unit) for unit in units]})
    return lines.join(owner, on="unit", how="left", maintain_order="left").with_columns(
        retailer=pl.when(pl.col("country_of_customer") == _HOME)
        .then("owner")
        .otherwise(pl.lit("abroad"))
    )


def _owner(unit: str) -> str:
    """Returns the UK retailer of a customer or an invoice, by its keyed hash in [0, 1)."""
    digest = hashlib.blake2b(unit.encode(), digest_size=8, key=_KEY).digest()
    place = int.from_bytes(digest, "big") / 2**64
    for name, share in SHARES.items():
        if place < share:
            return name
        place -= share
    return name


def catalogue(lines: pl.DataFrame) -> pl.DataFrame:
    """Returns the products that enough customers bought before the weeks kept for tests.

    One column `product`, sorted: bought by at least 20 customers over all retailers before the
    last 26 weeks, which end with the day of the last line.
    """
    last = lines["invoice_date"].dt.date().max()
    assert isinstance(last, date)
    before = pl.col("invoice_date").dt.date() <= last - timedelta(weeks=_TEST_WEEKS)
    return (
        lines.filter(before, pl.col("quantity") > 0)
        .group_by(product="stock_code")
        .agg(pl.col("customer_id").drop_nulls().n_unique())
        .filter(pl.col("customer_id") >= _MIN_CUSTOMERS)
        .select("product")
        .sort("product")
    )


def _write_retailer(folder: Path, name: str, lines: pl.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    share = SHARES.get(name, 0.0)
    what = f"{share:.0%} of the UK customers" if share else "the customers of all other countries"
    config = _CONFIG.format(name=name, what=what)
    (folder / "retailer.toml").write_text(config, encoding="utf-8")
    lines.select(*_TRANSACTIONS).rename(_TRANSACTIONS).write_parquet(
        folder / "transactions.parquet"
    )
    _products(lines).write_parquet(folder / "products.parquet")
    _customers(lines).write_parquet(folder / "customers.parquet")
    _calendar().write_csv(folder / "calendar.csv")
    _stock(lines).write_parquet(folder / "stock.parquet")
    _supply(lines).write_parquet(folder / "supply.parquet")


def _products(lines: pl.DataFrame) -> pl.DataFrame:
    """Returns every product with the title that it has most often; ties by the alphabet."""
    titled = (
        lines.group_by(product="stock_code", title="description")
        .len()
        .sort("product", -pl.col("len").cast(pl.Int64), "title", nulls_last=True)
        .unique("product", keep="first", maintain_order=True)
        .select("product", "title")
    )
    return titled.join(_costs(lines), on="product", maintain_order="left")


def _costs(lines: pl.DataFrame) -> pl.DataFrame:
    """Returns the made-up cost of every product: 3/5 of its usual price."""
    usual = pl.col("unit_price").median()
    return lines.group_by(product="stock_code").agg(cost=(0.6 * usual).round(2)).sort("product")


def _stock(lines: pl.DataFrame) -> pl.DataFrame:
    """Returns the made-up stock of the last evening: up to two weeks of the last eight weeks."""
    last = lines["invoice_date"].dt.date().max()
    assert isinstance(last, date)
    recent = pl.col("invoice_date").dt.date() > last - timedelta(weeks=_STOCK_WEEKS)
    week = pl.col("quantity").filter(recent).sum().clip(0) / _STOCK_WEEKS
    share = pl.int_range(pl.len()) % 5 / 2
    return (
        lines.group_by(product="stock_code")
        .agg(week=week)
        .sort("product")
        .select("product", pl.lit(last).alias("date"), on_hand=(share * pl.col("week")).floor())
    )


def _supply(lines: pl.DataFrame) -> pl.DataFrame:
    """Returns the made-up supply: in one or two weeks, in packs of a usual line, for 3/5."""
    place = pl.int_range(pl.len())
    usual = pl.col("quantity").filter(pl.col("quantity") > 0).median().fill_null(1)
    return (
        lines.group_by(product="stock_code")
        .agg(usual=usual)
        .join(_costs(lines), on="product")
        .sort("product")
        .select(
            "product",
            lead_time=7 + 7 * (place % 2),
            pack=pl.col("usual").clip(1).floor(),
            unit_cost=pl.col("cost"),
        )
    )


def _customers(lines: pl.DataFrame) -> pl.DataFrame:
    return (
        lines.filter(pl.col("customer_id").is_not_null())
        .select(customer="customer_id", region="country_of_customer")
        .unique()
        .sort("customer")
    )


def _calendar() -> pl.DataFrame:
    days = [(day, name, None) for name, dates in _HOLIDAYS.items() for day in dates]
    schema = {"date": pl.String, "holiday": pl.String, "known_at": pl.String}
    return pl.DataFrame(days, schema, orient="row").sort("date", "holiday")
