"""Forecasts by trees from outside: what if prices changed, products that begin, other stacks."""

import json
import shutil

import lightgbm
import polars as pl
import pytest
from click.testing import CliRunner

from grandtotal import api
from grandtotal.cli import main

PLAN = """\
[consortium]
name = "trees"
members = ["north", "south", "west"]
today = 2024-07-15
catalogue = "some.csv"

[privacy]
secure_sum = false

[tasks.demand]
kind = "demand"
models = ["trees"]
horizon = 2
test = 4
history = 60
trees = 6
leaves = 6

[tasks.other]
kind = "demand"
models = ["mean"]
horizon = 1
test = 2
history = 20
"""
NEW = "P99"


def with_list_prices(data):
    """Writes prices.csv: the weekly price of each product before its discount."""
    lines = pl.read_csv(data / "transactions.csv", try_parse_dates=True)
    before = pl.col("price") + pl.col("discount").fill_null(0.0)
    week = pl.col("time").cast(pl.Datetime).dt.truncate("1w").dt.date()
    by_week = lines.group_by("product", start=week).agg(list_price=before.max().round(2))
    by_week.sort("product", "start").write_csv(data / "prices.csv")


@pytest.fixture(scope="module")
def folder(example, tmp_path_factory):
    """Returns three retailers, two of them with list prices, and north with a product to come."""
    path = tmp_path_factory.mktemp("trees") / "plan"
    shutil.copytree(example, path)
    (path / "plan.toml").write_text(PLAN)
    names = [*(f"P{number:02}" for number in range(1, 25)), NEW]
    pl.DataFrame({"product": names}).write_csv(path / "some.csv")
    for name in ("north", "west"):
        with_list_prices(path / name / "data")
        config = path / name / "retailer.toml"
        tables = '\n[tables.prices]\npath = "data/prices.csv"\n'
        config.write_text(config.read_text() + tables)
    for table, row in (
        ("products", {"product": NEW, "category": "garden > balcony", "brand": "Grow"}),
        ("supply", {"product": NEW, "lead_time": 7, "pack": 1, "minimum_order": 0}),
    ):
        file = path / "north" / "data" / f"{table}.csv"
        frame = pl.read_csv(file, schema_overrides={"gtin": pl.String})
        pl.concat([frame, pl.DataFrame([row])], how="diagonal_relaxed").write_csv(file)
    return path


@pytest.fixture(scope="module")
def run(folder):
    return api.run(folder / "plan.toml", folder / "runs")


def invoke(run, *words, status=0):
    """Returns what a command on the run printed."""
    first, *others = words
    done = CliRunner().invoke(main, [first, str(run.folder.path), *others])
    assert done.exit_code == status, done.output
    return done


def what_if(run, tmp_path, asked, retailer="north", status=0):
    words = ("--retailer", retailer, "--task", "demand", "--what-if", asked, "--json")
    found = invoke(run, "predict", *words, "--out", str(tmp_path), status=status)
    if status:
        return found.output
    return pl.read_parquet(json.loads(found.stdout)["demand"])


def test_nothing_sells_more_at_a_higher_price_and_something_less(run, tmp_path):
    sold = {}
    for asked in ("price=0.9", "price=1", "price=1.1"):
        found = what_if(run, tmp_path, asked)
        sold[asked] = found["units_what_if"].to_numpy()
    assert (sold["price=1"] == found["units"].to_numpy()).all()
    assert (sold["price=0.9"] >= sold["price=1"]).all()
    assert (sold["price=1"] >= sold["price=1.1"]).all()
    assert sold["price=0.9"].sum() > 1.05 * sold["price=1.1"].sum()


def test_a_price_that_no_model_can_know_is_refused_with_what_was_seen(run, tmp_path):
    refused = what_if(run, tmp_path, "price=3", status=4)
    assert "outside of what was ever seen; past list prices were 0." in refused
    refused = what_if(run, tmp_path, "price=1.1", "south", status=4)
    assert "prices: no list price of the coming days" in refused
    refused = what_if(run, tmp_path, "price=1.1,promotion=yes", status=3)
    assert "a promotion reduces" in refused


def test_a_product_that_begins_has_the_level_of_products_like_it(run, tmp_path):
    words = ("--retailer", "north", "--task", "demand", "--json", "--out", str(tmp_path))
    written = json.loads(invoke(run, "predict", *words).stdout)
    found = pl.read_parquet(written["demand"])
    new = found.filter(pl.col("product") == NEW)
    assert new["ahead"].to_list() == [1, 2]
    assert set(new["like"]) == {"like 12 products of garden > balcony, 5 products by Grow"}
    alike = found.filter(pl.col("product").is_in([f"P{i}" for i in range(13, 25)]))
    assert alike["units"].min() < new["units"].mean() < alike["units"].max()
    assert (new["p10"] <= new["p50"]).all()
    assert (new["p50"] <= new["p90"]).all()
    assert set(found.filter(pl.col("product") != NEW)["like"]) == {""}


def test_lightgbm_reads_the_exported_trees_and_forecasts_the_same(run, tmp_path):
    words = ("--retailer", "north", "--task", "demand", "--out", str(tmp_path))
    printed = invoke(run, "export", *words).stdout.split()
    assert [tmp_path / name for name in ("model.txt", "inputs.csv", "rows.csv")] == [
        *map(type(tmp_path), printed)
    ]
    rows, inputs = pl.read_csv(tmp_path / "rows.csv"), pl.read_csv(tmp_path / "inputs.csv")
    assert "list price to its usual" in inputs["name"].to_list()
    booster = lightgbm.Booster(model_file=str(tmp_path / "model.txt"))
    made = booster.predict(rows.select(inputs["input"].to_list()).to_numpy())
    assert made * rows["usual"].to_numpy() == pytest.approx(rows["units"].to_numpy(), rel=1e-9)
    refused = invoke(run, "export", *words[:2], "--task", "other", "--out", "x", status=7)
    assert "the model that was chosen, mean, has no trees" in refused.output
