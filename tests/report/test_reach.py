"""Who is reached, as readers see it."""

from grandtotal.report.details.reach import by_retailer, frontier

LARGE = {
    "weights": [0.0, 1.0],
    "customers": 30,
    "products": 10,
    "bought": 600.0,
    "shown": [300, 300],
    "ndcg": [6.0, 3.0],
    "popularity": [9000, 3000],
    "slow": [30, 150],
    "different": [5, 10],
    "others": [0, 0],
    "groups": {"few": [10, 1.0, 1.0], "many": [20, 5.0, 2.0], "none": [0, 0.0, 0.0]},
}
SMALL = {**LARGE, "customers": 10, "bought": 100.0, "shown": [100, 100], "ndcg": [1.0, 1.0]}


def test_retailers_stand_by_their_size():
    page = by_retailer({"little": SMALL, "big": LARGE})
    assert page.index("big") < page.index("little")
    assert "75%" in page
    assert "25%" in page
    assert "0.2000" in page
    assert "0.1000" in page
    assert by_retailer({"big": LARGE}) == ""


def test_what_others_offer_has_a_column_where_anything_does():
    assert "of other retailers" not in frontier([LARGE, SMALL])
    page = frontier([{**LARGE, "others": [40, 60]}, SMALL])
    assert "of other retailers" in page
    assert "10.0%" in page
    assert "15.0%" in page


def test_groups_of_customers_and_the_gap_between_them():
    page = frontier([LARGE])
    # Without a weight .1 and .25, with it .1 and .1.
    for told in ("0.100", "0.250", "–", "0.150", "0.000"):
        assert told in page
