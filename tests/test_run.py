"""A run from the plan to its last file: in one process, in four, and killed wherever it writes."""

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dying import Dying, Killed
from grandtotal import durable
from grandtotal.algorithms.model import load_arrays
from grandtotal.consortium.transport import PipeTransport
from grandtotal.coordinate import coordinate
from grandtotal.durable import arrays_digest, read_json, read_log, write_json
from grandtotal.errors import AnswerError, Code, PlanError, RetailerError
from grandtotal.participate import Participant, opener
from grandtotal.plan import Plan
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import find_configs, process_command, simulate, start
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.recommend import Recommend

RETAILERS = ("north", "south", "west")


@pytest.fixture(scope="module")
def new_run(example, tmp_path_factory):
    """Returns a maker of new run folders for the small plan."""
    plan = Plan.read(example / "plan.toml")

    def make(processes=False):
        runs = tmp_path_factory.mktemp("runs")
        return start(plan, find_configs(plan, example), runs, processes)

    return make


@pytest.fixture(scope="module")
def whole(new_run):
    """Returns a run that nothing disturbed."""
    folder = new_run()
    simulate(folder)
    return folder


def results(folder):
    """Returns what must not depend on how a run was made: digests, scores, the comparison."""
    finished = folder.finished()
    return {
        "models": finished["models"],
        "totals": finished["totals"],
        "simulation": read_json(folder.path / "simulation.json"),
        "scores": {
            str(path.relative_to(folder.path)): read_json(path)
            for path in sorted(folder.path.glob("**/scores/*.json"))
        },
    }


def released(folder):
    """Returns the questions that left each retailer, in order."""
    logs = {name: read_log(folder.retailer(name) / "egress.jsonl") for name in RETAILERS}
    return {name: [record["question"] for record in log] for name, log in logs.items()}


# --- what a run leaves behind ---


def test_the_same_plan_gives_the_same_digests(whole, new_run):
    again = new_run()
    simulate(again)
    assert results(again) == results(whole)
    assert released(again) == released(whole)


def test_the_federated_model_is_the_pooled_one(whole):
    for task in read_json(whole.path / "simulation.json")["tasks"].values():
        assert task["pooled_model"]["same_as_federated"]
        for scores in (task["overall"], *task["retailers"].values()):
            assert scores["rows"]["pooled"] == scores["rows"]["federated"]
            assert list(scores["rows"]) == ["baseline", "alone", "federated", "pooled"]


def test_the_coordinators_scores_are_those_of_all_units_together(whole):
    tasks = read_json(whole.path / "simulation.json")["tasks"]
    for name, task in tasks.items():
        totals = read_json(whole.coordinator / "scores" / f"{name}.json")["rows"]
        for row in ("baseline", "alone", "federated"):
            for metric, found in task["overall"]["rows"][row].items():
                assert totals[row][metric] == pytest.approx(found["value"])
            assert totals[row][task["overall"]["units"]] == task["overall"]["sample"]


def test_every_party_keeps_the_same_model(whole):
    for name in ("recommend", "demand"):
        kept = {
            arrays_digest(load_arrays(folder / "models" / f"{name}.safetensors")[0])
            for folder in (whole.coordinator, *(whole.retailer(r) for r in RETAILERS))
        }
        assert kept == {whole.finished()["models"][name]}


def test_every_question_left_every_retailer_once_and_is_in_the_coordinators_log(whole):
    asked = [record["question"] for record in whole.rounds() if "query" in record]
    assert len(set(asked)) == len(asked) == whole.finished()["rounds"]
    assert released(whole) == dict.fromkeys(RETAILERS, asked)


def test_the_plan_that_was_run_is_in_every_folder(whole, plan):
    for folder in (whole.coordinator, *(whole.retailer(name) for name in RETAILERS)):
        assert (folder / "plan.json").read_bytes() == plan.content
    assert whole.plan() == plan


def test_a_retailer_accounts_for_its_rows_at_home(whole):
    for name in RETAILERS:
        account = read_json(whole.retailer(name) / "tables.json")["transactions"]
        set_aside = sum(cause["rows"] for cause in account["causes"])
        assert account["read"] == account["used"] + set_aside + account["no_consent"] > 0


