import gzip
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandtotal.errors import DataError, PlanError
from grandtotal.tables import REGISTRY, Tables


def test_every_declared_table_reads_with_its_declared_types(shop):
    texts = {"currency": "GBP", "gtin": "96385074", "type": "view"}
    for table in REGISTRY.values():
        cells = {"number": "1", "money": "1", "integer": "1", "flag": "1"}
        cells |= {"time": "2024-01-01 10:00", "date": "2024-01-01"}
        values = [cells.get(c.kind, texts.get(c.name, "x")) for c in table.columns]
        shop.write(f"{table.name}.csv", ",".join(table.names) + "\n" + ",".join(values) + "\n")
        shop.declare(table.name, f"{table.name}.csv")
    tables = shop.tables()
    for table in REGISTRY.values():
        assert tables[table.name].schema == {c.name: c.dtype for c in table.columns}
        assert tables[table.name].null_count().sum_horizontal().item() == 0
        assert tables.accounts[table.name].warnings == ()


def test_columns_come_in_our_names_and_types(shop, good):
    frame = shop.lines(good)
    assert frame.columns == ["product", "time", "quantity", "price", "customer"]
    assert frame["time"].dtype == pl.Datetime("us")
    assert frame["quantity"].to_list() == [2.0, 1.0, -1.0, 4.0, 3.0]
    assert frame["customer"].to_list() == ["c1", "c2", "c1", None, "c3"]


def test_a_mapped_file_reads_as_one_in_our_names(shop, good):
    head, rest = good.split("\n", 1)
    other = "StockCode,InvoiceDate,Quantity,Price,Customer ID\n" + rest
    mapping = (
        'columns = { product = "StockCode", time = "InvoiceDate", quantity = "Quantity", '
        'price = "Price", customer = "Customer ID" }'
    )
    assert shop.lines(other, mapping).equals(shop.lines(good))
    assert head.startswith("product")


def test_csv_and_parquet_of_the_same_rows_are_equal(shop, good):
    typed = pl.read_csv(good.encode(), try_parse_dates=True).with_columns(
        customer=pl.Series([13085.0, 2.0, 13085.0, None, 7.0]),
        promotion=pl.Series([True, False, None, False, True]),
        discount=pl.Series([0.5, float("nan"), None, 0.0, 1e-3]),
    )
    typed.write_parquet(shop.folder / "a.parquet")
    text = typed.write_csv(datetime_format="%Y-%m-%d %H:%M:%S")
    parquet = shop.lines((shop.folder / "a.parquet").read_bytes(), name="b.parquet")
    assert "13085.0" in text
    assert parquet.equals(shop.lines(text))
    assert parquet.equals(shop.lines(gzip.compress(text.encode()), name="b.csv.gz"))
    assert parquet["customer"].to_list() == ["13085", "2", "13085", None, "7"]


def test_times_with_a_zone_read_alike_from_csv_and_parquet(shop):
    times = [datetime(2024, 7, 1, 8, tzinfo=UTC), datetime(2024, 1, 1, 8, tzinfo=UTC)]
    frame = pl.DataFrame(
        {"product": ["a", "b"], "time": times, "quantity": [1, 1], "price": [1, 1]}
    )
    frame.write_parquet(shop.folder / "a.parquet")
    parquet = shop.lines((shop.folder / "a.parquet").read_bytes(), name="b.parquet")
    assert parquet["time"].to_list() == [datetime(2024, 7, 1, 9), datetime(2024, 1, 1, 8)]
    text = (
        "product,time,quantity,price\na,2024-07-01T08:00:00Z,1,1\nb,2024-01-01 09:00:00+01:00,1,1\n"
    )
    assert parquet.equals(shop.lines(text))


def test_a_table_is_read_once(shop, good):
    shop.write("lines.csv", good)
    tables = shop.declare("transactions", "lines.csv").tables()
    first = tables["transactions"]
    (shop.folder / "lines.csv").unlink()
    assert tables["transactions"] is first


def test_membership_is_what_the_file_declares(shop, good):
    shop.write("lines.csv", good)
    tables = shop.declare("transactions", "lines.csv").tables()
    assert "transactions" in tables
    assert "products" not in tables
    with pytest.raises(PlanError, match=r"no table 'products'; add \[tables\.products\]"):
        tables["products"]
    with pytest.raises(PlanError, match="did you mean 'transactions'"):
        tables["transaction"]


def test_without_a_folder_nothing_is_written(shop, good):
    shop.write("lines.csv", good.replace("3.25", "-3"))
    config = shop.declare("transactions", "lines.csv").config()
    before = sorted(shop.folder.iterdir())
    assert Tables(config)["transactions"].height == 4
    assert sorted(shop.folder.iterdir()) == before


CUSTOMERS = "customer,consent,mail\nc1,yes,1\nc2,no,1\nc4,yes,1\n"


