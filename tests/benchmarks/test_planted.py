"""What the generator plants is in the files, and can be found there."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns the module, the truth of 200,000 lines, and the lines that each retailer reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from benchmarks import planted
        from grandtotal.tables.config import load_config
        from grandtotal.tables.read import Tables

        patch.setattr(planted, "PIECE", 30_000)
        truth = planted.Planted(planted.Size(200_000, 20_000, 60, 3))
        folder = tmp_path_factory.mktemp("planted")
        truth.write(folder)
        read = [Tables(load_config(folder / n / "retailer.toml")) for n in truth.size.names]
        return planted, truth, [tables["transactions"] for tables in read]


def test_there_is_as_much_as_was_asked(made: Any) -> None:
    planted, truth, lines = made
    assert sum(len(frame) for frame in lines) == truth.size.lines
    assert sum(frame["customer"].n_unique() for frame in lines) == truth.size.customers
    assert all(frame["product"].is_in(truth.size.catalogue).all() for frame in lines)
    for frame in lines:
        days = frame["time"].dt.date()
        assert planted.FIRST_DAY <= days.min() <= days.max() < planted.TODAY


def test_equal_seeds_are_equal_files_and_others_are_not(made: Any, tmp_path: Path) -> None:
    planted, *_ = made
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        planted.Planted(planted.Size(900, 90, 20, 3), seed).write(tmp_path / name)
    contents = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in files}
        for name in "abc"
        if (files := sorted((tmp_path / name).rglob("*.parquet")))
    ]
    assert contents[0] == contents[1] != contents[2]
    assert len(contents[0]) == 3


def test_every_line_has_the_price_and_promotion_of_its_week(made: Any) -> None:
    planted, truth, lines = made
    for retailer, frame in enumerate(lines):
        shelf, (product, week) = truth.shelf(retailer), places(planted, truth, frame)
        assert (shelf.price[product, week] == frame["price"].to_numpy()).all()
        promoted = frame["promotion"].is_not_null().to_numpy()
        assert (shelf.promoted[product, week] == promoted).all()
        assert (shelf.weight[product] > 0).all()


def test_season_elasticity_and_promotion_are_recovered_for_every_group(made: Any) -> None:
    planted, truth, lines = made
    sold = [counts(planted, truth, frame) for frame in lines]
    features = [truth.features(truth.shelf(r), slice(None)) for r in range(len(lines))]
    for group, effects in enumerate(truth.effects):
        here = truth.group == group
        n = np.concatenate([part[here] for part in sold])
        x = np.concatenate([part[here] for part in features])
        found, error = conditional_fit(n, x)
        # Five standard errors in 40 comparisons: a true generator fails once in 40,000 seeds.
        assert (np.abs(found - effects) < 5 * error).all()
        assert error[2] < 0.4  # of elasticities between 0.5 and 3


def places(planted: ModuleType, truth: Any, frame: pl.DataFrame) -> tuple[Any, Any]:
    """Returns product and week of each line, as the places in the truth's arrays."""
    day = (frame["time"].dt.date() - planted.FIRST_DAY).dt.total_days().to_numpy()
    return np.searchsorted(truth.size.catalogue, frame["product"].to_numpy()), day // 7


def counts(planted: ModuleType, truth: Any, frame: pl.DataFrame) -> Any:
    """Returns lines by (product, week)."""
    found = np.zeros((truth.size.products, planted.WEEKS))
    np.add.at(found, places(planted, truth, frame), 1)
    return found


def conditional_fit(n: Any, x: Any) -> tuple[Any, Any]:
    """Returns the maximum likelihood of n ~ multinomial(softmax(x'b)) in each row, and its errors.

    n: (series, weeks); x: (series, weeks, effects).
    """
    b = np.zeros(x.shape[2])
    for _ in range(20):
        share = np.exp(x @ b)
        share /= share.sum(axis=1, keepdims=True)
        mean = np.einsum("sw,swe->se", share, x)
        gradient = np.einsum("sw,swe->e", n - share * n.sum(axis=1, keepdims=True), x)
        centred = x - mean[:, None]
        weight = share * n.sum(axis=1, keepdims=True)
        hessian = np.einsum("sw,swe,swf->ef", weight, centred, centred)
        b = b + np.linalg.solve(hessian, gradient)
    return b, np.sqrt(np.diagonal(np.linalg.inv(hessian)))