def test_the_coordinators_folder_names_no_customer_and_no_title(whole, example):
    customers = {line.split(",")[0] for line in _lines(example / "north/data/customers.csv")}
    titles = {line.split(",")[2] for line in _lines(example / "north/data/products.csv")}
    known = {value.encode() for value in customers | titles if value}
    assert len(known) > 400
    # As words: in the letters of a key anything may stand by chance.
    word = re.compile(
        rb"(?<![A-Za-z0-9+/])(?:" + b"|".join(map(re.escape, known)) + rb")(?![\w+/=])"
    )
    for path in whole.coordinator.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not word.search(content), path


def _lines(path):
    return path.read_text().splitlines()[1:]


def test_a_listener_hears_every_round_delivery_and_comparison(new_run):
    folder, heard = new_run(), []
    simulate(folder, heard.append)
    rounds = [record for record in heard if "round" in record]
    assert [record["question"] for record in rounds] == [r["question"] for r in folder.rounds()]
    assert [record["task"] for record in heard[len(rounds) :]] == ["demand", "recommend"]
    assert all("pooled" in record for record in heard[len(rounds) :])


def test_test_rows_are_scored_once(new_run, monkeypatch):
    scored = []

    def counting(kind, score):
        def count(task, model, rows, split):
            scored.append((kind, split))
            return score(task, model, rows, split)

        return count

    for task in (Recommend, Demand):
        monkeypatch.setattr(task, "score", counting(task.kind, task.score))
    folder = new_run()
    simulate(folder)
    # Three rows at three retailers; pooled is the federated model, whose scores are kept.
    assert sorted(scored) == sorted(9 * [("demand", "test")] + 9 * [("recommend", "test")])
    simulate(folder)
    deliver_again(folder)
    assert len(scored) == 18


def test_a_run_does_not_go_on_with_other_tables(example, tmp_path, monkeypatch):
    shutil.copytree(example, tmp_path / "mine")
    plan = Plan.read(tmp_path / "mine/plan.toml")
    configs = find_configs(plan, tmp_path / "mine")
    folder = start(plan, configs, tmp_path / "runs", False)
    death_at(monkeypatch, folder, ("fsync", "coordinator/rounds.jsonl", 3, 0.5))
    table = next((tmp_path / "mine/north/data").glob("transactions*"))
    whole = table.read_bytes()
    table.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    with pytest.raises(RetailerError, match=r"'north'.*changed since[\s\S]*transactions changed"):
        simulate(folder)
    table.write_bytes(whole)
    simulate(folder)
    assert folder.is_complete()


def test_test_rows_are_not_scored_for_a_second_model(whole):
    with pytest.raises(AnswerError, match="not scored again") as refused:
        deliver_again(whole, lambda array: array + 1)
    assert refused.value.code == Code.ANSWER_CHANGED


def deliver_again(folder, change=lambda array: array):
    """Gives every retailer the model that it has already, changed or not."""
    plan = folder.plan()
    for name in RETAILERS:
        for task_name, task in plan.tasks.items():
            arrays, meta = load_arrays(folder.coordinator / "models" / f"{task_name}.safetensors")
            arrays = {key: change(array) for key, array in arrays.items()}
            part = Participant.__new__(Participant)
            part.retailer, part.name, part.task = name, task_name, task
            part.folder, part.rows = folder.retailer(name), {}
            part.receive(meta, arrays)


# --- a process each ---

COORDINATOR = """
import json, sys

opened, listed = [], []

def watch(event, arguments):
    if event == "open":
        opened.append([str(arguments[0]), str(arguments[1])])
    elif event in ("os.listdir", "os.scandir", "import"):
        listed.append([event, str(arguments[0])])

sys.addaudithook(watch)

from pathlib import Path
from grandtotal.consortium.transport import PipeTransport
from grandtotal.coordinate import coordinate
from grandtotal.plan import Plan
from grandtotal.runfolder import RunFolder

plan_path, run_path = Path(sys.argv[1]), Path(sys.argv[2])
plan = Plan.read(plan_path)
folder = RunFolder(run_path)
commands = {
    name: (
        [sys.executable, "-m", "grandtotal.retailer_process", name,
         str(plan_path.parent / name / "retailer.toml"), str(folder.retailer(name))],
        folder.retailer(name),
    )
    for name in plan.members
}
transport = PipeTransport(commands)
try:
    coordinate(plan, transport, folder)
finally:
    transport.close()
print(json.dumps({"opened": opened, "listed": listed, "modules": sorted(sys.modules)}))
"""


@dataclass
class Watched:
    folder: RunFolder
    opened: list[tuple[str, str]]
    listed: list[tuple[str, str]]
    modules: set[str]


