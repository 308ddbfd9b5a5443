"""From outside: what a newcomer types, what a script reads, what a mistake looks like.

The first commands, the demo and the kill are processes of their own; most are typed in this one.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import grandtotal as gt
from typed import typed

ROOT = Path(__file__).parent.parent


def grandtotal(*words: str, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "grandtotal.cli", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `init` and `run --json > run.json` were typed."""
    folder = tmp_path_factory.mktemp("newcomer")
    shown = grandtotal("init", "mine", cwd=folder).stdout
    assert "grandtotal run mine/plan.toml" in shown
    (folder / "run.json").write_text(
        grandtotal("run", "mine/plan.toml", "--json", cwd=folder).stdout
    )
    return folder


@pytest.fixture
def mine(consortium: Path, tmp_path: Path) -> Path:
    """A folder in which nothing but `init mine` was typed."""
    shutil.copytree(consortium / "mine", tmp_path / "mine", ignore=shutil.ignore_patterns("door"))
    return tmp_path


def test_check_says_that_the_tables_can_be_used(consortium: Path) -> None:
    assert "can be used" in grandtotal("check", "mine/north/retailer.toml", cwd=consortium).stdout


def test_a_run_shows_four_rows_and_where_its_folder_and_report_are(consortium: Path) -> None:
    shown = typed("runs", "show", "latest", cwd=consortium).stdout
    for word in ("baseline", "alone", "federated", "pooled", "north", "all", "rounds"):
        assert word in shown
    report = re.search(r"report:\s+(\S+)", shown)
    assert report is not None
    assert (consortium / report.group(1)).stat().st_size < 2e6


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "grandtotal.cli", "run", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        shown.stdout.close()
        assert shown.stderr.read() == b""


def test_json_is_all_that_a_script_gets(consortium: Path) -> None:
    found = json.loads(typed("runs", "show", "latest", "--json", cwd=consortium).stdout)
    assert set(found["tasks"]) == {"recommend", "demand"}
    listed = json.loads(typed("runs", "list", "--json", cwd=consortium).stdout)
    assert listed[0]["state"] == "finished"
    checked = typed("check", "mine/north/retailer.toml", "--json", cwd=consortium)
    assert json.loads(checked.stdout)


def test_run_json_is_the_same_as_runs_show_json(consortium: Path) -> None:
    shown = json.loads(typed("runs", "show", "latest", "--json", cwd=consortium).stdout)
    assert shown == json.loads((consortium / "run.json").read_text())


def test_decide_orders_writes_a_list_and_says_it_in_words(consortium: Path) -> None:
    words = ("decide", "orders", "latest", "--retailer", "north", "--out", "orders.csv")
    shown = typed(*words, cwd=consortium).stdout
    assert "The usual rule would order" in shown
    made = pl.read_csv(consortium / "orders.csv")
    assert made["why"].str.contains("expected to sell in the").any()
    assert made["units"].sum() > 0
    found = json.loads(typed(*words, "--budget", "50", "--json", cwd=consortium).stdout)
    assert 0 < found["cost"] <= 50
    refused = typed(*words, "--service", "1.5", cwd=consortium, status=3)
    assert "expected a share between 0 and 1" in refused.stderr


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_predict_writes_a_table_for_each_task(consortium: Path, kind: str) -> None:
    words = ("predict", "latest", "--retailer", "north", "--top", "3", "--format", kind, "--json")
    written = json.loads(typed(*words, cwd=consortium).stdout)
    read = pl.read_parquet if kind == "parquet" else pl.read_csv
    lists = read(consortium / written["recommend"])
    assert lists.columns == ["customer", "rank", "product", "title", "score", "because"]
    assert lists["rank"].max() == 3
    assert lists["because"].str.len_chars().max() > 0
    forecast = read(consortium / written["demand"])
    assert (forecast["p10"] <= forecast["p90"]).all()
    assert sorted(forecast["ahead"].unique()) == [1, 2, 3, 4]


def test_predict_takes_wishes_and_answers_for_a_visit_or_a_product(consortium: Path) -> None:
    words = ("predict", "latest", "--retailer", "north", "--json")
    wished = ("--in-stock", "--price", "2-9", "--reach", "1", "--top", "2")
    written = json.loads(typed(*words, *wished, cwd=consortium).stdout)
    assert list(written) == ["recommend"]
    assert pl.read_parquet(consortium / written["recommend"])["rank"].max() == 2
    visit = json.loads(typed(*words, "--session", "P01, P02,none", cwd=consortium).stdout)
    assert len(visit) == 10
    assert set(visit[0]) == {"product", "title", "score", "because"}
    shown = typed(*words[:-1], "--similar", "P01", "--top", "2", cwd=consortium).stdout
    assert shown.startswith("  1  P")
    refused = typed(*words, "--price", "cheap", cwd=consortium, status=2)
    assert "expected two prices" in refused.stderr
    refused = typed(*words, "--task", "demand", "--reach", "1", cwd=consortium, status=7)
    assert "wishes need one of kind recommend" in refused.stderr


