"""From outside: two runs of which one thing after the other is changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import grandtotal as gt
from grandtotal.cli import main
from grandtotal.comparison import difference


@pytest.fixture(scope="module")
def twice(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with runs/{first,again,changed}: the last has another plan, less data."""
    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(example, folder / "here")
    plan = folder / "here" / "plan.toml"
    for name in ("first", "again", "changed"):
        if name == "changed":
            plan.write_text(plan.read_text().replace('"ease"', '"item-knn"').replace("= 5", "= 3"))
            table = folder / "here" / "north" / "data" / "transactions.csv"
            table.write_text("".join(table.read_text().splitlines(keepends=True)[:-40]))
        gt.run(plan, folder / "runs").folder.path.rename(folder / "runs" / name)
    return folder / "runs"


def test_the_same_run_twice_differs_in_nothing_but_seconds(twice: Path) -> None:
    found = gt.compare("first", "again", twice)
    assert found["runs"] == ["first", "again"]
    assert found["plan"] == found["versions"] == {}
    assert found["members"] == {"left": [], "joined": []}
    assert found["totals"]
    for task in found["tasks"].values():
        assert task["same_model"]
        assert task["scores"].keys() == {"north", "south", "west", "all"}
        for score in task["scores"].values():
            assert score["difference"]["value"] == 0
            assert not score["difference"]["beyond"]
    for what in ("rounds", "bytes_out"):
        assert found["costs"][what][0] == found["costs"][what][1] > 0


def test_what_was_changed_is_what_is_shown(twice: Path) -> None:
    found = gt.compare("first", "changed", twice)
    assert found["plan"] == {
        "tasks.recommend.models": [["ease"], ["item-knn"]],
        "tasks.recommend.top": [5, 3],
    }
    assert not found["totals"]
    assert [chosen["model"] for chosen in found["tasks"]["recommend"]["models"]] == [
        "ease",
        "item-knn",
    ]
    read = found["data"]["north"]["transactions"]["read"]
    assert read[0] - read[1] == 40
    assert len(set(found["data"]["south"]["transactions"]["read"])) == 1
    scores = found["tasks"]["recommend"]["scores"]["all"]
    shown = [
        run.scores["recommend"]["overall"]["rows"]["federated"]["ndcg"] for run in opened(twice)
    ]
    assert scores["values"] == shown
    assert scores["difference"]["value"] == shown[1]["value"] - shown[0]["value"]


def opened(runs: Path) -> list[gt.Run]:
    return [gt.Run.open(name, runs) for name in ("first", "changed")]


def compare(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, ["runs", "compare", *words], env={"COLUMNS": "140"})
    assert done.exit_code == status, done.output
    return done.output


def test_a_script_gets_what_python_gets(twice: Path) -> None:
    shown = compare("first", "changed", "--runs", str(twice), "--json")
    assert json.loads(shown) == gt.compare("first", "changed", twice)


def test_people_see_keys_rows_scores_and_digests(twice: Path) -> None:
    shown = compare("first", "changed", "--runs", str(twice))
    for words in ("tasks.recommend.top", "['item-knn']", "north: transactions rows read"):
        assert words in shown
    assert "digests: other totals; demand another model, recommend another model" in shown
    again = compare("first", "again", "--runs", str(twice))
    assert "digests: the same totals; demand the same model, recommend the same model" in again
    assert "beyond chance" not in again


def test_a_run_that_is_not_there_or_not_finished_is_refused(twice: Path, tmp_path: Path) -> None:
    assert "no run 'third'" in compare("first", "third", "--runs", str(twice), status=7)
    shutil.copytree(twice / "first", tmp_path / "half")
    (tmp_path / "half" / "coordinator" / "finished.json").unlink()
    stopped = compare(str(twice / "first"), "half", "--runs", str(tmp_path), status=7)
    assert "`grandtotal runs resume half` goes on" in stopped


def test_the_interval_of_a_difference_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(2000):
        means, half = rng.normal([1.0, 1.5], [0.1, 0.2]), 1.96 * np.array([0.1, 0.2])
        first, second = (
            {"value": m, "low": m - h, "high": m + h} for m, h in zip(means, half, strict=True)
        )
        found = difference(first, second)
        assert found is not None
        covered += found["low"] <= 0.5 <= found["high"]
    # 95 % of 2,000 with a standard deviation of 0.5 %.
    assert 0.935 <= covered / 2000 <= 0.965


def test_a_difference_to_nothing_is_not_known() -> None:
    known = {"value": 1.0, "low": 0.9, "high": 1.1}
    assert difference(known, {"value": None, "low": None, "high": None}) is None
