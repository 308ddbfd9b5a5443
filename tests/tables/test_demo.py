import hashlib
from datetime import date
from itertools import combinations
from pathlib import Path

import holidays
import polars as pl
import pytest

from grandtotal.tables import Tables, load_config
from grandtotal.tables import demo as demo_module
from grandtotal.tables.check import check
from grandtotal.tables.demo import RETAILERS, SHARES, make_demo

SOURCE = Path(demo_module.__file__).parent / "data"


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return make_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def tables(demo) -> dict[str, Tables]:
    return {name: Tables(load_config(demo / name)) for name in RETAILERS}


def test_the_attribution_lies_beside_the_data():
    text = (SOURCE / "ATTRIBUTION.md").read_text()
    assert all(word in text for word in ("Daqing Chen", "CC BY 4.0", "10.24432/C5CG6D"))


def test_every_retailer_reads_without_a_complaint(demo):
    for name in RETAILERS:
        findings = check(load_config(demo / name))
        assert findings.ok
        assert not any(table.account.causes for table in findings.tables)


def test_every_sale_of_the_source_belongs_to_one_retailer(tables):
    source = pl.read_parquet(SOURCE / "online_retail_ii.parquet")
    sales = source.filter(pl.col("stock_code").str.contains(r"^\d{5}"), pl.col("unit_price") != 0)
    lines = pl.concat([tables[name]["transactions"] for name in RETAILERS])
    assert lines.height == sales.height
    assert lines["quantity"].sum() == sales["quantity"].sum()
    assert lines["customer"].null_count() == sales["customer_id"].null_count()


def test_no_customer_belongs_to_two_retailers(tables):
    customers = [set(tables[name]["customers"]["customer"]) for name in RETAILERS]
    assert all(not one & other for one, other in combinations(customers, 2))
    for name in RETAILERS:
        buyers = set(tables[name]["transactions"]["customer"].drop_nulls())
        assert buyers == set(tables[name]["customers"]["customer"])


def test_no_invoice_without_a_customer_is_divided_within_the_uk(tables):
    anonymous = [
        set(
            tables[name]["transactions"]
            .filter(pl.col("customer").is_null())["basket"]
            .str.strip_prefix("C")
        )
        for name in SHARES
    ]
    assert all(not one & other for one, other in combinations(anonymous, 2))


def test_the_uk_shares_are_as_said(tables):
    counts = {name: tables[name]["customers"].height for name in SHARES}
    for name, share in SHARES.items():
        # Three standard deviations of a binomial share of 5,357 customers are 2 points.
        assert counts[name] / sum(counts.values()) == pytest.approx(share, abs=0.02)


def test_abroad_is_every_other_country(tables):
    for name in RETAILERS:
        regions = set(tables[name]["customers"]["region"])
        assert regions == {"United Kingdom"} if name in SHARES else "United Kingdom" not in regions


def test_only_products_are_sold_and_each_has_a_row(tables):
    for name in RETAILERS:
        sold = tables[name]["transactions"]["product"].unique()
        assert sold.str.contains(r"^\d{5}").all()
        assert set(sold) == set(tables[name]["products"]["product"])


def test_the_catalogue_knows_nothing_of_the_last_26_weeks(demo, tables):
    catalogue = pl.read_csv(demo / "catalogue.csv", infer_schema=False)
    lines = pl.concat([tables[name]["transactions"] for name in RETAILERS])
    early = lines.filter(pl.col("time") < date(2011, 6, 11), pl.col("quantity") > 0)
    buyers = early.group_by("product").agg(pl.col("customer").drop_nulls().n_unique())
    expected = buyers.filter(pl.col("customer") >= 20)["product"].sort()
    assert lines["time"].max().date() == date(2011, 12, 9)
    assert catalogue.columns == ["product"]
    assert catalogue["product"].equals(expected)


def test_the_holidays_are_those_of_england_and_wales(tables):
    known = holidays.UK(subdiv="ENG", years=range(2009, 2013))
    within = {day for day in known if date(2009, 12, 1) <= day <= date(2012, 3, 31)}
    calendar = tables["north"]["calendar"]
    assert set(calendar["date"]) == within
    assert calendar["holiday"].null_count() == 0
    assert calendar["known_at"].null_count() == calendar.height


def test_the_demo_is_the_same_every_time(demo, tmp_path):
    def digests(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    assert digests(make_demo(tmp_path)) == digests(demo)
