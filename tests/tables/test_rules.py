"""Warnings: the rows are used, and a person should look at them."""

import polars as pl
import pytest

from grandtotal.errors import PlanError
from grandtotal.tables import Tables, load_config
from grandtotal.tables.check import check
from grandtotal.tables.example import gtin


def warned(shop, content, more: str = "", name: str = "lines.csv") -> dict[str, tuple[str, ...]]:
    """Returns reason -> examples of the warnings; all rows are used."""
    account = shop.account(content, more, name)
    assert account.used == account.read
    return {warning.reason: warning.examples for warning in account.warnings}


def test_good_lines_give_no_warning(shop, good):
    assert warned(shop, good) == {}


def test_a_huge_quantity_is_kept_and_named_with_its_line(shop):
    rows = [f"p{n},2024-03-01 10:00:00,{1 + n % 5},1.5" for n in range(300)]
    rows[7] = "p7,2024-03-01 10:00:00,80995,1.5"
    found = warned(shop, "\n".join(["product,time,quantity,price", *rows]))
    assert found == {"quantity is over 100 times the 99th percentile": ("line 9: '80995'",)}


def test_large_quantities_are_no_warning_where_all_are_large(shop):
    rows = [f"p{n},2024-03-01 10:00:00,{50_000 + n},1.5" for n in range(50)]
    assert warned(shop, "\n".join(["product,time,quantity,price", *rows])) == {}


def test_times_with_and_without_a_zone_in_one_column_are_named(shop, good):
    found = warned(shop, good.replace("2024-03-03 11:00:00", "2024-03-03T11:00:00+02:00"))
    reason = "time is written with a time zone, and elsewhere without one"
    assert found == {reason: ("line 5: '2024-03-03T11:00:00+02:00'",)}
    lines = shop.lines(good.replace("2024-03-03 11:00:00", "2024-03-03T11:00:00+02:00"))
    assert str(lines["time"][3]) == "2024-03-03 09:00:00"  # London is at +00:00 that day


@pytest.mark.parametrize("time", ["2024-03-01T09:00:00Z", "2024-03-01 09:00:00+0100"])
def test_a_column_that_always_has_a_zone_is_no_warning(shop, time):
    text = f"product,time,quantity,price\ntea,{time},1,1\njam,{time},2,1\n"
    assert warned(shop, text) == {}


def test_local_times_around_a_change_of_the_clock_are_named(shop, good):
    text = good.replace("2024-03-03 11:00:00", "2024-03-31 01:30:00")
    text = text.replace("2024-03-04 12:00:00", "2024-10-27 01:30:00")
    found = warned(shop, text)
    assert found == {
        "time does not exist: the clock was put forward": ("line 5: '2024-03-31 01:30:00'",),
        "time exists twice: the clock was put back": ("line 6: '2024-10-27 01:30:00'",),
    }
    assert str(shop.lines(text)["time"][3]) == "2024-03-31 01:30:00"


def test_times_with_their_zone_are_never_unknown(shop):
    rows = ["a,2024-10-27T00:30:00Z,1,1", "b,2024-10-27T01:30:00Z,1,1"]
    assert warned(shop, "product,time,quantity,price\n" + "\n".join(rows)) == {}


def test_a_day_without_a_clock_is_no_time_that_does_not_exist(shop):
    shop.write("lines.csv", "product,time,quantity,price\na,2018-11-04,1,1\n")  # put on at 00:00
    shop.write(
        "retailer.toml",
        'retailer = "sul"\ncurrency = "BRL"\ntime_zone = "America/Sao_Paulo"\n'
        '[tables.transactions]\npath = "lines.csv"\n',
    )
    tables = Tables(load_config(shop.folder))
    assert tables["transactions"].height == 1
    assert tables.accounts["transactions"].warnings == ()


def test_a_zone_that_only_python_knows_is_refused(shop, good):
    shop.write("lines.csv", good)
    text = 'retailer = "n"\ncurrency = "GBP"\ntime_zone = "posix/Europe/London"\n'
    shop.write("retailer.toml", text + '[tables.transactions]\npath = "lines.csv"\n')
    with pytest.raises(PlanError, match=r'"posix/Europe/London" .* "Europe/London"'):
        Tables(load_config(shop.folder))["transactions"]


def products(shop, codes: list[str]) -> dict[str, tuple[int, tuple[str, ...]]]:
    rows = [f"p{n},{code}" for n, code in enumerate(codes)]
    shop.write("p.csv", "\n".join(["product,gtin", *rows]) + "\n")
    tables = shop.declare("products", "p.csv").tables()
    assert tables["products"].height == len(codes)
    found = tables.accounts["products"].warnings
    return {warning.reason: (warning.rows, warning.examples) for warning in found}


def test_right_check_digits_are_no_warning(shop):
    # The examples of GS1 General Specifications: GTIN-8, GTIN-12, GTIN-13, GTIN-14.
    assert products(shop, ["96385074", "614141999996", "4012345678901", "10614141543219"]) == {}


def test_every_other_check_digit_is_wrong(shop):
    code = gtin(123456)
    others = [code[:-1] + digit for digit in "0123456789" if digit != code[-1]]
    found = products(shop, [code, *others])
    assert found == {
        "gtin has a wrong check digit": (
            9,
            tuple(f"line {n}: '{others[n - 3]}'" for n in (3, 4, 5)),
        )
    }


def test_what_is_no_bar_code_is_named(shop):
    found = products(shop, ["4.01235E+12", "12345", "4012345678901", ""])
    assert found == {"gtin is no bar code": (2, ("line 2: '4.01235E+12'", "line 3: '12345'"))}


def test_other_kinds_of_event_are_kept_and_named(shop):
    shop.write("e.csv", "session,time,type\ns,2024-01-01,View\ns,2024-01-02,wishlist\n")
    tables = shop.declare("events", "e.csv").tables()
    assert tables["events"].height == 2
    (warning,) = tables.accounts["events"].warnings
    assert warning.reason == "type is not one that a task knows"
    assert warning.examples == ("line 3: 'wishlist'",)
    assert "view, cart, try-on, search, purchase" in warning.remedy


def test_a_column_of_another_type_in_another_file_is_named(shop):
    row = {"product": ["a"], "time": ["2024-01-01"], "price": [1.0]}
    (shop.folder / "data").mkdir()
    pl.DataFrame({**row, "quantity": [1]}).write_parquet(shop.folder / "data/a.parquet")
    pl.DataFrame({**row, "quantity": ["2"]}).write_parquet(shop.folder / "data/b.parquet")
    tables = shop.declare("transactions", "data").tables()
    assert tables["transactions"]["quantity"].to_list() == [1.0, 2.0]
    (warning,) = tables.accounts["transactions"].warnings
    assert warning.reason == "column 'quantity' has another type than in a.parquet"
    assert warning.examples == ("b.parquet: String",)
    assert "write all files with Int64" in warning.remedy


def test_a_row_that_is_set_aside_is_not_warned_of(shop, good):
    account = shop.account(good.replace("2024-03-03 11:00:00,4", "2024-03-31 01:30:00,0"))
    assert account.warnings == ()
    assert account.set_aside == {"quantity is zero": 1}


def test_check_says_warnings_apart_from_rows_set_aside(shop, good):
    shop.write("lines.csv", good.replace("2024-03-03 11:00:00", "2024-03-31 01:30:00"))
    findings = check(shop.declare("transactions", "lines.csv").config())
    text = " ".join(findings.text().split())
    assert findings.ok
    assert "5 read, 5 used" in text
    assert "look at 1 row: time does not exist: the clock was put forward (line 5:" in text
