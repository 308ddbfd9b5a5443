import os

import pytest

from grandtotal.durable import Log, write_json
from grandtotal.errors import RunError
from grandtotal.runfolder import RunFolder
from grandtotal.terminal import run_facts

LAUNCH = {"retailers": {"north": "/data/north/retailer.toml"}, "processes": False}


@pytest.fixture
def create(tmp_path, plan):
    """Returns a maker of run folders in tmp_path / "runs", each a second older than the next."""
    made = []

    def make():
        folder = RunFolder.create(tmp_path / "runs", plan, LAUNCH)
        made.append(folder)
        os.utime(folder.path / "launch.json", (len(made), len(made)))
        return folder

    return make


def test_a_new_run_holds_its_plan_and_how_it_was_started(create, plan):
    folder = create()
    assert folder.plan() == plan
    assert folder.launch() == LAUNCH
    assert folder.rounds() == []
    assert folder.finished() is None
    assert not folder.is_complete()


def test_a_run_is_named_after_its_plan_and_never_replaces_another(create):
    folders = [create() for _ in range(3)]
    assert len({folder.path for folder in folders}) == 3
    assert all(folder.path.name.startswith("small-20") for folder in folders)


def test_the_parties_have_folders_of_their_own(create):
    folder = create()
    parties = {folder.coordinator, folder.retailer("north"), folder.retailer("south")}
    assert len(parties) == 3
    assert all(party.is_relative_to(folder.path) for party in parties)


def test_runs_are_listed_newest_first(create, tmp_path):
    folders = [create() for _ in range(3)]
    assert RunFolder.all(tmp_path / "runs") == folders[::-1]
    assert RunFolder.all(tmp_path / "none") == []


@pytest.mark.parametrize("file", ["launch.json", "coordinator/plan.json"])
def test_a_damaged_run_is_listed_as_such_beside_the_others(create, file):
    whole, damaged = create(), create()
    path = damaged.path / file
    path.write_bytes(path.read_bytes()[:20])
    assert run_facts(whole)["state"].startswith("stopped")
    assert run_facts(damaged)["state"].startswith("cannot be read: ")


def test_a_damaged_file_of_a_run_is_named(create):
    folder = create()
    path = folder.coordinator / "finished.json"
    write_json(path, {"seconds": 1})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError, match=r"finished\.json: damaged, no JSON"):
        folder.finished()


def test_a_run_is_found_by_its_name_its_path_or_as_the_latest(create, tmp_path):
    runs = tmp_path / "runs"
    first, last = create(), create()
    assert RunFolder.find(runs, first.path.name) == first
    assert RunFolder.find(runs, str(first.path)) == first
    assert RunFolder.find(runs, "latest") == last


def test_a_run_that_is_not_there_is_refused_with_the_newest(create, tmp_path):
    runs = tmp_path / "runs"
    with pytest.raises(RunError, match=r"no run 'latest' in .*none yet"):
        RunFolder.find(runs, "latest")
    folder = create()
    with pytest.raises(RunError, match=f"no run 'small' in .*{folder.path.name}"):
        RunFolder.find(runs, "small")


def test_a_run_tells_what_was_done_so_far(create):
    folder = create()
    log = Log(folder.coordinator / "rounds.jsonl")
    log.append({"round": 1})
    with log.path.open("ab") as file:
        file.write(b'{"round":2')  # the coordinator is writing, or was killed
    assert folder.rounds() == [{"round": 1}]
    write_json(folder.coordinator / "finished.json", {"models": {}})
    assert folder.finished() == {"models": {}}
    assert not folder.is_complete()
    write_json(folder.path / "simulation.json", {})
    assert folder.is_complete()
