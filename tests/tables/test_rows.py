"""A row that cannot be used is set aside with its reason; a column of them refuses the file."""

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from grandtotal.tables import REGISTRY, Tables


def aside(shop) -> pl.DataFrame:
    return pl.read_csv(shop.set_aside / "transactions.csv", infer_schema=False)


@pytest.mark.parametrize(
    ("old", "new", "reason", "example"),
    [
        ("2024-03-03 11:00:00", "03.03.24", "time is not a time", "line 5: '03.03.24'"),
        (
            "rye,2024-03-03 11:00:00,4",
            "rye,2024-03-03 11:00:00,four",
            "quantity is not a number",
            "line 5: 'four'",
        ),
        (",4,2.00", ",4,2.00 GBP", "price is not a number", "line 5: '2.00 GBP'"),
        (",4,2.00", ",NaN,2.00", "quantity is not a finite number", "line 5: 'NaN'"),
        (",4,2.00", ",4,inf", "price is not a finite number", "line 5: 'inf'"),
        ("rye", "", "product is missing", "line 5: empty"),
        ("2024-03-03 11:00:00", "", "time is missing", "line 5: empty"),
        (",4,2.00", ",,2.00", "quantity is missing", "line 5: empty"),
        (",4,2.00", ",4,NULL", "price is missing", "line 5: 'NULL'"),
        (",4,2.00", ",4,-2.00", "price is negative", "line 5: '-2.00'"),
        (",4,2.00", ",0,2.00", "quantity is zero", "line 5: '0'"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_line(shop, good, old, new, reason, example):
    account = shop.account(good.replace(old, new))
    assert account.set_aside == {reason: 1}
    assert account.causes[0].examples == (example,)
    assert account.causes[0].remedy
    assert (account.read, account.used) == (5, 4)
    row = aside(shop).row(0, named=True)
    assert row["line"] == "5"
    assert row["reason"] == reason
    assert row["file"].endswith("lines.csv")
    assert row["customer"] is None


def test_rows_set_aside_keep_their_original_columns(shop, good):
    shop.account(good.replace("customer", "note", 1).replace("c2", "hello").replace("3.25", "-3"))
    assert aside(shop).columns == [
        "file",
        "line",
        "reason",
        "product",
        "time",
        "quantity",
        "price",
        "note",
    ]
    assert aside(shop)["note"].to_list() == ["hello"]


def test_columns_named_like_ours_are_kept_apart(shop, good):
    shop.account(good.replace("customer", "line", 1).replace("3.25", "-3"))
    assert aside(shop)["line"].to_list() == ["3"]
    assert aside(shop)["line (in the file)"].to_list() == ["c2"]


def test_the_file_of_rows_set_aside_goes_when_nothing_is(shop, good):
    shop.account(good.replace("3.25", "-3"))
    assert (shop.set_aside / "transactions.csv").exists()
    shop.account(good)
    assert not (shop.set_aside / "transactions.csv").exists()


def test_a_row_has_one_reason_only(shop, good):
    account = shop.account(good.replace("rye,2024-03-03 11:00:00,4,2.00", ",x,0,-1"))
    assert account.set_aside == {"product is missing": 1}


def test_examples_are_three_at_most(shop, good):
    more = "".join(f"tea,2024-03-05 0{hour}:00:00,1,1,c1\n" for hour in range(9))
    account = shop.account(good + more + "a,x,1,1,\nb,x,1,1,\nc,x,1,1,\nd,x,1,1,\n")
    assert account.causes[0].rows == 4
    assert account.causes[0].examples == ("line 16: 'x'", "line 17: 'x'", "line 18: 'x'")


@pytest.mark.parametrize(
    ("column", "value", "found", "remedy"),
    [
        (
            "quantity",
            "many",
            "quantity is not a number; line 2: 'many', line 3: 'many'",
            "map another column",
        ),
        ("price", "1,50", "price is not a number; line 2: '1,50'", 'decimal = ","'),
        ("price", "-1", "price is negative; line 2: '-1'", "negative quantity"),
        ("price", "NaN", "price is not a finite number; line 2: 'NaN'", "correct it"),
        ("product", "", "product is missing; line 2: empty", 'columns = { product = "..." }'),
        (
            "time",
            "31/12/2010 08:26",
            "time is not a time; line 2: '31/12",
            'time_format = "%d/%m/%Y %H:%M"',
        ),
        (
            "time",
            "soon",
            "time is not a time; line 2: 'soon'",
            "say how it is written: time_format",
        ),
        ("currency", "USD", "currency is not GBP; line 2: 'USD'", 'correct currency = "GBP"'),
        ("discount", "x", "discount is not a number", "map another column"),
    ],
)
def test_a_column_of_bad_rows_refuses_the_file(shop, column, value, found, remedy):
    row = {"product": "tea", "time": "2024-03-01", "quantity": "2", "price": "1.5"}
    bad = {**row, column: value}
    frame = pl.DataFrame([{**bad, "n": str(n)} for n in range(3)] + [{column: "", **row, "n": "9"}])
    message = shop.refusal(frame.write_csv())
    assert f"lines.csv: column '{column}' as {column}: in 3 of 4 rows {found}" in message
    assert remedy in message


def test_a_time_format_that_could_be_two_is_said(shop, good):
    message = shop.refusal(good.replace("2024-03-0", "03/0").replace(" ", "/2024 "))
    assert '(or "%m/%d/%Y %H:%M:%S", which fits them too)' in message
    good_format = 'time_format = "%m/%d/%Y %H:%M:%S"'
    text = good.replace("2024-03-0", "03/0").replace(" ", "/2024 ")
    assert shop.lines(text, good_format).equals(shop.lines(good))


def test_exactly_half_of_the_rows_are_set_aside(shop):
    text = "product,time,quantity,price\ntea,2024-03-01,1,1\njam,soon,1,1\n"
    assert shop.account(text).set_aside == {"time is not a time": 1}


def test_zeros_and_duplicates_may_be_most_of_a_file(shop):
    head = "product,time,quantity,price\ntea,2024-03-01,1,1\n"
    account = shop.account(head + "tea,2024-03-01,1,1\n" * 5 + "jam,2024-03-01,0,1\n" * 5)
    assert account.used == 1
    assert account.set_aside == {"quantity is zero": 5, "the line is an exact duplicate": 5}


def test_a_file_without_a_usable_row_is_refused(shop):
    message = shop.refusal("product,time,quantity,price\ntea,2024-03-01,0,1\n")
    assert "no row of 1 can be used (1 rows: quantity is zero)" in message


def test_the_first_of_equal_lines_is_kept(shop, good):
    line = good.splitlines(keepends=True)[1]
    account = shop.account(good + line)
    assert account.set_aside == {"the line is an exact duplicate": 1}
    assert account.causes[0].examples == ("line 7",)
    assert 'duplicates = "keep"' in account.causes[0].remedy
    assert shop.account(good + line, 'duplicates = "keep"').used == 6


def test_lines_that_differ_in_a_column_that_is_not_read_are_no_duplicates(shop):
    head = "scan,product,time,quantity,price\n"
    text = head + "1,tea,2024-03-01,1,1\n2,tea,2024-03-01,1,1\n1,tea,2024-03-01,1,1\n"
    assert shop.account(text).used == 2


def test_equal_lines_of_two_files_are_no_duplicates(shop, good):
    shop.write("data/a.csv", good)
    shop.write("data/b.csv", good)
    tables = shop.declare("transactions", "data").tables()
    assert tables["transactions"].height == 10


def test_lines_in_another_currency_are_set_aside(shop):
    head = "product,time,quantity,price,currency\n"
    text = (
        head
        + "a,2024-03-01,1,1,GBP\nb,2024-03-01,1,1,gbp\nc,2024-03-01,1,1,\nd,2024-03-01,1,1,EUR\n"
    )
    account = shop.account(text)
    assert account.set_aside == {"currency is not GBP": 1}
    assert account.causes[0].examples == ("line 5: 'EUR'",)


def test_a_currency_with_a_rate_is_converted(shop):
    lines = "a,2024-03-01,1,2,1,GBP\nb,2024-03-01,1,2,1,usd\nc,2024-03-01,1,2,1,EUR\n"
    shop.write("lines.csv", "product,time,quantity,price,discount,currency\n" + lines)
    shop.toml = "[rates]\nUSD = 0.8\n"
    config = shop.declare("transactions", "lines.csv").config()
    # In memory, and read again in pieces.
    for whole_rows in (10, 1):
        tables = Tables(config, whole_rows=whole_rows)
        pieces = list(tables.pieces("transactions", ["price"]))
        assert [price for piece in pieces for price in piece["price"]] == [2.0, 1.6]
        assert tables["transactions"]["discount"].to_list() == [1.0, 0.8]
        assert tables.accounts["transactions"].set_aside == {"currency is not GBP": 1}
        assert "[rates]" in tables.accounts["transactions"].causes[0].remedy


def test_one_line_end_in_a_cell_moves_the_lines_below_it(shop):
    head = "product,time,quantity,price,n\n"
    text = head + 'a,2024-03-01,1,1,"x\ny"\nb,2024-03-01,1,-1,\nc,2024-03-01,1,1,'
    assert shop.account(text).causes[0].examples == ("line 4: '-1'",)
    assert shop.account(text + "\n").causes[0].examples == ("line 4: '-1'",)


def test_line_numbers_count_blank_lines_and_line_ends_in_cells(shop):
    head = '\nproduct,time,quantity,price,"no\nte"\n'
    rows = ['tea,2024-03-01,1,1,"two\nlines"', "", "jam,2024-03-01,1,1,x", "rye,2024-03-01,1,-1,x"]
    rows += ["oat,2024-03-01,1,1,x"] * 2
    text = head + "\n".join(rows) + "\n"
    account = shop.account(text)
    lines = text.splitlines()
    place = {line.split(",")[0]: number for number, line in enumerate(lines, start=1)}
    by_reason = {cause.reason: cause.examples for cause in account.causes}
    assert by_reason["price is negative"] == (
        f"line {lines.index('rye,2024-03-01,1,-1,x') + 1}: '-1'",
    )
    assert by_reason["product is missing"] == (f"line {lines.index('', 1) + 1}: empty",)
    assert by_reason["the line is an exact duplicate"] == (f"line {place['oat']}",)


def test_rows_of_a_parquet_are_counted_from_one(shop, good):
    frame = pl.read_csv(good.encode()).with_columns(price=pl.Series([1.5, -3.0, 1.5, 2.0, 0.0]))
    frame.write_parquet(shop.folder / "written.parquet")
    content = (shop.folder / "written.parquet").read_bytes()
    account = shop.account(content, name="lines.parquet")
    assert account.causes[0].examples == ("row 2: -3.0",)


def test_examples_of_several_files_name_the_file(shop, good):
    shop.write("data/a.csv", good)
    shop.write("data/b.csv", good.replace("3.25", "-3"))
    tables = shop.declare("transactions", "data").tables()
    tables["transactions"]
    assert tables.accounts["transactions"].causes[0].examples == ("b.csv line 3: '-3'",)
    assert aside(shop)["file"].item().endswith("b.csv")


@pytest.mark.parametrize(
    ("table", "key"), [("products", "product"), ("customers", "customer"), ("stores", "store")]
)
def test_the_first_row_of_a_key_is_kept(shop, table, key):
    shop.write("data/a.csv", f"{key},region\nx,1\ny,2\nx,3\n")
    shop.write("data/b.csv", f"{key},region\nz,4\n y,5\n")
    tables = shop.declare(table, "data").tables()
    assert tables[table][key].to_list() == ["x", "y", "z"]
    account = tables.accounts[table]
    assert account.set_aside == {f"{key} occurs before": 2}
    assert account.causes[0].examples == ("a.csv line 4: 'x'", "b.csv line 3: ' y'")


def test_a_key_whose_first_row_is_unusable_is_kept_from_the_second(shop):
    shop.write("c.csv", "customer,joined\na,soon\na,2024-01-01\nb,2024-01-01\n")
    tables = shop.declare("customers", "c.csv").tables()
    assert tables["customers"]["customer"].to_list() == ["a", "b"]
    assert tables.accounts["customers"].set_aside == {"joined is not a date": 1}


def test_a_key_of_several_columns_repeats_only_as_a_whole(shop):
    stock = "product,store,date,on_hand\na,s1,2024-01-01,1\na,s2,2024-01-01,2\n"
    stock += "a,s1,2024-01-02,3\na,s1,2024-01-01,4\na,,2024-01-01,5\na,,2024-01-01,6\n"
    shop.write("stock.csv", stock)
    tables = shop.declare("stock", "stock.csv").tables()
    assert tables["stock"]["on_hand"].to_list() == [1, 2, 3, 5]
    account = tables.accounts["stock"]
    assert account.set_aside == {"(product, store, date) occurs before": 2}
    assert account.causes[0].examples == ("line 5: 'a'", "line 7: 'a'")


def test_a_key_of_several_columns_may_lack_one(shop):
    shop.write(
        "p.csv", "product,start,list_price\na,2024-01-01,1\na,2024-02-01,2\na,2024-01-01,3\n"
    )
    assert shop.declare("prices", "p.csv").tables()["prices"]["list_price"].to_list() == [1, 2]


@pytest.mark.parametrize(
    ("table", "good", "bad", "reason"),
    [
        ("ratings", "a,5,2024-01-01", "a,6,2024-01-01", "rating is above 5"),
        ("ratings", "a,1,2024-01-01", "a,0,2024-01-01", "rating is below 1"),
        ("prices", "a,2024-01-01,0", "b,2024-01-01,-1", "list_price is below 0"),
        ("visits", "2024-01-01,0", "2024-01-02,-1", "visits is below 0"),
        ("stock", "a,2024-01-01,-3", "b,1900-01-01,1", "date is before 1980-01-01"),
        ("promotions", "a,2024-01-01,9999-12-31", "a,2099-01-01,2099-01-02", "start is after 2049"),
        ("promotions", "a,2024-01-01,2024-01-01", "a,2024-01-02,2024-01-01", "end is before start"),
        ("customers", "a,1999-01-01", "b,1900-01-01", "joined is before 1930-01-01"),
    ],
)
def test_a_value_outside_its_bounds_is_set_aside_with_the_bound(shop, table, good, bad, reason):
    heads = {"customers": "customer,joined"}
    head = heads.get(table, ",".join(REGISTRY[table].required))
    shop.write("t.csv", f"{head}\n{good}\n{bad}\n")
    tables = shop.declare(table, "t.csv").tables()
    assert tables[table].height == 1
    (cause,) = tables.accounts[table].causes
    assert cause.reason.startswith(reason)
    assert cause.examples[0].startswith("line 3")


@pytest.mark.parametrize("day", ["1900-01-01", "1970-01-01 00:00:00", "2099-12-31 10:00:00"])
def test_a_line_sold_in_an_impossible_year_is_set_aside(shop, good, day):
    account = shop.account(good.replace("2024-03-03 11:00:00", day))
    (cause,) = account.causes
    assert cause.reason in ("time is before 1980-01-01", "time is after 2049-12-31")
    assert cause.examples == (f"line 5: '{day}'",)
    assert "often mean a missing day" in cause.remedy


def test_the_last_hour_of_the_last_day_is_inside(shop, good):
    assert shop.account(good.replace("2024-03-03 11:00:00", "2049-12-31 23:59:59")).used == 5


def test_a_table_of_impossible_days_is_refused(shop, good):
    message = shop.refusal(good.replace("2024-", "1900-"))
    assert "in 5 of 5 rows time is before 1980-01-01; line 2: '1900-03-01 09:00:00'" in message


def test_other_currencies_are_counted_by_name(shop):
    rows = ["a,2024-03-01,1,1,GBP"] * 4 + ["b,2024-03-01,1,1,EUR"] * 2 + ["c,2024-03-01,1,1,usd"]
    text = "product,time,quantity,price,currency\n" + "\n".join(rows) + "\n"
    (cause,) = shop.account(text, 'duplicates = "keep"').causes
    assert (cause.reason, cause.rows) == ("currency is not GBP", 3)
    assert cause.remedy.startswith("found 2 in EUR, 1 in USD; convert these prices")


def test_a_full_disk_leaves_no_half_written_file(shop, good):
    """A file system of one page stands for a full disk; without root, a limit on file sizes."""
    with full_disk(shop.set_aside):
        bad = "".join(f"p{n},2024-03-05,1,-{n},c{'x' * 300}\n" for n in range(1, 400))
        rows = "".join(f"p{n},2024-03-05,1,{n},c\n" for n in range(1, 500))
        message = shop.refusal(good + rows + bad)
        assert "transactions.csv: the rows set aside cannot be written there (" in message
        assert "free space or choose a folder that can be written" in message
        assert list(shop.set_aside.iterdir()) == []


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)]
    if (
        os.geteuid() == 0
        and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    ):
        try:
            yield
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_time_format_that_is_not_needed_is_said(shop, good):
    message = shop.refusal(good, 'time_format = "%d.%m.%Y %H:%M"')
    assert message.endswith(
        "take time_format out of [tables.transactions]: times like these are read without one"
    )
