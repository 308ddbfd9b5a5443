"""New days add: what was added up is not read again, and the sum is that of a full reading."""

import os
import sqlite3
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from grandtotal.tables import Tables, days, load_config
from grandtotal.tables.files import SourceFile
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.sales_sums import by_day, daily_sales
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)
HEAD = 'retailer = "north"\ncurrency = "EUR"\ntime_zone = "Europe/Berlin"\nkeep = "kept"\n'
PRODUCTS = tuple(f"p{i}" for i in range(6))


def lines(first, count, seed=0):
    """Returns a line of every product on each day, with units and prices that are no fractions
    of two."""
    generator = np.random.default_rng(seed)
    rows = [(product, first + timedelta(days=d)) for d in range(count) for product in PRODUCTS]
    return pl.DataFrame(rows, schema=["product", "time"], orient="row").with_columns(
        quantity=pl.Series(generator.integers(-20, 90, len(rows)) / 10 + 0.05),
        price=pl.Series(generator.integers(1, 999, len(rows)) / 100),
        customer=pl.Series(generator.integers(0, 9, len(rows))).cast(pl.String),
    )


def panel(tables, today):
    """Returns what demand makes of the tables, to the last bit."""
    task = Demand(Common(today, PRODUCTS), horizon=2, test=4, history=22)
    (sales,) = task.rows(tables)["test"].parts
    return sales.units.tobytes(), sales.price.tobytes(), sales.promoted.tobytes()


class Folder:
    """A retailer with a file a month, each changed a minute ago."""

    def __init__(self, path):
        self.path = path
        (path / "retailer.toml").write_text(HEAD + '[tables.transactions]\npath = "lines"\n')
        for month in range(1, 7):
            self.write(month)

    def write(self, month, seed=0, ago=60):
        path = self.path / f"lines/{month}.parquet"
        path.parent.mkdir(exist_ok=True)
        lines(date(2024, month, 1), 28, seed).write_parquet(path)
        os.utime(path, ns=(0, path.stat().st_mtime_ns - ago * 10**9))

    def kept(self):
        return Tables(load_config(self.path), whole_rows=50)

    def plain(self):
        return Tables(replace(load_config(self.path), keep=None))


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def read(monkeypatch):
    """The files of which rows were read."""
    found = set()
    select, whole = SourceFile.select, SourceFile.read

    def noted(how):
        def reading(self, columns):
            found.add(self.path.name)
            return how(self, columns)

        return reading

    monkeypatch.setattr(SourceFile, "select", noted(select))
    monkeypatch.setattr(SourceFile, "read", noted(whole))
    return found


@pytest.mark.parametrize("later", [7, 10])
def test_a_later_today_reads_the_new_file_alone_and_adds(folder, read, later):
    assert panel(folder.kept(), TODAY) == panel(folder.plain(), TODAY)
    folder.write(7)
    read.clear()
    found = panel(folder.kept(), TODAY + timedelta(days=later))
    assert read == {"7.parquet"}
    assert found == panel(folder.plain(), TODAY + timedelta(days=later))


def test_a_file_that_changed_is_read_again(folder, read):
    before = panel(folder.kept(), TODAY)
    folder.write(3, seed=1, ago=50)
    read.clear()
    found = panel(folder.kept(), TODAY)
    assert read == {"3.parquet"}
    assert found == panel(folder.plain(), TODAY) != before


def test_who_withdraws_consent_is_in_no_sum_that_was_kept(folder, read):
    with (folder.path / "retailer.toml").open("a") as file:
        file.write('[tables.customers]\npath = "c.csv"\nconsent = ["yes"]\n')
    agreed = folder.path / "c.csv"
    agreed.write_text("customer,yes\n" + "".join(f"{i},1\n" for i in range(9)))
    before = panel(folder.kept(), TODAY)
    (folder.path / "c.csv").write_text(
        "customer,yes\n" + "".join(f"{i},{i % 2}\n" for i in range(9))
    )
    found = panel(folder.kept(), TODAY)
    assert len(read) == 7
    assert found == panel(folder.plain(), TODAY) != before


class Shop:
    """A retailer whose lines are in a database."""

    def __init__(self, path, final=30):
        self.path = path
        (path / "retailer.toml").write_text(
            HEAD
            + '[tables.transactions]\nurl = "sqlite:///shop.db"\ntable = "lines"\n'
            + f"final_after_days = {final}\n"
        )
        self.run("create table lines (product, time, quantity, price, customer)")

    def run(self, sql, rows=()):
        with sqlite3.connect(self.path / "shop.db") as connection:
            connection.executemany(sql, rows) if rows else connection.execute(sql)
        connection.close()

    def add(self, frame):
        rows = frame.with_columns(pl.col("time").cast(pl.String)).rows()
        self.run("insert into lines values (?, ?, ?, ?, ?)", rows)

    def tables(self, **more):
        return Tables(replace(load_config(self.path), **more))


def test_a_database_is_asked_for_new_days_alone_and_they_add(tmp_path):
    shop = Shop(tmp_path)
    shop.add(lines(date(2024, 1, 1), 181))
    first = shop.tables()
    assert panel(first, TODAY) == panel(shop.tables(keep=None), TODAY)
    assert first.accounts["transactions"].read == 181 * len(PRODUCTS)
    shop.add(lines(date(2024, 6, 30), 9, seed=2))
    later = shop.tables()
    found = panel(later, TODAY + timedelta(days=7))
    account = later.accounts["transactions"]
    # The last 30 days before the first reading's end, one for the clock's zone, and 9 new ones.
    assert account.read == (30 + 1 + 9) * len(PRODUCTS)
    assert account.warnings[-1].reason.startswith("rows before 2024-05-31 were not read")
    assert found == panel(shop.tables(keep=None), TODAY + timedelta(days=7))


def test_rows_that_are_late_count_until_their_days_are_final(tmp_path):
    shop = Shop(tmp_path)
    shop.add(lines(date(2024, 1, 1), 181))
    panel(shop.tables(), TODAY)
    shop.add(lines(date(2024, 6, 10), 1, seed=3))
    assert panel(shop.tables(), TODAY) == panel(shop.tables(keep=None), TODAY)
    shop.run("delete from lines where time < '2024-03-01'")
    assert panel(shop.tables(), TODAY) != panel(shop.tables(keep=None), TODAY)


def test_parts_add_up_to_the_whole_in_any_order(folder):
    parts = list(daily_sales(folder.kept()))
    assert len(parts) == 6
    whole = by_day([pl.concat([lines(date(2024, m, 1), 28) for m in range(6, 0, -1)])])
    names = ["units", "price", "sold", "promoted", "lines"]
    both = pl.concat(parts[::-1]).group_by("product", "day").agg(pl.col(names).sum())
    assert both.sort("product", "day").equals(whole)


def test_other_code_does_not_use_what_was_kept(folder, monkeypatch):
    list(daily_sales(folder.kept()))
    asked = []
    monkeypatch.setattr(days, "digest", lambda *parts: asked.append(parts) or "another")
    list(daily_sales(folder.kept()))
    names = {path.name for path in (folder.path / "kept").glob("*.json")}
    assert asked
    assert len(names) == 18  # six verdicts, and six sums of each code
