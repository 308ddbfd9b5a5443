"""The benchmarks' command: what it prints, what it skips, and the textbook metrics in it.

That the numbers pass on real data is not tested here: `make bench` measures it.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from benchmarks.rows import Row, at_most
from scipy.sparse import csr_array

from grandtotal.algorithms.item_model import ItemModel
from grandtotal.algorithms.purchases import Purchases

ROOT = Path(__file__).parents[2]
KEYS = {"name", "value", "unit", "bar", "ok"}


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        assert self.status == 0, self.err
        word, _, value = self.out.splitlines()[-1].partition(" ")
        assert word == "RESULT"
        found: dict[str, Any] = json.loads(value)
        return found


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Returns `python -m benchmarks`, in this process: it need not import everything again."""

    def typed(*words: str) -> Said:
        from benchmarks.__main__ import main

        monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
        return Said(main(), *capsys.readouterr())

    return typed


@pytest.fixture
def ml1m() -> ModuleType:
    from benchmarks import recommend_ml1m

    return recommend_ml1m


def test_federated_is_pooled_and_what_an_independent_program_says(
    command: Callable[..., Said],
) -> None:
    found = command("exactness", "--quick").result
    assert found.keys() == {"rows", "machine", "seconds"}
    assert all(row.keys() == KEYS for row in found["rows"])
    assert [row for row in found["rows"] if not row["ok"]] == []


def test_scale_measures_every_part_and_finds_the_planted_tastes(
    command: Callable[..., Said],
) -> None:
    found = command("scale", "--quick").result["rows"]
    whole = "40,000 lines, 4,000 customers, 200 products, 3 retailers"
    values = {row["name"]: row["value"] for row in found}
    parts = ("check", "every customer's purchases", "co-purchase totals", "EASE")
    assert values[f"{whole}: all of these"] == sum(values[f"{whole}: {part}"] for part in parts)
    assert all(value > 0 for value in values.values())
    assert {row["name"] for row in found if row["ok"]} == {f"{whole}: EASE over popularity"}
    doubled = {name.partition(" from ")[0] for name in values if " from " in name}
    assert doubled == {"lines", "products", "retailers"}


def test_missing_data_are_skipped_with_the_file_and_where_to_get_it(
    command: Callable[..., Said], tmp_path: Path
) -> None:
    done = command("recommend-ml1m", "--data", str(tmp_path))
    assert f"skipped: no file {tmp_path / 'movielens' / 'ml-1m_train.txt'}" in done.out
    assert "get it from github.com/xue-pai/UltraGCN" in done.out
    assert [row["ok"] for row in done.result["rows"]] == [None]


def test_an_unknown_name_lists_the_known_ones(command: Callable[..., Said]) -> None:
    done = command("exactnes")
    assert done.status == 2
    assert "no benchmark 'exactnes', expected all, exactness, recommend-ml1m" in done.err


def test_metrics_of_one_list_by_hand(ml1m: ModuleType) -> None:
    # 30 products, ranked by their number; the customer has bought 0 and wants 1, 4 and 29.
    model = ItemModel(np.empty((0, 0), np.float32), np.arange(30, 0, -1).astype(np.float32))
    history = csr_array(([1], ([0], [0])), shape=(1, 30))
    future = csr_array(([1, 1, 1], ([0, 0, 0], [1, 4, 29])), shape=(1, 30))
    recall, possible, ndcg = ml1m.score(model, Purchases(history, future))[0]
    gained = 1 / np.log2(2) + 1 / np.log2(5)
    best = 1 / np.log2(2) + 1 / np.log2(3) + 1 / np.log2(4)
    np.testing.assert_allclose([recall, possible, ndcg], [2 / 3, 2 / 3, gained / best])


def test_validation_is_a_fifth_of_each_users_training_items(ml1m: ModuleType) -> None:
    users = np.repeat([0, 1, 3], [10, 25, 5])
    held = ml1m._held_out(np.stack([users, np.arange(len(users))], axis=1))
    assert np.bincount(users[held]).tolist() == [2, 5, 0, 1]


def test_pairs_are_read_line_by_line(ml1m: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("0 7 8\n2 7\n")
    assert ml1m._pairs(tmp_path / "pairs.txt").tolist() == [[0, 7], [0, 8], [2, 7]]


def test_the_page_of_results_has_commands_tables_and_bars() -> None:
    from benchmarks.__main__ import _page

    rows = [at_most(1.15, "slower", 1.2, "x"), Row("seconds", 1234.5)]
    about = {"about": "It.", "rows": rows, "seconds": 3.0, "load": 0.5}
    page = _page([{"name": "scale", "command": "scale --quick", **about}])
    page = _page([{"name": "exactness", "command": "exactness", **about}], page)
    assert page.index("benchmarks exactness`") < page.index("benchmarks scale --quick`")
    assert page == _page([{"name": "exactness", "command": "exactness", **about}], page)
    assert "| slower | 1.2 | x | <= 1.15 | MISSED |" in page
    assert "| seconds | 1,234 |  |  |  |" in page


def test_the_secure_sum_that_is_measured_is_the_sum() -> None:
    from benchmarks import secure_sum

    rows = secure_sum._case_rows(secure_sum.Case(4, 1, 1, 60.0, 60.0), 80_000)
    (apart,) = [row for row in rows if "differ from the sum in the clear" in row.name]
    assert (apart.value, apart.ok) == (0, True)
    (upload,) = [row for row in rows if "over the plain dense vector" in row.name]
    assert upload.value is not None
    assert 1.0 < upload.value < 1.2


def test_generated_customers_are_always_the_same_and_want_what_they_have_not() -> None:
    from benchmarks import privacy_utility

    once, again = (privacy_utility.generated(3000) for _ in range(2))
    assert len(once) == 5
    for name, rows in once.items():
        history, future = rows["test"].history, rows["test"].future
        assert (history != again[name]["test"].history).nnz == 0
        assert history.multiply(future).nnz == 0
        assert set(history.data.tolist()) == {1}
    assert sum(rows["test"].history.shape[0] for rows in once.values()) == 3000


def test_a_model_under_epsilon_is_made_of_totals_with_noise() -> None:
    from benchmarks import privacy_utility
    from grandtotal.tasks.recommend import Recommend
    from grandtotal.tasks.task import Common

    holders = privacy_utility.generated(3000)
    common = Common(date(2024, 1, 1), tuple(str(i) for i in range(2000)))
    task = Recommend(common, ("popularity",), top=20)
    one, other = (privacy_utility.private(task, holders, 1e-5, 8.0, 1) for _ in range(2))
    assert (one.arrays["prior"] != other.arrays["prior"]).any()
    assert abs(one.meta["in_noise"]["customers"] - 3000) < 1000
