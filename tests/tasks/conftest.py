"""Each installed task on the generated example, and frames that a test may change."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from builders.ratings import rating_table
from grandtotal.consortium.query import Rows, installed
from grandtotal.tables import REGISTRY, Tables
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.task import Common, Task

SETTINGS: dict[str, dict[str, Any]] = {
    "recommend": {"horizon_days": 42, "top": 10},
    "next basket": {"horizon_days": 42, "top": 10, "repeat": True},
    "demand": {"horizon": 4, "test": 8, "history": 80},
    "price": {"test": 12, "history": 80},
    "churn": {"horizon_days": 56, "history_days": 560, "groups": ("tier = basic",), "trees": 3},
    "purchase-intent": {"trees": 3},
    "value": {"horizon_days": 91},
    "segments": {"models": ("kmeans", "mixture"), "horizon_days": 91},
    "ratings": {"horizon_days": 120},
    "shift": {"models": ("cusum", "page-hinkley"), "categories": ("kitchen", "garden")},
}


@dataclass(frozen=True)
class Prepared:
    """A task, the rows of each retailer, and the tables that they are made of."""

    task: Task
    parts: dict[str, Rows]
    frames: dict[str, dict[str, Any]]

    @property
    def pooled(self) -> Rows:
        return self.task.pooled(list(self.parts.values()))


@pytest.fixture(scope="session")
def common() -> Common:
    """Returns what the plan of the example agrees on."""
    return Common(date(2024, 7, 15), tuple(f"P{number:02}" for number in range(1, 57)))


@pytest.fixture(scope="session")
def frames(tables: dict[str, Tables]) -> dict[str, dict[str, Any]]:
    """Returns the tables of each retailer as plain frames, which a task reads just as well.

    Ratings, which the example does not have, are made of its purchases.
    """
    plain = {
        name: {table: found[table] for table in REGISTRY if table in found}
        for name, found in tables.items()
    }
    for found in plain.values():
        found["ratings"] = rating_table(found["transactions"])
    return plain


@pytest.fixture(scope="session", params=sorted(SETTINGS))
def prepared(
    request: pytest.FixtureRequest, common: Common, frames: dict[str, dict[str, Any]]
) -> Prepared:
    """Returns each installed task in turn, recommend with and without repeats."""
    kind = {"next basket": "recommend"}.get(request.param, request.param)
    task = installed("tasks")[kind](common, **SETTINGS[request.param])
    return Prepared(task, {name: task.rows(found) for name, found in frames.items()}, frames)


@pytest.fixture(scope="session")
def recommend(common: Common) -> Recommend:
    return Recommend(common, **SETTINGS["recommend"])


@pytest.fixture(scope="session")
def demand(common: Common) -> Demand:
    return Demand(common, **SETTINGS["demand"])
