"""Whether a retailer can take part: its tables against the tasks, and against a plan."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

import grandtotal as gt
from grandtotal.consortium.query import installed
from grandtotal.errors import DataError
from grandtotal.plan import Plan
from grandtotal.readiness import Checked, standings, uses
from grandtotal.tables import REGISTRY, Tables, load_config
from grandtotal.tables.check import check_tables
from grandtotal.tables.example import make_example
from grandtotal.tasks.needs import Need, needs_of, standing_of


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    return gt.init(tmp_path / "mine").parent


def verdicts(checked: Checked) -> dict[str, str]:
    return {standing.point: standing.verdict for standing in checked.standings}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def lines_of(folder: Path) -> pl.DataFrame:
    return pl.read_csv(folder / "north/data/transactions.csv", infer_schema=False)


def write_lines(folder: Path, lines: pl.DataFrame) -> None:
    lines.write_csv(folder / "north/data/transactions.csv")


def checked(folder: Path) -> Checked:
    return gt.check(folder / "north", folder / "plan.toml")


@pytest.mark.parametrize("kind", sorted(installed("tasks")))
def test_every_task_declares_columns_that_exist(kind: str) -> None:
    needs = needs_of(installed("tasks")[kind])
    assert needs
    for need in needs:
        assert need.column in REGISTRY[need.table].names
        assert need.what


@pytest.mark.parametrize("kind", sorted(installed("tasks")))
def test_a_column_that_a_task_requires_is_refused_by_name_without_it(
    consortium: Path, kind: str
) -> None:
    plan = Plan.read(consortium / "plan.toml")
    planned = (task for task in plan.tasks.values() if task.kind == kind)
    task = next(planned, None) or installed("tasks")[kind](plan.common)
    optional = [c.name for c in REGISTRY["transactions"].columns if not c.required]
    for need in (need for need in needs_of(task) if need.required and need.column in optional):
        write_lines(consortium, lines_of(consortium).drop(need.column))
        with pytest.raises(DataError, match=f"column '{need.column}'"):
            task.rows(Tables(load_config(consortium / "north")))


def test_the_example_can_run_its_plan(consortium: Path) -> None:
    found = checked(consortium)
    assert found.ok
    assert set(verdicts(found).values()) == {"yes"}
    assert "plan my-consortium: can run here" in found.text()
    points = {"members", "catalogue", "today", "recommend: customers"}
    points |= {"demand: history", "demand: stock"}
    assert set(verdicts(found)) == points


def test_without_customers_recommend_cannot_be_done_and_demand_can(consortium: Path) -> None:
    write_lines(consortium, lines_of(consortium).drop("customer"))
    found = checked(consortium)
    possible = {use.task: use.possible for use in found.uses}
    assert possible["recommend"] is False
    assert possible["demand"] is True
    assert "recommend      CANNOT BE DONE" in found.text()
    assert not found.ok
    assert verdicts(found)["recommend"] == "no"
    assert verdicts(found)["demand: history"] == "yes"


def test_what_a_column_would_add_is_said(consortium: Path) -> None:
    write_lines(consortium, lines_of(consortium).drop("promotion", "discount"))
    (demand,) = (use for use in gt.check(consortium / "north").uses if use.task == "demand")
    lacking = {(need.table, need.column) for need in demand.lacks}
    assert {("transactions", "promotion"), ("transactions", "discount")} <= lacking
    assert demand.possible


def test_a_stranger_is_refused(consortium: Path) -> None:
    edit(consortium / "north/retailer.toml", '"north"', '"elsewhere"')
    found = checked(consortium)
    assert verdicts(found)["members"] == "no"
    assert "elsewhere is not a member" in " ".join(found.text().split())


def test_other_product_keys_are_refused_with_an_example_of_both(consortium: Path) -> None:
    lines = lines_of(consortium).with_columns(product=pl.concat_str(pl.lit("X"), "product"))
    write_lines(consortium, lines)
    found = checked(consortium)
    text = " ".join(found.text().split())
    assert not found.ok
    assert "0 of the plan's 60 products are sold here, of 60 in all" in text
    assert "the first in the plan is 'P01'; the first here is 'XP01'" in text
    assert "demand: history" not in verdicts(found)


def test_a_plan_by_bar_code_needs_bar_codes(consortium: Path) -> None:
    products = pl.read_csv(consortium / "north/data/products.csv", infer_schema=False)
    products.select(product="gtin").write_csv(consortium / "catalogue.csv")
    edit(consortium / "plan.toml", 'key = "product"', 'key = "gtin"')
    assert verdicts(checked(consortium))["catalogue"] == "yes"
    products.drop("gtin").write_csv(consortium / "north/data/products.csv")
    assert verdicts(checked(consortium))["key"] == "no"


def test_few_common_products_are_worth_a_look(consortium: Path) -> None:
    keys = ["product", "P01", *[f"Z{n}" for n in range(20)]]
    (consortium / "catalogue.csv").write_text("\n".join(keys) + "\n")
    assert verdicts(checked(consortium))["catalogue"] == "look"


@pytest.mark.parametrize(
    ("days", "verdict", "found"),
    [(-7, "look", "lines from 2024-07-08 on are not looked at"), (30, "look", "31 days are empty")],
)
def test_a_today_that_does_not_follow_the_last_day_is_said(
    consortium: Path, days: int, verdict: str, found: str
) -> None:
    plan = Plan.read(consortium / "plan.toml")
    common = replace(plan.common, today=date(2024, 7, 15) + timedelta(days=days))
    tables = Tables(load_config(consortium / "north"))
    (today,) = (
        s for s in standings(replace(plan, common=common, tasks={}), tables) if s.point == "today"
    )
    assert today.verdict == verdict
    assert found in today.remedy


def test_a_short_history_is_worth_a_look_and_no_test_rows_a_refusal(consortium: Path) -> None:
    lines = lines_of(consortium)
    write_lines(consortium, lines.filter(pl.col("time") >= "2024-01-01"))
    found = checked(consortium)
    assert verdicts(found)["demand: history"] == "look"
    assert found.ok
    write_lines(consortium, lines.filter(pl.col("time") < "2024-05-01"))
    found = checked(consortium)
    assert verdicts(found)["demand: history"] == "no"
    assert verdicts(found)["recommend: customers"] == "no"
    assert not found.ok


def test_a_task_that_declares_nothing_is_listed_without_needs(consortium: Path) -> None:
    class Silent:
        """A task of another package that knows nothing of needs."""

    assert needs_of(Silent) == ()
    tables = Tables(load_config(consortium / "north"))
    assert standing_of(Silent(), {}, tables) == ()


def test_the_json_is_plain_and_holds_profiles_tasks_and_plan(consortium: Path) -> None:
    found = json.loads(json.dumps(checked(consortium).json()))
    assert found["plan"]["standings"][0]["verdict"] == "yes"
    assert found["tasks"]["demand"]["possible"] is True
    profile = found["tables"]["transactions"]["profile"]
    assert {column["name"]: column["missing"] for column in profile["columns"]}["product"] == 0
    assert len(profile["distributions"]) == 6
    assert (found["currency"], found["time_zone"]) == ("EUR", "Europe/Berlin")


def test_tables_that_cannot_be_used_lack_everything(tmp_path: Path) -> None:
    make_example(tmp_path)
    (tmp_path / "north/data/transactions.csv").unlink()
    tables = Tables(load_config(tmp_path / "north"))
    found = {use.task: use for use in uses(check_tables(tables))}
    assert not found["recommend"].possible
    assert Need("transactions", "quantity", True, "what is forecast") in found["demand"].lacks
