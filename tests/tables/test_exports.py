"""The usual exports, in the columns that are documented for them, pass `check` as they come."""

from datetime import datetime
from pathlib import Path

import pytest

import grandtotal as gt
from grandtotal.errors import PlanError
from grandtotal.tables import Tables, load_config
from typed import typed

SHOPIFY = """\
Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Subtotal,Total,Discount Code,\
Discount Amount,Created at,Lineitem quantity,Lineitem name,Lineitem price,\
Lineitem compare at price,Lineitem sku,Lineitem discount,Cancelled at,Refunded Amount,Vendor
#1001,zoe@example.com,paid,2024-03-01 09:00:05 +0100,fulfilled,EUR,23.00,28.00,,0.00,\
2024-03-01 09:00:00 +0100,2,Tea,5.00,,TEA,1.00,,0.00,Morgen
#1001,zoe@example.com,,,,,,,,,2024-03-01 09:00:00 +0100,1,Mug,14.00,,MUG,0.00,,,Linde
#1002,,paid,2024-07-02 10:00:05 +0200,fulfilled,EUR,5.00,5.00,,0.00,\
2024-07-02 10:00:00 +0200,1,Tea,5.00,,TEA,0.00,,0.00,Morgen
#1003,max@example.com,paid,2024-07-03 10:00:05 +0200,fulfilled,USD,5.00,5.00,,0.00,\
2024-07-03 10:00:00 +0200,1,Tea,5.00,,TEA,0.00,,0.00,Morgen
#1003,,,,,,,,,,2024-07-03 10:00:00 +0200,1,Mug,15.00,,MUG,0.00,,,Linde
"""
WOOCOMMERCE = """\
order_id,order_number,date,status,discount_total,order_total,order_currency,customer_id,\
billing_email,item_name,item_sku,item_quantity,item_tax,item_total,item_refunded,item_refunded_qty
11,11,2024-03-01 09:00:00,completed,0.00,19.00,EUR,7,zoe@example.com,Tea,TEA,2,0.90,9.00,0.00,0
11,11,2024-03-01 09:00:00,completed,0.00,19.00,EUR,7,zoe@example.com,Mug,MUG,1,1.40,14.00,0.00,0
12,12,2024-03-02 10:00:00,completed,0.00,5.00,EUR,0,max@example.com,Tea,TEA,1,0.50,5.00,0.00,0
"""
GENERIC = """\
receipt_no,article_no,sold_at,qty,unit_price,loyalty_id,store_no
1,TEA,2024-03-01 09:00:00,2,4.50,c1,s1
1,MUG,2024-03-01 09:00:00,1,14.00,c1,s1
2,TEA,2024-03-02 10:00:00,1,5.00,,s2
"""
CASES = [
    ("shopify", "orders_export_1.csv", SHOPIFY),
    ("woocommerce", "orders-2024.csv", WOOCOMMERCE),
    ("generic-pos", "sales.csv", GENERIC),
]


def exported(folder: Path, export: str, name: str, content: str) -> Tables:
    path = gt.init(folder, export, "north")
    (folder / name).write_text(content)
    return Tables(load_config(path))


@pytest.mark.parametrize(("export", "name", "content"), CASES)
def test_an_export_passes_check_as_it_comes(tmp_path, export, name, content):
    exported(tmp_path, export, name, content)
    found = gt.check(tmp_path)
    assert found.ok
    assert found.findings.tables[0].present[:4] == ("product", "time", "quantity", "price")
    assert {use.task: use.possible for use in found.uses}["recommend"]


@pytest.mark.parametrize(("export", "name", "content"), CASES)
def test_the_price_is_what_one_unit_was_sold_for(tmp_path, export, name, content):
    lines = exported(tmp_path, export, name, content)["transactions"]
    assert lines["product"].to_list() == ["TEA", "MUG", "TEA"]
    assert lines["price"].to_list() == [4.5, 14.0, 5.0]
    assert lines["quantity"].to_list() == [2.0, 1.0, 1.0]