@pytest.fixture(scope="module")
def watched(example, new_run):
    """Returns a run whose coordinator, and each of whose retailers, had a process of its own."""
    folder = new_run()
    command = [sys.executable, "-c", COORDINATOR, str(example / "plan.toml"), str(folder.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    return Watched(
        folder,
        [tuple(one) for one in seen["opened"]],
        [tuple(one) for one in seen["listed"]],
        set(seen["modules"]),
    )


def test_embedded_equals_a_process_for_each_retailer(watched, whole):
    assert {key: watched.folder.finished()[key] for key in ("models", "totals", "rounds")} == {
        key: whole.finished()[key] for key in ("models", "totals", "rounds")
    }
    assert released(watched.folder) == released(whole)
    for name in RETAILERS:
        for task in ("recommend", "demand"):
            own, known = (
                read_json(folder.retailer(name) / "scores" / f"{task}.json")
                for folder in (watched.folder, whole)
            )
            assert own == known


def test_the_coordinators_process_knows_nothing_that_reads_tables(watched):
    assert "grandtotal.consortium.consortium" in watched.modules
    for module in watched.modules:
        assert not module.startswith(("polars", "grandtotal.tables", "pyarrow", "pandas"))
    imported = [name for event, name in watched.listed if event == "import"]
    assert not any(name.startswith(("polars", "grandtotal.tables")) for name in imported)


def test_the_coordinators_process_opens_no_file_of_a_retailer(watched, example):
    data = [str(example / name) for name in RETAILERS]
    runs = [str(watched.folder.retailer(name)) for name in RETAILERS]
    opened = [path for path, _ in watched.opened]
    assert str(example / "plan.toml") in opened
    assert str(watched.folder.coordinator / "rounds.jsonl") in opened
    for path in (*opened, *(path for _, path in watched.listed)):
        assert not path.startswith(tuple(data)), path
    theirs = [(path, mode) for path, mode in watched.opened if path.startswith(tuple(runs))]
    # Only where the words of their processes go, and only to write at its end.
    assert set(theirs) == {(f"{folder}/log.txt", "a") for folder in runs}


DYING = """
import os, signal, sys
from pathlib import Path
from grandtotal import retailer_process

write, answers = retailer_process.write_frame, []

def write_until_killed(pipe, reply):
    answers.append(reply)
    if len(answers) == {last}:
        os.kill(os.getpid(), signal.SIGKILL)
    write(pipe, reply)

retailer_process.write_frame = write_until_killed
retailer_process.main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_a_retailer_that_is_killed_is_named_and_the_run_goes_on(new_run, example, plan, whole):
    folder = new_run()
    configs = find_configs(plan, example)
    commands = {
        name: (process_command(name, configs[name], folder.retailer(name)), folder.retailer(name))
        for name in RETAILERS
    }
    arguments = commands["south"][0][-3:]
    dying = [sys.executable, "-c", DYING.format(last=9), *arguments]
    transport = PipeTransport({**commands, "south": (dying, folder.retailer("south"))})
    killed = rf"process of 'south' ended \(exit status -{int(signal.SIGKILL)}\)"
    try:
        with pytest.raises(RetailerError, match=killed):
            coordinate(plan, transport, folder)
    finally:
        transport.close()
    assert (
        len(folder.rounds()) == 2
    )  # opened, three steps of set-up, two each for two totals, and killed at the next
    assert folder.finished() is None
    simulate(folder)
    assert results(folder) == results(whole)
    assert released(folder) == released(whole)


# --- killed at a write ---


# One of each kind: all of them are in test_crash_points.py, where every party is a process.
DEATHS = [
    ("fsync", "coordinator/totals/*", 6, 0.99),
    ("fsync", "coordinator/rounds.jsonl", 8, 0.999),
    ("named", "coordinator/finished.json", 0, 1.0),
    ("fsync", "retailers/south/egress.jsonl", 0, 0.0),
    ("named", "retailers/north/scores/demand.json", 0, 1.0),
    ("fsync", "simulation.json", 0, 0.5),
    ("replace", "simulation.json", 0, 1.0),
]


def death_at(monkeypatch, folder, death):
    """Runs until the process is dead."""
    dying = Dying(*death, root=folder.path)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", dying)
        with pytest.raises(Killed):
            simulate(folder)
    assert dying.dead


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: "-".join(map(str, death)))
def test_a_run_that_was_killed_at_a_write_ends_as_if_it_never_was(
    new_run, whole, monkeypatch, death
):
    folder = new_run()
    death_at(monkeypatch, folder, death)
    assert not folder.is_complete()
    simulate(folder)
    assert results(folder) == results(whole)
    assert released(folder) == released(whole)
    assert not list(folder.path.rglob("*.partial"))


def test_a_run_that_is_killed_again_and_again_ends_all_the_same(new_run, whole, monkeypatch):
    folder = new_run()
    for turn in range(8):
        death_at(monkeypatch, folder, ("fsync", "*", 12 + 2 * turn, 0.5))
    simulate(folder)
    assert results(folder) == results(whole)
    assert released(folder) == released(whole)


PROCESS = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from dying import Dying
from grandtotal import durable
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import simulate
folder = RunFolder(Path(sys.argv[2]))
step, pattern, turn, part = sys.argv[3], sys.argv[4], int(sys.argv[5]), float(sys.argv[6])
durable.os = Dying(
    step, pattern, turn, part, root=folder.path, die=lambda: os._exit(9)
)
simulate(folder)
"""


@pytest.mark.parametrize(
    "death",
    [
        ("fsync", "coordinator/rounds.jsonl", 5, 0.6),
        ("fsync", "retailers/south/egress.jsonl", 7, 0.4),
        ("replace", "retailers/west/scores/demand.json", 0, 1.0),
    ],
    ids=lambda death: "-".join(map(str, death)),
)
def test_a_process_that_died_at_a_write_is_followed_by_one_that_goes_on(new_run, whole, death):
    folder = new_run()
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", PROCESS, here, str(folder.path), *map(str, death)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert not folder.is_complete()
    simulate(folder)
    assert results(folder) == results(whole)
    assert released(folder) == released(whole)


@pytest.mark.parametrize("name", ["coordinator/plan.json", "launch.json"])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_run_that_was_killed_before_it_had_a_folder_never_was(
    example, plan, tmp_path, monkeypatch, step, name
):
    configs = find_configs(plan, example)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", Dying(step, f"*/{name}", root=tmp_path))
        with pytest.raises(Killed):
            start(plan, configs, tmp_path, processes=False)
    assert RunFolder.all(tmp_path) == []
    folder = start(plan, configs, tmp_path, processes=False)
    assert RunFolder.all(tmp_path) == [folder]
    assert folder.plan() == plan


def test_a_question_that_was_answered_is_not_answered_from_other_tables(
    new_run, monkeypatch, example, tmp_path
):
    folder = new_run()
    # All retailers have answered the fourth question, and the coordinator lost the total.
    death_at(monkeypatch, folder, ("fsync", "coordinator/rounds.jsonl", 3, 0.5))
    launch = folder.launch()
    moved = tmp_path / "north"
    (moved / "data").mkdir(parents=True)
    shutil.copytree(example / "north", moved, dirs_exist_ok=True)
    lines = (moved / "data" / "transactions.csv").read_text().splitlines()
    (moved / "data" / "transactions.csv").write_text("\n".join(lines[::2]) + "\n")
    launch["retailers"]["north"] = str(moved / "retailer.toml")
    write_json(folder.path / "launch.json", launch)
    with pytest.raises(RetailerError, match=r"'north': .*its data have changed since"):
        simulate(folder)


# --- what cannot be run ---


def test_a_retailer_whose_tables_cannot_be_used_is_named_and_its_words_are_shown(new_run, tmp_path):
    folder = new_run()
    config = tmp_path / "south" / "retailer.toml"
    config.parent.mkdir()
    config.write_text(
        'retailer = "south"\ncurrency = "EUR"\ntime_zone = "Europe/Berlin"\n'
        '[tables.transactions]\npath = "none.csv"\n'
    )
    launch = folder.launch()
    launch["retailers"]["south"] = str(config)
    write_json(folder.path / "launch.json", launch)
    with pytest.raises(RetailerError) as failed:
        simulate(folder)
    assert str(failed.value).startswith("'south': its tables cannot be used")
    assert "none.csv" in str(failed.value)


def test_a_retailer_answers_only_under_its_own_name(example, plan, tmp_path):
    for retailer, config in (("north", "south"), ("stranger", "north")):
        opened = opener(retailer, example / config / "retailer.toml", tmp_path)
        with pytest.raises(PlanError, match=f"this is retailer '{config}', started as"):
            opened(plan.content)


def test_a_simulation_without_every_members_file_is_refused(plan, tmp_path):
    with pytest.raises(PlanError, match=r"north/retailer\.toml, .*south/retailer\.toml"):
        find_configs(plan, tmp_path)
