"""Decisions on prices of a finished run, from outside; and what competitors cannot learn."""

import ast
import html
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

import grandtotal.decide
from grandtotal import api
from grandtotal.cli import main
from grandtotal.decide.log import logged_prices
from grandtotal.decide.rules import PriceRules
from grandtotal.decide.table import rows
from grandtotal.errors import PlanError, RunError
from grandtotal.tasks.price import Price
from grandtotal.tasks.task import Common

PLAN = """\
[consortium]
name = "prices"
members = ["north", "south", "west"]
today = 2024-07-15
catalogue = "few.csv"

[privacy]
secure_sum = false

[tasks.price]
kind = "price"
models = ["log-log"]
history = 76
test = 12
"""
STEP = math.exp(1 / 2**16)  # of a log price: a change of so many leaves all differences as they are


@pytest.fixture(scope="module")
def folder(example, tmp_path_factory):
    """Returns three retailers with costs, and a plan with one task of the kind price."""
    path = tmp_path_factory.mktemp("prices") / "plan"
    shutil.copytree(example, path)
    (path / "plan.toml").write_text(PLAN)
    for name in ("north", "south", "west"):
        file = path / name / "data" / "products.csv"
        cost = (pl.col("list_price") * 0.6).round(2)
        pl.read_csv(file).with_columns(cost=cost).write_csv(file)
    return path


@pytest.fixture(scope="module")
def run(folder):
    return api.run(folder / "plan.toml", folder / "runs")


def invoke(run, *words):
    given = ["decide", "prices", str(run.folder.path), "--retailer", "north", *words]
    return CliRunner().invoke(main, given)


# --- from outside ---


