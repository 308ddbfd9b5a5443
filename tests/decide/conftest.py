"""The generated example's demand task, fitted on the totals of its three retailers."""

from datetime import date

import pytest

from grandtotal.consortium.totals import Local
from grandtotal.tables import REGISTRY
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.task import Common


@pytest.fixture(scope="session")
def demand():
    catalogue = tuple(f"P{number:02}" for number in range(1, 57))
    return Demand(Common(date(2024, 7, 15), catalogue), horizon=4, test=8, history=80)


@pytest.fixture(scope="session")
def frames(tables):
    return {
        name: {table: found[table] for table in REGISTRY if table in found}
        for name, found in tables.items()
    }


@pytest.fixture(scope="session")
def fitted(demand, frames):
    """Returns north's rows, and the shared model with what north adds at home."""
    rows = {name: demand.rows(found) for name, found in frames.items()}
    model = demand.fit(Local(demand.pooled(list(rows.values())))).model
    return rows["north"], demand.adapt(model, rows["north"])
