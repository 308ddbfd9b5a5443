"""Whoever has the plan and the totals can see whether the coordinator asked what it should."""

import json
import shutil

import pytest
from click.testing import CliRunner
from safetensors.numpy import load, save

from grandtotal.cli import main
from grandtotal.durable import Log, arrays_digest, read_json, read_log, write_json
from grandtotal.errors import RunError
from grandtotal.participate import door_of
from grandtotal.plan import Plan
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import find_configs, simulate, start
from grandtotal.verify import verify


@pytest.fixture(scope="module")
def honest(example, tmp_path_factory):
    """Returns a finished run."""
    plan = Plan.read(example / "plan.toml")
    folder = start(plan, find_configs(plan, example), tmp_path_factory.mktemp("runs"), False)
    simulate(folder)
    return folder


@pytest.fixture
def run(honest, tmp_path):
    """Returns a copy of the run that a test may tamper with."""
    shutil.copytree(honest.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def failing(folder):
    return {finding.check: finding.text for finding in verify(folder) if not finding.ok}


def rewrite(path, change):
    """Writes a log again with valid check sums, as whoever owns the file can."""
    records = [change(record) for record in read_log(path)]
    path.unlink()
    log = Log(path)
    for record in records:
        if record is not None:
            log.append(record)


def test_an_honest_run_holds(honest):
    found = verify(honest)
    assert [finding.check for finding in found if finding.ok] == [
        "totals",
        "masked",
        "replay",
        "asked of north",
        "asked of south",
        "asked of west",
    ]


def test_it_needs_the_coordinators_folder_alone(run):
    shutil.rmtree(run.path / "retailers")
    assert [finding.check for finding in verify(run)] == ["totals", "masked", "replay"]
    assert not failing(run)


def test_an_altered_total_is_found(run):
    record = next(r for r in run.rounds() if "total" in r)
    path = run.coordinator / "totals" / f"{record['question']}.safetensors"
    words = {name: array.copy() for name, array in load(path.read_bytes()).items()}
    next(iter(words.values())).reshape(-1)[0] += 1
    path.write_bytes(save(words))
    assert "not the total that rounds.jsonl names" in failing(run)["totals"]


def test_an_altered_total_with_an_altered_record_gives_other_questions(run):
    # What the first broadcast is made of: change it, and the broadcast is no longer its function.
    record = next(r for r in run.rounds() if r.get("query") == "co-purchases")
    path = run.coordinator / "totals" / f"{record['question']}.safetensors"
    words = {name: array.copy() for name, array in load(path.read_bytes()).items()}
    words["gram"][:50] += 3
    path.write_bytes(save(words))
    changed = arrays_digest(words)
    rewrite(
        run.coordinator / "rounds.jsonl",
        lambda r: {**r, "total": changed} if r["question"] == record["question"] else r,
    )
    found = failing(run)
    assert "other totals than the run was finished with" in found["totals"]
    assert "another broadcast than the totals give" in found["replay"]


def test_a_total_that_is_not_the_sum_of_what_was_signed_is_found(run):
    """Every file of the coordinator is altered alike, and the retailers' signatures stay."""
    record = next(r for r in run.rounds() if r.get("query") == "test-scores")
    path = run.coordinator / "totals" / f"{record['question']}.safetensors"
    words = {name: array.copy() for name, array in load(path.read_bytes()).items()}
    words["federated numerators"][0] += 1
    path.write_bytes(save(words))
    changed = arrays_digest(words)
    rewrite(
        run.coordinator / "rounds.jsonl",
        lambda r: {**r, "total": changed} if r["question"] == record["question"] else r,
    )
    assert "not the sum of what the retailers signed" in failing(run)["masked"]


def test_what_a_retailer_sent_cannot_be_altered_afterwards(run):
    path = next((run.coordinator / "masked").glob("*/south"))
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    assert "south" in failing(run)["masked"]


def test_signatures_count_that_the_pinned_roster_knows(run, example):
    assert not failing(run)
    pinned = door_of(example / "north/retailer.toml").roster_path("small")
    assert all(finding.ok for finding in verify(run, pinned))
    found = read_json(pinned)
    found["members"][0][1] = found["members"][1][1]
    forged = run.path / "forged.json"
    write_json(forged, found)
    findings = {f.check: f for f in verify(run, forged)}
    assert not findings["masked"].ok


def test_a_question_that_the_algorithm_does_not_ask_is_found(run):
    asked = [r for r in run.rounds() if "total" in r]
    extra = {**asked[0], "question": asked[0]["question"][::-1], "round": 99}
    (run.coordinator / "totals" / f"{extra['question']}.safetensors").write_bytes(
        (run.coordinator / "totals" / f"{asked[0]['question']}.safetensors").read_bytes()
    )
    Log(run.coordinator / "rounds.jsonl").append(extra)
    assert "which the algorithm does not ask" in failing(run)["replay"]
    assert "the coordinator's record" in failing(run)["asked of north"]


def test_a_question_left_out_of_the_record_is_found(run):
    last = run.rounds()[-1]["question"]
    rewrite(run.coordinator / "rounds.jsonl", lambda r: None if r["question"] == last else r)
    found = failing(run)
    assert "the record ends before" in found["replay"]
    assert last[:12] in found["asked of north"]


def test_other_models_than_the_totals_give_are_found(run):
    finished = run.finished()
    write_json(run.coordinator / "finished.json", {**finished, "models": {"recommend": "0" * 64}})
    assert "other models" in failing(run)["replay"]


def test_an_unfinished_run_is_refused_with_the_remedy(run):
    (run.coordinator / "finished.json").unlink()
    with pytest.raises(RunError, match="runs resume"):
        verify(run)


def test_from_the_command_line(run):
    said = CliRunner().invoke(main, ["verify", str(run.path), "--json"])
    assert said.exit_code == 0
    assert all(finding["ok"] for finding in json.loads(said.output))
    (run.coordinator / "plan.json").write_bytes(
        (run.coordinator / "plan.json").read_bytes().replace(b'"name":"', b'"name":"not ')
    )
    said = CliRunner().invoke(main, ["verify", str(run.path)])
    assert said.exit_code == 7
    assert "FAILS  replay" in said.output
