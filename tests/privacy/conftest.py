"""The cases of the contract of bounds: one file of tests/privacy/cases for each family of queries.

A case is a function case(draw, folder) that draws the rows of one retailer twice, before and after
one unit was removed, added or changed, and returns

    query, broadcast, rows before, rows after

with the query in its clipped form. What a query reads from its state, the case writes into
folder / "before" and folder / "after". CASES of a file names its cases: "query" or "query: what".
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def _cases(path: Path) -> dict[str, Callable[..., Any]]:
    spec = importlib.util.spec_from_file_location(f"cases_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Callable[..., Any]] = module.CASES
    return found


CASES = {
    name: case
    for path in sorted((Path(__file__).parent / "cases").glob("*.py"))
    for name, case in _cases(path).items()
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture
def covered() -> set[str]:
    """Returns the names of the queries that have a case."""
    return {name.split(":")[0] for name in CASES}