def test_a_model_that_is_another_one_than_was_delivered_predicts_nothing(
    consortium: Path, mine: Path
) -> None:
    run = mine / "runs" / "damaged"
    shutil.copytree(gt.Run.open("latest", consortium / "runs").folder.path, run)
    model = run / "retailers/north/models/recommend.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    words = ("predict", run.name, "--retailer", "north", "--task", "recommend")
    assert "not the model that was delivered" in typed(*words, cwd=mine, status=7).stderr


def test_a_folder_in_the_place_of_a_file_is_named(consortium: Path, tmp_path: Path) -> None:
    words = ("decide", "orders", "latest", "--retailer", "north", "--out", str(tmp_path))
    assert str(tmp_path) in typed(*words, cwd=consortium, status=1).stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--top", "0"), 2, "0 is not in the range x>=1"),
        (("--session", "P01", "--what-if", "price=1.1"), 2, "ask 2 questions; ask one"),
        (("--what-if", "price=1.1", "--in-stock"), 2, "--what-if asks of demand"),
        (("--session", "P01", "--diversity", "1"), 3, "diversity: is of lists for customers"),
        (("--config", "mine/south/retailer.toml"), 3, "is of 'south', expected 'north'"),
    ],
)
def test_what_a_prediction_would_leave_out_without_a_word_is_refused(
    consortium: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    asked = ("predict", "latest", "--retailer", "north", "--task", "demand", *words)
    assert said in typed(*asked, cwd=consortium, status=status).stderr


def test_nobody_is_recommended_what_they_have_bought(consortium: Path) -> None:
    lists = gt.Run.open("latest", consortium / "runs").predict("north", "recommend")
    lines = pl.read_csv(consortium / "mine/north/data/transactions.csv", infer_schema=False)
    columns = {"customer", "product"}
    renamed = {c: c.lower() for c in lines.columns if c.lower() in columns}
    kept = (
        lines.rename(renamed)
        .group_by("customer", "product")
        .agg(
            pl.col(next(c for c in lines.columns if c.lower() == "quantity"))
            .cast(float)
            .sum()
            .alias("q")
        )
    )
    bought = kept.filter(pl.col("q") > 0)
    assert lists.join(bought, on=["customer", "product"], how="inner").is_empty()


def test_a_retailers_report_is_its_own(consortium: Path) -> None:
    path = typed("report", "latest", "--retailer", "north", cwd=consortium).stdout.strip()
    assert Path(path).parts[-3:] == ("retailers", "north", "report.html")


def test_processes_give_the_same_digests(consortium: Path) -> None:
    embedded = json.loads(typed("runs", "show", "latest", "--json", cwd=consortium).stdout)
    words = ("run", "mine/plan.toml", "--processes", "--runs", "apart")
    shown = typed(*words, cwd=consortium).stdout
    assert all(word in shown for word in ("federated", "pooled", "report:"))
    words = ("runs", "show", "latest", "--runs", "apart", "--json")
    apart = json.loads(typed(*words, cwd=consortium).stdout)
    for what in ("models", "totals", "rounds"):
        assert apart["finished"][what] == embedded["finished"][what]
    assert apart["tasks"] == embedded["tasks"]


def test_a_killed_run_is_listed_as_stopped_and_resumes_to_the_same_digests(
    consortium: Path, tmp_path: Path
) -> None:
    plan = str(consortium / "mine/plan.toml")
    process = subprocess.Popen(
        [sys.executable, "-m", "grandtotal.cli", "run", plan], cwd=tmp_path, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not _rounds(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "stopped" in typed("runs", "list", cwd=tmp_path).stdout
    grandtotal("runs", "show", "latest", cwd=tmp_path, status=7)
    resumed = json.loads(typed("runs", "resume", "latest", "--json", cwd=tmp_path).stdout)
    whole = json.loads(typed("runs", "show", "latest", "--json", cwd=consortium).stdout)
    assert resumed["finished"]["models"] == whole["finished"]["models"]
    assert resumed["finished"]["totals"] == whole["finished"]["totals"]
    assert resumed["tasks"] == whole["tasks"]


def _rounds(folder: Path) -> int:
    return sum(p.read_bytes().count(b"\n") for p in folder.glob("runs/*/coordinator/rounds.jsonl"))


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("run", "nowhere.toml"), 3, "nowhere.toml"),
        (("check", "nowhere.toml"), 3, "nowhere.toml"),
        (("runs", "show", "none"), 7, "no run 'none'"),
        (("predict", "none", "--retailer", "north"), 7, "no run 'none'"),
        (("run",), 2, "Missing argument"),
        (("runn",), 2, "No such command"),
    ],
)
def test_a_mistake_has_its_exit_status_and_one_message(
    words: tuple[str, ...], status: int, said: str, tmp_path: Path
) -> None:
    assert said in typed(*words, cwd=tmp_path, status=status).stderr


