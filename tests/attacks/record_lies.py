"""A coordinator that alters what it keeps of a run; `grandtotal verify` is what finds it."""

import shutil
from pathlib import Path

from safetensors.numpy import load, save

from attacks.attack import attack
from attacks.homes import finished
from grandtotal.durable import Log, arrays_digest, digest, read_json, write_json
from grandtotal.errors import RunError
from grandtotal.verify import verify

VERIFY = "grandtotal.verify."


def holds(folder, check):
    """Returns whether one finding of `grandtotal verify` holds; RunError says why it does not."""
    for finding in verify(folder):
        if finding.check == check and not finding.ok:
            raise RunError(finding.text)
    return True


def altered(run, name, change):
    """Alters a total, and everything of the coordinator's own that names its digest."""
    record = next(r for r in run.rounds() if r.get("query") == name)
    path = run.coordinator / "totals" / f"{record['question']}.safetensors"
    words = {key: array.copy() for key, array in load(path.read_bytes()).items()}
    change(words)
    path.write_bytes(save(words))
    records = run.rounds()
    for found in records:
        if found["question"] == record["question"]:
            found["total"] = arrays_digest(words)
    rewritten(run, records)


def rewritten(run, records):
    path = run.coordinator / "rounds.jsonl"
    path.unlink()
    log = Log(path)
    for record in records:
        log.append(record)
    totals = digest(*(record["total"].encode() for record in records if "total" in record))
    state = run.coordinator / "finished.json"
    write_json(state, {**read_json(state), "totals": totals})


@attack("coordinator", VERIFY + "_refuse_other_sum", "a table in which federation gains more")
def it_alters_a_total_and_every_file_that_names_it(folder: Path) -> bool:
    run = finished(folder)

    def better(words):
        words["federated numerators"][0] += 1

    altered(run, "test-scores", better)
    return all(holds(run, check) for check in ("totals", "masked", "replay"))


@attack("coordinator", VERIFY + "_refuse_other_question", "a question that the plan does not give")
def it_asks_something_else_and_records_it_in_place(folder: Path) -> bool:
    """The first question, with other parameters; its total stands in the place of the true one."""
    run = finished(folder)
    records = run.rounds()
    question = digest(b"another question")
    totals = run.coordinator / "totals"
    shutil.copy(
        totals / f"{records[0]['question']}.safetensors", totals / f"{question}.safetensors"
    )
    records[0] = {**records[0], "question": question, "parameters": {"split": "mine"}}
    rewritten(run, records)
    return holds(run, "totals") and holds(run, "replay")


@attack("coordinator", VERIFY + "Replay.refuse_more", "a total that the plan does not give")
def it_asks_one_question_more_than_the_algorithm(folder: Path) -> bool:
    run = finished(folder)
    records = run.rounds()
    first = next(r for r in records if "total" in r)
    question = digest(b"one more")
    totals = run.coordinator / "totals"
    shutil.copy(totals / f"{first['question']}.safetensors", totals / f"{question}.safetensors")
    rewritten(run, [*records, {**first, "question": question, "round": len(records) + 1}])
    return holds(run, "totals") and holds(run, "replay")


@attack("coordinator", VERIFY + "_refuse_other_models", "a model that the totals do not give")
def it_says_that_the_run_ended_with_another_model(folder: Path) -> bool:
    run = finished(folder)
    path = run.coordinator / "finished.json"
    write_json(path, {**read_json(path), "models": {"recommend": "0" * 64}})
    return all(holds(run, check) for check in ("totals", "masked", "replay"))
