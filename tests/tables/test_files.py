"""A file that cannot be used at all is one clear message."""

import contextlib
import gzip
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from grandtotal.errors import DataError
from grandtotal.tables import Tables, load_config


def test_a_missing_file_is_refused_with_what_the_folder_holds(shop, good):
    shop.write("data/transactions.csv", good)
    shop.write("data/other.csv", "x")
    shop.declare("transactions", "data/transaction.csv")
    with pytest.raises(DataError) as refused:
        shop.tables()["transactions"]
    message = str(refused.value)
    assert "data/transaction.csv: no such file" in message
    assert "did you mean 'transactions.csv'?" in message
    assert "The folder holds: other.csv, transactions.csv" in message


def test_a_missing_folder_is_named(shop):
    shop.declare("transactions", "dta/lines.csv")
    with pytest.raises(DataError, match=r"no folder .*dta either; correct `path`"):
        shop.tables()["transactions"]


def test_an_empty_folder_and_an_empty_glob_are_refused(shop):
    (shop.folder / "data").mkdir()
    with pytest.raises(DataError, match="the folder is empty"):
        shop.declare("transactions", "data").tables()["transactions"]
    shop.toml = ""
    with pytest.raises(DataError, match="no such file"):
        shop.declare("transactions", "data/*.csv").tables()["transactions"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, so that only the file itself is closed."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def closed_file(open_folder, good) -> Path:
    (open_folder / "retailer.toml").write_text(
        'retailer = "n"\ncurrency = "GBP"\ntime_zone = "UTC"\n'
        '[tables.transactions]\npath = "lines.csv"\n'
    )
    path = open_folder / "lines.csv"
    path.write_text(good)
    path.chmod(0)
    return path


@pytest.fixture
def as_ordinary_user(closed_file) -> Iterator[Path]:
    """Runs the test as nobody if it is run by root, who can read every file."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    yield closed_file
    os.seteuid(was)


def test_a_file_without_read_permission_is_refused(as_ordinary_user):
    with pytest.raises(DataError) as refused:
        Tables(load_config(as_ordinary_user.parent))["transactions"]
    assert f"{as_ordinary_user}: no permission" in str(refused.value)
    assert "chmod" in str(refused.value)


@pytest.mark.parametrize("name", ["lines.csv", "lines.csv.gz", "lines.parquet"])
def test_an_empty_file_is_refused(shop, name):
    assert f"{name}: empty (0 bytes); export it again" in shop.refusal(b"", name=name)


@pytest.mark.parametrize(
    "content", ["product,time,quantity,price\n", "product,time,quantity,price"]
)
def test_a_header_without_rows_is_refused(shop, content):
    assert "lines.csv: a header and no rows" in shop.refusal(content)


def test_a_parquet_without_rows_is_refused(shop, good):
    path = shop.folder / "lines.parquet"
    pl.read_csv(good.encode()).clear().write_parquet(path)
    assert "lines.parquet: a header and no rows" in shop.refusal(path.read_bytes(), name=path.name)


def test_a_file_of_blank_lines_is_refused(shop):
    assert "lines.csv: cut off, damaged, or not what its name says" in shop.refusal("\n\n")


def test_every_prefix_of_a_parquet_is_refused(shop, good):
    path = shop.folder / "whole.parquet"
    # Without statistics there are fewer bytes to cut at, and nothing less to be damaged.
    pl.read_csv(good.encode()).write_parquet(path, statistics=False)
    whole = path.read_bytes()
    for length in range(len(whole)):
        message = shop.refusal(whole[:length], name="cut.parquet")
        assert "cut.parquet: " in message
        assert "export it again" in message
    assert shop.lines(whole, name="cut.parquet").height == 5


def test_every_prefix_of_a_csv_gz_is_refused(shop, good):
    whole = gzip.compress(good.encode(), mtime=0)
    for length in range(len(whole)):
        message = shop.refusal(whole[:length], name="cut.csv.gz")
        assert "cut.csv.gz: " in message
        assert "export it again" in message
    assert shop.lines(whole, name="cut.csv.gz").height == 5


def test_every_prefix_of_a_csv_reads_or_is_refused(shop, good):
    for length in range(len(good)):
        try:
            account = shop.account(good[:length])
        except DataError:
            continue
        assert account.read == account.used + sum(account.set_aside.values())


def test_every_damaged_byte_of_a_csv_gz_is_refused_or_harmless(shop, good):
    whole = gzip.compress(good.encode(), mtime=0)
    frame = shop.lines(whole, name="a.csv.gz")
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        with contextlib.suppress(DataError):
            assert shop.lines(damaged, name="a.csv.gz").equals(frame)


def test_a_damaged_parquet_is_refused_or_read(shop, good):
    path = shop.folder / "whole.parquet"
    pl.read_csv(good.encode()).write_parquet(path)
    whole, rng = path.read_bytes(), random.Random(1)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        with contextlib.suppress(DataError):
            shop.lines(bytes(damaged), name="a.parquet")


def test_a_missing_column_is_refused_with_the_line_to_write(shop, good):
    message = shop.refusal(
        good.replace("product", "StockCode"), 'columns = { customer = "customer" }'
    )
    assert "lines.csv: no column 'product' (what was sold)" in message
    assert "found 'StockCode', 'time', 'quantity', 'price', 'customer'" in message
    assert "write into [tables.transactions]: " in message
    assert 'columns = { product = "StockCode", customer = "customer" }' in message


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("time", "InvoiceDate"), ("quantity", "Qty"), ("price", "Unit Price"), ("price", "PRICE")],
)
def test_the_usual_other_names_are_suggested(shop, good, ours, theirs):
    message = shop.refusal(good.replace(ours, theirs, 1))
    assert f"no column '{ours}'" in message
    assert f'columns = {{ {ours} = "{theirs}" }}' in message


def test_a_mapped_column_must_be_there(shop, good):
    message = shop.refusal(good, 'columns = { customer = "Customer" }')
    assert "no column 'Customer' (who bought it" in message
    assert 'customer = "customer"' in message


def test_another_separator_is_suggested(shop, good):
    message = shop.refusal(good.replace(",", ";"))
    assert "no column 'product'" in message
    assert 'separator = ";"' in message
    assert shop.lines(good.replace(",", ";"), 'separator = ";"').height == 5
    assert 'separator = "\\t"' in shop.refusal(good.replace(",", "\t"))
    assert shop.lines(good.replace(",", "\t"), 'separator = "\\t"').height == 5


def test_a_column_that_occurs_twice_is_refused(shop, good):
    message = shop.refusal(good.replace("customer", "price", 1))
    assert "lines.csv: column 'price' occurs twice in the header; rename or remove" in message


def test_a_file_that_is_not_utf8_is_refused_with_its_line(shop, good):
    message = shop.refusal(good.encode().replace(b"rye", b"r\xfce"))
    assert "lines.csv: not UTF-8 at line 5; it is probably cp1252 (Windows" in message
    many = good.encode() + b"tea,2024-03-01,2,1.50,c1\n" * 100_000 + b"\xff\n"
    assert "not UTF-8 at line 100007" in shop.refusal(many)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (
            gzip.compress(b"product,time\n" * 99, mtime=0),
            "it is compressed with gzip; name it .csv.gz",
        ),
        (
            "product,time\n".encode("utf-16"),
            "it is probably utf-16 (as Excel writes Unicode text): write into [tables.",
        ),
        (b"PK\x03\x04\xff\xfe", "it is a spreadsheet or a zip file; export it as .csv"),
    ],
)
def test_another_kind_of_file_is_named(shop, content, remedy):
    assert remedy in shop.refusal(content)


def test_a_text_named_parquet_is_refused(shop, good):
    assert "a.parquet: cut off, damaged, or not what" in shop.refusal(good, name="a.parquet")


@pytest.mark.parametrize("name", ["notes.txt", "lines.xlsx"])
def test_another_type_of_file_is_refused(shop, good, name):
    assert f"{name}: neither .csv, .csv.gz nor .parquet" in shop.refusal(good, name=name)


def test_a_line_with_too_many_cells_is_refused_with_its_line(shop, good):
    message = shop.refusal(good.replace("jam,", '"jam, ""red""",', 1).replace("rye", "rye,bread"))
    assert "lines.csv: line 5: 6 cells where the header has 5" in message
    assert "double quotes" in message


@pytest.mark.parametrize("cell", ['5" jar', '"jar', '"jar"s'])
def test_a_stray_quote_is_refused_with_its_line(shop, good, cell):
    message = shop.refusal(good.replace("jam", cell))
    assert "lines.csv: line 3: " in message
    assert "quote" in message


def test_a_byte_order_mark_is_passed_over(shop, good):
    assert shop.lines(b"\xef\xbb\xbf" + good.encode()).equals(shop.lines(good))


def test_line_ends_of_windows_are_read(shop, good):
    assert shop.lines(good.replace("\n", "\r\n")).equals(shop.lines(good))


def test_a_folder_is_all_its_files_sorted_by_name(shop, good):
    head, *lines = good.splitlines(keepends=True)
    shop.write("data/b.csv", head + "".join(lines[2:]))
    shop.write("data/a.csv.gz", gzip.compress((head + "".join(lines[:2])).encode()))
    shop.write("data/_SUCCESS", "")
    shop.write("data/.hidden", "")
    shop.declare("transactions", "data")
    assert shop.tables()["transactions"].equals(shop.lines(good))


def test_a_glob_reads_what_it_matches(shop, good):
    shop.write("data/2023/a.csv", good)
    shop.write("data/2024/a.csv", good.replace("tea", "ale"))
    shop.write("data/2024/a.txt", "notes")
    shop.declare("transactions", "data/**/*.csv")
    assert shop.tables()["transactions"]["product"].to_list()[::5] == ["tea", "ale"]


def test_a_folder_is_all_the_files_below_it(shop, good):
    shop.write("data/2023/01/a.csv", good)
    shop.write("data/2023/02/a.csv.gz", gzip.compress(good.replace("tea", "ale").encode()))
    shop.write("data/2024.csv", good.replace("tea", "gin"))
    shop.write("data/_temporary/0/a.csv", "half written")
    shop.write("data/.trash/a.csv", "gone")
    shop.declare("transactions", "data")
    assert shop.tables()["transactions"]["product"].to_list()[::5] == ["tea", "ale", "gin"]


def test_a_glob_that_matches_a_folder_and_its_files_reads_each_once(shop, good):
    shop.write("data/2024/a.csv", good)
    shop.declare("transactions", "data/**")
    assert shop.tables()["transactions"].height == 5


MONTHS = [("2023", "12", "tea"), ("2024", "03", "jam")]


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz"])
def test_the_names_of_folders_are_columns(shop, good, kind):
    for year, store, product in MONTHS:
        path = shop.write(f"data/year={year}/shop=S%20{store}/part.{kind}", "")
        frame = pl.read_csv(good.replace("tea", product).encode()).drop("customer")
        if kind == "parquet":
            frame.write_parquet(path)
        else:
            text = frame.write_csv().encode()
            path.write_bytes(text if kind == "csv" else gzip.compress(text))
    shop.declare("transactions", "data", 'columns = { store = "shop" }')
    tables = shop.tables()
    frame = tables["transactions"]
    assert frame["store"].to_list() == ["S 12"] * 5 + ["S 03"] * 5
    assert frame["product"].to_list()[::5] == ["tea", "jam"]
    assert tables.accounts["transactions"].unused_columns == ("year",)


def test_the_day_of_a_sale_may_be_the_name_of_its_folder(shop):
    lines = "product,quantity,price\ntea,1,1\n"
    shop.write("data/day=2024-03-01/a.csv", lines)
    shop.write("data/day=2024-03-02/a.csv", lines)
    shop.declare("transactions", "data", 'columns = { time = "day" }')
    assert shop.tables()["transactions"]["time"].dt.day().to_list() == [1, 2]


def test_a_folder_for_no_value_is_an_empty_cell(shop, good):
    shop.write("data/store=__HIVE_DEFAULT_PARTITION__/a.csv", good)
    assert shop.declare("transactions", "data").tables()["transactions"]["store"].null_count() == 5


def test_a_column_in_the_file_goes_before_the_name_of_its_folder(shop, good):
    shop.write("data/customer=C9/a.csv", good)
    assert shop.declare("transactions", "data").tables()["transactions"]["customer"][0] == "c1"


def test_rows_set_aside_are_found_in_files_of_the_same_name(shop, good):
    for year in ("2023", "2024"):
        shop.write(f"data/year={year}/part.csv", good.replace("3.25", "-1"))
    tables = shop.declare("transactions", "data").tables()
    tables["transactions"]
    (cause,) = tables.accounts["transactions"].causes
    assert cause.examples == (
        "year=2023/part.csv line 3: '-1'",
        "year=2024/part.csv line 3: '-1'",
    )


def typed_files(shop, good, **second) -> None:
    """Writes two parquet files; in the second, columns are as given."""
    first = pl.read_csv(good.encode(), try_parse_dates=True)
    for name, frame in (("a", first), ("b", first.with_columns(**second))):
        frame.write_parquet(shop.write(f"data/{name}.parquet", ""))
    shop.declare("transactions", "data")


@pytest.mark.parametrize(
    "second",
    [
        {"quantity": pl.col("quantity").cast(pl.Float32)},
        {"quantity": pl.col("quantity").cast(pl.String)},
        {"time": pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S")},
        {"price": pl.col("price").cast(pl.Decimal(9, 2))},
    ],
)
def test_a_type_that_changes_is_read_where_both_can_be(shop, good, second):
    typed_files(shop, good, **second)
    frame = shop.tables()["transactions"]
    assert frame.head(5).equals(frame.tail(5))


@pytest.mark.parametrize(
    ("name", "second", "found"),
    [
        ("quantity", pl.col("time").dt.date(), "is Date in b.parquet and Int64 in a.parquet"),
        ("time", pl.col("price"), "is Float64 in b.parquet and Datetime"),
        ("product", pl.concat_list("product"), "is List(String) in b.parquet and String in"),
    ],
)
def test_a_type_that_changes_to_one_that_cannot_be_is_refused(shop, good, name, second, found):
    typed_files(shop, good, **{name: second})
    with pytest.raises(DataError) as refused:
        shop.tables()["transactions"]
    assert f"transactions: column '{name}' {found}" in str(refused.value)
    assert "export b.parquet again, or take it out" in str(refused.value)


def test_all_files_of_a_folder_must_have_the_same_columns(shop, good):
    shop.write("data/a.csv", good)
    shop.write("data/b.csv", "product,time,quantity,price\ntea,2024-01-01,1,1\n")
    shop.declare("transactions", "data")
    with pytest.raises(DataError, match=r"b\.csv: no column 'customer', which a\.csv has; add it"):
        shop.tables()["transactions"]


def test_a_file_of_a_folder_that_lacks_a_needed_column_is_named(shop, good):
    shop.write("data/a.csv", good)
    shop.write("data/b.csv", good.replace("price", "cost", 1))
    shop.declare("transactions", "data")
    with pytest.raises(DataError, match=r"b\.csv: no column 'price'"):
        shop.tables()["transactions"]


def test_all_columns_that_are_called_otherwise_are_guessed_at_once(shop, good):
    head = "stock_code,invoice_date,quantity,unit_price,customer_id"
    text = good.replace("product,time,quantity,price,customer", head)
    wrong = 'columns = { product = "article", price = "cost", store = "branch", customer = "card" }'
    message = shop.refusal(text, wrong)
    line = message[message.index("columns = {") :]
    assert shop.lines(text, line).equals(shop.lines(good))
    assert "store" not in line
