"""Rows for trees: numbers with missing values, categories, and a target of each kind."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from grandtotal.algorithms import inner_loops, tree_kernels, tree_numpy
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.tree_questions import Data

TARGETS = {
    "squared": "amount",
    "poisson": "units",
    "tweedie": "units",
    "logistic": "bought",
    "quantile": "amount",
}


@pytest.fixture(params=["numba", "numpy"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Returns each of the two sets of inner loops in turn, in use."""
    chosen: ModuleType = {"numba": tree_kernels, "numpy": tree_numpy}[request.param]
    monkeypatch.setattr(inner_loops, "of", lambda _: chosen)
    return chosen


def make_shop(seed: int = 3, rows: int = 900) -> Columns:
    """Returns rows of price, distance (a third missing), day, noise, two columns of categories."""
    rng = np.random.default_rng(seed)
    price, distance = rng.uniform(1, 9, rows), rng.gamma(2.0, 3.0, rows)
    distance[rng.random(rows) < 0.3] = np.nan
    day, noise = rng.integers(0, 7, rows).astype(np.float64), rng.normal(size=rows)
    brands, shops = (rng.integers(1, 2**63, n).astype(np.uint64) for n in (5, 60))
    brand, shop = rng.integers(0, 5, rows), rng.integers(0, 60, rows)
    effect = np.array([0.0, 1.5, -1.0, 0.5, 2.0])[brand] + np.sin(shop)
    level = 3 - 0.3 * price + np.nan_to_num(0.1 * distance, nan=1.5) + effect + (day > 4)
    amount = level + rng.normal(0, 0.3, rows)
    numbers = {
        "price": price,
        "distance": distance,
        "day": day,
        "noise": noise,
        "amount": amount,
        "units": rng.poisson(np.exp(level / 3)).astype(np.float64),
        "bought": (amount > 3).astype(np.float64),
    }
    keys = rng.integers(1, 2**63, rows).astype(np.uint64)
    return Columns(numbers, {"brand": brands[brand], "shop": shops[shop]}, keys)


def taken(columns: Columns, rows: Any) -> Columns:
    """Returns some of the rows."""
    return Columns(
        {name: values[rows] for name, values in columns.numbers.items()},
        {name: values[rows] for name, values in columns.categories.items()},
        columns.keys[rows],
    )


@pytest.fixture(scope="session")
def shop() -> Columns:
    """Returns 900 rows."""
    return make_shop()


@pytest.fixture(scope="session")
def halves() -> tuple[Columns, Columns]:
    """Returns 900 rows, and 900 others of the same kind."""
    both = make_shop(seed=9, rows=1800)
    first = np.arange(1800) < 900
    return taken(both, first), taken(both, ~first)


@pytest.fixture
def deal_rows() -> Any:
    """Returns a dealer of rows to so many retailers; one of them holds a single row."""

    def dealt(columns: Columns, retailers: int, **splits: Columns) -> list[dict[str, Columns]]:
        def cut(part: Columns) -> list[Columns]:
            owner = np.random.default_rng(retailers).integers(1, retailers, len(part.keys))
            owner[0] = 0
            return [taken(part, owner == i) for i in range(retailers)]

        parts = {name: cut(part) for name, part in {"train": columns, **splits}.items()}
        return [{name: part[i] for name, part in parts.items()} for i in range(retailers)]

    return dealt


@pytest.fixture
def data_for() -> Any:
    """Returns what is learned for an objective: all features, its target."""

    def made(objective: str, **other: Any) -> Data:
        numbers = ("price", "distance", "day", "noise")
        settings = {"numbers": numbers, "categories": ("brand", "shop"), **other}
        return Data(TARGETS[objective], **settings)

    return made