def consenting(shop, good, customers: str, names: str = '["consent"]'):
    shop.write("lines.csv", good)
    shop.write("c.csv", customers)
    shop.declare("customers", "c.csv", f"consent = {names}")
    tables = shop.declare("transactions", "lines.csv").tables()
    return tables, tables["transactions"]


def test_lines_without_consent_are_dropped_and_counted(shop, good):
    tables, lines = consenting(shop, good, CUSTOMERS)
    assert lines["customer"].to_list() == ["c1", "c1", None]
    assert tables["customers"]["customer"].to_list() == ["c1", "c4"]
    assert tables.accounts["transactions"].no_consent == 2  # c2 said no, c3 is not known
    assert tables.accounts["customers"].no_consent == 1
    assert set(tables.accounts) == {"transactions", "customers"}


def test_rows_without_consent_are_written_nowhere(shop, good):
    consenting(shop, good, CUSTOMERS)
    assert not shop.set_aside.exists()


def test_all_consent_columns_must_be_true(shop, good):
    customers = "customer,consent,mail\nc1,yes,0\nc2,1,true\nc3,,1\n"
    _, lines = consenting(shop, good, customers, '["consent", "mail"]')
    assert lines["customer"].to_list() == ["c2", None]


def test_consent_that_cannot_be_read_is_none(shop, good):
    customers = "customer,consent\nc1,maybe\nc2,yes\nc3,yes\n"
    tables, lines = consenting(shop, good, customers)
    assert lines["customer"].to_list() == ["c2", None, "c3"]
    assert tables.accounts["customers"].set_aside == {"consent is not yes or no": 1}


def test_consent_withdrawn_in_a_second_row_counts(shop, good):
    customers = "customer,consent\nc1,yes\nc2,yes\nc3,yes\nc1,no\n"
    tables, lines = consenting(shop, good, customers)
    assert lines["customer"].to_list() == ["c2", None, "c3"]
    account = tables.accounts["customers"]
    assert (account.read, account.used, account.no_consent) == (4, 2, 1)


def test_without_consent_columns_all_customers_stay(shop, good):
    shop.write("lines.csv", good)
    shop.write("c.csv", CUSTOMERS)
    shop.declare("customers", "c.csv")
    tables = shop.declare("transactions", "lines.csv").tables()
    assert tables["transactions"].height == 5


def test_a_missing_consent_column_is_refused(shop, good):
    with pytest.raises(DataError) as refused:
        consenting(shop, good, CUSTOMERS, '["Consented"]')
    assert "c.csv: no consent column 'Consented'" in str(refused.value)
    assert 'consent = ["consent"]' in str(refused.value)


def test_a_retailer_without_any_consent_is_refused(shop, good):
    with pytest.raises(DataError, match=r"no row of 1 can be used \(1 rows: no consent\)"):
        consenting(shop, good, "customer,consent\nc1,no\n")


NASTY = [
    "",
    "x",
    "NaN",
    "inf",
    "-1",
    "0",
    "1e400",
    "2024-13-01",
    "NULL",
    "a,b",
    'q"q',
    "a\nb",
    "c2",
]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 19), st.integers(0, 4), st.sampled_from(NASTY) | st.text(max_size=5)
        ),
        max_size=12,
    ),
    kind=st.sampled_from(["csv", "csv.gz", "parquet"]),
)
def test_no_row_is_lost_unsaid_whatever_the_cells_hold(shop, changes, kind):
    rows = [[f"p{n}", f"2024-03-01 10:{n:02}:00", "1", "2.5", f"c{n % 4}"] for n in range(20)]
    for row, column, value in changes:
        rows[row][column] = value.encode("utf-8", "ignore").decode()
    names = ["product", "time", "quantity", "price", "customer"]
    frame = pl.DataFrame(rows, names, orient="row")
    path: Path = shop.folder / f"lines.{kind}"
    if kind == "parquet":
        frame.write_parquet(path)
    else:
        text = frame.write_csv(quote_style="always").encode()
        path.write_bytes(text if kind == "csv" else gzip.compress(text))
    shop.write("c.csv", "customer,consent\nc0,yes\nc1,no\nc2,yes\nc3,yes\n")
    shop.toml = ""
    shop.declare("customers", "c.csv", 'consent = ["consent"]')
    tables = shop.declare("transactions", path.name).tables()
    try:
        lines = tables["transactions"]
    except DataError:
        return
    account = tables.accounts["transactions"]
    set_aside = sum(account.set_aside.values())
    assert account.read == 20 == account.used + set_aside + account.no_consent
    assert account.used == lines.height
    assert lines["customer"].is_in(["c0", "c2", "c3"]).all()
    written = shop.set_aside / "transactions.csv"
    assert written.exists() == bool(set_aside)
    if set_aside:
        assert pl.read_csv(written, infer_schema=False).height == set_aside
