from datetime import date

import numpy as np
import polars as pl
import pytest

from grandtotal.errors import DataError
from grandtotal.tasks.lines import catalogue_lines, titles
from grandtotal.tasks.task import Common

TODAY = date(2024, 1, 1)
LINES = pl.DataFrame({"product": ["t1", "j1", "gin", "t2", "t1"], "quantity": [1, 2, 3, 4, 5]})
PRODUCTS = pl.DataFrame(
    {
        "product": ["t1", "t2", "j1", "gin"],
        "gtin": ["111", "111", "222", None],
        "title": ["Tea", "Tea, large", None, "Gin"],
    }
)
OWN = Common(TODAY, ("j1", "t1", "unsold"))
SHARED = Common(TODAY, ("222", "333", "111"), key="gtin")


def positions(tables, common):
    found = pl.concat(catalogue_lines(tables, common, ["quantity"]))
    return sorted(found.select("quantity", "i").rows())


def test_lines_of_the_catalogue_carry_their_position_in_it():
    assert positions({"transactions": LINES}, OWN) == [(1, 1), (2, 0), (5, 1)]


def test_gtins_stand_for_all_products_of_a_retailer_that_have_them():
    tables = {"transactions": LINES, "products": PRODUCTS}
    assert positions(tables, SHARED) == [(1, 2), (2, 0), (4, 2), (5, 2)]


@pytest.mark.parametrize("products", [None, PRODUCTS.drop("gtin")])
def test_gtins_without_a_table_of_them_are_refused(products):
    tables = {"transactions": LINES, "products": products}
    tables = {name: frame for name, frame in tables.items() if frame is not None}
    with pytest.raises(DataError, match="no products table with the column 'gtin'"):
        positions(tables, SHARED)


def test_a_catalogue_of_other_products_is_refused_with_its_first_key():
    with pytest.raises(DataError, match=r"catalogue of 1 keys \(first: 'wine'\)"):
        positions({"transactions": LINES}, Common(TODAY, ("wine",)))


def test_a_title_is_the_products_own_or_its_key():
    assert titles({"products": PRODUCTS}, OWN).tolist() == ["j1", "Tea", "unsold"]
    assert titles({}, OWN).tolist() == list(OWN.catalogue)
    assert titles({"products": PRODUCTS.drop("title")}, OWN).tolist() == list(OWN.catalogue)
    assert set(titles({"products": PRODUCTS}, SHARED)[np.array([0, 1])]) == {"222", "333"}
