"""A run across companies: the same totals and models, whoever is killed on the way."""

import pytest

from grandtotal.plan import Plan
from grandtotal.simulate import find_configs, simulate, start

RETAILERS = ("north", "south", "west")


@pytest.fixture(scope="module")
def embedded(example, tmp_path_factory):
    """Returns a run of the same plan in one process."""
    plan = Plan.read(example / "plan.toml")
    folder = start(plan, find_configs(plan, example), tmp_path_factory.mktemp("runs"), False)
    simulate(folder)
    return folder


def results(folder):
    return {key: folder.finished()[key] for key in ("models", "rounds")}


def totals(folder):
    return [record["total"] for record in folder.rounds() if "total" in record]


@pytest.mark.parametrize("plan", ["plan.toml", "clear.toml"])
def test_totals_and_models_are_those_of_one_process(companies, embedded, plan):
    run = companies.submit(plan)
    companies.decide(run)
    assert companies.wait(run) == "finished"
    assert results(run.folder) == results(embedded)
    assert totals(run.folder) == totals(embedded)
