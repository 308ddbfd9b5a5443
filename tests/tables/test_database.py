"""SQLite in a file and PostgreSQL on a real server: rows, account and words as for files."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from grandtotal.errors import DataError, PlanError
from grandtotal.tables import database

TYPED = """create table lines (product {id}, time timestamp, quantity {number}, price {money},
customer varchar(9), basket uuid, promoted {flag})"""
ROWS = [
    ("10002", "2024-03-01 09:00:00", 2, 1.5, "c1", None, True),
    ("10003", "2024-03-01 09:05:00", 1, 3.25, "c2", None, False),
    ("10002", "2024-03-02 10:00:00", -1, 1.5, None, None, None),
]
ALL = "select * from lines"


def sqlite(folder: Path, *statements: str, rows=ROWS) -> str:
    """Writes shop.db with these lines and returns its url."""
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute("create table lines (product, time, quantity, price, customer, a, b)")
        connection.executemany("insert into lines values (?, ?, ?, ?, ?, ?, ?)", rows)
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return "sqlite:///shop.db"


def refusal(shop) -> str:
    with pytest.raises(DataError) as refused:
        shop.tables()["transactions"]
    return str(refused.value)


@pytest.fixture
def server(postgresql, monkeypatch):
    """The server with an empty schema; SHOP_PASSWORD holds the password."""
    monkeypatch.setenv("SHOP_PASSWORD", postgresql.password)
    postgresql.execute("drop schema public cascade", "create schema public")
    return postgresql


WITH_PASSWORD = 'password_env = "SHOP_PASSWORD"'


def fill(server, rows=ROWS) -> None:
    typed = TYPED.format(id="integer", number="numeric(9, 2)", money="money", flag="boolean")
    server.execute(typed)
    for product, time, quantity, price, customer, _, promoted in rows:
        name = f"'{customer}'" if customer else "null"
        server.execute(
            f"insert into lines values ({product}, '{time}', {quantity}, '{price}', {name}, "
            f"gen_random_uuid(), {str(promoted).lower() if promoted is not None else 'null'})"
        )


def as_csv() -> str:
    lines = [f"{p},{t},{q},{m},{c or ''}" for p, t, q, m, c, _, _ in ROWS]
    return "\n".join(["product,time,quantity,price,customer", *lines]) + "\n"


def test_sqlite_reads_as_the_csv_of_the_same_rows(shop):
    expected = shop.lines(as_csv())
    url = sqlite(shop.folder)
    assert shop.query(url, ALL).tables()["transactions"].equals(expected)


def test_postgresql_reads_as_the_csv_of_the_same_rows(shop, server):
    expected = shop.lines(as_csv())
    fill(server)
    query = "select product, time, quantity, price, customer from lines"
    assert shop.query(server.url, query, WITH_PASSWORD).tables()["transactions"].equals(expected)


def test_a_table_is_the_query_of_all_its_rows(shop, server):
    fill(server)
    server.execute('create schema "Sales"', 'alter table lines set schema "Sales"')
    shop.toml = (
        f'[tables.transactions]\nurl = "{server.url}"\ntable = "Sales.lines"\n{WITH_PASSWORD}'
    )
    assert shop.tables()["transactions"].height == 3


def test_amounts_of_type_money_are_not_cents(shop, server):
    fill(server)
    prices = shop.query(server.url, ALL, WITH_PASSWORD).tables()["transactions"]["price"]
    assert prices.to_list() == [1.5, 3.25, 1.5]


def test_numerics_uuids_enums_and_zones_are_read(shop, server):
    server.execute("create type kind as enum ('offer', 'none')")
    query = """select '123e4567-e89b-12d3-a456-426614174000'::uuid as product,
        '2024-07-01 08:00:00+00'::timestamptz as time, 12.5::numeric as quantity, 2::real as price,
        12345678901234567890::numeric as basket, 'offer'::kind as promotion,
        'x  '::char(5) as store; -- all there is"""
    query = query.replace("; --", " --")
    row = shop.query(server.url, query, WITH_PASSWORD).tables()["transactions"].row(0, named=True)
    assert row["product"] == "123e4567-e89b-12d3-a456-426614174000"
    assert str(row["time"]) == "2024-07-01 09:00:00"
    assert (row["quantity"], row["price"]) == (12.5, 2.0)
    assert row["basket"] == "12345678901234567890"
    assert (row["promotion"], row["store"]) == ("offer", "x")


def test_sqlite_believes_no_column_by_its_first_rows(shop):
    many = [("7", "2024-03-01", 1, 2, None, None, None)] * 3000
    late = [("x", "2024-03-02", 1, 2.75, "c1", None, None)]
    url = sqlite(shop.folder, rows=many + late)
    frame = shop.query(url, ALL, 'duplicates = "keep"').tables()["transactions"]
    assert frame.height == 3001
    assert frame.row(3000)[0] == "x"
    assert frame.row(3000)[2:] == (1.0, 2.75, "c1")


def test_rows_set_aside_are_numbered_as_in_the_result(shop):
    bad = ("10009", "2024-03-01", "many", -2.0, "c9", None, None)
    url = sqlite(shop.folder, rows=[*ROWS, bad])
    tables = shop.query(url, ALL + " order by product desc, time").tables()
    tables["transactions"]
    (cause,) = tables.accounts["transactions"].causes
    assert cause.examples == ("row 1: 'many'",)
    stood = pl.read_csv(shop.set_aside / "transactions.csv", infer_schema=False)
    assert stood.select("file", "line", "quantity").rows() == [("sqlite:///shop.db", "1", "many")]


def test_no_row_of_a_server_is_lost_unsaid(shop, server):
    fill(server, [*ROWS, ("5", "2024-03-01", 0, 1, "c1", None, None)])
    tables = shop.query(server.url, ALL, WITH_PASSWORD).tables()
    assert tables["transactions"].height == 3
    account = tables.accounts["transactions"]
    assert (account.read, account.used, account.set_aside) == (4, 3, {"quantity is zero": 1})
    assert account.causes[0].examples == ("row 4: '0.00'",)


def test_the_copy_is_gone_when_the_reading_ends(shop, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    url = sqlite(shop.folder)
    tables = shop.query(url, ALL).tables()
    tables["transactions"]
    del tables
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_password_file_is_read_without_its_line_end(shop, server):
    fill(server)
    shop.write("secret.txt", server.password + "\n")
    shop.query(server.url, ALL, 'password_file = "secret.txt"')
    assert shop.tables()["transactions"].height == 3


@pytest.mark.parametrize("wrong", ["wr0ng&/pass", ""])
def test_a_wrong_password_is_refused_and_not_shown(shop, server, monkeypatch, wrong):
    monkeypatch.setenv("SHOP_PASSWORD", wrong)
    message = refusal(shop.query(server.url, ALL, WITH_PASSWORD))
    assert message.startswith(f"transactions: {server.url}: no connection (")
    assert "password" in message
    assert "password_env" in message
    assert "[tables.transactions] in " in message
    assert not wrong or wrong not in message


def test_a_missing_password_is_named(shop, server, monkeypatch):
    monkeypatch.delenv("SHOP_PASSWORD")
    message = refusal(shop.query(server.url, ALL, WITH_PASSWORD))
    assert 'password_env = "SHOP_PASSWORD" and there is no such environment variable' in message
    message = refusal(shop.query(server.url, ALL, 'password_file = "secret.txt"'))
    assert "secret.txt cannot be read (No such file or directory)" in message


def test_a_server_that_is_down_is_named(shop, postgresql):
    url = postgresql.url.replace(str(postgresql.port), "1")
    message = refusal(shop.query(url, ALL))
    assert f"{url}: no connection (" in message
    assert "Connection refused" in message
    assert "see that the server runs" in message


def test_another_database_is_named(shop, server):
    message = refusal(shop.query(server.url[:-8] + "none", ALL, WITH_PASSWORD))
    assert "no connection (connection to server" in message or 'database "none"' in message
    assert 'database "none" does not exist' in message


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("select * from orders", 'relation "orders" does not exist'),
        ("select prize from lines", 'column "prize" does not exist'),
        ("selec 1", "syntax error"),
        ("select 1/0 as product", "division by zero"),
        ("delete from lines returning *", "syntax error"),
    ],
)
def test_a_query_that_fails_is_refused_with_the_servers_words(shop, server, query, found):
    fill(server)
    message = refusal(shop.query(server.url, query, WITH_PASSWORD))
    assert f"transactions: {server.url}: the query fails (" in message
    assert found in message
    assert "correct `query` or `table` ([tables.transactions] in " in message
    assert server.password not in message


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("select * from orders", "no such table: orders"),
        ("select prize from lines", "no such column: prize"),
    ],
)
def test_a_query_that_fails_is_refused_with_sqlites_words(shop, query, found):
    assert found in refusal(shop.query(sqlite(shop.folder), query))


def test_a_column_that_occurs_twice_is_refused(shop, server):
    twice = "select 1 as a, 2 as a"
    message = refusal(shop.query(server.url, twice, WITH_PASSWORD))
    assert "a column occurs twice (" in message
    assert "duplicate name: a" in message
    assert "rename one with `as`" in message


def test_a_result_without_rows_is_refused(shop, server):
    fill(server)
    none = ALL + " where false"
    expected = "the query returns no rows; correct it, or take the table out"
    assert expected in refusal(shop.query(server.url, none, WITH_PASSWORD))
    assert expected in refusal(shop.query(sqlite(shop.folder), none))


def test_a_result_without_a_needed_column_is_refused_with_the_line_to_write(shop):
    url = sqlite(shop.folder)
    message = refusal(shop.query(url, "select product, time, quantity, price as cost from lines"))
    assert f"{url}: no column 'price'" in message
    assert "found 'product', 'time', 'quantity', 'cost'; write into" in message


def test_a_missing_sqlite_file_is_refused_and_not_made(shop):
    message = refusal(shop.query("sqlite:///shops.db", ALL))
    assert "sqlite:///shops.db: no such file; correct `url`" in message
    assert not (shop.folder / "shops.db").exists()


def test_a_file_that_is_no_database_is_refused(shop):
    shop.write("shop.db", "product,time\n" * 99)
    assert "file is not a database" in refusal(shop.query("sqlite:///shop.db", ALL))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:hunter2@db:5432/shop",
        "postgresql://shop@db/shop?sslmode=require&password=hunter2",
        "mysql://shop:hunter2@db/shop",
    ],
)
def test_a_password_in_the_url_is_refused_with_reason_and_remedy(shop, url):
    with pytest.raises(PlanError) as refused:
        shop.query(url, ALL).config()
    message = str(refused.value)
    assert "[tables.transactions] key 'url' holds a password" in message
    assert "password_env = " in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ('url = "mysql://db/shop"\nquery = "x"', 'expected "sqlite:///shop.db"'),
        ('url = "sqlite:///a.db"', "key 'query' is missing"),
        ('url = "sqlite:///a.db"\nquery = "x"\ntable = "y"', "keys 'query' and 'table'"),
        ('url = "sqlite:///a.db"\npath = "x"\ntable = "y"', "keys 'url' and 'path'"),
        ('url = "sqlite:///a.db"\ntable = "y"\npassword_env = "P"', "has no password"),
        ('path = "a.csv"\nquery = "x"', "key 'query' without 'url'"),
    ],
)
def test_a_mistake_in_the_keys_is_named(shop, lines, found):
    shop.toml = f"[tables.transactions]\n{lines}\n"
    with pytest.raises(PlanError) as refused:
        shop.config()
    assert found in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite:///shop.db", "postgresql://shop@127.0.0.1:1/shop"])
def test_a_missing_driver_is_named_with_what_to_install(shop, url):
    """In a fresh process that cannot import the drivers, as where they are not installed."""
    sqlite(shop.folder)
    shop.query(url, ALL).config()
    code = (
        "import sys\n"
        "sys.modules.update(adbc_driver_sqlite=None, adbc_driver_postgresql=None)\n"
        "from pathlib import Path\n"
        "from grandtotal.tables import Tables, load_config\n"
        f"Tables(load_config(Path({str(shop.folder)!r})))['transactions']"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'grandtotal[sql]'" in ran.stderr


def test_no_driver_is_imported_for_files(shop, good):
    shop.write("lines.csv", good)
    shop.declare("transactions", "lines.csv").config()
    code = (
        "import sys\nfrom pathlib import Path\nfrom grandtotal.tables import Tables, load_config\n"
        f"Tables(load_config(Path({str(shop.folder)!r})))['transactions']\n"
        "sys.exit(any(name.startswith('adbc') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_room_for_the_copy_is_said_with_its_folder(shop, monkeypatch):
    class Full:
        path = shop.folder / "tmp/rows.parquet"

    (shop.folder / "tmp").mkdir()
    Full.path.symlink_to("/dev/full")
    monkeypatch.setattr(database, "Copy", Full)
    url = sqlite(shop.folder)
    shop.toml += f'[tables.transactions]\nurl = "{url}"\ntable = "lines"\n'
    with pytest.raises(DataError, match=r"shop\.db: no room for a copy of it in .*TMPDIR"):
        shop.tables().columns("transactions")