def test_shopify_fills_what_stands_on_the_first_line_of_an_order(tmp_path):
    tables = exported(tmp_path, *CASES[0])
    lines = tables["transactions"]
    assert lines["customer"].to_list() == ["zoe@example.com", "zoe@example.com", None]
    assert lines["time"][0] == datetime(2024, 3, 1, 9)
    assert lines["time"][2] == datetime(2024, 7, 2, 10)
    # The second line of the order in dollars has no currency of its own.
    assert tables.accounts["transactions"].set_aside == {"currency is not EUR": 2}


def test_shopify_lines_without_a_time_of_their_own_have_that_of_the_order(tmp_path):
    """Files differ in whether the further lines of an order repeat when it was made."""
    export, name, content = CASES[0]
    whole = exported(tmp_path / "whole", export, name, content)["transactions"]
    head, first, second, *rest = content.splitlines()
    at = head.split(",").index("Created at")
    cells = second.split(",")
    cells[at] = ""
    short = "\n".join([head, first, ",".join(cells), *rest]) + "\n"
    assert short != content
    assert exported(tmp_path / "short", export, name, short)["transactions"].equals(whole)


def test_woocommerce_guests_are_told_apart(tmp_path):
    lines = exported(tmp_path, *CASES[1])["transactions"]
    assert lines["customer"].n_unique() == 2


def test_a_line_without_a_basket_is_filled_from_nobody(shop):
    text = "product,time,quantity,price,customer,basket\n"
    text += "a,2024-01-01,1,1,c1,\nb,2024-01-01,1,1,,\nc,2024-01-01,1,1,,7\nd,2024-01-01,1,1,c2,7\n"
    lines = shop.lines(text, 'fill_down = ["customer"]')
    assert lines["customer"].to_list() == ["c1", None, "c2", "c2"]


def test_a_quoted_empty_cell_is_filled_too(shop):
    text = "product,time,quantity,price,customer,basket\n"
    text += 'a,2024-01-01,1,1,"c1",7\nb,2024-01-01,1,1,"",7\n'
    assert shop.lines(text, 'fill_down = ["customer"]')["customer"].to_list() == ["c1", "c1"]


def test_filling_without_baskets_is_refused(shop, good):
    assert "no column is one" in shop.refusal(good, 'fill_down = ["customer"]')


def test_the_price_of_a_returned_line_is_that_of_a_unit(shop):
    text = "product,time,quantity,price,discount\na,2024-01-01,-2,-9,1\nb,2024-01-01,4,8,2\n"
    lines = shop.lines(text, 'price_is = "line"')
    assert lines["price"].to_list() == [4.5, 2.0]
    assert lines["discount"].to_list() == [0.5, 0.5]


def test_a_line_of_no_units_is_set_aside_and_not_divided_by(shop):
    text = "product,time,quantity,price\na,2024-01-01,0,9\nb,2024-01-01,3,9\n"
    account = shop.account(text, 'price_is = "line"')
    assert account.set_aside == {"quantity is zero": 1}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ('price_is = "total"', 'expected "unit" or "line" or "before-discount"'),
        ('fill_down = ["Email"]', "names 'Email', which is no column of transactions"),
        ('fill_down = "customer"', "expected a list of texts"),
    ],
)
def test_a_wrong_key_is_refused(shop, more, found):
    with pytest.raises(PlanError) as refused:
        shop.declare("transactions", "lines.csv", more).config()
    assert found in str(refused.value)


def test_what_is_there_is_not_overwritten(tmp_path):
    gt.init(tmp_path, "shopify", "north")
    with pytest.raises(PlanError, match="is there already"):
        gt.init(tmp_path, "shopify", "north")


@pytest.mark.parametrize(("export", "retailer"), [("magento", "north"), ("shopify", "no rth")])
def test_an_unknown_export_or_a_bad_name_writes_nothing(tmp_path, export, retailer):
    with pytest.raises(PlanError, match="expected"):
        gt.init(tmp_path / "new", export, retailer)
    assert not (tmp_path / "new").exists()


def test_from_and_retailer_go_together(tmp_path):
    words = ("init", "mine", "--from", "shopify")
    typed(*words, cwd=tmp_path, status=2)
    done = typed(*words, "--retailer", "north", cwd=tmp_path)
    assert "grandtotal check mine/retailer.toml --html mine/check.html" in done.stdout
    assert load_config(tmp_path / "mine").retailer == "north"
