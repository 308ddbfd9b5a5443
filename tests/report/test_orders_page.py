"""The page of an order list: totals first, words for whoever answers for the shelves."""

import re

from grandtotal.report.orders_page import orders_page

ROW = {
    "product": "P1",
    "title": "Tea <best>",
    "store": "",
    "from": "supplier",
    "units": 24.0,
    "pack": 12.0,
    "packs": 2,
    "order_on": "2024-07-15",
    "arrives": "2024-07-22",
    "cost": 48.0,
    "missing": 0.4,
    "left": 11.0,
    "limit": "",
    "today_units": 36.0,
    "why": "20 are expected to sell in the 14 days until the next order is here; 3 there",
}
HOW = {
    "review": 7.0,
    "target": "cycle",
    "service": 0.95,
    "holding": 0.25,
    "budget": None,
    "line": 0.0,
    "warehouse": None,
}
TOTALS = {
    "products": 2,
    "orders": 1,
    "units": 24.0,
    "cost": 48.0,
    "expected": 20.0,
    "lost_before": 0.0,
    "missing": 0.4,
    "left": 11.0,
    "left_cost": 22.0,
    "today_units": 36.0,
    "today_cost": 72.0,
    "today_missing": 0.1,
    "today_left": 23.0,
    "today_left_cost": 46.0,
}
COURSES = {
    "product": ["P1"],
    "store": [""],
    "starts": [f"2024-07-{day:02}" for day in (1, 8, 15, 22)],
    "sold": [[9.0, 11.0]],
    "low": [[5.0, 6.0]],
    "middle": [[10.0, 10.0]],
    "high": [[15.0, 16.0]],
    "stock": [[1.0, 14.0]],
    "without": [[1.0, 0.0]],
    "arrives": [1],
}


def found(**changes):
    enough = {**ROW, "product": "P2", "title": "Cups", "units": 0.0, "why": "enough"}
    plain = {
        "retailer": "north",
        "run": "run-1",
        "how": HOW,
        "totals": TOTALS,
        "notes": ["2 products have no count of stock."],
        "currency": "EUR",
        "rows": [ROW, enough],
        "courses": COURSES,
    }
    return {**plain, **changes}


def words(page):
    body = page[page.index("<main") :]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_totals_stand_first_and_beside_todays_rule():
    text = words(orders_page(found()))
    assert text.index("48.00") < text.index("The list")
    assert "72.00" in text
    assert "2 products have no count of stock." in text


def test_a_title_is_words_and_never_markup():
    page = orders_page(found())
    assert "Tea &lt;best&gt;" in page
    assert "<best>" not in page


def test_each_order_has_its_reason_and_what_is_enough_is_counted():
    text = words(orders_page(found()))
    assert "20 are expected to sell" in text
    assert "For 1 other row enough is there" in text


def test_nobody_has_to_know_statistics():
    text = words(orders_page(found())).lower()
    for word in ("quantile", "percentile", "standard deviation", "sample path", "stochastic"):
        assert word not in text


def test_orders_of_several_stores_stand_under_their_names():
    rows = [{**ROW, "store": store} for store in ("S1", "S2")]
    sent = [{**ROW, "store": "S1", "from": "DC", "cost": 0.0}]
    text = words(orders_page(found(rows=rows + sent, how={**HOW, "warehouse": "DC"})))
    assert "S2, from the supplier" in text
    assert "S1, from DC" in text
    assert "DC supplies the stores" in text


def test_where_nothing_is_ordered_the_page_says_so():
    none = {name: [] for name in COURSES}
    text = words(orders_page(found(rows=[{**ROW, "units": 0.0}], courses=none)))
    assert "is enough" in text
    assert "looked at closely" not in text


def test_the_page_is_the_same_each_time():
    assert orders_page(found()) == orders_page(found())
