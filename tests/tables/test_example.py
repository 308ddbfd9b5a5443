from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grandtotal.tables import Tables, load_config
from grandtotal.tables.check import check
from grandtotal.tables.example import gtin, make_example
from grandtotal.tables.schema_more import MORE

NAMES = ("north", "south", "west")


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    return make_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def tables(example) -> dict[str, Tables]:
    return {name: Tables(load_config(example / name)) for name in NAMES}


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_table_reads_without_a_complaint(example):
    for name in NAMES:
        findings = check(load_config(example / name))
        assert findings.ok
        there = ("events", "stock", "supply")
        more = [table.name for table in MORE if table.name not in there]
        assert [absent.name for absent in findings.absent] == more
        assert not any(table.account.causes for table in findings.tables)
        assert not any(table.account.warnings for table in findings.tables)


def test_equal_seeds_give_equal_files(example, tmp_path):
    assert contents(make_example(tmp_path / "again")) == contents(example)
    other = contents(make_example(tmp_path / "other", seed=8))
    assert other["north/data/transactions.csv"] != contents(example)["north/data/transactions.csv"]


def test_the_example_is_small(example):
    assert sum(len(content) for content in contents(example).values()) < 1_000_000


def test_retailers_have_other_lines_and_the_same_products(tables):
    lines = [tables[name]["transactions"] for name in NAMES]
    assert not lines[0].equals(lines[1])
    products = tables["north"]["products"]
    assert products.height == 60
    assert products["category"].n_unique() == 5
    assert products.equals(tables["west"]["products"])


def test_the_catalogue_is_all_products(example, tables):
    catalogue = pl.read_csv(example / "catalogue.csv")["product"]
    assert catalogue.to_list() == tables["north"]["products"]["product"].to_list()
    assert set(tables["north"]["transactions"]["product"]) <= set(catalogue)


def test_customers_prefer_few_categories(tables):
    lines = tables["north"]["transactions"].drop_nulls("customer")
    lines = lines.join(tables["north"]["products"].select("product", "category"), on="product")
    counts = lines.group_by("customer", "category").len()
    top_two = counts.group_by("customer").agg(pl.col("len").top_k(2).sum())["len"].sum()
    assert top_two / lines.height > 0.85  # 0.66 if all bought from all categories alike


def test_sales_have_a_week(tables):
    days = tables["north"]["transactions"]["time"].dt.weekday().value_counts().sort("time")
    assert days["count"].to_list()[5] > 2 * days["count"].to_list()[6]


def test_promotions_double_demand_at_a_lower_price(tables):
    lines = tables["north"]["transactions"].filter(pl.col("quantity") > 0)
    promoted = pl.col("promotion").is_not_null()
    share = lines.select(promoted.mean()).item()
    assert 0.06 < share < 0.14  # of 5 % of the cells
    assert (
        lines.filter(promoted)["quantity"].mean() > 1.3 * lines.filter(~promoted)["quantity"].mean()
    )
    assert (lines.filter(promoted)["discount"] > 0).all()


def test_there_are_returns_anonymous_lines_and_refusals_of_consent(tables):
    lines = tables["north"]["transactions"]
    assert 0.005 < (lines["quantity"] < 0).mean() < 0.03
    assert 0.05 < lines["customer"].is_null().mean() < 0.12
    assert tables["north"].accounts["customers"].no_consent > 0
    assert tables["north"].accounts["transactions"].no_consent > 0


def test_lines_cover_80_whole_weeks(tables):
    for name in NAMES:
        days = tables[name]["transactions"]["time"].dt.date()
        assert (days.max() - days.min()).days < 80 * 7
        assert days.dt.truncate("1w").n_unique() == 80


def test_every_gtin_has_a_valid_check_digit(tables):
    digits = np.array([list(map(int, code)) for code in tables["north"]["products"]["gtin"]])
    weights = np.array([1, 3] * 6 + [1])
    assert digits.shape == (60, 13)
    assert not (digits @ weights % 10).any()


def test_a_known_gtin_is_reproduced():
    assert gtin(123456789).startswith("952123456789")
    # The example of GS1, 629104150021 -> 3, by the same rule.
    assert sum(int(d) * w for d, w in zip("6291041500213", [1, 3] * 6 + [1], strict=True)) % 10 == 0


def test_every_product_can_be_ordered(tables):
    for name in NAMES:
        stock, supply = tables[name]["stock"], tables[name]["supply"]
        assert stock["product"].n_unique() == supply["product"].n_unique() == 60
        assert (stock["date"] >= tables[name]["transactions"]["time"].dt.date().max()).all()
        assert (supply["minimum_order"] % supply["pack"] == 0).all()