def test_prices_are_printed_and_written(run, tmp_path):
    out = tmp_path / "prices.parquet"
    result = invoke(run, "--objective", "margin", "--largest-change", "0.2", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "margin a week" in result.output
    assert "% less" in result.output
    frame = pl.read_parquet(out)
    assert set(frame["decision"]) <= {"new price", "keep", "test"}
    assert (frame["change"].abs() <= 0.2 + 1e-9).all()
    assert (frame["price"] > frame["price_now"] * 0.6).all()
    assert frame.filter(pl.col("decision") == "new price").height > 0


def test_a_page_of_prices_shows_what_changes_and_why(run, tmp_path):
    page = tmp_path / "prices.html"
    made = json.loads(invoke(run, "--largest-change", "0.2", "--page", str(page), "--json").stdout)
    text = html.unescape(page.read_text())
    assert "What prices north should set" in text
    assert made["summary"].splitlines()[0].replace(" %", "\u00a0%") in text
    changed = [row for row in made["prices"] if row["decision"] == "new price"]
    assert changed
    for row in changed:
        assert f"{row['title']} ({row['product']})" in text
        assert f"{row['price']:,.2f}" in text
    assert "elasticity" not in text
    refused = invoke(run, "--by", "tier", "--page", str(page))
    assert refused.exit_code == 2
    assert "leave out --by" in refused.output


def test_settings_of_a_file_hold_and_flags_win(run, tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text('objective = "units"\nmost_changes = 2\nendings = [0.99]\n')
    both = invoke(run, "--settings", str(file), "--json")
    made = json.loads(both.stdout)["prices"]
    changed = [row["price"] for row in made if row["decision"] == "new price"]
    assert len(changed) <= 2
    assert all(round(price % 1, 2) == 0.99 for price in changed)
    stopped = json.loads(invoke(run, "--settings", str(file), "--stop", "--json").stdout)
    assert {row["decision"] for row in stopped["prices"]} == {"stop"}


def test_every_decision_is_logged_with_its_propensity(run):
    before = len(logged_prices(run.folder.retailer("north")))
    decided = run.prices("north", PriceRules("revenue", explore=True, largest_change=0.3, seed=5))
    (record,) = logged_prices(run.folder.retailer("north"))[before:]
    assert record["rules"]["seed"] == 5
    for i, product in enumerate(decided.of.product):
        if product in record["products"]:
            assert record["products"][product][2] == decided.propensity[i]
    assert min(chance for *_, chance in record["products"].values()) < 1


def test_discounts_by_segment_stand_beside_one_for_all(run, tmp_path):
    out = tmp_path / "tiers.csv"
    words = ("--by", "tier", "--objective", "revenue", "--largest-change", "0.2")
    result = invoke(run, *words, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "discounts by tier: revenue" in result.output
    assert "one discount for all" in result.output
    assert "age_band: 30-44 (" in result.output
    assert "tier: gold (fewer than 50 customers): –" in result.output
    frame = pl.read_csv(out)
    assert frame["segment"].to_list() == ["basic", "gold", "silver"]
    found = json.loads(invoke(run, *words, "--json").stdout)
    assert {gap["group"].split(":")[0] for gap in found["gaps"]} == {"age_band", "region", "tier"}


def test_a_protected_segment_is_refused_or_said(run):
    refused = invoke(run, "--by", "region")
    assert refused.exit_code == 3
    assert "stands for it, is refused" in refused.output
    allowed = invoke(run, "--by", "region", "--allow-protected")
    assert "the rules allow it explicitly" in allowed.output
    missing = invoke(run, "--by", "shoe_size")
    assert missing.exit_code == 4
    assert "no column 'shoe_size' in the customers table" in missing.output


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--objective", "profit"), 3, "expected one of margin, revenue, units"),
        (("--largest-change", "2"), 3, "largest_change = 2.0"),
        (("--task", "demand"), 7, "no task 'demand'"),
    ],
)
def test_wrong_words_are_refused_with_what_is_right(run, words, code, text):
    result = invoke(run, *words)
    assert result.exit_code == code
    assert text in result.output


def test_a_file_that_is_no_toml_is_named(run, tmp_path):
    (tmp_path / "p.toml").write_text("objective = margin")
    result = invoke(run, "--settings", str(tmp_path / "p.toml"))
    assert result.exit_code == 3
    assert "p.toml: not valid TOML" in result.output


def test_without_costs_it_is_said_what_to_add(run, folder):
    file = folder / "west" / "data" / "products.csv"
    whole = pl.read_csv(file)
    whole.drop("cost").write_csv(file)
    result = CliRunner().invoke(
        main, ["decide", "prices", str(run.folder.path), "--retailer", "west"]
    )
    whole.write_csv(file)
    assert result.exit_code == 4
    assert "add the column 'cost' to the products table" in result.output


def test_a_run_without_prices_says_so(run, monkeypatch):
    with pytest.raises(RunError, match="no retailer 'east'"):
        run.prices("east")
    monkeypatch.setattr(type(run.folder.plan()), "kinds", {"a": "demand"})
    with pytest.raises(RunError, match="the plan has none of the kind 'price'"):
        run.prices("north")


# --- competition ---


def test_a_retailers_prices_do_not_follow_the_level_of_anothers(run, folder, tmp_path):
    path = tmp_path / "other"
    shutil.copytree(folder, path, ignore=shutil.ignore_patterns("runs"))
    file = path / "south" / "data" / "transactions.csv"
    dearer = pl.col("price") * STEP**50_000  # more than twice as dear
    pl.read_csv(file).with_columns(dearer).write_csv(file)
    other = api.run(path / "plan.toml", path / "runs")
    rules = PriceRules(largest_change=0.3)
    assert rows(other.prices("north", rules)) == rows(run.prices("north", rules))
    south = [each.prices("south", rules).of.price for each in (run, other)]
    assert south[1] == pytest.approx(south[0] * STEP**50_000)
    models = [each.folder.path / "coordinator" / "models" for each in (run, other)]
    assert (models[0] / "price.safetensors").read_bytes() == (
        models[1] / "price.safetensors"
    ).read_bytes()


def test_fewer_than_three_retailers_share_no_elasticity():
    with pytest.raises(PlanError, match="retailers = 2"):
        Price(Common(None, ("a",)), retailers=2)


def test_nothing_that_decides_can_send():
    forbidden = ("consortium", "privacy", "coordinate", "participate", "retailer_process")
    of_rows = "grandtotal.consortium.query"  # what rows are called; it holds no connection
    for path in Path(grandtotal.decide.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                sends = module.startswith(tuple(f"grandtotal.{name}" for name in forbidden))
                assert module == of_rows or not sends
                assert module.split(".")[0] not in ("socket", "http", "urllib", "ssl", "subprocess")


def test_a_decision_loads_neither_transport_nor_egress():
    code = "import sys, grandtotal.decide.prices, grandtotal.decide.table; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    ours = {name for name in loaded.stdout.split() if name.startswith("grandtotal.")}
    rooms = {name.split(".")[1] for name in ours}
    assert rooms == {"decide", "errors"}
