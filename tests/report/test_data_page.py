"""The page of `check`: everything that was found, escaped, in one file without a network."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import grandtotal as gt
from grandtotal.report.data_page import data_page
from typed import typed

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Nesting(HTMLParser):
    """Fails where an element is closed that is not the innermost."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):  # noqa: ARG002
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The example, with a title that is markup, an unusable row and one to look at."""
    folder = gt.init(tmp_path_factory.mktemp("page") / "mine").parent
    products = folder / "north/data/products.csv"
    products.write_text(products.read_text().replace("P01,9", "P01,8", 1))
    lines = folder / "north/data/transactions.csv"
    text = lines.read_text() + "R9,<script>alert(1)</script>,S1,C1,P01,1,1.0,,\n"
    lines.write_text(text + "R9,2024-03-31 02:30,S1,C0001,P01,1,1.0,,\n")
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    return data_page(gt.check(folder / "north", folder / "plan.toml").json())


def test_the_page_is_one_well_formed_file_that_fetches_nothing(page):
    parser = Nesting()
    parser.feed(page)
    assert parser.open == []
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page


def test_the_page_says_all_that_the_terminal_says(page, folder):
    found = gt.check(folder / "north", folder / "plan.toml")
    plain = re.sub(r"<[^>]+>", "", page)
    for table in found.findings.tables:
        assert f"{table.account.read:,} rows read" in plain
        for cause in (*table.account.causes, *table.account.warnings):
            assert cause.reason in plain
    for standing in found.standings:
        assert standing.point.lower() in plain.lower()
    assert "time does not exist: the clock was put forward" in plain
    assert "gtin has a wrong check digit" in plain


def test_what_rows_hold_is_escaped(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_every_distribution_is_drawn(page, folder):
    found = gt.check(folder / "north").json()
    for distribution in found["tables"]["transactions"]["profile"]["distributions"]:
        assert f"<h4>{distribution['counted'].capitalize()} {distribution['name'].lower()}" in page
    assert page.count("<svg") == 6


def test_the_page_is_the_same_each_time(page, folder):
    again = data_page(gt.check(folder / "north", folder / "plan.toml").json())
    assert again == page


def test_a_retailer_without_a_usable_table_has_a_page(tmp_path):
    (tmp_path / "retailer.toml").write_text(
        'retailer = "n"\ncurrency = "EUR"\ntime_zone = "UTC"\n'
        '[tables.transactions]\npath = "none.csv"\n'
    )
    page = data_page(gt.check(tmp_path).json())
    assert "The table “transactions” cannot be used." in page
    assert "none.csv: no such file" in page
    assert "How it sells" not in page


def test_check_writes_the_page_and_exits_with_4_where_the_plan_cannot_run(folder):
    def check(*words: str, status: int) -> str:
        return typed("check", "north/retailer.toml", *words, cwd=folder, status=status).stdout

    assert "page: out.html" in check("--html", "out.html", status=0)
    assert (folder / "out.html").read_text().startswith("<!doctype html>")
    found = json.loads(check("--plan", "plan.toml", "--html", "b.html", "--json", status=0))
    assert found["plan"]["name"] == "my-consortium"
    (folder / "other.csv").write_text("product\nnobody sells this\n")
    plan = (folder / "plan.toml").read_text().replace('"catalogue.csv"', '"other.csv"')
    (folder / "other.toml").write_text(plan)
    assert "CANNOT RUN HERE" in check("--plan", "other.toml", status=4)