def test_a_stranger_in_a_run_is_named(consortium: Path) -> None:
    words = ("predict", "latest", "--retailer", "nroth")
    assert "'nroth'" in typed(*words, cwd=consortium, status=7).stderr
    words = ("predict", "latest", "--retailer", "north", "--task", "price")
    assert "'price'" in typed(*words, cwd=consortium, status=7).stderr


def test_a_plan_whose_promise_is_half_said_is_refused(mine: Path) -> None:
    plan = mine / "mine/plan.toml"
    plan.write_text(plan.read_text() + "\nepsilon = 4.0\n")
    said = typed("run", "mine/plan.toml", cwd=mine, status=3).stderr
    assert "epsilon and delta go together" in said
    assert not (mine / "runs").exists()


def test_broken_tables_stop_check_and_run_with_the_column_and_the_remedy(mine: Path) -> None:
    table = mine / "mine/north/data/transactions.csv"
    head, rest = table.read_text().split("\n", 1)
    table.write_text(head.replace("quantity", "qty").replace("Quantity", "qty") + "\n" + rest)
    checked = typed("check", "mine/north/retailer.toml", cwd=mine, status=4)
    assert "quantity" in checked.stdout
    ran = typed("run", "mine/plan.toml", cwd=mine, status=6).stderr
    assert "'north'" in ran
    assert "quantity" in ran


def test_init_does_not_touch_a_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep me")
    assert "not empty" in typed("init", "mine", cwd=tmp_path, status=3).stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_every_command_has_help_with_an_example() -> None:
    for words in ("demo", "init", "check", "run", "predict", "report"):
        assert "Example:\n    grandtotal" in typed(words, "--help", cwd=ROOT).stdout
    for words in ("list", "show", "resume"):
        assert "Example:\n    grandtotal" in typed("runs", words, "--help", cwd=ROOT).stdout
    assert "Exit status" in typed("--help", cwd=ROOT).stdout


def test_help_loads_neither_the_tables_nor_the_algorithms() -> None:
    code = (
        "import sys; from grandtotal.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'polars', 'scipy', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_quickstart_runs_and_is_what_the_readme_shows(tmp_path: Path) -> None:
    source = (ROOT / "examples/quickstart.py").read_text()
    code = [line for line in source.splitlines() if line.strip() and '"""' not in line]
    assert len(code) <= 12
    shown = source.split('"""\n\n', 1)[1]
    assert shown in (ROOT / "README.md").read_text()
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/quickstart.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "over training alone" in done.stdout


def test_the_demo_shows_what_federation_is_worth(tmp_path: Path) -> None:
    found = json.loads(grandtotal("demo", "--json", cwd=tmp_path).stdout)
    assert set(found["tasks"]) == {"recommend", "demand", "price", "churn", "segments"}
    for task in found["tasks"].values():
        assert task["pooled_model"]["same_as_federated"]
        assert set(task["retailers"]) == {"north", "south", "west", "east", "abroad"}
        assert task["overall"]["gain"]["alone"]["value"] >= 0
        assert task["overall"]["gain"]["baseline"]["low"] > 0
        for scores in task["retailers"].values():
            assert set(scores["rows"]) == {"baseline", "alone", "federated", "pooled"}
            assert scores["sample"] > 100
    report = Path(tmp_path / found["folder"] / "report.html")
    assert report.stat().st_size < 2e6


def test_the_api_names_what_the_command_line_names() -> None:
    assert {"demo", "init", "check", "run", "resume", "runs"} <= set(gt.__all__)
    for name in gt.__all__:
        assert getattr(gt, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = gt.nothing_of_ours
