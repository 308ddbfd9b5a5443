"""`grandtotal privacy` and `grandtotal ledger`: what is said before training, and what was done."""

import json
import math
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from grandtotal import __version__, api
from grandtotal.cli import main
from grandtotal.errors import PlanError, RefusedError, RetailerError
from grandtotal.plan import Plan
from grandtotal.privacy.accounting import epsilon_of
from grandtotal.tables.example import make_example

PRIVATE = """\
[consortium]
name = "small"
members = ["north", "south", "west"]
today = 2024-07-15
catalogue = "few.csv"

[privacy]
epsilon = 4.0
delta = 1e-5

[tasks.demand]
kind = "demand"
models = ["ridge"]
horizon = 2
test = 4
history = 30
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Returns the folder of a consortium that ran a private plan."""
    folder = tmp_path_factory.mktemp("private")
    make_example(folder)
    few = (folder / "catalogue.csv").read_text().splitlines()[:13]
    (folder / "few.csv").write_text("\n".join(few) + "\n")
    (folder / "plan.toml").write_text(PRIVATE)
    api.run(folder / "plan.toml", folder / "runs")
    return folder


@pytest.fixture
def folder(ran, tmp_path):
    """Returns a copy that a test may change."""
    shutil.copytree(ran, tmp_path / "copy")
    return tmp_path / "copy"


def limit(folder, text, retailer="north"):
    path = folder / retailer / "retailer.toml"
    path.write_text(path.read_text().partition("[privacy]")[0] + f"[privacy]\n{text}\n")
    return path


def said(*words, status=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == status, done.output
    return done.output


# --- before training ---


def test_what_a_plan_costs_is_said_before_anything_is_asked(folder):
    for door in folder.glob("*/door"):
        shutil.rmtree(door)
    text = said("privacy", folder / "plan.toml")
    assert "epsilon = 4 at delta = 1e-05 for the whole run" in text
    assert "glm-moments: once" in text
    assert "whole customers" in text
    assert "lower bounds" in text
    assert not list(folder.glob("*/door/ledger.jsonl"))


def test_few_customers_are_destroyed_and_many_hardly_notice(folder):
    def at(customers, delta="1e-8"):
        (folder / "plan.toml").write_text(
            PRIVATE.replace("1e-5", delta).replace("epsilon = 4.0", "epsilon = 0.1")
        )
        return said("privacy", folder / "plan.toml", "--customers", customers)

    assert "epsilon = 0.1 destroys this model" in at(100)
    assert "warning: epsilon = 0.1 costs this model much" in at(5_000)
    assert "costs about" in at(1_000_000)


def test_the_noise_that_is_said_is_the_noise_that_is_made(folder):
    seen = api.privacy(folder / "plan.toml")
    budget = Plan.read(folder / "plan.toml").budget()
    assert sum(asking.share for asking in seen.askings) == pytest.approx(1.0)
    records = api.ledger(folder / "north" / "retailer.toml").records
    for record in records:
        asking = next((a for a in seen.askings if a.query == record.get("query")), None)
        if asking is None or not asking.sigma:
            continue
        # Three shares are in the total; what is promised needs two of them.
        assert asking.sigma == pytest.approx(math.sqrt(3) * record["sigma"])
        assert asking.blur * record["norm"] == pytest.approx(asking.sigma, rel=1e-6)
        assert record["rho"] == budget.asked("demand", asking.query).rho
    assert {a.query for a in seen.askings if a.sigma} >= {"demand-series", "glm-moments"}


def test_a_plan_of_exact_totals_says_so(folder):
    (folder / "plan.toml").write_text(PRIVATE.replace("epsilon = 4.0\ndelta = 1e-5\n", ""))
    assert "totals are exact" in said("privacy", folder / "plan.toml")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("epsilon = 3.0", "cap is 3"),
        ("epsilon = 5.0\ndelta = 1e-5", "4 was spent before and the cap is 5"),
        ("purposes = { demand = 1.0 }", "for demand, would bring epsilon"),
    ],
)
def test_a_plan_over_the_cap_of_a_file_beside_it_is_refused(folder, limits, words):
    path = limit(folder, limits, "south")
    text = said("privacy", folder / "plan.toml", status=5)
    assert str(path) in text
    assert words in text
    with pytest.raises(
        RetailerError, match=r"'south': the question was not in the plan's schedule"
    ):
        api.run(folder / "plan.toml", folder / "again")


def test_a_retailer_that_wants_noise_always_refuses_exact_totals(folder):
    limit(folder, "exact_totals = false")
    (folder / "plan.toml").write_text(PRIVATE.replace("epsilon = 4.0\ndelta = 1e-5\n", ""))
    assert "asks for exact totals" in said("privacy", folder / "plan.toml", status=5)
    with pytest.raises(RetailerError, match=r"'north': .*more than its cap allows"):
        api.run(folder / "plan.toml", folder / "again")


def test_a_retailer_that_wants_masks_always_refuses_a_plan_without(folder):
    limit(folder, "clear_summands = false")
    text = PRIVATE.replace("epsilon = 4.0\ndelta = 1e-5\n", "secure_sum = false\n")
    (folder / "plan.toml").write_text(text)
    with pytest.raises(RetailerError, match=r"'north': its own retailer.toml does not allow"):
        api.run(folder / "plan.toml", folder / "again")


def test_a_plan_may_pin_the_code_that_all_run(folder):
    version, code = said("--version").split("\n")[:2]
    assert version == f"grandtotal {__version__}"
    pinned = PRIVATE.replace("delta = 1e-5", 'delta = 1e-5\ncode = "{}"')
    (folder / "plan.toml").write_text(pinned.format(code.removeprefix("code ")))
    assert api.run(folder / "plan.toml", folder / "pinned").folder.is_complete()
    (folder / "plan.toml").write_text(pinned.format("0" * 64))
    with pytest.raises(RetailerError, match="it runs another version of the software"):
        api.run(folder / "plan.toml", folder / "other")
    (folder / "plan.toml").write_text(pinned.format("latest"))
    with pytest.raises(PlanError, match="the 64 digits that `grandtotal --version` prints"):
        api.run(folder / "plan.toml", folder / "none")


def test_a_delta_that_is_not_below_one_over_the_customers_is_refused(folder):
    (folder / "plan.toml").write_text(PRIVATE.replace("1e-5", "0.01"))
    assert "is not below one over the" in said("privacy", folder / "plan.toml", status=5)
    with pytest.raises(RetailerError, match="delta is not below one over the number of its cust"):
        api.run(folder / "plan.toml", folder / "again")
    few = said("privacy", folder / "plan.toml", "--customers", 1_000_000, status=5)
    assert "1,000,000 customers of 'all retailers'" in few


def test_json_says_what_the_text_says(folder):
    found = json.loads(said("privacy", folder / "plan.toml", "--customers", 5000, "--json"))
    assert found["privacy"]["epsilon"] == 4.0
    assert {r["query"] for r in found["releases"]} == {
        "demand-series",
        "glm-moments",
        "test-scores",
    }
    assert all(r["noise_to_signal"]["5000"] > 0 for r in found["releases"])


# --- what was done ---


def test_a_ledger_says_what_was_asked_spent_and_left(ran):
    config = ran / "north" / "retailer.toml"
    text = said("ledger", config)
    assert "verified" in text
    assert "1 x demand: glm-moments" in text
    assert "plan 'small' with north, south, west" in text
    found = json.loads(said("ledger", config, "--json"))
    planned = Plan.read(ran / "plan.toml").budget().rho
    customer = found["units"]["customer"]
    assert customer["spent"] == pytest.approx(epsilon_of(planned, 1e-6))
    assert 0 < customer["spent_as_gaussian"] < customer["spent"]
    assert 0 < customer["left"] < 10
    assert customer["purposes"]["demand"]["spent"] == customer["spent"]
    assert found["exact_totals"] == 0
    egress = (ran / "runs").glob("*/retailers/north/egress.jsonl")
    logged = [json.loads(line) for path in egress for line in path.read_text().splitlines()]
    assert found["bytes_out"] == sum(record["bytes"] for record in logged)
    assert found["releases"] == len(logged)


def test_a_ledger_keeps_no_key_of_noise_after_the_run(ran):
    assert list(ran.glob("*/door/noise/**/*.key*")) == []


def test_a_second_run_spends_again_until_the_cap(folder):
    limit(folder, "epsilon = 7.0")
    api.run(folder / "plan.toml", folder / "again")
    found = api.ledger(folder / "north" / "retailer.toml").json()
    assert len(found["plans"]) == 2
    assert found["units"]["customer"]["spent"] < 7
    with pytest.raises(RetailerError, match=r"'north'.*more than its cap"):
        api.run(folder / "plan.toml", folder / "again")


def test_a_tampered_ledger_is_named_and_releases_nothing(folder):
    path = folder / "west" / "door" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"bytes":2', b'"bytes":3', 1))
    text = said("ledger", folder / "west" / "retailer.toml", status=5)
    assert str(path) in text
    with pytest.raises(RetailerError, match="'west': its ledger is damaged"):
        api.run(folder / "plan.toml", folder / "again")
    with pytest.raises(RefusedError, match="line"):
        api.privacy(folder / "plan.toml")


def test_another_set_of_retailers_needs_consent(folder):
    exact = PRIVATE.replace("epsilon = 4.0\ndelta = 1e-5\n", "")
    (folder / "plan.toml").write_text(exact)
    api.run(folder / "plan.toml", folder / "first")
    shutil.copytree(folder / "west", folder / "east")
    east = folder / "east" / "retailer.toml"
    east.write_text(east.read_text().replace('retailer = "west"', 'retailer = "east"'))
    shutil.rmtree(folder / "east" / "door")
    (folder / "plan.toml").write_text(exact.replace('"west"]', '"east"]'))
    with pytest.raises(RetailerError, match="for another set of retailers"):
        api.run(folder / "plan.toml", folder / "second")
    for wrong in ("north", "south, west, east"):
        refused = said("ledger", folder / "north/retailer.toml", "--consent", wrong, status=3)
        assert "at least three and 'north' among them" in refused
    for name in ("north", "south"):
        said("ledger", folder / name / "retailer.toml", "--consent", "north, south, east")
    api.run(folder / "plan.toml", folder / "third")


def test_a_restored_backup_releases_nothing_until_all_sign_a_new_roster(folder):
    door = folder / "north" / "door"
    shutil.copytree(door, folder / "backup")
    api.run(folder / "plan.toml", folder / "second")
    spent = api.ledger(folder / "north" / "retailer.toml").json()["units"]["customer"]["spent"]
    shutil.rmtree(door)
    shutil.copytree(folder / "backup", door)
    for _ in range(2):
        with pytest.raises(RetailerError, match="'north': its ledger is damaged, in use, or older"):
            api.run(folder / "plan.toml", folder / "third")
    assert "peers know a later ledger" in said("ledger", folder / "north" / "retailer.toml")
    # A member with a new key: the simulation has all of them sign a roster of the next epoch.
    (folder / "south" / "door" / "identity.key").unlink()
    limit(folder, "epsilon = 20.0")
    api.run(folder / "plan.toml", folder / "fourth")
    now = api.ledger(folder / "north" / "retailer.toml").json()["units"]["customer"]["spent"]
    assert now > spent


def test_an_empty_ledger_is_a_statement_too(tmp_path):
    make_example(tmp_path)
    text = said("ledger", tmp_path / "north" / "retailer.toml")
    assert "0 records, verified" in text
    assert Path(tmp_path / "north" / "door").exists() is False
